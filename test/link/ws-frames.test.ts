// Goal: every rule of RFC 6455 that concerns a receiver, whatever the cuts between reads, and
// bounds on counts as well as sizes. Method: byte strings, each pushed whole and cut at every
// position; and the `ws` package as an independent peer, in both roles.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import type { MaskKey } from '../../src/link/mask-key.ts';
import {
  applyMask,
  CLOSE,
  OPCODE,
  readCloseCode,
  WebSocketError,
  WsFrameReader,
  writeWsHeader,
} from '../../src/link/ws-frames.ts';
import { dialWebSocket, SUBPROTOCOL, type Upgraded } from '../../src/link/ws-handshake.ts';
import { WsLink } from '../../src/link/ws-link.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { FrameRecorder } from '../compliance/frame-recorder.ts';
import { bodyFrame, valueFrame } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { seededNoise } from '../support/digest.ts';
import { createUpgradedPair, startUpgrades } from './ws-pair.ts';

const EVENT_MS = 10_000;
const MESSAGE_BYTES_MAX = 1000;
const KEY = Buffer.from([0x37, 0xfa, 0x21, 0x3d]);

interface FrameFields {
  readonly opcode?: number;
  readonly isFinal?: boolean;
  readonly reserved?: number;
  readonly payload?: Uint8Array;
  readonly key?: Buffer;
  /** How many bytes the length takes: 0, 2 or 8; the shortest when left out. */
  readonly lengthBytes?: 0 | 2 | 8;
}

/** A frame as the specification draws it; masked when there is a key. */
function frame(fields: FrameFields): Buffer {
  const { opcode = OPCODE.BINARY, isFinal = true, reserved = 0, key } = fields;
  const payload = Buffer.from(fields.payload ?? []);
  const length = payload.length;
  const lengthBytes = fields.lengthBytes ?? (length < 126 ? 0 : length < 65_536 ? 2 : 8);
  const short = lengthBytes === 0 ? length : lengthBytes === 2 ? 126 : 127;
  const extended = Buffer.alloc(lengthBytes);
  if (lengthBytes === 2) extended.writeUInt16BE(length);
  if (lengthBytes === 8) extended.writeBigUInt64BE(BigInt(length));
  const masked = payload.map((byte, index) => byte ^ (key?.[index % 4] ?? 0));
  return Buffer.concat([
    Buffer.from([(isFinal ? 0x80 : 0) | reserved | opcode, (key ? 0x80 : 0) | short]),
    extended,
    key ?? Buffer.alloc(0),
    masked,
  ]);
}

interface Reading {
  readonly events: string[];
  /** Close status of the error that ended it; 0 for none. */
  readonly status: number;
}

/** Reads `bytes` cut into `cuts`; pieces of one payload are joined, as cuts may part them. */
function read(pieces: readonly Buffer[], isMasked: boolean): Reading {
  const events: string[] = [];
  const reader = new WsFrameReader({
    sink: {
      onPayload(piece) {
        const text = piece.toString('hex');
        const last = events.at(-1);
        if (last?.startsWith('payload ')) events[events.length - 1] = last + text;
        else events.push(`payload ${text}`);
      },
      onMessageEnd: () => events.push('end'),
      onControl: (opcode, payload) => events.push(`control ${opcode} ${payload.toString('hex')}`),
    },
    isMasked,
    messageBytesMax: MESSAGE_BYTES_MAX,
  });
  try {
    for (const piece of pieces) reader.push(Buffer.from(piece));
    return { events, status: 0 };
  } catch (error) {
    assert.ok(error instanceof WebSocketError, String(error));
    assert.equal(error.code, 'SLW_WIRE_WEBSOCKET');
    return { events, status: error.closeCode };
  }
}

