// Which path prefix a request target falls under, among those of one host.
//
// Invariant: compared is a copy in normal form (RFC 3986 6.2.2: unreserved characters decoded,
// escapes in capitals, dot segments removed; case and empty segments stay), the longest prefix on
// a segment's edge wins, and the bytes of the request are not touched. Linear in the target, whose
// length its parser bounds. Must not know: hosts, or what a prefix leads to.

import { DOT, HEX, octets, QUESTION, SLASH } from './octets.ts';
import { TARGET_BYTES_MAX } from './request-head.ts';

/** Where a request's path stands; what RequestParser has. */
export interface TargetRange {
  readonly bytes: Buffer;
  readonly base: number;
  readonly targetStart: number;
  readonly targetEnd: number;
  readonly targetPrefix: '' | '/' | '*';
}

const PERCENT = 0x25;
const UNRESERVED = new Uint8Array(256);
for (const octet of octets('-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')) {
  UNRESERVED[octet] = 1;
}

const CAPITALS = octets('0123456789ABCDEF');
/** What HEX has for other octets is above every digit. */
const NO_DIGIT = 16;
const NOT_DOTTED = -1;

/** One more than the longest target: the slash of a target that begins with its query. */
const SCRATCH = Buffer.alloc(TARGET_BYTES_MAX + 1);

export class PathTable {
  readonly #names = new Map<string, string>();
  /** How many prefixes have each length: a prefix that goes costs lengths, and not prefixes. */
  readonly #counts = new Map<number, number>();
  #lengthMax = 0;

  get isEmpty(): boolean {
    return this.#names.size === 0;
  }

  /** `prefix` is in its normal form, as base/path-prefix.ts has it. */
  set(prefix: string, name: string): void {
    const { length } = prefix;
    if (!this.#names.has(prefix)) this.#counts.set(length, (this.#counts.get(length) ?? 0) + 1);
    this.#names.set(prefix, name);
    this.#lengthMax = Math.max(this.#lengthMax, length);
  }

  delete(prefix: string): void {
    if (!this.#names.delete(prefix)) return;
    const { length } = prefix;
    const left = (this.#counts.get(length) ?? 0) - 1;
    this.#counts.set(length, left);
    if (left > 0) return;
    this.#counts.delete(length);
    this.#lengthMax = Math.max(0, ...this.#counts.keys());
  }

  /** What the longest prefix of the target leads to. */
  match(target: TargetRange): string | undefined {
    if (target.targetPrefix === '*') return undefined;
    const { bytes, base } = target;
    const length = normalise(bytes, base + target.targetStart, base + target.targetEnd);
    // One more, so that a prefix of the full length is seen to end at a slash.
    const shown = Math.min(length, this.#lengthMax + 1);
    const path = SCRATCH.toString('latin1', 0, shown);
    let cut = shown === length ? shown : path.lastIndexOf('/');
    while (cut > 0) {
      const name = this.#names.get(path.slice(0, cut));
      if (name !== undefined) return name;
      cut = path.lastIndexOf('/', cut - 1);
    }
    return undefined;
  }
}

/** Writes the path of `bytes[start, end)` to SCRATCH in its normal form; returns its length. */
function normalise(bytes: Uint8Array, start: number, end: number): number {
  SCRATCH[0] = SLASH;
  let length = 1;
  let segment = 1;
  let at = start < end && bytes[start] === SLASH ? start + 1 : start;
  for (; at < end && bytes[at] !== QUESTION; at += 1) {
    const octet = bytes[at] as number;
    if (octet === SLASH) {
      const cut = dotCut(segment, length);
      if (cut === NOT_DOTTED) {
        SCRATCH[length] = SLASH;
        length += 1;
      } else {
        length = cut;
      }
      segment = length;
    } else if (octet === PERCENT && at + 2 < end) {
      length = writeEscape(bytes, at, length);
      // What escapes nothing stays as it is, and so does what follows it.
      if (isEscape(bytes, at)) at += 2;
    } else {
      SCRATCH[length] = octet;
      length += 1;
    }
  }
  const cut = dotCut(segment, length);
  return cut === NOT_DOTTED ? length : cut;
}

function isEscape(bytes: Uint8Array, at: number): boolean {
  const high = HEX[bytes[at + 1] as number] as number;
  const low = HEX[bytes[at + 2] as number] as number;
  return high < NO_DIGIT && low < NO_DIGIT;
}

/** Writes the escape at `at` decoded or in capitals, or the percent sign alone. */
function writeEscape(bytes: Uint8Array, at: number, length: number): number {
  SCRATCH[length] = PERCENT;
  if (!isEscape(bytes, at)) return length + 1;
  const high = HEX[bytes[at + 1] as number] as number;
  const low = HEX[bytes[at + 2] as number] as number;
  const octet = high * 16 + low;
  if (UNRESERVED[octet] === 1) {
    SCRATCH[length] = octet;
    return length + 1;
  }
  SCRATCH[length + 1] = CAPITALS[high] as number;
  SCRATCH[length + 2] = CAPITALS[low] as number;
  return length + 3;
}

/** Where the path goes on when its segment from `segment` on is `.` or `..`. */
function dotCut(segment: number, length: number): number {
  const size = length - segment;
  if (size === 0 || size > 2 || SCRATCH[segment] !== DOT) return NOT_DOTTED;
  if (size === 1) return segment;
  if (SCRATCH[segment + 1] !== DOT) return NOT_DOTTED;
  return segment === 1 ? 1 : SCRATCH.lastIndexOf(SLASH, segment - 2) + 1;
}
