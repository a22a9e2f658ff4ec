// The bytes of a frame: one fixed header of 12 bytes, itself the start of valid msgpack.
//
//   byte   0     1     2     3  4  5  6   7     8  9 10 11   12 ...
//        +-----+-----+-----+------------+-----+------------+---------+
//        | 93  |type | ce  |  stream id | c6  |   length   |  body   |   HELLO .. OPEN, DATA
//        | 93  |type | ce  |  stream id | ce  |   value    |             OPENED, CREDIT .. GOAWAY
//        +-----+-----+-----+------------+-----+------------+---------+
//
// i.e. the array [type, uint32, bin32] or [type, uint32, uint32], big-endian. Invariant: decoding
// needs no general decoder and no look-ahead, and the same bytes cut anywhere give the same frames.
// Must not know: what a stream is, or who carries the bytes. docs/protocol.md has this file's hash.

/** Bytes of every frame header (specification). */
export const FRAME_HEADER_BYTES = 12;

/** Frame types (specification). Below 0x40 a type that was not agreed on is an error. */
export const FRAME = {
  HELLO: 0x01,
  WELCOME: 0x02,
  REGISTER: 0x03,
  REGISTERED: 0x04,
  UNREGISTER: 0x05,
  OPEN: 0x06,
  OPENED: 0x07,
  DATA: 0x08,
  CREDIT: 0x09,
  FIN: 0x0a,
  RST: 0x0b,
  PING: 0x0c,
  PONG: 0x0d,
  GOAWAY: 0x0e,
} as const;

export type FrameType = (typeof FRAME)[keyof typeof FRAME];

/** Markers of msgpack that the header uses (specification). */
export const MARK = { ARRAY3: 0x93, UINT32: 0xce, BIN32: 0xc6 } as const;

/** What follows a header of each type: 0 unknown type, 1 a body of `length` bytes, 2 nothing. */
export const SHAPE = { UNKNOWN: 0, BODY: 1, VALUE: 2 } as const;

const SHAPES = new Uint8Array(256);
for (const type of [
  FRAME.HELLO,
  FRAME.WELCOME,
  FRAME.REGISTER,
  FRAME.REGISTERED,
  FRAME.UNREGISTER,
  FRAME.OPEN,
  FRAME.DATA,
]) {
  SHAPES[type] = SHAPE.BODY;
}
for (const type of [
  FRAME.OPENED,
  FRAME.CREDIT,
  FRAME.FIN,
  FRAME.RST,
  FRAME.PING,
  FRAME.PONG,
  FRAME.GOAWAY,
]) {
  SHAPES[type] = SHAPE.VALUE;
}

/** The shape of `type`, one of SHAPE. */
export function shapeOf(type: number): number {
  return SHAPES[type] ?? SHAPE.UNKNOWN;
}

export function isFrameType(type: number): type is FrameType {
  return shapeOf(type) !== SHAPE.UNKNOWN;
}

/** Largest stream id: 31 bits, so that ids are small integers in every language (specification). */
export const STREAM_ID_MAX = 0x7fff_ffff;

/** Writes a header at `offset`; `argument` is the body's length or the value. */
export function writeHeader(
  target: Uint8Array,
  offset: number,
  frame: { readonly type: FrameType; readonly stream: number; readonly argument: number },
): void {
  putHeader(target, offset, frame.type, frame.stream);
  putArgument(
    target,
    offset,
    SHAPES[frame.type] === SHAPE.BODY ? MARK.BIN32 : MARK.UINT32,
    frame.argument,
  );
}

/** First 7 bytes of a header. Split from the rest so that the hot path passes only numbers. */
export function putHeader(target: Uint8Array, offset: number, type: number, stream: number): void {
  target[offset] = MARK.ARRAY3;
  target[offset + 1] = type;
  target[offset + 2] = MARK.UINT32;
  target[offset + 3] = stream >>> 24;
  target[offset + 4] = stream >>> 16;
  target[offset + 5] = stream >>> 8;
  target[offset + 6] = stream;
}

/** Last 5 bytes of a header: the marker and its number. */
export function putArgument(
  target: Uint8Array,
  offset: number,
  mark: number,
  argument: number,
): void {
  target[offset + 7] = mark;
  target[offset + 8] = argument >>> 24;
  target[offset + 9] = argument >>> 16;
  target[offset + 10] = argument >>> 8;
  target[offset + 11] = argument;
}