/** The same result whole, cut in two at every position, and byte by byte. */
function readEveryWay(bytes: Buffer, isMasked = false): Reading {
  const whole = read([bytes], isMasked);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const parts = [bytes.subarray(0, cut), bytes.subarray(cut)];
    assert.deepEqual(read(parts, isMasked), whole, `cut at ${cut}`);
  }
  const single = [...bytes].map((byte) => Buffer.from([byte]));
  assert.deepEqual(read(single, isMasked), whole, 'byte by byte');
  return whole;
}

test('messages of every form of length, masked and not, come out whole', () => {
  for (const key of [undefined, KEY, Buffer.alloc(4)]) {
    for (const length of [1, 2, 3, 4, 5, 125, 126, 127, 600]) {
      for (const lengthBytes of [0, 2, 8] as const) {
        if (lengthBytes === 0 && length > 125) continue;
        const payload = seededNoise(length, 1000).subarray(0, length);
        const fields = { payload, lengthBytes, ...(key === undefined ? {} : { key }) };
        const { events, status } = readEveryWay(frame(fields), key !== undefined);
        assert.deepEqual([events, status], [[`payload ${payload.toString('hex')}`, 'end'], 0]);
      }
    }
  }
});

test('fragments go on with the bytes, with control frames between them', () => {
  const bytes = Buffer.concat([
    frame({ payload: Buffer.from('ab'), isFinal: false, key: KEY }),
    frame({ opcode: OPCODE.PING, payload: Buffer.from('hi'), key: KEY }),
    frame({ opcode: OPCODE.CONTINUATION, isFinal: false, key: KEY }),
    frame({ opcode: OPCODE.CONTINUATION, payload: Buffer.from('cde'), isFinal: false, key: KEY }),
    frame({ opcode: OPCODE.PONG, key: KEY }),
    frame({ opcode: OPCODE.CONTINUATION, key: KEY }),
    frame({ payload: Buffer.from('x'), key: KEY }),
  ]);
  const { events, status } = readEveryWay(bytes, true);
  const hex = (text: string) => Buffer.from(text).toString('hex');
  assert.deepEqual(events, [
    `payload ${hex('ab')}`,
    `control 9 ${hex('hi')}`,
    `payload ${hex('cde')}`,
    'control 10 ',
    'end',
    `payload ${hex('x')}`,
    'end',
  ]);
  assert.equal(status, 0);
});

const ONE = Buffer.from('1');
const MALFORMED: readonly (readonly [what: string, bytes: Buffer, status: number])[] = [
  ['text', frame({ opcode: OPCODE.TEXT, payload: ONE }), CLOSE.UNSUPPORTED],
  ['RSV1', frame({ reserved: 0x40, payload: ONE }), CLOSE.PROTOCOL],
  ['RSV2', frame({ reserved: 0x20, payload: ONE }), CLOSE.PROTOCOL],
  ['RSV3', frame({ reserved: 0x10, payload: ONE }), CLOSE.PROTOCOL],
  ['RSV1 on a ping', frame({ reserved: 0x40, opcode: OPCODE.PING }), CLOSE.PROTOCOL],
  ...[3, 4, 5, 6, 7].map(
    (opcode) => [`opcode ${opcode}`, frame({ opcode, payload: ONE }), CLOSE.PROTOCOL] as const,
  ),
  ...[11, 12, 13, 14, 15].map(
    (opcode) => [`opcode ${opcode}`, frame({ opcode }), CLOSE.PROTOCOL] as const,
  ),
  ['a masked frame', frame({ payload: ONE, key: KEY }), CLOSE.PROTOCOL],
  ['a continuation of nothing', frame({ opcode: 0, payload: ONE }), CLOSE.PROTOCOL],
  [
    'a new message amid another',
    Buffer.concat([frame({ payload: ONE, isFinal: false }), frame({ payload: ONE })]),
    CLOSE.PROTOCOL,
  ],
  ['a fragmented ping', frame({ opcode: OPCODE.PING, isFinal: false }), CLOSE.PROTOCOL],
  ['a fragmented close', frame({ opcode: OPCODE.CLOSE, isFinal: false }), CLOSE.PROTOCOL],
  ['a ping of 126', frame({ opcode: OPCODE.PING, payload: Buffer.alloc(126) }), CLOSE.PROTOCOL],
  ['a pong of 70,000', frame({ opcode: 10, payload: Buffer.alloc(70_000) }), CLOSE.PROTOCOL],
  ['the top bit of a length', Buffer.from('827f8000000000000001', 'hex'), CLOSE.PROTOCOL],
  ['4 GiB', Buffer.from('827f0000000100000000', 'hex'), CLOSE.TOO_LARGE],
  ['2^53', Buffer.from('827f0020000000000000', 'hex'), CLOSE.TOO_LARGE],
  ['over the limit', frame({ payload: Buffer.alloc(1001) }), CLOSE.TOO_LARGE],
  ['over the limit by its length alone', Buffer.from('827e03e9', 'hex'), CLOSE.TOO_LARGE],
  [
    'fragments over the limit together',
    Buffer.concat([
      frame({ payload: Buffer.alloc(600), isFinal: false }),
      frame({ opcode: 0, payload: Buffer.alloc(401) }),
    ]),
    CLOSE.TOO_LARGE,
  ],
  ['an empty message', frame({}), CLOSE.POLICY],
  [
    'an empty message in fragments',
    Buffer.concat([frame({ isFinal: false }), frame({ opcode: 0 })]),
    CLOSE.POLICY,
  ],
];

