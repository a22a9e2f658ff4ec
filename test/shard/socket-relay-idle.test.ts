// Goal: a relay ends when it is idle for too long, and no connection is idle while bytes are on
// their way; what it owes from before it is settled. Method: as in socket-relay.test.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAME } from '../../src/wire/frame.ts';
import { valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { Bench, MIB, visitorBench, wire } from './relay-bench.ts';
import { createSocketPair, endOf, eventOf } from './socket-pair.ts';

test('an idle connection ends after its timeout; one byte starts it anew', async (t) => {
  const { bench, theirs } = await visitorBench(t, { tcpIdleTimeoutMs: 5000 });
  const end = endOf(theirs);
  bench.relay.sweep(1000);
  bench.relay.sweep(5999);
  theirs.write('x');
  await bench.arrival('x');
  bench.relay.sweep(6000);
  bench.relay.sweep(10_999);
  assert.deepEqual(bench.resets(), []);
  bench.relay.sweep(11_000);
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_IDLE')]);
  assert.equal((await end).how, 'ECONNRESET');
});

test('bytes that are on their way keep a connection from being idle, both ways', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const bench = new Bench(ours, 'open', { tcpIdleTimeoutMs: 1000 });
  let nowMs = 0;
  const pass = (): void => {
    nowMs += 999;
    bench.relay.sweep(nowMs);
    assert.equal(bench.stream.isEnded, false);
  };
  // More than the peer takes: it waits in the stream, and its socket is not read.
  theirs.write(Buffer.alloc(4 * MIB));
  const isFull = (): boolean => ours.isPaused() && bench.stream.credit.availableBytes === 0;
  await eventually(5000, 'the stream is full', async () => assert.ok(isFull()));
  pass();
  for (let step = 0; step < 3; step += 1) {
    bench.peer.deliver(valueFrame(FRAME.CREDIT, bench.stream.id, 10));
    pass();
  }
  // And what the socket takes piece by piece, of what came at once.
  theirs.pause();
  for (let step = 0; step < 4; step += 1) bench.dataFromPeer(Buffer.alloc(2 * MIB));
  pass();
  const heldBytes = bench.stream.window.heldBytes;
  theirs.resume();
  await eventually(5000, 'some was taken', async () =>
    assert.ok(bench.stream.window.heldBytes < heldBytes),
  );
  pass();
  nowMs += 1000;
  bench.relay.sweep(nowMs);
  assert.equal(bench.stream.isEnded, true);
});

test('what the relay has brought is nothing that is owed from before', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const told: number[] = [];
  const owed = { settle: (queuedBytes: number) => told.push(queuedBytes) };
  const bench = new Bench(ours, 'open', {}, { heldBytes: 0, owed });
  theirs.pause();
  for (let step = 0; step < 4; step += 1) bench.dataFromPeer(Buffer.alloc(2 * MIB));
  const { heldBytes } = bench.stream.window;
  assert.ok(heldBytes > 0, 'some of it waits');
  theirs.resume();
  await eventually(5000, 'all was taken', async () => {
    assert.equal(bench.stream.window.heldBytes, 0);
  });
  assert.ok(told.length > 1, 'it is told more than once');
  assert.deepEqual(new Set(told), new Set([0]));
});

test('without a timeout an idle connection lives on', async (t) => {
  const { bench } = await visitorBench(t);
  for (const nowMs of [0, 86_400_000, 10 * 86_400_000]) bench.relay.sweep(nowMs);
  assert.deepEqual(bench.resets(), []);
});

test('a half-closed connection ends after its own timeout, counted from the last byte', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t, { halfCloseTimeoutMs: 5000 });
  bench.relay.sweep(0);
  bench.relay.sweep(100_000);
  assert.deepEqual(bench.resets(), [], 'open both ways');
  theirs.end('last words');
  await eventOf(ours, 'end');
  bench.relay.sweep(101_000);
  bench.dataFromPeer(Buffer.from('more'));
  bench.relay.sweep(105_000);
  bench.relay.sweep(109_999);
  assert.deepEqual(bench.resets(), []);
  bench.relay.sweep(110_000);
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_HALF_CLOSED')]);
});
