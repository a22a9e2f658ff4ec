// Goal: bytes cut anywhere give the same frames, and bad bytes give one coded error and nothing
// else. Method: every cut and every pair of cuts of a short stream of all types, then random bytes
// and mutated frames by fast-check (SLUICEWAY_WIRE_SEED repeats a run; the seed is in the name).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ErrorCode } from '../../src/base/errors.ts';
import { FrameDecoder } from '../../src/wire/decoder.ts';
import { FRAME, SHAPE, shapeOf } from '../../src/wire/frame.ts';
import { CONTROL_BODY_BYTES_MAX, FRAME_BYTES_MAX } from '../../src/wire/limits.ts';
import { bytesOf, EXAMPLES } from './examples.ts';
import { logFrames } from './frame-log.ts';

const SEED = Number(process.env.SLUICEWAY_WIRE_SEED ?? Date.now() % 0x7fff_ffff);
const RUNS = process.env.CI === 'true' ? 50_000 : 5000;

const ALL = Buffer.concat(EXAMPLES.map(bytesOf));
/** Every shape, short: value, body, DATA, value. */
const SHORT = Buffer.concat(
  EXAMPLES.filter(({ title }) => ['OPENED', 'UNREGISTER', 'DATA', 'FIN'].includes(title)).map(
    bytesOf,
  ),
);

function cut(bytes: Buffer, ...places: number[]): Buffer[] {
  const ends = [...places, bytes.length];
  return ends.map((end, index) => bytes.subarray(index === 0 ? 0 : ends[index - 1], end));
}

