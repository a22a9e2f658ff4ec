// OPEN, the one control message that comes for each visitor: as such it is read by place.
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
  /** On the mesh only: the link that shall carry the stream. */
  readonly link: string;
}

export function encodeOpen({ link, ...open }: Open): Uint8Array {
  return encodeBody(link === '' ? open : { ...open, link });
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
