// Goal: a peer's mistake ends its session with a coded GOAWAY, tells every stream once, and is
// never an exception. Method: a raw peer writes frames by hand to a real session, in both roles,
// whole and byte by byte, then anything by fast-check (SLUICEWAY_MUX_SEED repeats a run).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ERRORS, type ErrorCode, WireError } from '../../src/base/errors.ts';
import { FRAME, type FrameType } from '../../src/wire/frame.ts';
import {
  bodyFrame,
  dataFrame,
  idOf,
  openFrame,
  openOurs,
  RawPeer,
  type RawPeerOptions,
  REQUEST,
  RecordingSink,
  repeat,
  valueFrame,
} from './raw-peer.ts';

const SEED = Number(process.env.SLUICEWAY_MUX_SEED ?? Date.now() % 0x7fff_ffff);
const RUNS = process.env.CI === 'true' ? 20_000 : 2000;
/** The session said why, closed the link, and told every stream. */
function assertEnded(peer: RawPeer, code: ErrorCode): void {
  const frames = peer.written();
  const last = frames.at(-1);
  assert.deepEqual(
    last,
    { type: FRAME.GOAWAY, stream: 0, content: ERRORS[code].wire },
    `GOAWAY is the last word: ${JSON.stringify(frames.slice(-3))}`,
  );
  peer.read();
  assert.deepEqual(
    peer.ends.map((end) => end.code),
    [code],
  );
  assert.equal(peer.session.streamsCount, 0);
  assert.deepEqual([peer.session.memory.heldBytes, peer.session.memory.grownBytes], [0, 0]);
  // The dead session ignores what still comes, and takes no new streams.
  peer.deliver(valueFrame(FRAME.PING, 0, 1));
  assert.equal(typeof peer.session.open(REQUEST, new RecordingSink()), 'string');
  assert.equal(peer.ends.length, 1);
}

interface Attack {
  readonly name: string;
  readonly code: ErrorCode;
  readonly options?: RawPeerOptions;
  /** Bytes of the attack; may prepare things first. */
  readonly bytes: (peer: RawPeer) => Uint8Array;
}

const OVERSIZED = Buffer.from('9308ce00000001c600040001', 'hex');
const NOT_A_FRAME = Buffer.from('GET / HTTP/1.1\r\n');

