// Reads RFC 6455 frames from bytes cut anywhere, and hands payload on as it arrives.
//
//   0: FIN RSV1-3 opcode(4) | 1: MASK length(7) | 0, 2 or 8 bytes of length | 0 or 4 bytes of key
//
// Invariant: every rule of the specification that concerns a receiver without extensions is kept
// (RFC 6455 sections 5 and 7), counts are bounded as well as sizes (CVE-2026-48779), and no
// payload is collected but that of control frames. Must not know: sockets, or what payload means.

import { WireError } from '../base/errors.ts';

/** Close status codes (RFC 6455 section 7.4.1). */
export const CLOSE = {
  NORMAL: 1000,
  GOING_AWAY: 1001,
  PROTOCOL: 1002,
  UNSUPPORTED: 1003,
  INVALID_TEXT: 1007,
  POLICY: 1008,
  TOO_LARGE: 1009,
} as const;

export const OPCODE = {
  CONTINUATION: 0x0,
  TEXT: 0x1,
  BINARY: 0x2,
  CLOSE: 0x8,
  PING: 0x9,
  PONG: 0xa,
} as const;

/** Longest header: 2 + 8 + 4 bytes (specification). */
export const WS_HEADER_BYTES_MAX = 14;
/** Payload of a control frame (specification). */
export const WS_CONTROL_BYTES_MAX = 125;
/** Fragments of one message: ours send one, an intermediary may cut (guess). */
const FRAGMENTS_MAX = 16;
/** Frames from here on are worth a read that ends with them. Guess. */
const BULK_FRAME_BYTES_MIN = 16 * 1024;

/** A peer broke RFC 6455; `closeCode` is the status to close with. */
export class WebSocketError extends WireError {
  override name = 'WebSocketError';
  readonly closeCode: number;

  constructor(closeCode: number, detail: string) {
    super('SLW_WIRE_WEBSOCKET', detail);
    this.closeCode = closeCode;
  }
}

export interface WsFrameSink {
  /** A piece of a binary message; unmasked, in order. The sink owns it. */
  onPayload(piece: Buffer): void;
  onMessageEnd(): void;
  /** A whole CLOSE, PING or PONG. Valid during the call only. */
  onControl(opcode: number, payload: Buffer): void;
}

export interface WsFrameReaderOptions {
  readonly sink: WsFrameSink;
  /** True at the server: client frames are masked, server frames are not (section 5.1). */
  readonly isMasked: boolean;
  readonly messageBytesMax: number;
}

const AT = { HEADER: 0, PAYLOAD: 1, CONTROL: 2 } as const;

export class WsFrameReader {
  readonly #sink: WsFrameSink;
  readonly #isMasked: boolean;
  readonly #messageBytesMax: number;
  readonly #header = Buffer.alloc(WS_HEADER_BYTES_MAX);
  readonly #key = Buffer.alloc(4);
  #control: Buffer | undefined;
  #at: number = AT.HEADER;
  #filled = 0;
  #opcode = 0;
  #isFinal = false;
  #remaining = 0;
  /** Where in the key the next byte stands. */
  #phase = 0;
  #hasKey = false;
  #fragments = 0;
  #messageBytes = 0;
  /** Of the newest data frame, with its header. */
  #frameBytes = 0;

  constructor(options: WsFrameReaderOptions) {
    this.#sink = options.sink;
    this.#isMasked = options.isMasked;
    this.#messageBytesMax = options.messageBytesMax;
  }