for (const [what, bytes, status] of MALFORMED) {
  test(`refused with ${status}: ${what}`, () => {
    const behind = bytes.length > 2000 ? bytes : Buffer.concat([bytes, frame({ payload: ONE })]);
    const reading = bytes.length > 2000 ? read([bytes], false) : readEveryWay(behind);
    assert.equal(reading.status, status);
    assert.ok(!reading.events.includes('end'), 'nothing of it was taken for a message');
  });
}

test('an unmasked frame to a server is refused', () => {
  assert.equal(readEveryWay(frame({ payload: ONE }), true).status, CLOSE.PROTOCOL);
});

test('sixteen fragments pass, one more does not, empty ones count', () => {
  for (const payload of [ONE, Buffer.alloc(0)]) {
    const middle = (count: number) =>
      Array.from({ length: count }, () => frame({ opcode: 0, isFinal: false, payload }));
    const first = frame({ payload: ONE, isFinal: false });
    const last = frame({ opcode: 0, payload: ONE });
    assert.equal(read([first, ...middle(14), last], false).status, 0);
    assert.equal(read([first, ...middle(15), last], false).status, CLOSE.POLICY);
    assert.equal(read([first, ...middle(130_000)], false).status, CLOSE.POLICY);
  }
  // A finished message starts the count anew.
  const pair = [frame({ payload: ONE, isFinal: false }), frame({ opcode: 0, payload: ONE })];
  assert.equal(read(Array(100).fill(pair).flat(), false).status, 0);
});

test('masks work from every phase, on every length', () => {
  const noise = seededNoise(8, 400);
  const lengths = [...Array(20).keys(), 255, 256, 257, 258, 259, 260, 380];
  for (let phase = 0; phase < 8; phase += 1) {
    for (const length of lengths) {
      for (let offset = 0; offset < 4; offset += 1) {
        // Memory around it stays as it is.
        const memory = Buffer.from(noise);
        applyMask(memory.subarray(offset, offset + length), KEY, phase);
        const expected = noise.map((byte, index) => {
          const isInside = index >= offset && index < offset + length;
          return isInside ? byte ^ (KEY[(phase + index - offset) % 4] ?? 0) : byte;
        });
        assert.ok(memory.equals(expected), `phase ${phase}, ${length} bytes from ${offset}`);
      }
    }
  }
});