const ATTACKS: readonly Attack[] = [
  {
    name: 'bytes that are no frame',
    code: 'SLW_WIRE_PROTOCOL',
    bytes: () => NOT_A_FRAME,
  },
  {
    name: 'an unknown frame type',
    code: 'SLW_WIRE_FRAME_TYPE',
    bytes: () => Buffer.from('930fce00000000ce00000000', 'hex'),
  },
  {
    name: 'a DATA frame over the limit',
    code: 'SLW_WIRE_FRAME_TOO_LARGE',
    bytes: () => OVERSIZED,
  },
  {
    name: 'OPEN on stream 0',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: () => openFrame(0),
  },
  {
    name: 'OPEN with an id of our parity',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: (peer) => openFrame(peer.peerId(0) + 1),
  },
  {
    name: 'OPEN of an id that is open',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: (peer) => openFrame(peer.open()),
  },
  {
    name: 'OPEN of an id that has ended',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: (peer) => {
      peer.deliver(valueFrame(FRAME.RST, peer.open(), 32));
      return openFrame(peer.peerId(0));
    },
  },
  {
    name: 'OPEN of an id below the last',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: (peer) => {
      peer.open(5);
      return openFrame(peer.peerId(4));
    },
  },
  {
    name: 'OPEN whose body is no map',
    code: 'SLW_WIRE_BODY_INVALID',
    bytes: (peer) => bodyFrame(FRAME.OPEN, peer.peerId(0), Buffer.from([0x90])),
  },
  {
    name: 'OPEN with a window of 0',
    code: 'SLW_WIRE_BODY_INVALID',
    bytes: (peer) => openFrame(peer.peerId(0), { window: 0 }),
  },
  {
    name: 'OPEN with a window of 2^31',
    code: 'SLW_WIRE_BODY_INVALID',
    bytes: (peer) => openFrame(peer.peerId(0), { window: 2 ** 31 }),
  },
  ...[FRAME.OPENED, FRAME.CREDIT, FRAME.FIN, FRAME.RST].map((type) => ({
    name: `frame type ${type} on a stream that was never opened`,
    code: 'SLW_WIRE_STREAM_ID' as const,
    bytes: (peer: RawPeer) => valueFrame(type, peer.peerId(3), 0),
  })),
  ...[FRAME.OPENED, FRAME.CREDIT, FRAME.FIN, FRAME.RST].map((type) => ({
    name: `frame type ${type} on stream 0`,
    code: 'SLW_WIRE_STREAM_ID' as const,
    bytes: () => valueFrame(type, 0, 0),
  })),
  {
    name: 'DATA on a stream that was never opened',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: (peer) => dataFrame(peer.peerId(3), 10),
  },
  {
    name: 'DATA on a stream of ours that was never opened',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: (peer) => dataFrame(peer.peerId(3) + 1, 10),
  },
  {
    name: 'DATA on stream 0',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: () => dataFrame(0, 10),
  },
  ...[FRAME.PING, FRAME.PONG, FRAME.GOAWAY].map((type) => ({
    name: `frame type ${type} on a stream`,
    code: 'SLW_WIRE_STREAM_ID' as const,
    bytes: (peer: RawPeer) => valueFrame(type, peer.open(), 0),
  })),
  {
    name: 'a control body on a stream',
    code: 'SLW_WIRE_STREAM_ID',
    bytes: () => bodyFrame(FRAME.REGISTER, 1, Buffer.from([0x80])),
  },
  {
    name: 'a control frame that the owner refuses',
    code: 'SLW_WIRE_FRAME_TYPE',
    options: {
      onControl: () => {
        throw new WireError('SLW_WIRE_FRAME_TYPE', 'not now');
      },
    },
    bytes: () => bodyFrame(FRAME.HELLO, 0, Buffer.from([0x80])),
  },
  {
    name: 'OPENED for a stream that the peer opened',
    code: 'SLW_WIRE_STREAM_STATE',
    bytes: (peer) => valueFrame(FRAME.OPENED, peer.open(), 0),
  },
  {
    name: 'OPENED twice',
    code: 'SLW_WIRE_STREAM_STATE',
    bytes: (peer) => valueFrame(FRAME.OPENED, idOf(openOurs(peer)), 0),
  },
  {
    name: 'DATA before OPENED',
    code: 'SLW_WIRE_STREAM_STATE',
    bytes: (peer) => {
      const stream = peer.session.open(REQUEST, new RecordingSink());
      return dataFrame(typeof stream === 'string' ? assert.fail(stream) : stream.id, 1);
    },
  },
  {
    name: 'FIN before OPENED',
    code: 'SLW_WIRE_STREAM_STATE',
    bytes: (peer) => {
      const stream = peer.session.open(REQUEST, new RecordingSink());
      return valueFrame(FRAME.FIN, typeof stream === 'string' ? assert.fail() : stream.id, 0);
    },
  },
  {
    name: 'DATA after FIN',
    code: 'SLW_WIRE_STREAM_STATE',
    bytes: (peer) => {
      const id = peer.open();
      peer.deliver(valueFrame(FRAME.FIN, id, 0));
      return dataFrame(id, 1);
    },
  },
  {
    name: 'FIN twice',
    code: 'SLW_WIRE_STREAM_STATE',
    bytes: (peer) => {
      const id = peer.open();
      peer.deliver(valueFrame(FRAME.FIN, id, 0));
      return valueFrame(FRAME.FIN, id, 0);
    },
  },
  {
    name: 'FIN with a value',
    code: 'SLW_WIRE_PROTOCOL',
    bytes: (peer) => valueFrame(FRAME.FIN, peer.open(), 1),
  },
  {
    name: 'DATA one byte over the credit before OPENED',
    code: 'SLW_WIRE_WINDOW_EXCEEDED',
    options: { onOpen: acceptNever },
    bytes: (peer) => dataFrame(peer.open(), 65_537),
  },
  {
    name: 'DATA one byte over the whole window, in small frames',
    code: 'SLW_WIRE_WINDOW_EXCEEDED',
    bytes: (peer) => {
      const id = peer.open();
      for (let sent = 0; sent < 262_144; sent += 65_536) peer.deliver(dataFrame(id, 65_536));
      assert.deepEqual(peer.ends, [], 'all that was granted is taken');
      return dataFrame(id, 1);
    },
  },
  {
    name: 'CREDIT of 0',
    code: 'SLW_WIRE_CREDIT_INVALID',
    bytes: (peer) => valueFrame(FRAME.CREDIT, peer.open(), 0),
  },
  {
    name: 'CREDIT of 2^32-1',
    code: 'SLW_WIRE_CREDIT_INVALID',
    bytes: (peer) => valueFrame(FRAME.CREDIT, idOf(openOurs(peer)), 0xffff_ffff),
  },
  {
    name: 'CREDIT whose sum passes 2^31-1',
    code: 'SLW_WIRE_CREDIT_INVALID',
    bytes: (peer) => valueFrame(FRAME.CREDIT, peer.open(0, { window: 0x7fff_ffff }), 1),
  },
  {
    name: 'OPENED with credit above the limit',
    code: 'SLW_WIRE_CREDIT_INVALID',
    bytes: (peer) => {
      const stream = peer.session.open(REQUEST, new RecordingSink());
      return valueFrame(FRAME.OPENED, typeof stream === 'string' ? 0 : stream.id, 0x7fff_ffff);
    },
  },
  {
    name: 'a flood of pings',
    code: 'SLW_WIRE_FLOOD',
    bytes: () => repeat(valueFrame(FRAME.PING, 0, 7), 50_000),
  },
  {
    name: 'a flood of pongs',
    code: 'SLW_WIRE_FLOOD',
    bytes: () => repeat(valueFrame(FRAME.PONG, 0, 7), 50_000),
  },
  {
    name: 'a flood of goodbyes',
    code: 'SLW_WIRE_FLOOD',
    bytes: () => repeat(valueFrame(FRAME.GOAWAY, 0, 0), 50_000),
  },
  {
    name: 'a flood of frames on an ended stream',
    code: 'SLW_WIRE_FLOOD',
    bytes: (peer) => {
      const id = peer.open();
      peer.deliver(valueFrame(FRAME.RST, id, 32));
      return repeat(Buffer.concat([valueFrame(FRAME.CREDIT, id, 0), dataFrame(id, 1)]), 25_000);
    },
  },
  {
    name: 'a flood of OPENs that are refused at once',
    code: 'SLW_WIRE_FLOOD',
    options: { onOpen: (stream) => stream.reset('SLW_STREAM_UNKNOWN_TUNNEL') },
    bytes: (peer) => opens(peer, 25_000),
  },
  {
    name: 'a flood of OPENs beyond the limit of streams',
    code: 'SLW_WIRE_FLOOD',
    options: { limits: { streams: 2 } },
    bytes: (peer) => opens(peer, 25_000),
  },
  {
    name: 'a flood of OPENs that are withdrawn before they are answered',
    code: 'SLW_WIRE_FLOOD',
    options: { onOpen: acceptNever },
    bytes: (peer) => opens(peer, 25_000, true),
  },
];

