// The fixed header, byte by byte.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Unpackr } from 'msgpackr';
import {
  FRAME,
  FRAME_HEADER_BYTES,
  isFrameType,
  SHAPE,
  shapeOf,
  writeHeader,
} from '../../src/wire/frame.ts';

function header(
  type: (typeof FRAME)[keyof typeof FRAME],
  stream: number,
  argument: number,
): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
  writeHeader(bytes, 0, { type, stream, argument });
  return bytes;
}

test('a header is twelve bytes, big-endian, with the marker of its shape', () => {
  assert.equal(header(FRAME.FIN, 2, 0).toString('hex'), '930ace00000002ce00000000');
  assert.equal(header(FRAME.DATA, 0x7fff_fffe, 5).toString('hex'), '9308ce7ffffffec600000005');
  assert.equal(header(FRAME.PING, 0, 0xffff_ffff).toString('hex'), '930cce00000000ceffffffff');
});

test('a header writes its twelve bytes and no other', () => {
  const bytes = Buffer.alloc(20, 0xee);
  writeHeader(bytes, 4, { type: FRAME.RST, stream: 1, argument: 32 });
  assert.equal(bytes.toString('hex'), 'eeeeeeee930bce00000001ce00000020eeeeeeee');
});

test('each frame is a valid msgpack array for a general decoder', () => {
  const decoder = new Unpackr({ int64AsType: 'number' });
  for (const type of Object.values(FRAME)) {
    const isBody = shapeOf(type) === SHAPE.BODY;
    const frame = Buffer.concat([header(type, 6, 3), Buffer.from(isBody ? 'abc' : '')]);
    const [first, stream, last] = decoder.unpack(frame) as [number, number, number | Uint8Array];
    assert.deepEqual([first, stream], [type, 6]);
    assert.deepEqual(
      isBody ? Buffer.from(last as Uint8Array).toString() : last,
      isBody ? 'abc' : 3,
    );
  }
});

test('exactly the fourteen types have a shape', () => {
  const known = new Set<number>(Object.values(FRAME));
  assert.equal(known.size, 14);
  for (let type = 0; type < 256; type += 1) assert.equal(isFrameType(type), known.has(type));
  for (const type of [-1, 256, 1.5, Number.NaN]) assert.equal(shapeOf(type), SHAPE.UNKNOWN);
});
