// Goal: a relay carries bytes, ends and resets both ways as they are, and gives credit back only
// for bytes that the socket has taken. Method: a real socket on one side, a peer that writes and
// reads raw frames on the other, time given by the test.

import assert from 'node:assert/strict';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import { Roster } from '../../src/base/roster.ts';
import type { Stream } from '../../src/mux/stream.ts';
import { cutSocket, SocketRelay } from '../../src/shard/socket-relay.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { dataFrame, RawPeer, REQUEST, valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { Bench, LIMITS, MIB, visitorBench, WINDOW_BYTES, wire } from './relay-bench.ts';
import { createSocketPair, endOf, eventOf } from './socket-pair.ts';

test('a FIN of the socket travels alone: the other direction goes on', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  theirs.end('request');
  await eventOf(ours, 'end');
  assert.equal(bench.payload().toString(), 'request');
  assert.equal(bench.frames(FRAME.FIN).length, 1);
  const end = endOf(theirs);
  bench.dataFromPeer(Buffer.from('answer'));
  bench.fromPeer(FRAME.FIN, 0);
  assert.deepEqual(await end, { how: 'FIN', bytes: Buffer.from('answer') });
  await eventually(5000, 'the relay is gone', async () => assert.equal(bench.relays.size, 0));
  assert.equal(bench.stream.endCode, 'SLW_NONE');
  assert.deepEqual(bench.resets(), []);
});

test('a FIN of the stream travels alone: the other direction goes on', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  const end = endOf(theirs);
  bench.dataFromPeer(Buffer.from('all there is'));
  bench.fromPeer(FRAME.FIN, 0);
  assert.deepEqual(await end, { how: 'FIN', bytes: Buffer.from('all there is') });
  theirs.end('still talking');
  await eventOf(ours, 'end');
  assert.equal(bench.payload().toString(), 'still talking');
  assert.equal(bench.frames(FRAME.FIN).length, 1);
  assert.equal(bench.stream.isEnded, true);
  assert.deepEqual(bench.resets(), []);
});

test('a reset of the stream is a reset of the socket', async (t) => {
  const { bench, theirs } = await visitorBench(t);
  const end = endOf(theirs);
  bench.dataFromPeer(Buffer.alloc(100_000));
  bench.fromPeer(FRAME.RST, wire('SLW_STREAM_RESET'));
  assert.equal((await end).how, 'ECONNRESET');
  assert.deepEqual(bench.resets(), [], 'the peer knows');
});

test('a lost link is a reset of the socket', async (t) => {
  const { bench, theirs } = await visitorBench(t);
  const end = endOf(theirs);
  bench.peer.link.destroy();
  assert.equal((await end).how, 'ECONNRESET');
});

test('a reset of the socket is a reset of the stream, never an end', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  theirs.write('half a requ');
  await bench.arrival('half a requ');
  theirs.resetAndDestroy();
  await eventOf(ours, 'close');
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_RESET')]);
  assert.deepEqual(bench.frames(FRAME.FIN), []);
  assert.equal(bench.stream.isEnded, true);
  assert.equal(bench.relays.size, 0);
});

const LATER = {
  'in the same turn': (cut: () => void) => cut(),
  'a tick later': (cut: () => void) => process.nextTick(cut),
  'a turn later': (cut: () => void) => void setImmediate(cut),
} as const;

for (const [when, later] of Object.entries(LATER)) {
  for (const bytes of [0, 1000, 8 * MIB]) {
    test(`a cut ${when} as an end behind ${bytes} bytes closes the socket`, async (t) => {
      const { ours, theirs } = await createSocketPair(t);
      const errors: Error[] = [];
      ours.on('error', (error) => errors.push(error));
      theirs.on('error', () => {});
      const closed = eventOf(ours, 'close');
      if (bytes > 0) ours.write(Buffer.alloc(bytes));
      ours.end();
      later(() => cutSocket(ours));
      await closed;
      assert.deepEqual(errors, []);
    });
  }
}