test('headers that are written end where they should and are read back', () => {
  for (const length of [1, 125, 126, 65_535, 65_536, 262_144]) {
    for (const key of [undefined, KEY]) {
      const target = Buffer.alloc(20, 0xee);
      const start = writeWsHeader(target, 17, { opcode: OPCODE.BINARY, length, key });
      const payload = Buffer.alloc(length);
      const expected = frame({ payload, ...(key === undefined ? {} : { key }) });
      assert.deepEqual(
        target.subarray(start, 17),
        expected.subarray(0, expected.length - length),
        `${length} bytes`,
      );
      assert.ok(target.subarray(0, start).every((byte) => byte === 0xee));
      assert.ok(target.subarray(17).every((byte) => byte === 0xee));
    }
  }
});

test('close codes: those of the specification and of applications, and no others', () => {
  const status = (code: number, reason = '') => {
    const payload = Buffer.alloc(2 + Buffer.byteLength(reason));
    payload.writeUInt16BE(code);
    payload.write(reason, 2);
    return readCloseCode(payload);
  };
  assert.equal(readCloseCode(Buffer.alloc(0)), 1000);
  for (const code of [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 4999]) {
    assert.equal(status(code), code);
    assert.equal(status(code, 'a reason: größer'), code);
  }
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2999, 5000, 65_535]) {
    assert.throws(() => status(code), { closeCode: CLOSE.PROTOCOL }, `code ${code}`);
  }
  assert.throws(() => readCloseCode(Buffer.from([3])), { closeCode: CLOSE.PROTOCOL });
  const notUtf8 = Buffer.from('03e8c328', 'hex');
  assert.throws(() => readCloseCode(notUtf8), { closeCode: CLOSE.INVALID_TEXT });
});

// --- a link against raw bytes --------------------------------------------------------------------

interface RawBench {
  readonly link: WsLink;
  readonly sink: FrameRecorder;
  /** The other end, without a link. */
  readonly raw: Upgraded['socket'];
  /** Everything that the link sent, once it has closed. */
  readonly sent: Promise<Buffer>;
}

/** A link at the server; the test is a client that writes what it wants. */
async function startRaw(t: TestContext): Promise<RawBench> {
  const { client, server } = await createUpgradedPair(t);
  const link = new WsLink({ ...server, mask: 'none' });
  const sink = new FrameRecorder();
  sink.onBroken = () => link.close('SLW_WIRE_WEBSOCKET');
  link.start({ sink, frameBytesMax: 65_536 });
  const pieces: Buffer[] = [];
  client.socket.on('data', (piece: Buffer) => pieces.push(piece));
  const ended = once(client.socket, 'close').then(() => Buffer.concat(pieces));
  client.socket.on('error', () => {
    // Cut while we were still writing: what it sent counts.
  });
  return { link, sink, raw: client.socket, sent: within(EVENT_MS, 'the link closes', ended) };
}

function closeFrame(status: number, reason: string): Buffer {
  const payload = Buffer.alloc(2 + reason.length);
  payload.writeUInt16BE(status);
  payload.write(reason, 2);
  return frame({ opcode: OPCODE.CLOSE, payload });
}

test('a violation is answered with its close status, and the socket ends', async (t) => {
  for (const [bytes, status] of [
    [frame({ opcode: OPCODE.TEXT, payload: ONE, key: KEY }), CLOSE.UNSUPPORTED],
    [frame({ payload: ONE }), CLOSE.PROTOCOL],
    [frame({ payload: Buffer.alloc(200_000), key: KEY }), CLOSE.TOO_LARGE],
    [frame({ opcode: OPCODE.CLOSE, payload: ONE, key: KEY }), CLOSE.PROTOCOL],
  ] as const) {
    const { raw, sink, sent } = await startRaw(t);
    raw.write(bytes);
    assert.deepEqual(await sent, closeFrame(status, 'SLW_WIRE_WEBSOCKET'));
    await sink.closed();
    assert.deepEqual([sink.wireErrors.length, sink.closes.length], [1, 1]);
  }
});

