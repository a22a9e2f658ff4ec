// Goal: sessions begin, leave and end as documented, deadlines hold, and streams share a link
// fairly. Method: a real session against a raw peer, with a clock and a congestion that the test
// moves; bytes and frames written are counted.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS } from '../../src/base/errors.ts';
import { FRAME, STREAM_ID_MAX } from '../../src/wire/frame.ts';
import { STREAMS_OPENING_MAX } from '../../src/wire/limits.ts';
import { decodeOpen } from '../../src/wire/open.ts';
import {
  dataFrame,
  idOf,
  openFrame,
  openOurs,
  openUnanswered,
  RawPeer,
  REQUEST,
  RecordingSink,
  valueFrame,
} from './raw-peer.ts';

const TICK_MS = 1000;

function dataBytes(peer: RawPeer, sink: RecordingSink): number {
  return peer
    .written(FRAME.DATA)
    .filter(({ stream }) => stream === idOf(sink))
    .reduce((sum, { content }) => sum + (content as Buffer).length, 0);
}

function tick(peer: RawPeer, times = 1): void {
  for (let time = 0; time < times; time += 1) {
    peer.clock.advance(TICK_MS);
    peer.session.tick(peer.clock.nowMs());
  }
}

function codesOf(peer: RawPeer): string[] {
  return peer.ends.map(({ code }) => code);
}

// --- greeting and keepalive ----------------------------------------------------------------------

test('no stream opens before the greeting, and the first frame after it is a ping', () => {
  const peer = new RawPeer({ isGreeting: true });
  assert.equal(peer.session.open(REQUEST, new RecordingSink()), 'SLW_STREAM_NO_LINK');
  assert.deepEqual([peer.session.canOpen, peer.session.isLeaving], [false, false]);
  tick(peer, 5);
  assert.deepEqual(peer.written(), [], 'no ping either');
  peer.session.activate({ frame: 4096, streams: 1, credit: 0 });
  assert.deepEqual(
    peer.written().map(({ type }) => type),
    [FRAME.PING],
  );
  assert.equal(peer.session.canOpen, true);
});

test('pings are answered with their value, and go out at every interval', () => {
  const peer = new RawPeer();
  peer.deliver(valueFrame(FRAME.PING, 0, 0xffff_ffff));
  assert.deepEqual(peer.written(FRAME.PONG), [
    { type: FRAME.PONG, stream: 0, content: 0xffff_ffff },
  ]);
  for (let second = 0; second < 35; second += 1) {
    tick(peer);
    peer.deliver(valueFrame(FRAME.PONG, 0, 0));
  }
  assert.equal(peer.written(FRAME.PING).length, 4, 'at 0, 10, 20 and 30 s');
});

test('a pong gives the round trip', () => {
  const peer = new RawPeer();
  peer.clock.advance(25);
  const ping = peer.written(FRAME.PING)[0] ?? assert.fail();
  peer.deliver(valueFrame(FRAME.PONG, 0, Number(ping.content)));
  assert.equal(peer.session.roundTripMs, 25);
});

test('a silent link is dropped without a goodbye after the dead time, its streams reset', () => {
  const peer = new RawPeer();
  const sink = openOurs(peer);
  tick(peer);
  peer.deliver(dataFrame(idOf(sink), 1));
  tick(peer, 31);
  assert.deepEqual(codesOf(peer), []);
  tick(peer);
  assert.deepEqual(codesOf(peer), ['SLW_LINK_DEAD']);
  assert.deepEqual(sink.resets, ['SLW_LINK_DEAD']);
  assert.deepEqual(peer.written(FRAME.GOAWAY), []);
  tick(peer, 100);
  assert.equal(peer.ends.length, 1);
});

test('pings and their answers pass while every data queue is full', () => {
  const peer = new RawPeer({ congestionBytes: 1000 });
  const sink = openOurs(peer, 1_000_000);
  sink.stream?.write(Buffer.alloc(500_000));
  assert.equal(peer.link.isCongested, true);
  const before = peer.written().length;
  peer.deliver(valueFrame(FRAME.PING, 0, 5));
  assert.deepEqual(peer.written().slice(before), [{ type: FRAME.PONG, stream: 0, content: 5 }]);
});

