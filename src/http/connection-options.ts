// What the Connection fields of a head say: close, keep-alive, upgrade, and which other fields
// they name as meant for this hop only.
//
// Invariant: Host, Content-Length and Transfer-Encoding are never treated as named, for their
// removal would change what the message is. At most NAMED_MAX names are kept, more are refused.
// Must not know: which message the head belongs to.

import type { FieldBlock } from './field-block.ts';
import { KIND } from './field-kind.ts';
import { COMMA, LOWER, matches, octets, SP, TAB } from './octets.ts';

/** Names beside the known ones. Guess: real messages name one or two. */
const NAMED_MAX = 32;

const CLOSE = octets('close');
const KEEP_ALIVE = octets('keep-alive');
const UPGRADE = octets('upgrade');
const TE = octets('te');

/** Calls `onToken` for each element of a comma-separated list, without empty ones. */
function eachElement(
  bytes: Uint8Array,
  start: number,
  end: number,
  onElement: (start: number, end: number) => void,
): void {
  let from = start;
  while (from < end) {
    let to = from;
    while (to < end && bytes[to] !== COMMA) to += 1;
    let first = from;
    let last = to;
    while (first < last && (bytes[first] === SP || bytes[first] === TAB)) first += 1;
    while (last > first && (bytes[last - 1] === SP || bytes[last - 1] === TAB)) last -= 1;
    if (last > first) onElement(first, last);
    from = to + 1;
  }
}

/** Is `token` an element of the list at `bytes[start, end)`? */
export function hasElement(
  bytes: Uint8Array,
  range: { readonly start: number; readonly end: number },
  token: Uint8Array,
): boolean {
  let found = false;
  eachElement(bytes, range.start, range.end, (start, end) => {
    if (end - start === token.length && matches(bytes, start, token, LOWER)) found = true;
  });
  return found;
}

export class ConnectionOptions {
  hasClose = false;
  hasKeepAlive = false;
  hasUpgrade = false;
  namedCount = 0;
  readonly #named = new Uint16Array(NAMED_MAX * 2);

  reset(): void {
    this.hasClose = false;
    this.hasKeepAlive = false;
    this.hasUpgrade = false;
    this.namedCount = 0;
  }

  /** Reads one Connection field. False: it names too many fields. */
  read(bytes: Uint8Array, base: number, start: number, end: number): boolean {
    const first = base + start;
    const length = end - start;
    // The two values that nearly every message has, without a closure.
    if (length === 10 && matches(bytes, first, KEEP_ALIVE, LOWER)) this.hasKeepAlive = true;
    else if (length === 5 && matches(bytes, first, CLOSE, LOWER)) this.hasClose = true;
    else eachElement(bytes, first, base + end, (from, to) => this.#note(bytes, base, from, to));
    return this.namedCount <= NAMED_MAX;
  }

  #note(bytes: Uint8Array, base: number, from: number, to: number): void {
    const length = to - from;
    if (length === 5 && matches(bytes, from, CLOSE, LOWER)) this.hasClose = true;
    else if (length === 10 && matches(bytes, from, KEEP_ALIVE, LOWER)) this.hasKeepAlive = true;
    else if (length === 7 && matches(bytes, from, UPGRADE, LOWER)) this.hasUpgrade = true;
    else if (length !== 2 || !matches(bytes, from, TE, LOWER)) {
      if (this.namedCount < NAMED_MAX) {
        this.#named[this.namedCount * 2] = from - base;
        this.#named[this.namedCount * 2 + 1] = to - base;
      }
      this.namedCount += 1;
    }
  }

  /** Did Connection name field `index`? */
  names(bytes: Uint8Array, base: number, fields: FieldBlock, index: number): boolean {
    const kind = fields.kinds[index];
    if (kind === KIND.HOST || kind === KIND.CONTENT_LENGTH) return false;
    const start = fields.nameStart(index);
    const length = fields.nameEnd(index) - start;
    for (let i = 0; i < this.namedCount; i += 1) {
      const named = this.#named[i * 2] as number;
      if ((this.#named[i * 2 + 1] as number) - named !== length) continue;
      let same = 0;
      while (same < length && sameLetter(bytes, base + named + same, base + start + same))
        same += 1;
      if (same === length) return true;
    }
    return false;
  }
}

function sameLetter(bytes: Uint8Array, a: number, b: number): boolean {
  return LOWER[bytes[a] as number] === LOWER[bytes[b] as number];
}