function header(type: number, stream: number, argument: number, mark?: number): Buffer {
  const bytes = Buffer.from([0x93, type, 0xce, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
  bytes.writeUInt32BE(stream, 3);
  bytes[7] = mark ?? (shapeOf(type) === SHAPE.BODY ? 0xc6 : 0xce);
  bytes.writeUInt32BE(argument, 8);
  return bytes;
}

test('the same bytes cut in two at every position give the same frames', () => {
  const whole = logFrames([ALL]);
  assert.equal(whole.error, undefined);
  assert.equal(whole.entries.length, EXAMPLES.length);
  for (let place = 0; place <= ALL.length; place += 1) {
    assert.deepEqual(logFrames(cut(ALL, place)), whole, `cut at ${place}`);
  }
});

test('the same bytes cut in three at every pair of positions give the same frames', () => {
  const whole = logFrames([SHORT]);
  assert.equal(whole.entries.length, 4);
  for (let first = 0; first <= SHORT.length; first += 1) {
    for (let second = first; second <= SHORT.length; second += 1) {
      assert.deepEqual(logFrames(cut(SHORT, first, second)), whole, `${first}, ${second}`);
    }
  }
});

test('bytes that come one by one give the same frames', () => {
  const single = Array.from(ALL, (byte) => Buffer.from([byte]));
  assert.deepEqual(logFrames(single), logFrames([ALL]));
});

test('payload is handed on as it arrives, and is not copied', () => {
  const pieces: Buffer[] = [];
  const none = (): void => assert.fail('no other frame was sent');
  const decoder = new FrameDecoder(
    { onValue: none, onBody: none, onDataStart() {}, onDataPiece: (piece) => pieces.push(piece) },
    FRAME_BYTES_MAX,
  );
  decoder.push(header(FRAME.DATA, 2, 300));
  const first = Buffer.alloc(100, 1);
  decoder.push(first);
  assert.equal(pieces[0], first);
  assert.equal(decoder.isBetweenFrames, false);
  const rest = Buffer.alloc(200, 2);
  decoder.push(rest);
  assert.equal(pieces[1], rest);
  assert.equal(decoder.isBetweenFrames, true);
});

test('a message may end between frames and nowhere else', () => {
  for (let place = 0; place < SHORT.length; place += 1) {
    const none = (): void => {};
    const decoder = new FrameDecoder(
      { onValue: none, onBody: none, onDataStart: none, onDataPiece: none },
      FRAME_BYTES_MAX,
    );
    decoder.push(SHORT.subarray(0, place));
    if (decoder.isBetweenFrames) decoder.endMessage();
    else assert.throws(() => decoder.endMessage(), { code: 'SLW_WIRE_PROTOCOL' });
  }
});

const DATA_MAX = 8192;
const BAD: readonly { name: string; bytes: Buffer; code: ErrorCode }[] = [
  { name: 'type 0', bytes: header(0, 0, 0), code: 'SLW_WIRE_FRAME_TYPE' },
  { name: 'type 0x0f', bytes: header(0x0f, 0, 0), code: 'SLW_WIRE_FRAME_TYPE' },
  { name: 'type 0x40', bytes: header(0x40, 0, 0), code: 'SLW_WIRE_FRAME_TYPE' },
  { name: 'type 0xff', bytes: header(0xff, 0, 0), code: 'SLW_WIRE_FRAME_TYPE' },
  {
    name: 'DATA over the limit',
    bytes: header(FRAME.DATA, 2, DATA_MAX + 1),
    code: 'SLW_WIRE_FRAME_TOO_LARGE',
  },
  {
    name: 'DATA of 4 GiB',
    bytes: header(FRAME.DATA, 2, 0xffff_ffff),
    code: 'SLW_WIRE_FRAME_TOO_LARGE',
  },
  {
    name: 'a control body over its limit',
    bytes: header(FRAME.OPEN, 2, CONTROL_BODY_BYTES_MAX + 1),
    code: 'SLW_WIRE_FRAME_TOO_LARGE',
  },
  { name: 'empty DATA', bytes: header(FRAME.DATA, 2, 0), code: 'SLW_WIRE_PROTOCOL' },
  { name: 'an empty body', bytes: header(FRAME.HELLO, 0, 0), code: 'SLW_WIRE_PROTOCOL' },
  { name: 'a value where a body is due', bytes: header(8, 2, 1, 0xce), code: 'SLW_WIRE_PROTOCOL' },
  { name: 'a body where a value is due', bytes: header(12, 0, 1, 0xc6), code: 'SLW_WIRE_PROTOCOL' },
  { name: 'bin 8', bytes: header(FRAME.DATA, 2, 1, 0xc4), code: 'SLW_WIRE_PROTOCOL' },
  {
    name: 'stream id 2^31',
    bytes: header(FRAME.FIN, 0x8000_0000, 0),
    code: 'SLW_WIRE_STREAM_ID',
  },
  {
    name: 'an array of four',
    bytes: Buffer.from('940ace00000002ce00000000', 'hex'),
    code: 'SLW_WIRE_PROTOCOL',
  },
  {
    name: 'a stream id of 64 bits',
    bytes: Buffer.from('930acf00000002ce00000000', 'hex'),
    code: 'SLW_WIRE_PROTOCOL',
  },
  {
    name: 'text of another protocol',
    bytes: Buffer.from('GET / HTTP/1.1\r\n'),
    code: 'SLW_WIRE_PROTOCOL',
  },
];

for (const { name, bytes, code } of BAD) {
  test(`${name} is ${code}, wherever it is cut, and delivers nothing`, () => {
    for (let place = 0; place <= bytes.length; place += 1) {
      const log = logFrames(
        [bytesOf(EXAMPLES[13] ?? assert.fail()), ...cut(bytes, place)],
        DATA_MAX,
      );
      assert.equal(log.error, code, `cut at ${place}`);
      assert.deepEqual(log.entries, ['14 0 17'], 'the frame before it, and no more');
    }
  });
}

test('lengths of exactly the limits pass', () => {
  const data = Buffer.concat([header(FRAME.DATA, 2, DATA_MAX), Buffer.alloc(DATA_MAX)]);
  const body = Buffer.alloc(CONTROL_BODY_BYTES_MAX);
  const open = Buffer.concat([header(FRAME.OPEN, 2, body.length), body]);
  const log = logFrames([data, open, header(FRAME.FIN, 0x7fff_ffff, 0)], DATA_MAX);
  assert.equal(log.error, undefined);
  assert.equal(log.entries.length, 3);
});

test('a truncated frame is no error and no frame: more may come', () => {
  for (let place = 1; place < 12; place += 1) {
    const log = logFrames([header(FRAME.FIN, 2, 0).subarray(0, place)]);
    assert.deepEqual([log.error, log.entries, log.isBetweenFrames], [undefined, [], false]);
  }
  const log = logFrames([header(FRAME.OPEN, 2, 10), Buffer.alloc(9)]);
  assert.deepEqual([log.error, log.entries, log.isBetweenFrames], [undefined, [], false]);
});

test(`random bytes give frames or a WireError, cut anywhere (${RUNS} runs, seed ${SEED})`, () => {
  const noise = fc.uint8Array({ maxLength: 200 });
  // Mostly right headers, so that the fuzz gets beyond the first byte.
  const near = fc
    .record({
      type: fc.oneof(fc.constantFrom(...Object.values(FRAME)), fc.nat({ max: 255 })),
      stream: fc.oneof(fc.nat({ max: 5 }), fc.nat({ max: 0xffff_ffff })),
      argument: fc.oneof(fc.nat({ max: 40 }), fc.nat({ max: 0xffff_ffff })),
      body: fc.uint8Array({ maxLength: 40 }),
      flip: fc.option(fc.record({ at: fc.nat({ max: 11 }), by: fc.nat({ max: 255 }) }), {
        freq: 4,
      }),
    })
    .map(({ type, stream, argument, body, flip }) => {
      const bytes = header(type, stream, argument);
      if (flip !== null) bytes[flip.at] = (bytes[flip.at] ?? 0) ^ flip.by;
      return Buffer.concat([bytes, body]);
    });
  const input = fc.oneof(
    noise.map((bytes) => Buffer.from(bytes)),
    fc.array(near, { maxLength: 6 }).map((frames) => Buffer.concat(frames)),
  );
  fc.assert(
    fc.property(input, fc.array(fc.nat({ max: 400 }), { maxLength: 8 }), (bytes, places) => {
      const sorted = places.map((place) => Math.min(place, bytes.length)).sort((a, b) => a - b);
      const { entries, error } = logFrames([bytes], DATA_MAX);
      const split = logFrames(cut(bytes, ...sorted), DATA_MAX);
      assert.deepEqual([split.entries, split.error], [entries, error]);
      if (error !== undefined) assert.ok(error.startsWith('SLW_WIRE_'), error);
    }),
    { numRuns: RUNS, seed: SEED },
  );
});