// --- opening -------------------------------------------------------------------------------------

test('OPEN says what the visitor wants, and data may follow it within the first credit', () => {
  const peer = new RawPeer({ announces: { credit: 10 } });
  const sink = openUnanswered(peer);
  assert.equal(sink.stream?.write(Buffer.alloc(25, 1)), false);
  const [, open, data] = peer.written();
  assert.deepEqual(decodeOpen(open?.content as Buffer), { ...REQUEST, window: 262_144 });
  assert.deepEqual(data, { type: FRAME.DATA, stream: 2, content: Buffer.alloc(10, 1) });
  peer.deliver(valueFrame(FRAME.OPENED, 2, 7));
  assert.deepEqual(sink.calls, ['opened']);
  assert.equal(dataBytes(peer, sink), 17);
  peer.deliver(valueFrame(FRAME.CREDIT, 2, 100));
  assert.equal(dataBytes(peer, sink), 25);
  assert.deepEqual(sink.calls, ['opened', 'writable']);
});

test('OPENED tells the rest of the window, and nothing is sent before it', () => {
  let accept = (): void => assert.fail('not opened');
  const peer = new RawPeer({
    onOpen: (stream) => {
      stream.sink = new RecordingSink();
      stream.write(Buffer.from('early'));
      stream.end();
      accept = () => stream.accept();
    },
  });
  const before = peer.written().length;
  const id = peer.open();
  assert.equal(peer.written().length, before);
  accept();
  assert.deepEqual(peer.written().slice(before), [
    { type: FRAME.OPENED, stream: id, content: 262_144 - 65_536 },
    { type: FRAME.DATA, stream: id, content: Buffer.from('early') },
    { type: FRAME.FIN, stream: id, content: 0 },
  ]);
});

test('a stream that is not answered in time is reset by the tick, older ones first', () => {
  const peer = new RawPeer({ openTimeoutMs: 15_000 });
  const [first, answered] = [openUnanswered(peer), openOurs(peer)];
  peer.clock.advance(5000);
  const second = openUnanswered(peer);
  peer.clock.advance(9999);
  peer.session.tick(peer.clock.nowMs());
  assert.deepEqual(peer.written(FRAME.RST), []);
  peer.clock.advance(1);
  peer.session.tick(peer.clock.nowMs());
  const late = { type: FRAME.RST, content: ERRORS.SLW_STREAM_OPEN_TIMEOUT.wire };
  assert.deepEqual(peer.written(FRAME.RST), [{ ...late, stream: idOf(first) }]);
  peer.clock.advance(5000);
  peer.session.tick(peer.clock.nowMs());
  assert.deepEqual(second.resets, ['SLW_STREAM_OPEN_TIMEOUT']);
  assert.deepEqual(answered.resets, []);
  assert.deepEqual(peer.session.streamsCount, 1);
  peer.deliver(valueFrame(FRAME.OPENED, idOf(first), 0));
  assert.deepEqual(peer.ends, [], 'an answer that comes too late is no mistake');
});

test('no more streams wait for an answer, or are open, than the limits say', () => {
  const peer = new RawPeer();
  const sinks = Array.from({ length: STREAMS_OPENING_MAX }, () => openUnanswered(peer));
  assert.equal(peer.session.canOpen, false);
  assert.equal(peer.session.open(REQUEST, new RecordingSink()), 'SLW_STREAM_LIMIT');
  peer.deliver(valueFrame(FRAME.OPENED, idOf(sinks[7] ?? assert.fail()), 0));
  assert.equal(typeof peer.session.open(REQUEST, new RecordingSink()), 'object');

  const small = new RawPeer({ announces: { streams: 2 } });
  const [kept] = [openOurs(small), openOurs(small)];
  assert.equal(small.session.canOpen, false);
  assert.equal(small.session.open(REQUEST, new RecordingSink()), 'SLW_STREAM_LIMIT');
  kept?.stream?.reset('SLW_STREAM_CANCELLED');
  assert.equal(typeof small.session.open(REQUEST, new RecordingSink()), 'object');
});

