// Goal: what waits in a stream leaves in order, costs about its bytes, and gives its loans back.
// Method: a queue alone with pieces of random sizes, then a session whose peer grants credit late.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readPool } from '../../src/base/read-pool.ts';
import { FIN_MARK, SendQueue } from '../../src/mux/send-queue.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { seededNoise } from '../support/digest.ts';
import { openOurs, RawPeer, valueFrame } from './raw-peer.ts';

/** Takes all, at most `most` bytes at a time. */
function drain(queue: SendQueue, most: number): Buffer {
  const taken: Buffer[] = [];
  for (;;) {
    const first = queue.first();
    if (first === undefined || first === FIN_MARK) return Buffer.concat(taken);
    const part = Buffer.from(first.subarray(0, most));
    taken.push(part);
    queue.advance(part.length);
  }
}

test('pieces of all sizes leave in order, whatever was taken between them', () => {
  const noise = seededNoise(3, 2_000_000);
  const queue = new SendQueue();
  const taken: Buffer[] = [];
  let at = 0;
  for (let step = 0; at < noise.length; step += 1) {
    // Mostly small, now and then one that does not wait with them.
    const most = step % 17 === 0 ? 70_000 : 1 + (noise[step % noise.length] ?? 0) * 5;
    const piece = Buffer.from(noise.subarray(at, at + most));
    at += piece.length;
    queue.add(piece);
    assert.equal(queue.isEmpty, false);
    if (step % 101 === 0) taken.push(drain(queue, 1 + (step % 5000)));
    else if (step % 5 === 0) {
      const part = Buffer.from(queue.first()?.subarray(0, 3000) ?? '');
      taken.push(part);
      queue.advance(part.length);
    }
  }
  queue.end();
  assert.equal(queue.isEnded, true);
  taken.push(drain(queue, 10_000));
  assert.ok(Buffer.concat(taken).equals(noise));
  assert.deepEqual([queue.bytes, queue.isAtEnd, queue.isEmpty], [0, true, false]);
});

test('loans are given back when a small piece is copied, and when what waits is lost', () => {
  const before = readPool.lentCount;
  const queue = new SendQueue();
  for (const bytes of [10, 60_000, 20, 600, 50_000, 1023]) {
    queue.add(readPool.lend(readPool.take(), bytes));
  }
  assert.equal(readPool.lentCount, before + 2, 'those that were not copied');
  queue.clear();
  assert.equal(readPool.lentCount, before);
  assert.deepEqual([queue.bytes, queue.isEmpty], [0, true]);
});

test('a window of one-byte pieces waits as few, and is sent as few frames', () => {
  const peer = new RawPeer({ announces: { credit: 0 }, congestionBytes: 1 << 30 });
  const sink = openOurs(peer);
  const pieces = 262_144;
  let writes = 0;
  for (; writes < pieces; writes += 1) sink.stream?.write(Buffer.from([writes % 251]));
  assert.equal(sink.stream?.queuedBytes, pieces);
  peer.deliver(valueFrame(FRAME.CREDIT, sink.stream?.id ?? 0, pieces));
  assert.equal(sink.stream?.queuedBytes, 0);
  const frames = peer.written(FRAME.DATA).map(({ content }) => content as Buffer);
  assert.ok(frames.length < 64, `${frames.length} frames`);
  const bytes = Buffer.concat(frames);
  assert.equal(bytes.length, pieces);
  assert.ok(bytes.every((byte, at) => byte === at % 251));
});

test('what waits costs about its bytes, few as they are', () => {
  const queue = new SendQueue();
  const piece = Buffer.from([1]);
  for (let count = 0; count < 262_144; count += 1) queue.add(piece);
  let memoryBytes = 0;
  for (let first = queue.first(); first !== undefined; first = queue.first()) {
    memoryBytes += first.buffer.byteLength;
    queue.advance(first.length);
  }
  assert.equal(memoryBytes, 262_144);
  const few = new SendQueue();
  few.add(Buffer.from([1]));
  assert.equal(few.first()?.buffer.byteLength, 256, 'one byte is not given the room of many');
});

test('to take the next costs the same however many wait', () => {
  const queue = new SendQueue();
  const count = 200_000;
  const piece = Buffer.alloc(1024);
  for (let index = 0; index < count; index += 1) queue.add(piece);
  const begin = performance.now();
  while (queue.first() !== undefined) queue.advance(1024);
  const elapsedMs = performance.now() - begin;
  assert.ok(elapsedMs < 5000, `${elapsedMs} ms`);
  assert.deepEqual([queue.isEmpty, queue.bytes], [true, 0]);
});
