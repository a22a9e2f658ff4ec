// Goal: what a peer does wrong on one stream costs that stream and no other, what is late is
// ignored, and no peer makes a session hold or queue more than its limits. Method: a raw peer
// against a real session; a neighbour's bytes must arrive both ways.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import { memoryPressure, PRESSURE } from '../../src/base/memory-pressure.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { IDLE_FRAMES_MAX } from '../../src/wire/limits.ts';
import {
  bodyFrame,
  dataFrame,
  framesOf,
  idOf,
  openOurs,
  RawPeer,
  REQUEST,
  RecordingSink,
  repeat,
  valueFrame,
} from './raw-peer.ts';

/** Runs `act`, then checks that the link lives and that a neighbour's bytes pass both ways. */
function assertLinkLives(peer: RawPeer, act: () => void): void {
  const neighbour = openOurs(peer, 100);
  const before = Buffer.from('before');
  peer.deliver(bodyFrame(FRAME.DATA, idOf(neighbour), before));
  act();
  peer.deliver(bodyFrame(FRAME.DATA, idOf(neighbour), Buffer.from(' and after')));
  neighbour.stream?.write(Buffer.from('answer'));
  assert.equal(neighbour.bytes.toString(), 'before and after');
  assert.deepEqual(
    peer.written(FRAME.DATA).filter(({ stream }) => stream === idOf(neighbour)),
    [{ type: FRAME.DATA, stream: idOf(neighbour), content: Buffer.from('answer') }],
  );
  assert.deepEqual([peer.ends, neighbour.resets], [[], []]);
}

function resetsOf(peer: RawPeer): (readonly [number, number | Buffer])[] {
  return peer.written(FRAME.RST).map(({ stream, content }) => [stream, content] as const);
}

test('an OPEN beyond the limit of streams is reset, and its slot is free again', () => {
  const peer = new RawPeer({ limits: { streams: 2 } });
  assertLinkLives(peer, () => {
    peer.open(0);
    peer.open(1);
    assert.deepEqual(resetsOf(peer), []);
    peer.open(2);
    assert.deepEqual(resetsOf(peer), [[peer.peerId(2), ERRORS.SLW_STREAM_LIMIT.wire]]);
    peer.deliver(dataFrame(peer.peerId(2), 10));
    peer.deliver(valueFrame(FRAME.FIN, peer.peerId(2), 0));
    peer.deliver(valueFrame(FRAME.RST, peer.peerId(0), 42));
    peer.open(3);
    assert.equal(resetsOf(peer).length, 1);
  });
});

test('streams of one side are no streams of the other', () => {
  const peer = new RawPeer({ limits: { streams: 2 }, announces: { streams: 2 } });
  const ours = [openOurs(peer), openOurs(peer)];
  assert.equal(peer.session.canOpen, false);
  peer.open(0);
  peer.open(1);
  assert.deepEqual(resetsOf(peer), [], 'the peer has what it was granted');
  peer.open(2);
  assert.deepEqual(resetsOf(peer), [[peer.peerId(2), ERRORS.SLW_STREAM_LIMIT.wire]]);
  ours[0]?.stream?.reset('SLW_STREAM_CANCELLED');
  assert.equal(typeof peer.session.open(REQUEST, new RecordingSink()), 'object');
  assert.equal(peer.session.streamsCount, 4);
});

test('a stream that has ended leaves its slot, though bytes of it are held', () => {
  const peer = new RawPeer({ limits: { streams: 2 } });
  const endOne = (index: number): void => {
    const id = peer.open(index);
    peer.deliver(dataFrame(id, 10));
    peer.deliver(valueFrame(FRAME.FIN, id, 0));
    peer.accepted.at(-1)?.stream?.end();
  };
  endOne(0);
  peer.open(1);
  peer.open(2);
  assert.deepEqual(resetsOf(peer), [], 'two are open, and one is held');
  peer.deliver(valueFrame(FRAME.RST, peer.peerId(1), 42));
  endOne(3);
  peer.open(4);
  const limit = ERRORS.SLW_STREAM_LIMIT.wire;
  assert.deepEqual(resetsOf(peer), [[peer.peerId(4), limit]], 'no more are held than may be open');
  peer.accepted[0]?.take();
  peer.open(5);
  assert.equal(resetsOf(peer).length, 1);
  assert.deepEqual([peer.session.streamsCount, peer.ends], [3, []]);
});