test('when the ids are used up the link is left, and its streams go on', () => {
  for (const [opens, firstId] of [
    ['even', STREAM_ID_MAX - 1],
    ['odd', STREAM_ID_MAX],
  ] as const) {
    const peer = new RawPeer({ opens, firstId });
    const last = openOurs(peer, 100);
    assert.equal(idOf(last), firstId);
    assert.equal(peer.session.open(REQUEST, new RecordingSink()), 'SLW_STREAM_NO_LINK');
    assert.deepEqual(peer.written(FRAME.GOAWAY), [
      { type: FRAME.GOAWAY, stream: 0, content: ERRORS.SLW_LINK_IDS_SPENT.wire },
    ]);
    assert.deepEqual([peer.session.canOpen, peer.idles, last.resets], [false, 0, []]);
    peer.deliver(dataFrame(firstId, 3));
    assert.equal(last.bytes.length, 3);
    peer.deliver(valueFrame(FRAME.RST, firstId, 32));
    assert.equal(peer.idles, 1);
  }
});

test('the peer may use its very last id, and none after it', () => {
  const peer = new RawPeer();
  peer.deliver(openFrame(STREAM_ID_MAX));
  peer.deliver(dataFrame(STREAM_ID_MAX, 3));
  assert.equal(peer.accepted[0]?.bytes.length, 3);
  peer.deliver(openFrame(1));
  assert.equal(peer.written(FRAME.GOAWAY)[0]?.content, ERRORS.SLW_WIRE_STREAM_ID.wire);
});

// --- half-close ----------------------------------------------------------------------------------

test('each direction ends by itself, in either order, and the id is free after both', () => {
  for (const isOursFirst of [true, false]) {
    const peer = new RawPeer();
    const sink = openOurs(peer);
    const id = idOf(sink);
    if (isOursFirst) sink.stream?.end();
    else peer.deliver(valueFrame(FRAME.FIN, id, 0));
    assert.equal(peer.session.streamsCount, 1);
    if (isOursFirst) {
      peer.deliver(Buffer.concat([dataFrame(id, 100), valueFrame(FRAME.FIN, id, 0)]));
      assert.equal(sink.bytes.length, 100);
      assert.equal(peer.session.streamsCount, 1, 'held bytes keep the id');
      sink.take();
    } else {
      sink.stream?.write(Buffer.alloc(100));
      sink.stream?.end();
      assert.equal(dataBytes(peer, sink), 100);
    }
    assert.equal(peer.session.streamsCount, 0);
    assert.equal(peer.written(FRAME.FIN).length, 1);
    assert.ok(sink.calls.includes('fin'));
    assert.deepEqual(sink.resets, []);
    assert.equal(peer.session.memory.heldBytes, 0);
  }
});

test('FIN waits behind what was written, however long that takes', () => {
  const peer = new RawPeer({ announces: { credit: 0 } });
  const sink = openOurs(peer);
  sink.stream?.write(Buffer.alloc(10));
  sink.stream?.end();
  assert.deepEqual(peer.written(FRAME.FIN), []);
  peer.deliver(valueFrame(FRAME.CREDIT, idOf(sink), 9));
  assert.deepEqual(peer.written(FRAME.FIN), []);
  peer.deliver(valueFrame(FRAME.CREDIT, idOf(sink), 1));
  assert.equal(peer.written().at(-1)?.type, FRAME.FIN);
});

test('no credit is granted to a direction that has ended', () => {
  const peer = new RawPeer();
  const sink = openOurs(peer);
  peer.deliver(dataFrame(idOf(sink), 200_000));
  peer.deliver(valueFrame(FRAME.FIN, idOf(sink), 0));
  sink.take();
  assert.deepEqual(peer.written(FRAME.CREDIT), []);
});

// --- leaving and ending --------------------------------------------------------------------------