test('a reset behind a FIN of the socket is still a reset', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  theirs.end('request');
  await eventOf(ours, 'end');
  theirs.resetAndDestroy();
  bench.dataFromPeer(Buffer.alloc(MIB));
  await eventOf(ours, 'close');
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_RESET')]);
});

test('an answer that lies before a reset is read, also when a write meets the reset first', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  // As a server that refuses an upload: it answers, and closes with the body unread. Both calls of
  // libuv's are done when they return, and loopback delivers within them.
  theirs.write('405, and no more');
  theirs.resetAndDestroy();
  bench.dataFromPeer(Buffer.alloc(1000));
  bench.dataFromPeer(Buffer.alloc(100_000));
  assert.equal(bench.payload().length, 0, 'the write came first');
  await eventOf(ours, 'close');
  assert.equal(bench.payload().toString(), '405, and no more');
  assert.deepEqual(bench.frames(FRAME.FIN), [], 'a cut is no end');
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_RESET')]);
  assert.equal(bench.grantedBytes(), 0, 'what is lost is not taken');
  assert.equal(bench.relays.size, 0);
});

test('a socket whose peer takes nothing any more is not kept for ever', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t, { halfCloseTimeoutMs: 5000 });
  theirs.write('unread');
  theirs.resetAndDestroy();
  ours.pause();
  bench.dataFromPeer(Buffer.alloc(1000));
  await new Promise((resolve) => setImmediate(resolve));
  bench.relay.sweep(0);
  bench.relay.sweep(4999);
  assert.deepEqual(bench.resets(), []);
  bench.relay.sweep(5000);
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_HALF_CLOSED')]);
  await eventually(5000, 'the relay is gone', async () => assert.equal(bench.relays.size, 0));
});

test('what was queued before a clean end arrives, also when the link is lost behind it', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  const noise = seededNoise(3, 12 * MIB);
  bench.dataFromPeer(noise);
  bench.fromPeer(FRAME.FIN, 0);
  assert.ok(ours.writableLength > 0, 'the kernel took everything: send more');
  theirs.end();
  await eventOf(ours, 'end');
  bench.peer.link.destroy();
  const { how, bytes } = await endOf(theirs);
  assert.equal(how, 'FIN');
  assert.ok(bytes.equals(noise));
});

test('what waits for a socket, FIN and all, is held through a reset of the peer', async (t) => {
  for (const code of ['SLW_STREAM_MEMORY', 'SLW_STREAM_RESET'] as const) {
    const { bench, ours, theirs } = await visitorBench(t);
    const { memory } = bench.peer.session;
    const noise = seededNoise(3, 12 * MIB);
    bench.dataFromPeer(noise);
    bench.fromPeer(FRAME.FIN, 0);
    assert.ok(ours.writableLength > 0, 'the kernel took everything: send more');
    const { heldBytes } = memory;
    bench.fromPeer(FRAME.RST, ERRORS[code].wire);
    assert.ok(memory.heldBytes > 0 && memory.heldBytes <= heldBytes, `${memory.heldBytes} bytes`);
    const { how, bytes } = await endOf(theirs);
    assert.equal(how, 'FIN');
    assert.ok(bytes.equals(noise));
    await eventually(5000, 'the relay is gone', async () => assert.equal(bench.relays.size, 0));
    assert.equal(memory.heldBytes, 0);
  }
});

test('who leaves what waits behind a reset gives it back', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  bench.dataFromPeer(seededNoise(3, 12 * MIB));
  bench.fromPeer(FRAME.FIN, 0);
  assert.ok(ours.writableLength > 0, 'the kernel took everything: send more');
  bench.fromPeer(FRAME.RST, ERRORS.SLW_STREAM_RESET.wire);
  theirs.resetAndDestroy();
  await eventually(5000, 'the relay is gone', async () => assert.equal(bench.relays.size, 0));
  assert.equal(bench.peer.session.memory.heldBytes, 0);
});