test('a ping is answered with its payload, a close with its status', async (t) => {
  const { raw, sink, sent } = await startRaw(t);
  const payload = Buffer.from('are you there?');
  raw.write(frame({ opcode: OPCODE.PING, payload, key: KEY }));
  raw.write(frame({ opcode: OPCODE.CLOSE, payload: Buffer.from([0x0f, 0xa0]), key: KEY }));
  const pong = frame({ opcode: OPCODE.PONG, payload });
  assert.deepEqual(await sent, Buffer.concat([pong, closeFrame(4000, 'SLW_LINK_ENDED')]));
  await sink.closed();
  assert.deepEqual(sink.closes, [{ code: 'SLW_LINK_ENDED', detail: '' }]);
});

for (const [what, opcode] of [
  ['another close', OPCODE.CLOSE],
  ['a ping', OPCODE.PING],
] as const) {
  test(`a close and ${what} in one read are answered with one close`, async (t) => {
    const { raw, sink, sent } = await startRaw(t);
    const payload = Buffer.from('03e8', 'hex');
    const close = frame({ opcode: OPCODE.CLOSE, payload, key: KEY });
    raw.write(Buffer.concat([close, frame({ opcode, payload, key: KEY })]));
    assert.deepEqual(await sent, closeFrame(CLOSE.NORMAL, 'SLW_LINK_ENDED'));
    await sink.closed();
    assert.deepEqual(sink.closes, [{ code: 'SLW_LINK_ENDED', detail: '' }]);
  });
}

test('a flood of pings ends the link', async (t) => {
  const { raw, sink, sent } = await startRaw(t);
  raw.write(Buffer.concat(Array(5000).fill(frame({ opcode: OPCODE.PING, key: KEY }))));
  const bytes = await sent;
  assert.deepEqual(bytes.subarray(-22), closeFrame(CLOSE.POLICY, 'SLW_WIRE_WEBSOCKET'));
  assert.deepEqual(
    sink.wireErrors.map(({ code }) => code),
    ['SLW_WIRE_WEBSOCKET'],
  );
});

test('a flood of tiny fragments ends the link', async (t) => {
  const { raw, sink, sent } = await startRaw(t);
  const more = frame({ opcode: 0, isFinal: false, key: KEY });
  raw.write(Buffer.concat([frame({ payload: ONE, isFinal: false, key: KEY }), more]));
  raw.write(Buffer.concat(Array(130_000).fill(more)));
  const bytes = await sent;
  assert.equal(bytes.readUInt16BE(2), CLOSE.POLICY);
  await sink.closed();
});

test('a frame of ours may not span two messages', async (t) => {
  const { raw, sink, sent } = await startRaw(t);
  const bytes = valueFrame(FRAME.FIN, 1, 0);
  raw.write(frame({ payload: bytes.subarray(0, 5), key: KEY }));
  raw.write(frame({ payload: bytes.subarray(5), key: KEY }));
  assert.equal((await sent).readUInt16BE(2), CLOSE.PROTOCOL);
  assert.deepEqual(
    sink.wireErrors.map(({ code }) => code),
    ['SLW_WIRE_PROTOCOL'],
  );
});

test('a peer that goes without a word is a lost link', async (t) => {
  for (const end of ['end', 'destroy', 'resetAndDestroy'] as const) {
    const { raw, sink } = await startRaw(t);
    raw.write(frame({ payload: valueFrame(FRAME.FIN, 1, 0), key: KEY }));
    await sink.frameCount(1);
    raw[end]();
    await sink.closed();
    assert.deepEqual(
      sink.closes.map(({ code }) => code),
      ['SLW_LINK_LOST'],
      end,
    );
  }
});

// --- the ws package as the peer ------------------------------------------------------------------

/** What a peer sends: frames of ours as one message, in as many fragments. */
const SENT = [
  valueFrame(FRAME.CREDIT, 3, 1),
  bodyFrame(FRAME.DATA, 5, seededNoise(1, 70_000).subarray(0, 65_536)),
  bodyFrame(FRAME.DATA, 7, Buffer.from('abc')),
];