test('a session that leaves opens no stream, lets the others end, and then is idle', () => {
  const peer = new RawPeer();
  const [first, second] = [openOurs(peer), openOurs(peer, 100)];
  peer.session.leave('SLW_LINK_DRAINING');
  peer.session.leave('SLW_LINK_DRAINING');
  assert.equal(peer.written(FRAME.GOAWAY).length, 1);
  assert.equal(peer.session.open(REQUEST, new RecordingSink()), 'SLW_STREAM_NO_LINK');
  peer.deliver(valueFrame(FRAME.RST, idOf(first), 32));
  assert.equal(peer.idles, 0);
  second.stream?.write(Buffer.alloc(10));
  second.stream?.end();
  peer.deliver(dataFrame(idOf(second), 5));
  peer.deliver(valueFrame(FRAME.FIN, idOf(second), 0));
  assert.equal(peer.idles, 0, 'bytes that nobody took yet still count');
  second.take();
  assert.equal(peer.idles, 1);
  assert.deepEqual([codesOf(peer), second.resets], [[], []]);
});

test('a move is announced and ends nothing: both sides open streams until one leaves', () => {
  const ours = new RawPeer();
  ours.session.leave('SLW_LINK_MOVED');
  assert.equal(ours.written(FRAME.GOAWAY).length, 1);
  assert.deepEqual([ours.idles, ours.session.canOpen, ours.session.isLeaving], [0, true, false]);
  assert.notEqual(typeof ours.session.open(REQUEST, new RecordingSink()), 'string');
  ours.session.leave('SLW_LINK_DRAINING');
  assert.equal(ours.session.canOpen, false);
  const theirs = new RawPeer();
  theirs.deliver(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_MOVED.wire));
  assert.deepEqual([theirs.idles, theirs.goAways], [0, ['SLW_LINK_MOVED']]);
  assert.equal(theirs.session.canOpen, true);
});

test('a session without streams is idle as soon as either side leaves', () => {
  const ours = new RawPeer();
  ours.session.leave('SLW_LINK_DRAINING');
  assert.equal(ours.idles, 1);
  const theirs = new RawPeer();
  theirs.deliver(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_DRAINING.wire));
  assert.deepEqual([theirs.idles, theirs.goAways], [1, ['SLW_LINK_DRAINING']]);
  assert.equal(theirs.session.canOpen, false);
});

test('closing flushes what was accepted, says why, and resets what lives', () => {
  const peer = new RawPeer();
  const sink = openOurs(peer, 1_000_000);
  sink.stream?.write(Buffer.alloc(300_000, 7));
  peer.session.close('SLW_LINK_DRAINING');
  assert.deepEqual(sink.resets, ['SLW_STREAM_DRAINED'], 'it was not refused: it was served');
  assert.deepEqual(codesOf(peer), [], 'not before everything has left');
  assert.equal(dataBytes(peer, sink), 300_000);
  assert.deepEqual(peer.written().at(-1), {
    type: FRAME.GOAWAY,
    stream: 0,
    content: ERRORS.SLW_LINK_DRAINING.wire,
  });
  let moved = 0;
  for (let step = peer.read(50_000); step > 0; step = peer.read(50_000)) moved += step;
  assert.ok(moved > 300_000);
  assert.deepEqual(codesOf(peer), ['SLW_LINK_DRAINING']);
  peer.session.close('SLW_LINK_ENDED');
  assert.equal(peer.ends.length, 1, 'closing twice is closing once');
});

test('what came before the peer closed is delivered; an end that came is no reset', () => {
  const peer = new RawPeer();
  const [ended, cut] = [openOurs(peer), openOurs(peer)];
  ended.stream?.end();
  peer.deliver(
    Buffer.concat([
      dataFrame(idOf(ended), 100),
      valueFrame(FRAME.FIN, idOf(ended), 0),
      dataFrame(idOf(cut), 50),
      valueFrame(FRAME.GOAWAY, 0, 0),
    ]),
  );
  peer.link.destroy();
  assert.deepEqual([ended.bytes.length, cut.bytes.length], [100, 50]);
  assert.deepEqual([ended.calls.at(-1), ended.resets], ['fin', []]);
  assert.deepEqual(cut.resets, ['SLW_LINK_LOST']);
  assert.deepEqual(codesOf(peer), ['SLW_LINK_LOST']);
});

// --- sharing a link ------------------------------------------------------------------------------