test('an OPEN that the owner refuses is reset, and what follows it is ignored', () => {
  const peer = new RawPeer({ onOpen: (stream) => stream.reset('SLW_STREAM_UNKNOWN_TUNNEL') });
  assertLinkLives(peer, () => {
    const id = peer.open();
    for (const bytes of [dataFrame(id, 65_536), dataFrame(id, 100), valueFrame(FRAME.FIN, id, 0)]) {
      peer.deliver(bytes);
    }
    assert.deepEqual(resetsOf(peer), [[id, ERRORS.SLW_STREAM_UNKNOWN_TUNNEL.wire]]);
    assert.equal(peer.session.memory.heldBytes, 'before'.length, 'of the neighbour alone');
  });
});

test('an OPEN after GOAWAY is refused as draining, whoever said GOAWAY', () => {
  for (const isOurs of [true, false]) {
    const peer = new RawPeer();
    assertLinkLives(peer, () => {
      if (isOurs) peer.session.leave('SLW_LINK_DRAINING');
      else peer.deliver(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_LINK_DRAINING.wire));
      const id = peer.open();
      assert.deepEqual(resetsOf(peer), [[id, ERRORS.SLW_LINK_DRAINING.wire]]);
      assert.equal(peer.accepted.length, 0);
    });
  }
});

test('late frames of every type on ended streams are ignored', () => {
  const peer = new RawPeer();
  assertLinkLives(peer, () => {
    const theirs = peer.open();
    const ours = openOurs(peer);
    peer.deliver(valueFrame(FRAME.RST, theirs, 42));
    ours.stream?.reset('SLW_STREAM_CANCELLED');
    for (const id of [theirs, idOf(ours)]) {
      for (const type of [FRAME.OPENED, FRAME.CREDIT, FRAME.FIN, FRAME.RST]) {
        peer.deliver(valueFrame(type, id, 0xffff_ffff));
      }
      peer.deliver(dataFrame(id, 200_000));
    }
    assert.deepEqual(ours.calls, ['opened']);
    assert.equal(ours.pieces.length, 0);
  });
});

test('a stream that is reset while its frame is under way drops the rest, and only that', () => {
  const peer = new RawPeer();
  const neighbour = openOurs(peer);
  peer.open();
  const sink = peer.accepted[0] ?? assert.fail();
  const frame = dataFrame(peer.peerId(0), 1000);
  peer.deliver(frame.subarray(0, 500));
  assert.equal(sink.bytes.length, 488);
  sink.stream?.reset('SLW_STREAM_CANCELLED');
  peer.deliver(Buffer.concat([frame.subarray(500), dataFrame(idOf(neighbour), 7)]));
  assert.equal(sink.bytes.length, 488);
  assert.equal(neighbour.bytes.length, 7);
  assert.equal(peer.session.memory.heldBytes, 7);
  assert.deepEqual(peer.ends, []);
});

test('RST of any value resets the stream, and never reads as no error', () => {
  const expected: readonly (readonly [number, ErrorCode])[] = [
    [0, 'SLW_STREAM_RESET'],
    [33, 'SLW_STREAM_REFUSED'],
    [63, 'SLW_STREAM_RESET'],
    [0xffff_ffff, 'SLW_STREAM_RESET'],
  ];
  for (const [value, code] of expected) {
    const peer = new RawPeer();
    const sink = openOurs(peer);
    peer.deliver(valueFrame(FRAME.RST, idOf(sink), value));
    assert.deepEqual(sink.resets, [code]);
    assert.deepEqual(resetsOf(peer), [], 'a reset is not answered');
    assert.deepEqual(peer.ends, []);
  }
});