function sendInFragments(peer: WebSocket, fragments: number): void {
  const bytes = Buffer.concat(SENT);
  const step = Math.ceil(bytes.length / fragments);
  for (let at = 0; at < bytes.length; at += step) {
    peer.send(bytes.subarray(at, at + step), { binary: true, fin: at + step >= bytes.length });
  }
}

async function exchange(link: WsLink, peer: WebSocket): Promise<void> {
  const sink = new FrameRecorder();
  const messages: Buffer[] = [];
  peer.on('message', (message: Buffer, isBinary) => {
    assert.equal(isBinary, true);
    messages.push(message);
  });
  link.start({ sink, frameBytesMax: 65_536 });
  for (const fragments of [1, 2, 16]) sendInFragments(peer, fragments);
  peer.ping('hello');
  const ponged = once(peer, 'pong') as Promise<[Buffer]>;
  await sink.frameCount(9);
  const bodies = sink.frames.map(({ pieces }) => Buffer.concat(pieces));
  for (const [index, body] of bodies.entries()) {
    const expected = SENT[index % 3]?.subarray(12) ?? assert.fail();
    assert.ok(body.equals(expected), `frame ${index}`);
  }
  assert.equal((await within(EVENT_MS, 'a pong', ponged))[0].toString(), 'hello');
  link.writeValue(FRAME.FIN, 9, 0);
  link.writeBody(FRAME.DATA, 9, Buffer.from('small'));
  link.writeBody(FRAME.DATA, 9, Buffer.alloc(50_000, 9));
  const closed = once(peer, 'close') as Promise<[number, Buffer]>;
  link.close('SLW_LINK_DRAINING');
  const [status, reason] = await within(EVENT_MS, 'a close', closed);
  assert.deepEqual([status, reason.toString()], [1001, 'SLW_LINK_DRAINING']);
  const expected = Buffer.concat([
    valueFrame(FRAME.FIN, 9, 0),
    bodyFrame(FRAME.DATA, 9, Buffer.from('small')),
    bodyFrame(FRAME.DATA, 9, Buffer.alloc(50_000, 9)),
  ]);
  assert.ok(Buffer.concat(messages).equals(expected));
  await sink.closed();
  assert.deepEqual([sink.closes.length, sink.wireErrors.length], [1, 0]);
}

test('a client of the ws package: fragments, pings and the closing handshake', async (t) => {
  const accepted = Promise.withResolvers<Upgraded>();
  const url = await startUpgrades(t, accepted.resolve);
  const peer = new WebSocket(url, [SUBPROTOCOL], { perMessageDeflate: true });
  undoAfter(t, () => peer.terminate());
  const [upgraded] = await Promise.all([accepted.promise, once(peer, 'open')]);
  assert.equal(peer.extensions, '', 'compression is not agreed on');
  await exchange(new WsLink({ ...upgraded, mask: 'none' }), peer);
});

for (const mask of ['zero', 'random'] satisfies MaskKey[]) {
  test(`a server of the ws package: the same with ${mask} keys`, async (t) => {
    const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: true });
    undoAfter(t, () => server.close());
    await once(server, 'listening');
    const address = server.address();
    assert.ok(address !== null && typeof address === 'object');
    const connected = once(server, 'connection') as Promise<[WebSocket]>;
    const dialled = Promise.withResolvers<Upgraded>();
    const url = `ws://127.0.0.1:${address.port}/connect`;
    dialWebSocket(
      { url, token: 't', agent: 'test', ca: undefined },
      { onUpgraded: dialled.resolve, onFailure: dialled.reject },
    );
    const [upgraded, [peer]] = await Promise.all([dialled.promise, connected]);
    undoAfter(t, () => peer.terminate());
    await exchange(new WsLink({ ...upgraded, mask }), peer);
  });
}