test('eight streams get equal shares of a congested link, whatever their writes are', () => {
  const peer = new RawPeer({ congestionBytes: 100_000 });
  const sinks = Array.from({ length: 8 }, () => openOurs(peer, 0x4000_0000));
  for (const [index, sink] of sinks.entries()) {
    const piece = Buffer.alloc(1000 * 4 ** (index % 4) * (index < 4 ? 1 : 4));
    // Each has the next piece ready as soon as it may write, like a socket with a full buffer.
    const feed = (): void => {
      while (sink.stream?.write(piece) === true);
    };
    sink.onWritable = feed;
    feed();
  }
  const before = sinks.map((sink) => dataBytes(peer, sink));
  for (let round = 0; round < 600; round += 1) peer.read(60_000);
  const shares = sinks.map((sink, index) => dataBytes(peer, sink) - (before[index] ?? 0));
  const mean = shares.reduce((sum, share) => sum + share, 0) / shares.length;
  assert.ok(mean > 1_000_000, `${mean} bytes each`);
  for (const share of shares) {
    assert.ok(Math.abs(share - mean) < mean / 4, `shares ${shares.join(' ')}`);
  }
});

test('a stream that nobody reads stops its own sender, and nobody else', () => {
  const peer = new RawPeer();
  const [unread, read] = [openOurs(peer), openOurs(peer)];
  read.isGreedy = true;
  for (let sent = 0; sent < 262_144; sent += 65_536) peer.deliver(dataFrame(idOf(unread), 65_536));
  for (let round = 0; round < 100; round += 1) peer.deliver(dataFrame(idOf(read), 65_536));
  assert.equal(read.bytes.length, 100 * 65_536);
  const granted = peer.written(FRAME.CREDIT);
  assert.ok(granted.length > 0 && granted.every(({ stream }) => stream === idOf(read)));
  assert.deepEqual(peer.session.countStalled(), { held: 1, waiting: 0 });
  unread.take();
  assert.equal(peer.written(FRAME.CREDIT).at(-1)?.stream, idOf(unread));
});

test('a stream that the peer does not read stops us for that stream alone', () => {
  const peer = new RawPeer({ announces: { credit: 1000 } });
  const [stalled, flowing] = [openOurs(peer), openOurs(peer, 100_000)];
  assert.equal(stalled.stream?.write(Buffer.alloc(5000)), false);
  assert.equal(flowing.stream?.write(Buffer.alloc(50_000)), true);
  assert.deepEqual([dataBytes(peer, stalled), dataBytes(peer, flowing)], [1000, 50_000]);
  assert.deepEqual(peer.session.countStalled(), { held: 0, waiting: 1 });
});

test('out of credit while the link is full: it resumes whichever clears first', () => {
  for (const isCreditFirst of [true, false]) {
    const peer = new RawPeer({ congestionBytes: 500, announces: { credit: 100 } });
    const [waiting, bulk] = [openOurs(peer), openOurs(peer, 10_000)];
    waiting.stream?.write(Buffer.alloc(300));
    bulk.stream?.write(Buffer.alloc(10_000));
    assert.equal(peer.link.isCongested, true);
    const credit = valueFrame(FRAME.CREDIT, idOf(waiting), 200);
    if (isCreditFirst) {
      peer.deliver(credit);
      assert.equal(dataBytes(peer, waiting), 100, 'the link is full');
      while (peer.read() > 0);
    } else {
      while (peer.read() > 0);
      assert.equal(dataBytes(peer, waiting), 100, 'out of credit');
      peer.deliver(credit);
    }
    assert.equal(dataBytes(peer, waiting), 300);
    assert.deepEqual(waiting.calls, ['opened', 'writable']);
  }
});

test('frames never exceed what the peer accepts', () => {
  const peer = new RawPeer({ announces: { frame: 5000 } });
  const sink = openOurs(peer, 1_000_000);
  sink.stream?.write(Buffer.alloc(23_456));
  assert.deepEqual(
    peer.written(FRAME.DATA).map(({ content }) => (content as Buffer).length),
    [5000, 5000, 5000, 5000, 3456],
  );
});