test('what waits for a socket is not kept when it is reset for want of memory', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  bench.dataFromPeer(seededNoise(3, 12 * MIB));
  bench.fromPeer(FRAME.FIN, 0);
  assert.ok(ours.writableLength > 0, 'the kernel took everything: send more');
  bench.stream.reset('SLW_STREAM_MEMORY');
  bench.relay.onReset('SLW_STREAM_MEMORY');
  await eventually(5000, 'the relay is gone', async () => assert.equal(bench.relays.size, 0));
  assert.equal((await endOf(theirs)).how, 'ECONNRESET');
});

test('a visitor that has gone is found out, also while an upstream takes nothing of it', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  theirs.write(Buffer.alloc(4 * MIB));
  await eventually(5000, 'no credit is left', async () => assert.ok(ours.isPaused()));
  bench.relay.sweep(1000);
  theirs.resetAndDestroy();
  let nowMs = 1000;
  await eventually(5000, 'the relay is gone', async () => {
    nowMs += 61_000;
    bench.relay.sweep(nowMs);
    assert.equal(bench.relays.size, 0);
  });
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_RESET')]);
});

test('a visitor that waits, and has not gone, is let wait', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  theirs.end(Buffer.alloc(4 * MIB));
  await eventually(5000, 'no credit is left', async () => assert.ok(ours.isPaused()));
  for (let nowMs = 1000; nowMs < 3_000_000; nowMs += 61_000) {
    bench.relay.sweep(nowMs);
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(bench.relays.size, 1);
  assert.deepEqual(bench.resets(), []);
});

test('credit is given back only for bytes that the socket has taken', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  const noise = seededNoise(4, WINDOW_BYTES);
  bench.dataFromPeer(noise);
  await new Promise((resolve) => setImmediate(resolve));
  const waiting = ours.writableLength;
  assert.ok(waiting > 0, 'the kernel took a whole window: widen it');
  const granted = bench.grantedBytes();
  assert.ok(granted <= WINDOW_BYTES - waiting, `${granted} bytes granted, ${waiting} not taken`);
  assert.equal(bench.peer.session.memory.heldBytes >= waiting, true);
  // The peer has used its window up: it is held back, and nothing else is.
  assert.equal(bench.peer.session.countStalled().held, granted === 0 ? 1 : 0);
  bench.fromPeer(FRAME.FIN, 0);
  const { bytes } = await endOf(theirs);
  assert.ok(bytes.equals(noise));
  await eventually(5000, 'all is taken', async () =>
    assert.equal(bench.peer.session.memory.heldBytes, 0),
  );
});

test('a socket is read no further than the stream may send', async (t) => {
  const { bench, ours, theirs } = await visitorBench(t);
  const noise = seededNoise(5, 24 * MIB);
  theirs.end(noise);
  // The first credit of 64 KiB and the 1 MiB that OPENED granted.
  const credit = 65_536 + MIB;
  await eventually(5000, 'the credit is used up', async () =>
    assert.equal(bench.payload().length, credit),
  );
  assert.equal(ours.isPaused(), true);
  // The read that met the end of the credit, and what Node reads before it stops.
  assert.ok(ours.bytesRead <= credit + 4 * 65_536, `${ours.bytesRead} bytes were read`);
  bench.peer.deliver(valueFrame(FRAME.CREDIT, bench.stream.id, 32 * MIB));
  await eventOf(ours, 'end');
  assert.equal(bench.frames(FRAME.FIN).length, 1);
  assert.ok(bench.payload().equals(noise));
});

/** A visitor, whose relay has a second peer to go to. */
async function replaceable(
  t: TestContext,
): Promise<{ first: RawPeer; second: RawPeer; stream: Stream; ours: net.Socket }> {
  const { ours } = await createSocketPair(t);
  const [first, second] = [new RawPeer(), new RawPeer()];
  const open = (peer: RawPeer): Stream => {
    const stream = peer.session.open(REQUEST, relay);
    assert.ok(typeof stream !== 'string');
    return stream;
  };
  const relays = new Roster<SocketRelay>();
  const relay = new SocketRelay({
    ...{ socket: ours, limits: LIMITS, state: 'open', nowMs: 0, relays },
    reopen: () => open(second),
  });
  const stream = open(first);
  relay.join(stream);
  return { first, second, stream, ours };
}

