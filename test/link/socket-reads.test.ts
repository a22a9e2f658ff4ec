// Goal: every byte of a socket arrives once and in order, whoever made the socket, with large
// reads in lent buffers and small ones in memory of their own; paused means silent. Method: real
// sockets over loopback, plain and TLS, accepted, dialled and upgraded.

import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { READ_BYTES, readPool } from '../../src/base/read-pool.ts';
import {
  areReadsPooled,
  type ReadSink,
  returnIdleBuffers,
  SocketReads,
} from '../../src/link/socket-reads.ts';
import { CERT, KEY } from '../config/tls-pair.ts';
import { createSocketPair } from '../shard/socket-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';

const MIB = 1024 * 1024;

class Collector implements ReadSink {
  readonly pieces: Buffer[] = [];
  bytes = 0;
  lentReads = 0;

  onRead(piece: Buffer): void {
    this.bytes += piece.length;
    if (readPool.isLent(piece)) this.lentReads += 1;
    this.pieces.push(readPool.own(piece));
  }

  async until(bytes: number): Promise<Buffer> {
    await eventually(10_000, `${bytes} bytes`, async () => assert.equal(this.bytes, bytes));
    return Buffer.concat(this.pieces);
  }
}

function read(socket: net.Socket): Collector {
  const collector = new Collector();
  new SocketReads(socket, collector);
  socket.resume();
  return collector;
}

/** Bulk one way and then the other; how many reads of each were lent. */
async function carryBothWays(one: net.Socket, other: net.Socket): Promise<number[]> {
  const noise = seededNoise(1, 8 * MIB);
  const lentReads: number[] = [];
  for (const [from, to] of [
    [one, other],
    [other, one],
  ] as const) {
    const collector = read(to);
    from.write(noise);
    assert.ok((await collector.until(noise.length)).equals(noise));
    lentReads.push(collector.lentReads);
  }
  return lentReads;
}

test('the Node that tests run on has what pooled reads need', () => {
  assert.equal(areReadsPooled, true);
});

test('a bulk transfer is read into lent buffers, by the accepted and by the dialled side', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  for (const lentReads of await carryBothWays(ours, theirs)) assert.ok(lentReads > 0);
  assert.equal(readPool.lentCount, 0);
});

test('records of TLS are gathered, all bytes in order, whatever their sizes and their end', async (t) => {
  const [ours, theirs] = await createTlsPair(t);
  const pieces: number[] = [];
  const collector = read(ours);
  const onRead = collector.onRead.bind(collector);
  collector.onRead = (piece) => {
    pieces.push(piece.length);
    onRead(piece);
  };
  const noise = seededNoise(3, 2 * MIB);
  let at = 0;
  for (const bytes of [16_384, 5, 65_536, 1, 300_000, 16_383, 262_016, 262_144, 16_384]) {
    theirs.write(noise.subarray(at, at + bytes));
    at += bytes;
  }
  const ended = once(ours, 'end');
  theirs.end(noise.subarray(at, at + 49_152));
  at += 49_152;
  await ended;
  // Whole records in front of the end are there when it is told.
  assert.equal(collector.bytes, at);
  assert.ok(Buffer.concat(collector.pieces).equals(noise.subarray(0, at)));
  assert.ok(Math.max(...pieces) > 16_384, `gathered: ${pieces.join(' ')}`);
  assert.equal(readPool.lentCount, 0);
});

test('a small read is memory of its own: the next one does not change it', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const other = await createSocketPair(t);
  const first = read(ours);
  const second = read(other.ours);
  theirs.write('first');
  await first.until(5);
  other.theirs.write('other');
  await second.until(5);
  assert.equal(first.pieces[0]?.toString(), 'first');
  assert.equal(first.lentReads, 0);
});

test('reads of 4 to 16 KiB are lent, and stay what they are whatever others read', async (t) => {
  // Eight of them fill a buffer to its last byte.
  const bytes = READ_BYTES / 8;
  assert.equal(Number.isInteger(bytes), true);
  const pairs = await Promise.all(Array.from({ length: 9 }, () => createSocketPair(t)));
  const bulk = await createSocketPair(t);
  const bulkReads = read(bulk.ours);
  let held: Buffer[] = [];
  const arrivals = new EventEmitter();
  const onRead = (piece: Buffer): void => {
    held.push(piece);
    arrivals.emit('read');
  };
  for (const { ours } of pairs) new SocketReads(ours, { onRead });
  for (let round = 0; round < 20; round += 1) {
    const mark = 65 + round;
    for (const { theirs } of pairs.slice(round % 2)) {
      const arrived = once(arrivals, 'read');
      theirs.write(Buffer.alloc(bytes, mark));
      await arrived;
    }
    bulk.theirs.write(Buffer.alloc(MIB, 'b'));
    await bulkReads.until((round + 1) * MIB);
    for (const piece of held) {
      assert.ok(readPool.isLent(piece) && piece.equals(Buffer.alloc(piece.length, mark)));
      readPool.release(piece, piece.length);
    }
    held = [];
  }
  assert.equal(readPool.lentCount, 0);
});

