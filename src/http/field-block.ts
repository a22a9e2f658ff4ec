// The field section of a head or of trailers: where each field stands, found byte by byte.
//
// Invariant: only `name ":" OWS value OWS CRLF` passes, with no folding, no bare CR or LF, no
// space before the colon and no control byte; scanning stops at any byte and goes on from there
// with the same result. Positions are relative to `base`, so that the bytes may move between two
// calls. Must not know: what a field means beyond its kind, or which message it belongs to.

import { type KIND, kindOf } from './field-kind.ts';
import { COLON, CR, LF, SP, TAB, TOKEN, VALUE } from './octets.ts';

/** Fields in one section (reliability.md 4.2; a measured page load has 15 to 30). */
export const FIELDS_MAX = 100;

/** What `scan` returns in place of a position. */
export const SCAN = { MORE: -1, BAD: -2, TOO_MANY: -3 } as const;

const AT = { START: 0, NAME: 1, OWS: 2, VALUE: 3, LF: 4, LAST_LF: 5 } as const;

export class FieldBlock {
  count = 0;
  /** KIND of each field. */
  readonly kinds = new Uint8Array(FIELDS_MAX);
  /** Name start, name end, value start, value end of each field; heads are below 64 KiB. */
  readonly marks = new Uint16Array(FIELDS_MAX * 4);
  /** Where the empty line stands that ends the section. */
  linesEnd = 0;
  /** Up to where `scan` has looked when it asked for more. */
  scannedTo = 0;
  #at: number = AT.START;
  #nameStart = 0;
  #nameEnd = 0;
  #valueStart = 0;
  #valueEnd = 0;

  reset(): void {
    this.count = 0;
    this.linesEnd = 0;
    this.scannedTo = 0;
    this.#at = AT.START;
  }

  nameStart(index: number): number {
    return this.marks[index * 4] as number;
  }

  nameEnd(index: number): number {
    return this.marks[index * 4 + 1] as number;
  }

  valueStart(index: number): number {
    return this.marks[index * 4 + 2] as number;
  }

  valueEnd(index: number): number {
    return this.marks[index * 4 + 3] as number;
  }

  /** One after the line of field `index`, its CRLF included. */
  lineEnd(index: number): number {
    return index + 1 < this.count ? (this.marks[index * 4 + 4] as number) : this.linesEnd;
  }

  /** Is the line exactly `name: value`, so that it may be copied as it is? */
  isTidy(index: number): boolean {
    const mark = index * 4;
    const valueStart = this.marks[mark + 2] as number;
    const valueEnd = this.marks[mark + 3] as number;
    return (
      valueStart === (this.marks[mark + 1] as number) + 2 && valueEnd + 2 === this.lineEnd(index)
    );
  }

  /**
   * Scans `bytes[base + from, end)`, and returns the position after the empty line, relative to
   * `base`, or a SCAN value. After MORE, go on from `scannedTo`.
   */
  scan(bytes: Uint8Array, base: number, from: number, end: number): number {
    let i = base + from;
    while (i < end) {
      switch (this.#at) {
        case AT.START:
          this.#nameStart = i - base;
          if (bytes[i] === CR) {
            this.#at = AT.LAST_LF;
            i += 1;
            break;
          }
          if (this.count === FIELDS_MAX) return SCAN.TOO_MANY;
          this.#at = AT.NAME;
          break;
        case AT.NAME:
          while (i < end && TOKEN[bytes[i] as number] === 1) i += 1;
          if (i === end) break;
          if (bytes[i] !== COLON || i - base === this.#nameStart) return SCAN.BAD;
          this.#nameEnd = i - base;
          this.#at = AT.OWS;
          i += 1;
          break;
        case AT.OWS:
          while (i < end && (bytes[i] === SP || bytes[i] === TAB)) i += 1;
          if (i === end) break;
          this.#valueStart = i - base;
          this.#at = AT.VALUE;
          break;
        case AT.VALUE:
          while (i < end && VALUE[bytes[i] as number] === 1) i += 1;
          if (i === end) break;
          if (bytes[i] !== CR) return SCAN.BAD;
          this.#valueEnd = this.#trimmedEnd(bytes, base, i);
          this.#at = AT.LF;
          i += 1;
          break;
        case AT.LF:
          if (bytes[i] !== LF) return SCAN.BAD;
          i += 1;
          this.#record(bytes, base);
          this.#at = AT.START;
          break;
        default:
          if (bytes[i] !== LF) return SCAN.BAD;
          this.linesEnd = this.#nameStart;
          return i + 1 - base;
      }
    }
    this.scannedTo = i - base;
    return SCAN.MORE;
  }

  #trimmedEnd(bytes: Uint8Array, base: number, at: number): number {
    const start = base + this.#valueStart;
    let end = at;
    while (end > start && (bytes[end - 1] === SP || bytes[end - 1] === TAB)) end -= 1;
    return end - base;
  }

  #record(bytes: Uint8Array, base: number): void {
    const mark = this.count * 4;
    this.marks[mark] = this.#nameStart;
    this.marks[mark + 1] = this.#nameEnd;
    this.marks[mark + 2] = this.#valueStart;
    this.marks[mark + 3] = this.#valueEnd;
    this.kinds[this.count] = kindOf(bytes, base + this.#nameStart, base + this.#nameEnd);
    this.count += 1;
  }

  /** The only field of `kind`: its index, -1 for none, -2 for several. */
  only(kind: (typeof KIND)[keyof typeof KIND]): number {
    let found = -1;
    for (let i = 0; i < this.count; i += 1) {
      if (this.kinds[i] !== kind) continue;
      if (found !== -1) return -2;
      found = i;
    }
    return found;
  }
}
