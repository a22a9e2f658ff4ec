// Goal: every call ends once, with its answer, its failure or a deadline. Method: two bridges over
// a real channel, methods that answer, fail, or never do.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { SluicewayError } from '../../src/base/errors.ts';
import { Bridge } from '../../src/bridge/calls.ts';
import { within } from '../support/deadline.ts';

type Near = Record<string, never>;
type Far = {
  double: { takes: number; gives: number };
  slow: { takes: string; gives: string };
  refuse: { takes: undefined; gives: unknown };
  break: { takes: undefined; gives: unknown };
  never: { takes: undefined; gives: unknown };
  missing: { takes: undefined; gives: unknown };
  take: { takes: { port: MessagePort } | { text: string }; gives: unknown };
};

class Bench {
  readonly near: Bridge<Near, Far>;
  readonly far: Bridge<Far, Near>;
  readonly bugs: unknown[] = [];
  readonly taken: unknown[] = [];
  readonly #slow = new Map<string, () => void>();

  constructor(t: TestContext) {
    const { port1, port2 } = new MessageChannel();
    this.near = new Bridge<Near, Far>(port1, {}, (error) => this.bugs.push(error));
    const serve = {
      double: (body: number) => body * 2,
      slow: (body: string) =>
        new Promise<string>((resolve) => this.#slow.set(body, () => resolve(body))),
      refuse: () => Promise.reject(new SluicewayError('SLW_TUNNEL_PORT_TAKEN', 'taken, alas')),
      break: () => {
        throw new TypeError('a bug');
      },
      never: () => new Promise(() => {}),
      take: (body: unknown) => this.taken.push(body),
    };
    // One method is missing on purpose: the other side may be older.
    this.far = new Bridge<Far, Near>(port2, serve as never, (error) => this.bugs.push(error));
    t.after(() => this.near.close());
  }

  release(name: string): void {
    this.#slow.get(name)?.();
  }
}

test('answers find their calls, in whatever order they come', async (t) => {
  const { near, ...bench } = new Bench(t);
  assert.deepEqual(await Promise.all([1, 2, 3].map((n) => near.call('double', n))), [2, 4, 6]);
  assert.deepEqual(bench.bugs, []);
});

test('a slow call does not hold up another', async (t) => {
  const bench = new Bench(t);
  const first = bench.near.call('slow', 'first');
  const second = bench.near.call('slow', 'second');
  assert.equal(await bench.near.call('double', 4), 8);
  bench.release('second');
  assert.equal(await second, 'second');
  bench.release('first');
  assert.equal(await first, 'first');
});

test('a failure keeps its code and its words', async (t) => {
  const { near, bugs } = new Bench(t);
  await assert.rejects(near.call('refuse', undefined), (error) => {
    assert.ok(error instanceof SluicewayError);
    assert.deepEqual([error.code, error.message], ['SLW_TUNNEL_PORT_TAKEN', 'taken, alas']);
    return true;
  });
  assert.deepEqual(bugs, [], 'an expected failure is no bug');
});

test('a bug in a method fails the call and is told on its own side', async (t) => {
  const { near, bugs } = new Bench(t);
  await assert.rejects(near.call('break', undefined), { code: 'SLW_SHARD_FAILED' });
  assert.equal(bugs.length, 1);
  assert.ok(bugs[0] instanceof TypeError);
});

test('a method that the other side does not have fails the call', async (t) => {
  const { near } = new Bench(t);
  await assert.rejects(near.call('missing', undefined), { code: 'SLW_SHARD_FAILED' });
  for (const name of ['constructor', '__proto__', 'toString'] as never[]) {
    await assert.rejects(near.call(name, undefined as never), { code: 'SLW_SHARD_FAILED' });
  }
});

test('a call without an answer ends at its deadline, and a late answer is nobody’s', async (t) => {
  const bench = new Bench(t);
  await assert.rejects(bench.near.call('never', undefined, 10), { code: 'SLW_CALL_TIMEOUT' });
  const late = bench.near.call('slow', 'late', 10);
  await assert.rejects(late, { code: 'SLW_CALL_TIMEOUT' });
  bench.release('late');
  assert.equal(await bench.near.call('double', 1), 2);
});

test('when the port closes, calls under way fail, and so do those that follow', async (t) => {
  const { near, far } = new Bench(t);
  const calls = Array.from({ length: 5 }, () => near.call('never', undefined));
  far.close();
  for (const call of calls) {
    await assert.rejects(within(2000, 'the call ends', call), { code: 'SLW_SHARD_FAILED' });
  }
  const after = near.call('double', 1);
  await assert.rejects(within(2000, 'a later call ends', after), { code: 'SLW_SHARD_FAILED' });
});

test('at the end what was told is heard at once, and what was asked is not', async (t) => {
  const { near, far, taken } = new Bench(t);
  near.tell('take', { text: 'first' });
  const call = near.call('double', 1);
  near.tell('take', { text: 'last' });
  far.end();
  assert.deepEqual(taken, [{ text: 'first' }, { text: 'last' }]);
  await assert.rejects(within(2000, 'the call ends', call), { code: 'SLW_SHARD_FAILED' });
});

test('calls under way are bounded', async (t) => {
  const { near, far } = new Bench(t);
  const calls = Array.from({ length: 20_000 }, () => near.call('never', undefined));
  await assert.rejects(near.call('double', 1), { code: 'SLW_CALL_TIMEOUT' });
  far.close();
  const ends = await Promise.allSettled(calls);
  assert.ok(ends.every(({ status }) => status === 'rejected'));
});

test('a notice is carried with what it transfers, and a bug in it is told', async (t) => {
  const { near, taken, bugs } = new Bench(t);
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  near.tell('take', { port: port2 }, [port2]);
  near.tell('take', { text: 'plain' });
  near.tell('break', undefined);
  assert.equal(await near.call('double', 1), 2, 'in order: the notices have been read');
  const [first, second] = taken as [{ port: MessagePort }, unknown];
  assert.deepEqual(second, { text: 'plain' });
  assert.equal(bugs.length, 1);
  const arrived = new Promise((resolve) => port1.once('message', resolve));
  first.port.postMessage('through');
  assert.equal(await within(2000, 'a message', arrived), 'through');
  first.port.close();
});