  /** Consumes all of `bytes`. Raises WebSocketError, and whatever the sink raises. */
  push(bytes: Buffer): void {
    let offset = 0;
    while (offset < bytes.length) {
      if (this.#at === AT.HEADER) offset = this.#pushHeader(bytes, offset);
      else if (this.#at === AT.PAYLOAD) offset = this.#pushPayload(bytes, offset);
      else offset = this.#pushControl(bytes, offset);
    }
  }

  /**
   * How much to read next, `bytesMax` at most, so that the read ends with a frame if those to come
   * are as long as the newest. Bulk is frames of one length; a read that ends a few bytes into one
   * costs whoever gets its payload a write more.
   */
  readBytes(bytesMax: number): number {
    const restBytes = this.#at === AT.PAYLOAD ? this.#remaining : 0;
    const frameBytes = this.#frameBytes;
    if (frameBytes >= BULK_FRAME_BYTES_MIN && restBytes + frameBytes <= bytesMax) {
      return restBytes + Math.floor((bytesMax - restBytes) / frameBytes) * frameBytes;
    }
    return restBytes >= BULK_FRAME_BYTES_MIN ? Math.min(restBytes, bytesMax) : bytesMax;
  }

  #pushHeader(bytes: Buffer, offset: number): number {
    const whole = headerLength(bytes, offset);
    if (this.#filled === 0 && whole > 0 && offset + whole <= bytes.length) {
      this.#readHeader(bytes, offset);
      return offset + whole;
    }
    this.#header[this.#filled] = bytes[offset] as number;
    this.#filled += 1;
    if (this.#filled >= 2 && this.#filled === headerLength(this.#header, 0)) {
      this.#filled = 0;
      this.#readHeader(this.#header, 0);
    }
    return offset + 1;
  }

  #readHeader(bytes: Buffer, offset: number): void {
    const first = bytes[offset] as number;
    const second = bytes[offset + 1] as number;
    if ((first & 0x70) !== 0) throw protocol('reserved bits are set');
    if (((second & 0x80) !== 0) !== this.#isMasked) throw protocol('wrong masking');
    const length = payloadLength(bytes, offset, second & 0x7f);
    this.#opcode = first & 0x0f;
    this.#isFinal = (first & 0x80) !== 0;
    this.#remaining = length;
    this.#readKey(bytes, offset, second & 0x7f);
    if (this.#opcode >= OPCODE.CLOSE) {
      this.#startControl(length);
      return;
    }
    this.#frameBytes = headerLength(bytes, offset) + length;
    this.#startData(length);
  }

  #readKey(bytes: Buffer, offset: number, short: number): void {
    this.#phase = 0;
    this.#hasKey = false;
    if (!this.#isMasked) return;
    const at = offset + 2 + extendedBytes(short);
    bytes.copy(this.#key, 0, at, at + 4);
    this.#hasKey = this.#key.readUInt32BE(0) !== 0;
  }

  #startControl(length: number): void {
    if (this.#opcode > OPCODE.PONG) throw protocol(`unknown opcode ${this.#opcode}`);
    if (!this.#isFinal) throw protocol('fragmented control frame');
    if (length > WS_CONTROL_BYTES_MAX) throw protocol('control frame too long');
    this.#control = Buffer.alloc(length);
    this.#filled = 0;
    this.#at = AT.CONTROL;
    if (length === 0) this.#endControl();
  }

  #startData(length: number): void {
    if (this.#opcode === OPCODE.TEXT) {
      throw new WebSocketError(CLOSE.UNSUPPORTED, 'text message');
    }
    if (this.#opcode > OPCODE.BINARY) throw protocol(`unknown opcode ${this.#opcode}`);
    if ((this.#opcode === OPCODE.CONTINUATION) !== this.#fragments > 0) {
      throw protocol('misplaced continuation');
    }
    this.#fragments += 1;
    this.#messageBytes += length;
    if (this.#fragments > FRAGMENTS_MAX) throw new WebSocketError(CLOSE.POLICY, 'fragments');
    if (this.#messageBytes > this.#messageBytesMax) {
      throw new WebSocketError(CLOSE.TOO_LARGE, `message over ${this.#messageBytesMax} bytes`);
    }
    if (length === 0 && this.#messageBytes === 0 && this.#isFinal) {
      throw new WebSocketError(CLOSE.POLICY, 'empty message');
    }
    this.#at = AT.PAYLOAD;
    if (length === 0) this.#endData();
  }

  #pushPayload(bytes: Buffer, offset: number): number {
    const take = Math.min(this.#remaining, bytes.length - offset);
    const whole = offset === 0 && take === bytes.length;
    const piece = whole ? bytes : bytes.subarray(offset, offset + take);
    if (this.#hasKey) {
      applyMask(piece, this.#key, this.#phase);
      this.#phase = (this.#phase + take) & 3;
    }
    this.#remaining -= take;
    this.#sink.onPayload(piece);
    if (this.#remaining === 0) this.#endData();
    return offset + take;
  }

  #endData(): void {
    this.#at = AT.HEADER;
    if (!this.#isFinal) return;
    this.#fragments = 0;
    this.#messageBytes = 0;
    this.#sink.onMessageEnd();
  }

  #pushControl(bytes: Buffer, offset: number): number {
    const control = this.#control as Buffer;
    const take = Math.min(control.length - this.#filled, bytes.length - offset);
    bytes.copy(control, this.#filled, offset, offset + take);
    this.#filled += take;
    if (this.#filled === control.length) this.#endControl();
    return offset + take;
  }

  #endControl(): void {
    const control = this.#control as Buffer;
    this.#control = undefined;
    this.#filled = 0;
    this.#at = AT.HEADER;
    if (this.#hasKey) applyMask(control, this.#key, 0);
    this.#sink.onControl(this.#opcode, control);
  }
}

/** Status of a CLOSE payload, NORMAL for none. Raises WebSocketError (section 7.4). */
export function readCloseCode(payload: Buffer): number {
  if (payload.length === 0) return CLOSE.NORMAL;
  if (payload.length === 1) throw protocol('close code of one byte');
  const code = payload.readUInt16BE(0);
  const isKnown =
    (code >= 1000 && code <= 1014 && ![1004, 1005, 1006].includes(code)) ||
    (code >= 3000 && code <= 4999);
  if (!isKnown) throw protocol(`close code ${code}`);
  const reason = payload.subarray(2);
  if (reason.length > 0 && !isUtf8Text(reason)) {
    throw new WebSocketError(CLOSE.INVALID_TEXT, 'close reason is not UTF-8');
  }
  return code;
}

/** From here on a view of words costs less than it saves. Guess. */
const WORDS_BYTES_MIN = 256;
const wordBytes = new Uint8Array(4);
const word = new Int32Array(wordBytes.buffer);

/** XORs `bytes` in place with the key, of which byte `phase` comes first; four at a time. */
export function applyMask(bytes: Uint8Array, key: Buffer, phase: number): void {
  if (bytes.length < WORDS_BYTES_MIN) {
    maskBytes(bytes, key, phase, 0);
    return;
  }
  // Up to where a word begins in memory.
  const start = -bytes.byteOffset & 3;
  for (let index = 0; index < start; index += 1) {
    (bytes[index] as number) ^= key[(phase + index) & 3] as number;
  }
  for (let index = 0; index < 4; index += 1) {
    wordBytes[index] = key[(phase + start + index) & 3] as number;
  }
  const mask = word[0] as number;
  const words = new Int32Array(
    bytes.buffer,
    bytes.byteOffset + start,
    (bytes.length - start) >>> 2,
  );
  for (let index = 0; index < words.length; index += 1) (words[index] as number) ^= mask;
  maskBytes(bytes, key, phase, start + words.length * 4);
}

function maskBytes(bytes: Uint8Array, key: Buffer, phase: number, from: number): void {
  for (let index = from; index < bytes.length; index += 1) {
    (bytes[index] as number) ^= key[(phase + index) & 3] as number;
  }
}

/** Writes the header of a final frame so that it ends at `end`; returns where it starts. */
export function writeWsHeader(
  target: Buffer,
  end: number,
  frame: { readonly opcode: number; readonly length: number; readonly key: Buffer | undefined },
): number {
  const { opcode, length, key } = frame;
  const extended = length < 126 ? 0 : length < 65_536 ? 2 : 8;
  const start = end - 2 - extended - (key === undefined ? 0 : 4);
  const maskBit = key === undefined ? 0 : 0x80;
  target[start] = 0x80 | opcode;
  if (extended === 0) {
    target[start + 1] = maskBit | length;
  } else if (extended === 2) {
    target[start + 1] = maskBit | 126;
    target.writeUInt16BE(length, start + 2);
  } else {
    target[start + 1] = maskBit | 127;
    target.writeUInt32BE(Math.floor(length / 2 ** 32), start + 2);
    target.writeUInt32BE(length >>> 0, start + 6);
  }
  key?.copy(target, end - 4);
  return start;
}

function headerLength(bytes: Buffer, offset: number): number {
  const second = bytes[offset + 1];
  if (second === undefined) return 0;
  return 2 + extendedBytes(second & 0x7f) + (second & 0x80 ? 4 : 0);
}

function extendedBytes(short: number): number {
  return short < 126 ? 0 : short === 126 ? 2 : 8;
}

function payloadLength(bytes: Buffer, offset: number, short: number): number {
  if (short < 126) return short;
  if (short === 126) return bytes.readUInt16BE(offset + 2);
  const high = bytes.readUInt32BE(offset + 2);
  if (high > 0) {
    if (high >= 0x8000_0000) throw protocol('64-bit length with its top bit set');
    throw new WebSocketError(CLOSE.TOO_LARGE, 'frame over 4 GiB');
  }
  return bytes.readUInt32BE(offset + 6);
}

function isUtf8Text(bytes: Buffer): boolean {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    // The decoder's only way to say no.
    return false;
  }
}

function protocol(detail: string): WebSocketError {
  return new WebSocketError(CLOSE.PROTOCOL, detail);
}