test('nothing is read while the socket is paused, and nothing is lost by it', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const collector = read(ours);
  theirs.write('before');
  await collector.until(6);
  ours.pause();
  theirs.write('after');
  // A round trip on another connection: what was written has arrived by then.
  const other = await createSocketPair(t);
  const witness = read(other.ours);
  other.theirs.write('x');
  await witness.until(1);
  assert.equal(collector.bytes, 6);
  ours.resume();
  await collector.until(11);
});

test('what Node had read before comes first', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  theirs.write('early ');
  await once(ours, 'readable');
  const collector = read(ours);
  theirs.write('late');
  assert.equal((await collector.until(10)).toString(), 'early late');
});

test('the end of the stream is told as ever', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const collector = read(ours);
  theirs.end('last words');
  await once(ours, 'end');
  assert.equal(collector.bytes, 10);
});

test('a large read and a close give every buffer back', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const collector = read(ours);
  theirs.end(seededNoise(2, MIB));
  await collector.until(MIB);
  ours.destroy();
  await once(ours, 'close');
  assert.equal(readPool.lentCount, 0);
});

test('a host with two addresses is dialled with its reads already taken over', async (t) => {
  const server = net.createServer((socket) => socket.end('hello'));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  const { port } = server.address() as net.AddressInfo;
  const socket = net.connect({
    port,
    host: 'two.example',
    lookup: (_host, _options, done) => {
      done(null, [
        { address: '::1', family: 6 },
        { address: '127.0.0.1', family: 4 },
      ]);
    },
  });
  const collector = read(socket);
  assert.equal((await collector.until(5)).toString(), 'hello');
  socket.destroy();
});

async function createTlsPair(t: TestContext): Promise<[tls.TLSSocket, tls.TLSSocket]> {
  const server = tls.createServer({ cert: CERT, key: KEY });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  const accepted = once(server, 'secureConnection') as Promise<[tls.TLSSocket]>;
  const dialled = tls.connect({
    port,
    host: '127.0.0.1',
    ca: CERT,
    checkServerIdentity: () => undefined,
  });
  await once(dialled, 'secureConnect');
  const [ours] = await accepted;
  undoAfter(t, () => {
    ours.destroy();
    dialled.destroy();
    server.close();
  });
  return [ours, dialled];
}

test('TLS is read the same way, on both sides', async (t) => {
  const [ours, theirs] = await createTlsPair(t);
  await carryBothWays(ours, theirs);
});

/** What holds nothing reads into what all share: memory of the pool may be anybody's. */
async function assertHoldsNothing(collector: Collector, from: net.Socket): Promise<void> {
  const taken = Array.from({ length: 8 }, () => [readPool.take(), readPool.takeWide()]).flat();
  for (const buffer of taken) buffer.fill(0xaa);
  const before = collector.bytes;
  from.write('after a while');
  const bytes = await collector.until(before + 13);
  assert.equal(bytes.subarray(before).toString(), 'after a while');
  for (const buffer of taken) {
    assert.ok(buffer.every((byte) => byte === 0xaa));
    readPool.giveBack(buffer);
  }
}

function passSeconds(seconds: number): void {
  for (let second = 0; second < seconds; second += 1) returnIdleBuffers();
}

for (const kind of ['plain', 'TLS'] as const) {
  test(`after half a minute without a large read a buffer is given back: ${kind}`, async (t) => {
    const { ours, theirs } = await createSocketPair(t);
    const [reader, writer] = kind === 'TLS' ? await createTlsPair(t) : [ours, theirs];
    const collector = read(reader);
    const noise = seededNoise(5, MIB);
    writer.write(noise);
    await collector.until(MIB);
    const free = readPool.freeCount;
    passSeconds(29);
    assert.equal(readPool.freeCount, free, 'after 29 s it is still there');
    passSeconds(1);
    assert.equal(readPool.freeCount, free + 1);
    assert.equal(readPool.lentCount, 0);
    await assertHoldsNothing(collector, writer);
    writer.write(noise);
    const bytes = await collector.until(2 * MIB + 13);
    assert.ok(bytes.subarray(MIB + 13).equals(noise), 'and large reads are as before');
    passSeconds(30);
    await assertHoldsNothing(collector, writer);
  });
}

test('a socket whose large reads are seconds apart keeps its buffer', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const collector = read(ours);
  for (let round = 1; round <= 3; round += 1) {
    theirs.write(seededNoise(6, 128 * 1024));
    await collector.until(round * 128 * 1024);
    const free = readPool.freeCount;
    passSeconds(29);
    assert.equal(readPool.freeCount, free);
  }
});

test('one that was told so often keeps its buffer from then on, until its end', async (t) => {
  const { ours, theirs } = await createSocketPair(t);
  const arrived = new EventEmitter();
  let bytes = 0;
  const onRead = (piece: Buffer): void => {
    bytes += piece.length;
    readPool.own(piece);
    if (bytes % noise.length === 0) arrived.emit('all');
  };
  new SocketReads(ours, { onRead });
  const noise = seededNoise(7, 32 * 1024);
  const returned: number[] = [];
  for (let round = 0; round < 257; round += 1) {
    theirs.write(noise);
    await once(arrived, 'all');
    const free = readPool.freeCount;
    passSeconds(30);
    returned.push(readPool.freeCount - free);
  }
  assert.deepEqual(returned, [...new Array(256).fill(1), 0]);
  const free = readPool.freeCount;
  ours.destroy();
  await once(ours, 'close');
  assert.equal(readPool.freeCount, free + 1);
});