function acceptNever(stream: { sink: unknown }): void {
  stream.sink = new RecordingSink();
}

function opens(peer: RawPeer, count: number, isWithdrawn = false): Buffer {
  return Buffer.concat(
    Array.from({ length: count }, (_, index) => {
      const id = peer.peerId(index);
      const open = openFrame(id);
      return isWithdrawn ? Buffer.concat([open, valueFrame(FRAME.RST, id, 42)]) : open;
    }),
  );
}

for (const { name, code, options, bytes } of ATTACKS) {
  test(`${name} ends the link with ${code}`, () => {
    for (const opens of ['even', 'odd'] as const) {
      const peer = new RawPeer({ ...options, opens });
      peer.deliver(bytes(peer));
      assertEnded(peer, code);
    }
  });

  test(`${name}: byte by byte, and every other stream is told of a lost link once`, () => {
    const peer = new RawPeer(options);
    const neighbour = openOurs(peer);
    peer.deliver(dataFrame(idOf(neighbour), 100));
    const attack = Buffer.from(bytes(peer));
    peer.deliver(attack, attack.length > 10_000 ? 4093 : 1);
    assertEnded(peer, code);
    assert.equal(neighbour.bytes.length, 100, 'what came before the mistake was delivered');
    assert.deepEqual(neighbour.resets, ['SLW_LINK_LOST']);
    assert.deepEqual(neighbour.calls, ['opened', 'reset'], 'a cut never looks like an end');
  });
}

