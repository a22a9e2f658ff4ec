// Goal: a flow's socket sends each datagram as one, with its header where it has one, and counts
// what the kernel does not take. Method: a real socket to a real upstream on loopback.

import assert from 'node:assert/strict';
import { Socket } from 'node:dgram';
import { type TestContext, test } from 'node:test';
import { QUEUE_BYTES_MAX, QUEUES_BYTES_MAX, QueueAccount } from '../../src/mux/datagram-queue.ts';
import { DatagramMeter } from '../../src/shard/datagram-meter.ts';
import { UpstreamSocket } from '../../src/shard/upstream-socket.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { startUdp } from '../support/udp.ts';

const WAIT_MS = 10_000;
const DATAGRAM_BYTES_MAX = 65_507;
const HEADER = Buffer.from('header:');

class Bench {
  readonly meter = new DatagramMeter();
  readonly got: Buffer[] = [];
  readonly answers: string[] = [];
  readonly account = new QueueAccount();
  socket!: UpstreamSocket;

  static async start(t: TestContext, header: Buffer | undefined): Promise<Bench> {
    const bench = new Bench();
    const { port } = await startUdp(t, (datagram, say) => {
      bench.got.push(datagram);
      say(datagram);
    });
    bench.socket = new UpstreamSocket({
      ...{ meter: bench.meter, account: bench.account, port, header },
      address: Promise.resolve('127.0.0.1'),
      onDatagram: (datagram) => bench.answers.push(String(datagram)),
      onFailure: () => assert.fail('it opens'),
    });
    undoAfter(t, () => bench.socket.close());
    return bench;
  }

  get unsent(): number {
    return this.dropped('send');
  }

  dropped(reason: string): number {
    return new Map(this.meter.sample().dropped).get(reason) ?? -1;
  }

  async until(count: number): Promise<void> {
    await eventually(WAIT_MS, `${count} datagrams`, async () => {
      assert.equal(this.answers.length, count);
    });
  }
}

test('each datagram is sent behind the header, those that waited for the socket, too', async (t) => {
  const bench = await Bench.start(t, HEADER);
  for (const text of ['one', '', 'two']) bench.socket.send(Buffer.from(text));
  await bench.until(3);
  bench.socket.send(Buffer.from('three'));
  await bench.until(4);
  assert.deepEqual(bench.answers, ['header:one', 'header:', 'header:two', 'header:three']);
});

test('one that is too long with its header is counted, and the next one is sent', async (t) => {
  const bench = await Bench.start(t, HEADER);
  bench.socket.send(Buffer.alloc(DATAGRAM_BYTES_MAX - HEADER.length, 'x'));
  await bench.until(1);
  assert.equal(bench.got[0]?.length, DATAGRAM_BYTES_MAX);
  assert.equal(bench.unsent, 0);
  bench.socket.send(Buffer.alloc(DATAGRAM_BYTES_MAX - HEADER.length + 1, 'x'));
  bench.socket.send(Buffer.from('next'));
  await bench.until(2);
  assert.equal(bench.answers[1], 'header:next');
  assert.equal(bench.unsent, 1);
});

test('without a header it is sent as it is', async (t) => {
  const bench = await Bench.start(t, undefined);
  for (const text of ['one', '']) bench.socket.send(Buffer.from(text));
  await bench.until(2);
  assert.deepEqual(bench.answers, ['one', '']);
});

test('of what waits for the socket the newest is kept', async (t) => {
  const bench = await Bench.start(t, undefined);
  for (let index = 0; index < 64 + 5; index += 1) bench.socket.send(Buffer.from(`${index}`));
  assert.equal(bench.dropped('queue'), 5);
  await bench.until(64);
  assert.deepEqual([bench.answers[0], bench.answers.at(-1)], ['5', '68']);
  assert.equal(bench.account.bytes, 0);
});

test('what waits for the socket is bounded in bytes', async (t) => {
  const bench = await Bench.start(t, undefined);
  const fitting = Math.floor(QUEUE_BYTES_MAX / 60_000);
  for (let index = 0; index < fitting + 5; index += 1) bench.socket.send(Buffer.alloc(60_000));
  assert.equal(bench.dropped('queue'), 5);
  assert.equal(bench.account.bytes, fitting * 60_000);
  assert.equal(bench.dropped('ended'), 0);
  bench.socket.close();
  assert.equal(bench.account.bytes, 0);
  assert.equal(bench.dropped('ended'), fitting);
});

test('what waits for an address that is not found is counted', async () => {
  const meter = new DatagramMeter();
  const account = new QueueAccount();
  const failed = Promise.withResolvers<Error>();
  const socket = new UpstreamSocket({
    ...{ meter, account, port: 53, header: undefined, onDatagram: () => undefined },
    address: Promise.reject(new Error('no such name')),
    onFailure: (error) => {
      // As a flow does that ends.
      socket.close();
      failed.resolve(error);
    },
  });
  for (let count = 0; count < 3; count += 1) socket.send(Buffer.from('query'));
  await within(WAIT_MS, 'the failure', failed.promise);
  const dropped = meter.sample().dropped.filter(([, count]) => count > 0);
  assert.deepEqual([dropped, account.bytes], [[['upstream', 3]], 0]);
});

test('what waits for the socket is counted with all that waits in its shard', async (t) => {
  const bench = await Bench.start(t, undefined);
  bench.account.bytes = QUEUES_BYTES_MAX - 100;
  bench.socket.send(Buffer.alloc(100));
  bench.socket.send(Buffer.alloc(50));
  bench.socket.send(Buffer.alloc(200));
  assert.equal(bench.dropped('queue'), 3);
  assert.equal(bench.account.bytes, QUEUES_BYTES_MAX - 100);
  bench.socket.send(Buffer.from('x'));
  bench.socket.close();
  assert.equal(bench.account.bytes, QUEUES_BYTES_MAX - 100);
});

test('what the kernel has no room for is dropped and counted', async (t) => {
  const bench = await Bench.start(t, undefined);
  bench.socket.send(Buffer.from('one'));
  await bench.until(1);
  const queued = t.mock.method(Socket.prototype, 'getSendQueueSize', () => QUEUE_BYTES_MAX + 1);
  bench.socket.send(Buffer.from('two'));
  queued.mock.restore();
  assert.equal(bench.unsent, 1);
  bench.socket.send(Buffer.from('three'));
  await bench.until(2);
  assert.deepEqual(bench.answers, ['one', 'three']);
});
