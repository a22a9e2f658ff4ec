// Goal: what cannot be sent waits within its bounds, and the oldest goes first; a datagram is sent
// whole or not at all. Method: a stream of a session in memory whose credit the test grants.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  DatagramQueue,
  QUEUE_BYTES_MAX,
  QUEUE_COUNT_MAX,
  QUEUES_BYTES_MAX,
  QueueAccount,
} from '../../src/mux/datagram-queue.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { DatagramReader } from '../../src/wire/datagram.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { RawPeer, valueFrame } from './raw-peer.ts';

class Bench implements StreamSink {
  readonly peer: RawPeer;
  readonly account: QueueAccount;
  readonly queue: DatagramQueue;
  readonly stream: Stream;
  dropped = 0;

  /** `credit`: what the peer lets us send before it answers. */
  constructor(credit: number, account = new QueueAccount()) {
    this.peer = new RawPeer({ announces: { credit } });
    const request = { tunnel: 'udp:1', address: '192.0.2.1', port: 1, link: '' };
    const opened = this.peer.session.open(request, this);
    assert.ok(typeof opened !== 'string');
    this.stream = opened;
    this.account = account;
    this.queue = new DatagramQueue(opened, account, (count) => {
      this.dropped += count;
    });
  }

  onOpened(): void {}
  onData(): void {}
  onFin(): void {}
  onReset(): void {}

  onWritable(): void {
    this.queue.flush();
  }

  grant(bytes: number): void {
    this.peer.deliver(valueFrame(FRAME.CREDIT, this.stream.id, bytes));
  }

  /** The datagrams that the peer has got, as text. */
  arrived(): string[] {
    const texts: string[] = [];
    const reader = new DatagramReader((datagram) => texts.push(datagram.toString()));
    for (const { type, content } of this.peer.written()) {
      if (type === FRAME.DATA) reader.read(Buffer.from(content as Buffer));
    }
    return texts;
  }
}

const numbered = (count: number): string[] =>
  Array.from({ length: count }, (_, index) => `number ${String(index).padStart(4, '0')}`);

test('with credit everything is sent at once, a frame a datagram', () => {
  const bench = new Bench(65_536);
  for (const text of numbered(5)) bench.queue.push(Buffer.from(text));
  assert.deepEqual(bench.arrived(), numbered(5));
  assert.equal(bench.peer.written().filter(({ type }) => type === FRAME.DATA).length, 5);
  assert.equal(bench.account.bytes, 0);
});

test('without credit the newest stay, in order, and what is dropped is counted', () => {
  const bench = new Bench(0);
  const texts = numbered(QUEUE_COUNT_MAX + 51);
  for (const text of texts) bench.queue.push(Buffer.from(text));
  assert.equal(bench.dropped, 50);
  bench.grant(1_000_000);
  // The first was given to the stream when nothing waited.
  assert.deepEqual(bench.arrived(), [texts[0], ...texts.slice(-QUEUE_COUNT_MAX)]);
  assert.equal(bench.account.bytes, 0);
});

test('a datagram of which some was sent is sent to its end, whatever is dropped behind it', () => {
  const bench = new Bench(10);
  const texts = numbered(QUEUE_COUNT_MAX * 2);
  for (const text of texts) bench.queue.push(Buffer.from(text));
  assert.deepEqual(bench.arrived(), []);
  bench.grant(1_000_000);
  assert.equal(bench.arrived()[0], texts[0]);
  assert.equal(bench.arrived().length, QUEUE_COUNT_MAX + 1);
});

test('bytes are bounded, and the largest datagrams fit', () => {
  const bench = new Bench(0);
  for (let count = 0; count < 20; count += 1) bench.queue.push(Buffer.alloc(65_507));
  const fits = Math.floor(QUEUE_BYTES_MAX / 65_509);
  assert.equal(bench.account.bytes, fits * 65_509);
  assert.equal(bench.dropped, 20 - 1 - fits);
});

test('all queues together are bounded: who has none to drop drops what comes', () => {
  const account = new QueueAccount();
  account.bytes = QUEUES_BYTES_MAX - 100;
  const bench = new Bench(0, account);
  for (const text of ['sent', 'waits', 'replaces it']) bench.queue.push(Buffer.from(text));
  assert.equal(bench.dropped, 0);
  bench.queue.push(Buffer.alloc(200));
  assert.equal(bench.dropped, 3, 'both that waited, and the new one');
  assert.equal(bench.queue.clear(), 0);
  assert.equal(account.bytes, QUEUES_BYTES_MAX - 100);
});

test('what waits is given up as a whole', () => {
  const bench = new Bench(0);
  for (const text of numbered(4)) bench.queue.push(Buffer.from(text));
  assert.equal(bench.queue.clear(), 3);
  assert.equal(bench.account.bytes, 0);
  bench.grant(1_000_000);
  assert.deepEqual(bench.arrived(), numbered(1));
});
