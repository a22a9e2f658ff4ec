// Goal: a visitor that takes what stands first for it is not stale for what stands behind that;
// what waits when a link is lost has a bound, and is delivered below it. Method: streams of one
// real session whose peer a test answers for, and no visitor.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryPressure, PRESSURE } from '../../src/base/memory-pressure.ts';
import { Farewells } from '../../src/shard/http-farewell.ts';
import { HttpUpstream } from '../../src/shard/http-upstream.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer, RecordingSink, valueFrame } from '../mux/raw-peer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LinkRouter } from './link-scene.ts';

const VISITOR = { address: '192.0.2.1', port: 1 };

test('of who takes in turn no stream is stale, let go or not', () => {
  const link = new RawPeer();
  const router = new LinkRouter(link);
  const context = { router, clock: new FakeClock(), farewells: new Farewells() };
  const outlet = { queuedBytes: 0 };
  const owner = { outlet, onMemoryShort: () => assert.fail('there is memory') };
  /** An answer of `bytes`, of which nothing is taken. */
  const answer = (upstream: HttpUpstream, bytes: number): void => {
    assert.equal(upstream.acquire('a.example', undefined), undefined);
    const { id } = router.opened.at(-1) ?? assert.fail('no stream');
    link.deliver(valueFrame(FRAME.OPENED, id, 0));
    link.deliver(bodyFrame(FRAME.DATA, id, Buffer.alloc(bytes)));
    upstream.received(bytes);
    outlet.queuedBytes += bytes;
  };
  const upstream = new HttpUpstream(context, owner, VISITOR, new RecordingSink());
  for (let count = 0; count < 3; count += 1) {
    answer(upstream, 1000);
    if (count < 2) upstream.reset('SLW_STREAM_CANCELLED');
  }
  const [first, ...later] = router.opened;
  const ages = (): number[] => later.map(({ progressMs }) => progressMs);
  const begunMs = link.clock.nowMs();
  link.clock.advance(1000);
  outlet.queuedBytes -= 400;
  upstream.settle(outlet.queuedBytes);
  assert.equal(first?.window.heldBytes, 600);
  assert.deepEqual(ages(), [begunMs + 1000, begunMs + 1000]);
  link.clock.advance(1000);
  upstream.settle(outlet.queuedBytes);
  assert.deepEqual(ages(), [begunMs + 1000, begunMs + 1000], 'nothing was taken');
  outlet.queuedBytes = 0;
  upstream.settle(0);
  assert.equal(link.session.memory.heldBytes, 0);
});

/** Visitors of whom each has 1000 bytes waiting, and which of them were cut. */
function startOwed(count: number, orphanedBytesMax: number) {
  const link = new RawPeer();
  const router = new LinkRouter(link);
  const farewells = new Farewells(orphanedBytesMax);
  const context = { router, clock: new FakeClock(), farewells };
  const cut: number[] = [];
  const upstreams = Array.from({ length: count }, (_, index) => {
    const outlet = { queuedBytes: 0 };
    const onMemoryShort = (): void => {
      cut.push(index);
      upstream.settle(0);
    };
    const upstream = new HttpUpstream(
      context,
      { outlet, onMemoryShort },
      VISITOR,
      new RecordingSink(),
    );
    assert.equal(upstream.acquire('a.example', undefined), undefined);
    const { id } = router.opened.at(-1) ?? assert.fail('no stream');
    link.deliver(valueFrame(FRAME.OPENED, id, 0));
    link.deliver(bodyFrame(FRAME.DATA, id, Buffer.alloc(1000)));
    upstream.received(1000);
    outlet.queuedBytes = 1000;
    return upstream;
  });
  return { link, farewells, cut, upstreams };
}

test('what a lost link leaves waiting has a bound, and who stands still pays', (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const { link, farewells, cut, upstreams } = startOwed(4, 2500);
  for (const upstream of upstreams.slice(0, 2)) upstream.reset('SLW_STREAM_CANCELLED');
  farewells.sweep(0);
  assert.deepEqual(cut, [], 'on the account of their session');
  link.link.destroy();
  for (const upstream of upstreams.slice(2)) upstream.lose();
  farewells.sweep(0);
  assert.deepEqual(cut, [0, 1], 'beyond the bound');
  memoryPressure.level = PRESSURE.FULL;
  upstreams[2]?.settle(900);
  farewells.sweep(0);
  assert.deepEqual(cut, [0, 1, 3, 2], 'first the one that took nothing');
});

test('below the bound it is left to its visitor, and forgotten when that has it', () => {
  const { link, farewells, cut, upstreams } = startOwed(1, 2500);
  link.link.destroy();
  const [upstream] = upstreams;
  assert.equal(upstream?.lose(), false);
  upstream?.settle(400);
  upstream?.settle(0);
  farewells.sweep(0);
  assert.deepEqual(cut, []);
  assert.equal(farewells.heldCount, 0);
});
