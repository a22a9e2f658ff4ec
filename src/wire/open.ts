// OPEN, the one control message that comes for each visitor: so it is written and read by place.
//
//   map of text and integers, as our own sides write it --> one pass over its bytes
//   anything else: other types, other keys, UTF-8, a mistake --> decodeBody, which judges it
//
// Invariant: whatever the one pass accepts, decodeBody accepts with the same result; what it does
// not, it has no opinion on. Must not know: what a tunnel is for, or who may open what.

import { decodeBody, encodeBody } from './body.ts';
import { integer, text } from './fields.ts';

/** Begins the `tunnel` of an OPEN from a client, before the target. */
export const FORWARD = 'forward:';
const WINDOW_MAX = 0x7fff_ffff;
const PORT_MAX = 65_535;
/** Of all texts together that are written by place: each has a length of one byte then. */
const WRITTEN_CHARS_MAX = 255;
/** Keys, marks and integers. */
const WRITTEN_BYTES_BESIDE = 80;
/** Behind every body: whatever is read there matches nothing. */
const NOWHERE = 2 ** 30;

export interface Open {
  /** As registered; from a client `forward:HOST:PORT`. */
  readonly tunnel: string;
  /** Credit that the acceptor has towards the opener. */
  readonly window: number;
  /** Who visits: address and port. */
  readonly address: string;
  readonly port: number;
  /** Where the visitor arrived, both or neither; for TCP and UDP tunnels. */
  readonly toAddress?: string;
  readonly toPort?: number;
  /** On the mesh only: the link that shall carry the stream; of another shard than the one that is
   * asked: an older one shall (shard/route-choice.ts). */
  readonly link: string;
}

/** What an opener says of the visitor. */
export interface OpenFields extends Pick<Open, 'tunnel' | 'address' | 'port'> {
  readonly toAddress?: string | undefined;
  readonly toPort?: number | undefined;
}

/** `link` on the mesh only. */
export function encodeOpen(fields: OpenFields, window: number, link = ''): Uint8Array {
  return writeByPlace(fields, window, link) ?? writeMap(fields, window, link);
}

function writeMap(fields: OpenFields, window: number, link: string): Uint8Array {
  const { tunnel, address, port, toAddress, toPort } = fields;
  const arrival = toAddress === undefined ? {} : { toAddress, toPort: toPort ?? 0 };
  const named = link === '' ? {} : { link };
  return encodeBody({ tunnel, address, port, ...arrival, window, ...named });
}

/** The same bytes; undefined when a text is long or not ASCII. */
function writeByPlace(fields: OpenFields, window: number, link: string): Uint8Array | undefined {
  const { tunnel, address, port, toAddress, toPort = 0 } = fields;
  const arrivalChars = toAddress === undefined ? 0 : toAddress.length;
  const chars = tunnel.length + address.length + arrivalChars + link.length;
  if (chars > WRITTEN_CHARS_MAX) return undefined;
  const written = new Written(Buffer.allocUnsafe(chars + WRITTEN_BYTES_BESIDE));
  written.text('tunnel', tunnel);
  written.text('address', address);
  written.integer('port', port);
  if (toAddress !== undefined) {
    written.text('toAddress', toAddress);
    written.integer('toPort', toPort);
  }
  written.integer('window', window);
  if (link !== '') written.text('link', link);
  return written.take();
}

/** Writes pairs of one map; a text that it cannot write spoils the whole. */
class Written {
  readonly #bytes: Buffer;
  #at = 1;
  #pairs = 0;
  #isAscii = true;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  text(key: string, text: string): void {
    this.#begin(key);
    if (text.length > 31) this.#bytes[this.#at++] = 0xd9;
    this.#bytes[this.#at++] = text.length > 31 ? text.length : 0xa0 | text.length;
    this.#append(text);
  }

  integer(key: string, value: number): void {
    this.#begin(key);
    const bytes = this.#bytes;
    const width = value <= 0x7f ? 0 : value <= 0xff ? 1 : value <= 0xffff ? 2 : 4;
    if (width > 0) bytes[this.#at++] = 0xcc + (width >> 1);
    for (let left = Math.max(width, 1); left > 0; left -= 1) {
      bytes[this.#at++] = value >>> (8 * (left - 1));
    }
  }

  take(): Uint8Array | undefined {
    this.#bytes[0] = 0x80 | this.#pairs;
    return this.#isAscii ? this.#bytes.subarray(0, this.#at) : undefined;
  }

  #begin(key: string): void {
    this.#pairs += 1;
    this.#bytes[this.#at++] = 0xa0 | key.length;
    this.#append(key);
  }

  #append(text: string): void {
    const bytes = this.#bytes;
    let seen = 0;
    for (let index = 0; index < text.length; index += 1) {
      const code = text.charCodeAt(index);
      seen |= code;
      bytes[this.#at + index] = code;
    }
    this.#at += text.length;
    if (seen > 0x7f) this.#isAscii = false;
  }
}