test('before the greeting only control frames and GOAWAY are read', () => {
  const types = Object.values(FRAME).filter((type) => type !== FRAME.GOAWAY);
  for (const type of types) {
    const controls: number[] = [];
    const peer = new RawPeer({ isGreeting: true, onControl: (seen) => controls.push(seen) });
    const isBody = type <= FRAME.OPEN || type === FRAME.DATA;
    const id = type >= FRAME.OPEN && type <= FRAME.RST ? 1 : 0;
    peer.deliver(isBody ? bodyFrame(type, id, Buffer.from([0x80])) : valueFrame(type, id, 0));
    if (type < FRAME.OPEN) assert.deepEqual([controls, peer.ends], [[type], []]);
    else assertEnded(peer, 'SLW_WIRE_FRAME_TYPE');
  }
});

test('a server that refuses the greeting says why', () => {
  const peer = new RawPeer({ isGreeting: true, opens: 'odd' });
  peer.deliver(valueFrame(FRAME.GOAWAY, 0, ERRORS.SLW_WIRE_VERSION.wire));
  peer.link.destroy();
  assert.deepEqual(peer.goAways, ['SLW_WIRE_VERSION']);
  assert.deepEqual(peer.ends, [{ code: 'SLW_WIRE_VERSION', detail: '' }]);
});

test(`any frames give a live link or one coded end (${RUNS} runs, seed ${SEED})`, () => {
  const types = Object.values(FRAME) as FrameType[];
  const frame = fc
    .record({
      type: fc.constantFrom(...types),
      id: fc.oneof(fc.nat({ max: 12 }), fc.constantFrom(0x7fff_fffe, 0x7fff_ffff)),
      value: fc.oneof(fc.nat({ max: 100 }), fc.constantFrom(0x7fff_ffff, 0xffff_ffff)),
      length: fc.integer({ min: 1, max: 70_000 }),
      isOpenGood: fc.boolean(),
    })
    .map(({ type, id, value, length, isOpenGood }) => {
      if (type === FRAME.DATA) return dataFrame(id, length);
      if (type === FRAME.OPEN && isOpenGood) return openFrame(id);
      if (type <= FRAME.OPEN) return bodyFrame(type, 0, Buffer.from([0x80]));
      return valueFrame(type, type >= FRAME.PING ? 0 : id, value);
    });
  fc.assert(
    fc.property(
      fc.array(frame, { maxLength: 25, size: 'max' }),
      fc.integer({ min: 1, max: 999 }),
      (all, cut) => {
        const peer = new RawPeer({ limits: { memoryBytes: 300_000 } });
        const ours = [openOurs(peer), openOurs(peer)];
        for (const bytes of all) peer.deliver(bytes, Math.max(cut, bytes.length >> 3));
        for (const sink of [...ours, ...peer.accepted]) {
          assert.ok(sink.resets.length <= 1);
          if (sink.resets.length === 1) assert.equal(sink.calls.at(-1), 'reset', 'the last call');
        }
        const goAways = peer.written(FRAME.GOAWAY);
        peer.read();
        assert.equal(peer.ends.length, goAways.length);
        if (goAways.length === 0) return;
        const code = peer.ends[0]?.code ?? assert.fail();
        assert.deepEqual([goAways.length, goAways[0]?.content], [1, ERRORS[code].wire]);
        assert.ok(code.startsWith('SLW_WIRE_'), code);
        assert.equal(peer.session.streamsCount, 0);
      },
    ),
    { numRuns: RUNS, seed: SEED },
  );
});