test('as many pings as the limit allows, at every tick, are answered', () => {
  const peer = new RawPeer();
  for (let round = 0; round < 3; round += 1) {
    peer.deliver(repeat(valueFrame(FRAME.PING, 0, 9), IDLE_FRAMES_MAX));
    peer.read();
    peer.session.tick(peer.clock.nowMs());
  }
  assert.deepEqual(peer.ends, []);
  assert.equal(peer.written(FRAME.PONG).length, 3 * IDLE_FRAMES_MAX);
});

test('a peer that asks for answers and reads none is dropped before it costs much', () => {
  const peer = new RawPeer();
  let queuedMax = 0;
  for (let second = 0; second < 100 && peer.ends.length === 0; second += 1) {
    peer.deliver(repeat(valueFrame(FRAME.PING, 0, 9), IDLE_FRAMES_MAX));
    queuedMax = Math.max(queuedMax, peer.link.queuedBytes);
    peer.clock.advance(1000);
    peer.session.tick(peer.clock.nowMs());
  }
  assert.deepEqual(
    peer.ends.map((end) => end.code),
    ['SLW_WIRE_FLOOD'],
  );
  assert.ok(queuedMax < 9 << 20, `${queuedMax} bytes queued`);
});

test('a sink that writes whenever it may does not deepen the stack with each stream', () => {
  const peer = new RawPeer({ announces: { credit: 0 } });
  const sinks = Array.from({ length: 10_000 }, () => {
    const sink = openOurs(peer);
    sink.onWritable = () => void sink.stream?.write(Buffer.alloc(300));
    sink.stream?.write(Buffer.alloc(5));
    return sink;
  });
  peer.read();
  const bulk = openOurs(peer, 2 << 20);
  bulk.stream?.write(Buffer.alloc(2 << 20));
  assert.equal(peer.link.isCongested, true);
  for (const sink of sinks) peer.deliver(valueFrame(FRAME.CREDIT, idOf(sink), 10));
  peer.read();
  while (peer.read() > 0);
  for (const sink of sinks) assert.equal(sink.stream?.queuedBytes, 295);
});

// --- memory --------------------------------------------------------------------------------------

test('at the memory limit the streams that took nothing for the longest are reset', () => {
  const memoryBytes = 100_000;
  const peer = new RawPeer({ limits: { memoryBytes } });
  const [hog, slow, fast] = [openOurs(peer), openOurs(peer), openOurs(peer)];
  peer.deliver(dataFrame(idOf(hog), 60_000));
  peer.clock.advance(10);
  peer.deliver(dataFrame(idOf(slow), 30_000));
  slow.stream?.consumed(1000);
  slow.heldBytes -= 1000;
  peer.deliver(dataFrame(idOf(fast), 20_000));
  assert.deepEqual([hog.resets, slow.resets, fast.resets], [['SLW_STREAM_MEMORY'], [], []]);
  assert.deepEqual(resetsOf(peer), [[idOf(hog), ERRORS.SLW_STREAM_MEMORY.wire]]);
  assert.equal(peer.session.memory.heldBytes, 49_000);
  peer.deliver(dataFrame(idOf(slow), 10));
  assert.equal(slow.bytes.length, 30_010, 'the others go on');
});

test('a stream that has ended and is given up for what it holds is counted as that', () => {
  const peer = new RawPeer({ limits: { memoryBytes: 1000 } });
  const [whole, other] = [openOurs(peer), openOurs(peer)];
  const results = new Map<ErrorCode, number>();
  whole.stream?.addMeter({ streams: 0, bytesIn: 0, bytesOut: 0, results });
  peer.deliver(dataFrame(idOf(whole), 500));
  whole.stream?.end();
  peer.deliver(valueFrame(FRAME.FIN, idOf(whole), 0));
  assert.deepEqual([whole.stream?.isEnded, results.size], [true, 0]);
  peer.deliver(dataFrame(idOf(other), 600));
  assert.deepEqual([...results], [['SLW_STREAM_MEMORY', 1]]);
});

