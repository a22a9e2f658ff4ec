// Goal: flows stay within their bounds, and who makes room for a new one is the oldest whose
// visitor never went on after an answer. Method: names for flows, time given by the test.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type FlowPlace, FlowTable } from '../../src/shard/flow-table.ts';

const LIMITS = { udpFlowsMax: 3, udpFlowsPerAddressMax: 0, udpNewFlowsPerSecondMax: 1000 };
const [A, B] = ['192.0.2.1', '192.0.2.2'];

class Bench {
  readonly table: FlowTable<string>;
  readonly places = new Map<string, FlowPlace<string>>();

  constructor(limits: Partial<typeof LIMITS> = {}) {
    this.table = new FlowTable({ ...LIMITS, ...limits }, 0);
  }

  /** Enters a flow, ends who makes room for it, and tells who that was. */
  begin(flow: string, address = A, nowMs = 0): string {
    const verdict = this.table.judge(address, nowMs);
    if (typeof verdict === 'string') return verdict;
    if (verdict.over !== undefined) this.end(verdict.over);
    this.places.set(flow, this.table.enter(flow, address));
    return verdict.over ?? 'entered';
  }

  settle(flow: string): void {
    this.table.settle(this.places.get(flow) ?? assert.fail(flow));
  }

  end(flow: string): void {
    this.table.leave(this.places.get(flow) ?? assert.fail(flow));
    this.table.gone();
    this.places.delete(flow);
  }
}

test('at the limit the oldest young flow makes room, and no settled one does', () => {
  const bench = new Bench();
  for (const flow of ['one', 'two', 'three']) assert.equal(bench.begin(flow), 'entered');
  bench.settle('one');
  assert.equal(bench.begin('four', B), 'two');
  assert.equal(bench.begin('five', B), 'three');
  bench.settle('four');
  bench.settle('five');
  assert.equal(bench.begin('six'), 'flows');
  assert.equal(bench.table.count, 3);
  bench.end('four');
  assert.equal(bench.begin('six'), 'entered');
});

test('an address at its limit makes room by its own flows, an IPv6 one by those of its /64', () => {
  const bench = new Bench({ udpFlowsMax: 100, udpFlowsPerAddressMax: 2 });
  bench.begin('other', B);
  bench.begin('one', '2001:db8::1');
  bench.begin('two', '2001:db8::2');
  assert.equal(bench.begin('three', '2001:db8::3'), 'one');
  bench.settle('two');
  bench.settle('three');
  assert.equal(bench.begin('four', '2001:db8::4'), 'address-flows');
  assert.equal(bench.begin('five', '2001:db8:0:1::1'), 'entered');
  assert.equal(bench.begin('six', B), 'entered');
});

test('so many begin in a second', () => {
  const bench = new Bench({ udpFlowsMax: 100, udpNewFlowsPerSecondMax: 2 });
  const begun = ['one', 'two', 'three'].map((flow) => bench.begin(flow));
  assert.deepEqual(begun, ['entered', 'entered', 'rate']);
  assert.equal(bench.begin('four', A, 500), 'entered');
  assert.equal(bench.begin('five', A, 500), 'rate');
});

test('nobody makes room while too many are still ending', () => {
  const bench = new Bench({ udpFlowsMax: 1, udpNewFlowsPerSecondMax: 5000 });
  let last = 'entered';
  for (let count = 0; count < 3000 && last !== 'flows'; count += 1) {
    const verdict = bench.table.judge(A, 0);
    last = typeof verdict === 'string' ? verdict : 'entered';
    if (typeof verdict === 'string') break;
    // It says FIN, and the peer does not answer.
    if (verdict.over !== undefined) {
      bench.table.leave(bench.places.get(verdict.over) ?? assert.fail());
    }
    bench.places.set(`flow ${count}`, bench.table.enter(`flow ${count}`, A));
  }
  assert.equal(last, 'flows');
  for (let count = 0; count < 2048; count += 1) bench.table.gone();
  assert.notEqual(bench.begin('again'), 'flows');
});