/** Raises a WireError for what is none. */
export function decodeOpen(bytes: Uint8Array): Open {
  return readByPlace(bytes) ?? readMap(bytes);
}

function readMap(bytes: Uint8Array): Open {
  const map = decodeBody(bytes);
  return {
    tunnel: text(map, 'tunnel'),
    window: integer(map, 'window', 1, WINDOW_MAX),
    address: text(map, 'address'),
    port: integer(map, 'port', 0, PORT_MAX),
    ...(map.has('toAddress')
      ? { toAddress: text(map, 'toAddress'), toPort: integer(map, 'toPort', 0, PORT_MAX) }
      : {}),
    link: map.has('link') ? text(map, 'link') : '',
  };
}

/**
 * As `encodeOpen` of both our sides writes it: these keys in this order, ASCII, unsigned integers.
 * Undefined for any other.
 */
function readByPlace(bytes: Uint8Array): Open | undefined {
  const pass = new Pass(bytes);
  const tunnel = pass.text('tunnel', LAST.tunnel);
  const address = pass.text('address', LAST.address);
  const port = pass.integer('port', 0, PORT_MAX);
  const hasArrival = pass.isNext('toAddress');
  const toAddress = hasArrival ? pass.text('toAddress', LAST.toAddress) : '';
  const toPort = hasArrival ? pass.integer('toPort', 0, PORT_MAX) : 0;
  const window = pass.integer('window', 1, WINDOW_MAX);
  const link = pass.isNext('link') ? pass.text('link', LAST.link) : '';
  if (!pass.isWhole) return undefined;
  LAST.tunnel = tunnel;
  LAST.address = address;
  LAST.link = link;
  if (!hasArrival) return { tunnel, window, address, port, link };
  LAST.toAddress = toAddress;
  return { tunnel, window, address, port, toAddress, toPort, link };
}

/** Texts of the last one, most of which come again. */
const LAST = { tunnel: '', address: '', toAddress: '', link: '' };

/** Goes over the pairs of one map; after a mismatch nothing matches any more. */
class Pass {
  readonly #bytes: Uint8Array;
  /** The next byte; NOWHERE after a mismatch. */
  #at = 1;
  #pairs = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** All pairs that the map says it has were passed, and nothing follows. */
  get isWhole(): boolean {
    return this.#at === this.#bytes.length && this.#bytes[0] === (0x80 | this.#pairs);
  }

  isNext(key: string): boolean {
    const bytes = this.#bytes;
    const at = this.#at;
    if (bytes[at] !== (0xa0 | key.length)) return false;
    for (let index = 0; index < key.length; index += 1) {
      if (bytes[at + 1 + index] !== key.charCodeAt(index)) return false;
    }
    return true;
  }

  /** `last` when it is the same once more. */
  text(key: string, last: string): string {
    this.#pass(key);
    const bytes = this.#bytes;
    const mark = bytes[this.#at] ?? 0;
    const isLong = mark === 0xd9;
    const from = this.#at + (isLong ? 2 : 1);
    const length = isLong ? (bytes[this.#at + 1] ?? 0) : mark & 0x1f;
    const end = from + length;
    if ((!isLong && (mark & 0xe0) !== 0xa0) || end > bytes.length) {
      this.#at = NOWHERE;
      return '';
    }
    const text = isSame(bytes, from, end, last) ? last : asciiText(bytes, from, end);
    this.#at = text === undefined ? NOWHERE : end;
    return text ?? '';
  }

  integer(key: string, low: number, high: number): number {
    this.#pass(key);
    const bytes = this.#bytes;
    const at = this.#at;
    const mark = bytes[at] ?? 0;
    // 0xcc, 0xcd, 0xce: of one, two and four bytes.
    const width = mark <= 0x7f ? 0 : mark >= 0xcc && mark <= 0xce ? 1 << (mark - 0xcc) : -1;
    let value = width === 0 ? mark : 0;
    for (let index = 1; index <= width; index += 1) value = value * 256 + (bytes[at + index] ?? 0);
    const fits = width >= 0 && low <= value && value <= high;
    this.#at = fits ? at + 1 + width : NOWHERE;
    return value;
  }

  #pass(key: string): void {
    this.#pairs += 1;
    this.#at = this.isNext(key) ? this.#at + 1 + key.length : NOWHERE;
  }
}

function isSame(bytes: Uint8Array, from: number, end: number, text: string): boolean {
  if (end - from !== text.length) return false;
  for (let at = from; at < end; at += 1) if (bytes[at] !== text.charCodeAt(at - from)) return false;
  return true;
}

/** Undefined: not only ASCII. */
function asciiText(bytes: Uint8Array, from: number, end: number): string | undefined {
  let text = '';
  for (let at = from; at < end; at += 1) {
    const byte = bytes[at] as number;
    if (byte > 0x7f) return undefined;
    text += String.fromCharCode(byte);
  }
  return text;
}
