// Turns bytes, cut anywhere, into frames. The only reader of headers.
//
// Invariant: DATA is handed on piece by piece as it arrives (a frame is never collected); other
// bodies are collected up to CONTROL_BODY_BYTES_MAX; a bad header raises WireError before anything
// of its frame was delivered. Must not know: streams, credit, or which link carries the bytes.

import { WireError } from '../base/errors.ts';
import { FRAME, FRAME_HEADER_BYTES, MARK, SHAPE, STREAM_ID_MAX, shapeOf } from './frame.ts';
import { CONTROL_BODY_BYTES_MAX } from './limits.ts';

export interface FrameSink {
  /** A frame without a body. */
  onValue(type: number, stream: number, value: number): void;
  /** A whole control body. Valid during the call only. */
  onBody(type: number, stream: number, body: Uint8Array): void;
  /** A DATA header; its `length` bytes follow as pieces. */
  onDataStart(stream: number, length: number): void;
  /** A piece of the payload; the receiver owns it from now on. */
  onDataPiece(piece: Buffer): void;
}

/** Where the decoder is: in a header, in a DATA payload, or collecting a control body. */
const AT = { HEADER: 0, PAYLOAD: 1, BODY: 2 } as const;

export class FrameDecoder {
  /** Bytes handed on by onDataPiece, all in all; the rest of what came was read here. */
  handedOnBytes = 0;
  readonly #sink: FrameSink;
  readonly #frameBytesMax: number;
  readonly #header = Buffer.alloc(FRAME_HEADER_BYTES);
  #at: number = AT.HEADER;
  #headerFilled = 0;
  #remaining = 0;
  #type = 0;
  #stream = 0;
  #body: Buffer | undefined;
  #bodyFilled = 0;

  constructor(sink: FrameSink, frameBytesMax: number) {
    this.#sink = sink;
    this.#frameBytesMax = frameBytesMax;
  }

  /** True between frames: where a message of the carrier may end. */
  get isBetweenFrames(): boolean {
    return this.#at === AT.HEADER && this.#headerFilled === 0;
  }

  /** Consumes all of `bytes`. Raises WireError; afterwards the decoder must not be used. */
  push(bytes: Buffer): void {
    let offset = 0;
    const end = bytes.length;
    while (offset < end) {
      if (this.#at === AT.HEADER) offset = this.#pushHeader(bytes, offset);
      else if (this.#at === AT.PAYLOAD) offset = this.#pushPayload(bytes, offset);
      else offset = this.#pushBody(bytes, offset);
    }
  }

  /** The carrier's message ended here; a frame never spans two messages. */
  endMessage(): void {
    if (!this.isBetweenFrames) throw new WireError('SLW_WIRE_PROTOCOL', 'message ends in a frame');
  }

  #pushHeader(bytes: Buffer, offset: number): number {
    if (this.#headerFilled === 0 && bytes.length - offset >= FRAME_HEADER_BYTES) {
      this.#readHeader(bytes, offset);
      return offset + FRAME_HEADER_BYTES;
    }
    const take = Math.min(FRAME_HEADER_BYTES - this.#headerFilled, bytes.length - offset);
    bytes.copy(this.#header, this.#headerFilled, offset, offset + take);
    this.#headerFilled += take;
    if (this.#headerFilled === FRAME_HEADER_BYTES) {
      this.#headerFilled = 0;
      this.#readHeader(this.#header, 0);
    }
    return offset + take;
  }

  #readHeader(bytes: Buffer, offset: number): void {
    const type = bytes[offset + 1] as number;
    const shape = shapeOf(type);
    if (bytes[offset] !== MARK.ARRAY3 || bytes[offset + 2] !== MARK.UINT32) {
      throw new WireError('SLW_WIRE_PROTOCOL', 'not a frame header');
    }
    if (shape === SHAPE.UNKNOWN) {
      throw new WireError('SLW_WIRE_FRAME_TYPE', `unknown frame type ${type}`);
    }
    const stream = readUint32(bytes, offset + 3);
    const argument = readUint32(bytes, offset + 8);
    if (stream > STREAM_ID_MAX) throw new WireError('SLW_WIRE_STREAM_ID', 'stream id over 31 bits');
    if (bytes[offset + 7] !== (shape === SHAPE.BODY ? MARK.BIN32 : MARK.UINT32)) {
      throw new WireError('SLW_WIRE_PROTOCOL', `wrong header for frame type ${type}`);
    }
    if (shape === SHAPE.VALUE) this.#sink.onValue(type, stream, argument);
    else this.#startBody(type, stream, argument);
  }

  #startBody(type: number, stream: number, length: number): void {
    if (length === 0) throw new WireError('SLW_WIRE_PROTOCOL', 'empty body');
    if (length > (type === FRAME.DATA ? this.#frameBytesMax : CONTROL_BODY_BYTES_MAX)) {
      throw new WireError('SLW_WIRE_FRAME_TOO_LARGE', `frame type ${type} of ${length} bytes`);
    }
    this.#remaining = length;
    if (type === FRAME.DATA) {
      this.#at = AT.PAYLOAD;
      this.#sink.onDataStart(stream, length);
      return;
    }
    this.#at = AT.BODY;
    this.#type = type;
    this.#stream = stream;
    this.#bodyFilled = 0;
  }

  #pushPayload(bytes: Buffer, offset: number): number {
    const take = Math.min(this.#remaining, bytes.length - offset);
    this.#remaining -= take;
    if (this.#remaining === 0) this.#at = AT.HEADER;
    this.handedOnBytes += take;
    const whole = offset === 0 && take === bytes.length;
    this.#sink.onDataPiece(whole ? bytes : bytes.subarray(offset, offset + take));
    return offset + take;
  }

  #pushBody(bytes: Buffer, offset: number): number {
    const take = Math.min(this.#remaining, bytes.length - offset);
    this.#remaining -= take;
    if (this.#remaining === 0 && this.#body === undefined) {
      this.#at = AT.HEADER;
      this.#sink.onBody(this.#type, this.#stream, bytes.subarray(offset, offset + take));
      return offset + take;
    }
    this.#body ??= Buffer.alloc(take + this.#remaining);
    bytes.copy(this.#body, this.#bodyFilled, offset, offset + take);
    this.#bodyFilled += take;
    if (this.#remaining === 0) {
      const body = this.#body;
      this.#body = undefined;
      this.#at = AT.HEADER;
      this.#sink.onBody(this.#type, this.#stream, body);
    }
    return offset + take;
  }
}

function readUint32(bytes: Buffer, offset: number): number {
  return (
    (((bytes[offset] as number) << 24) |
      ((bytes[offset + 1] as number) << 16) |
      ((bytes[offset + 2] as number) << 8) |
      (bytes[offset + 3] as number)) >>>
    0
  );
}