test('a stream that nobody answered is replaced', async (t) => {
  const { first, second, stream, ours } = await replaceable(t);
  first.deliver(valueFrame(FRAME.RST, stream.id, wire('SLW_STREAM_REFUSED')));
  assert.equal(second.written(FRAME.OPEN).length, 1);
  assert.equal(ours.destroyed, false);
});

test('a stream that was answered is not replaced: what it brought is not of another', async (t) => {
  const { first, second, stream, ours } = await replaceable(t);
  first.deliver(valueFrame(FRAME.OPENED, stream.id, 0));
  first.deliver(dataFrame(stream.id, 1000));
  const closed = eventOf(ours, 'close');
  first.deliver(valueFrame(FRAME.RST, stream.id, wire('SLW_STREAM_REFUSED')));
  assert.deepEqual(second.written(FRAME.OPEN), []);
  await closed;
});

test('an upstream that answers is accepted when it is connected, not before', async (t) => {
  const server = net.createServer((socket) => socket.end('banner'));
  server.listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  const { port } = server.address() as net.AddressInfo;
  const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
  t.after(() => socket.destroy());
  const bench = new Bench(socket, 'dialling');
  assert.deepEqual(bench.frames(FRAME.OPENED), []);
  await eventOf(socket, 'connect');
  assert.equal(bench.frames(FRAME.OPENED).length, 1);
  await eventOf(socket, 'end');
  assert.equal(bench.payload().toString(), 'banner');
});

test('an upstream that refuses resets the stream with the reason', async (t) => {
  const socket = net.connect({ port: await freePort(), host: '127.0.0.1' });
  const bench = new Bench(socket, 'dialling');
  t.after(() => socket.destroy());
  await eventOf(socket, 'close');
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_REFUSED')]);
  assert.equal(bench.relays.size, 0);
});

/** A socket whose dial never comes to an end: its name is never resolved. */
function dialForever(): net.Socket {
  return net.connect({ host: 'never.test', port: 1, lookup: () => {} });
}

test('other failures of a dial each have their code', async () => {
  const codes: readonly (readonly [string, ErrorCode])[] = [
    ['ECONNREFUSED', 'SLW_STREAM_REFUSED'],
    ['ETIMEDOUT', 'SLW_STREAM_CONNECT_TIMEOUT'],
    ['EHOSTUNREACH', 'SLW_STREAM_UNREACHABLE'],
    ['ENOTFOUND', 'SLW_STREAM_UNREACHABLE'],
    ['EMFILE', 'SLW_STREAM_UNREACHABLE'],
  ];
  for (const [errno, code] of codes) {
    const socket = dialForever();
    const bench = new Bench(socket, 'dialling');
    socket.destroy(Object.assign(new Error(errno), { code: errno }));
    await eventOf(socket, 'close');
    assert.deepEqual(bench.resets(), [wire(code)], errno);
  }
});

test('a dial that does not end in time is given up', async () => {
  const socket = dialForever();
  const bench = new Bench(socket, 'dialling');
  bench.dataFromPeer(Buffer.from('what comes for it meanwhile'));
  bench.relay.sweep(9999);
  assert.deepEqual(bench.resets(), []);
  bench.relay.sweep(10_000);
  assert.deepEqual(bench.resets(), [wire('SLW_STREAM_CONNECT_TIMEOUT')]);
  await eventOf(socket, 'close');
  assert.equal(bench.relays.size, 0);
});

test('a stream that is withdrawn while its upstream is dialled ends the dial', async () => {
  const socket = dialForever();
  const bench = new Bench(socket, 'dialling');
  bench.fromPeer(FRAME.RST, wire('SLW_STREAM_CANCELLED'));
  await eventOf(socket, 'close');
  assert.equal(bench.relays.size, 0);
});