test('a limit that falls while nothing comes is kept within a second', (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const peer = new RawPeer({ limits: { memoryBytes: 100_000 } });
  const [hog, fast] = [openOurs(peer), openOurs(peer)];
  peer.deliver(dataFrame(idOf(hog), 60_000));
  peer.clock.advance(10);
  peer.deliver(dataFrame(idOf(fast), 12_000));
  memoryPressure.level = PRESSURE.FULL;
  peer.session.tick(peer.clock.nowMs());
  assert.deepEqual([hog.resets, fast.resets], [['SLW_STREAM_MEMORY'], []]);
  assert.equal(peer.session.memory.heldBytes, 12_000, 'an eighth and no more');
});

test('many streams that hold one byte each do not shield those that hold much', () => {
  const memoryBytes = 1_000_000;
  const peer = new RawPeer({ limits: { memoryBytes } });
  const tiny = Array.from({ length: 200 }, () => openOurs(peer));
  for (const sink of tiny) peer.deliver(dataFrame(idOf(sink), 1));
  peer.clock.advance(1000);
  for (let index = 0; index < 50; index += 1) {
    peer.deliver(dataFrame(idOf(openOurs(peer)), 60_000));
    assert.ok(peer.session.memory.heldBytes <= memoryBytes, 'never over the limit after a frame');
  }
  assert.deepEqual(peer.ends, []);
});

test('a stream that is cancelled in a frame holds what its sink still has, and no more', () => {
  const peer = new RawPeer({ limits: { memoryBytes: 10_000 } });
  const [sink, other] = [openOurs(peer), openOurs(peer)];
  const frame = dataFrame(idOf(sink), 9000);
  peer.deliver(frame.subarray(0, frame.length - 5000));
  sink.stream?.consumed(1000);
  sink.stream?.cancel('SLW_STREAM_CANCELLED', 3000);
  peer.deliver(frame.subarray(frame.length - 5000));
  assert.deepEqual([sink.bytes.length, peer.session.memory.heldBytes], [4000, 3000]);
  sink.stream?.consumed(1000);
  assert.deepEqual([peer.session.memory.heldBytes, peer.session.streamsCount], [2000, 2]);
  peer.deliver(dataFrame(idOf(other), 9000));
  assert.deepEqual([sink.resets, other.resets], [['SLW_STREAM_MEMORY'], []]);
  assert.deepEqual([peer.session.memory.heldBytes, peer.session.streamsCount], [9000, 1]);
  assert.deepEqual(resetsOf(peer), [[idOf(sink), ERRORS.SLW_STREAM_CANCELLED.wire]]);
  assert.deepEqual(peer.ends, []);
});

test('a hog that is reset by a sink of another is not told twice', () => {
  const peer = new RawPeer({ limits: { memoryBytes: 1000 } });
  const [first, second] = [openOurs(peer), openOurs(peer)];
  const tell = first.onReset.bind(first);
  first.onReset = (code) => {
    tell(code);
    second.stream?.reset('SLW_STREAM_CANCELLED');
  };
  peer.deliver(dataFrame(idOf(first), 500));
  peer.deliver(dataFrame(idOf(second), 5000));
  assert.deepEqual(first.resets, ['SLW_STREAM_MEMORY']);
  assert.deepEqual(second.resets, []);
  assert.equal(peer.session.memory.heldBytes, 0);
});

test('what a session writes is whole frames, always', () => {
  const peer = new RawPeer();
  const sink = openOurs(peer, 1000);
  sink.stream?.write(Buffer.alloc(66_000));
  peer.deliver(valueFrame(FRAME.PING, 0, 3));
  sink.stream?.end();
  assert.ok(framesOf(Buffer.concat(peer.link.written)).length > 3);
});
