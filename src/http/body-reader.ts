// Where a body goes on, and where it ends: spans of the input to pass on, nothing copied.
//
//   while (!reader.isDone && offset < chunk.length) {
//     offset = reader.step(chunk, offset);
//     pass(reader.bytes, reader.start, reader.end);   // may be empty
//   }                                                 // then isComplete, or isBad
//
// Invariant: what follows the body's last byte is never inside a span. In raw mode a chunked body
// keeps its framing, without extensions and with trailers filtered; in decode mode only the data
// is left. Must not know: which message the body belongs to, or where spans go.

import { ChunkLine, LINE } from './chunk-line.ts';
import type { Framing } from './framing.ts';
import { PUSH } from './head-parser.ts';
import { CR, LF } from './octets.ts';
import { TrailerParser } from './trailer.ts';

export type BodyMode = 'raw' | 'decode';

const AT = {
  COMPLETE: 0,
  BAD: 1,
  LENGTH: 2,
  UNTIL_CLOSE: 3,
  LINE: 4,
  DATA: 5,
  DATA_CR: 6,
  DATA_LF: 7,
  /** After the last chunk's line. */
  TAIL: 8,
  TRAILERS: 9,
  LAST_LF: 10,
} as const;

const EMPTY = Buffer.alloc(0);

export class BodyReader {
  /** The span that the last `step` found: `bytes[start, end)`. */
  bytes: Buffer = EMPTY;
  start = 0;
  end = 0;
  /** Of the body so far, without framing and trailers. */
  dataBytes = 0;
  #at: number = AT.COMPLETE;
  #mode: BodyMode = 'raw';
  /** Bytes left of the body, or of the chunk. */
  #left = 0;
  readonly #line = new ChunkLine();
  #trailers: TrailerParser | undefined;

  begin(framing: Framing, length: number, mode: BodyMode): void {
    this.#mode = mode;
    this.#left = length;
    this.dataBytes = 0;
    this.release();
    if (framing === 'until-close') this.#at = AT.UNTIL_CLOSE;
    else if (framing === 'length' && length > 0) this.#at = AT.LENGTH;
    else if (framing === 'chunked') this.#at = AT.LINE;
    else this.#at = AT.COMPLETE;
    if (framing === 'chunked') this.#line.reset();
  }

  get isComplete(): boolean {
    return this.#at === AT.COMPLETE;
  }

  /** Broken framing. Nothing after it can be read. */
  get isBad(): boolean {
    return this.#at === AT.BAD;
  }

  get isDone(): boolean {
    return this.#at <= AT.BAD;
  }

  /** The input ended. True when that is a proper end of the body. */
  finish(): boolean {
    if (this.#at === AT.UNTIL_CLOSE) this.#at = AT.COMPLETE;
    return this.#at === AT.COMPLETE;
  }

  /** Lets go of the chunk that was read last. */
  release(): void {
    this.bytes = EMPTY;
    this.start = 0;
    this.end = 0;
  }

  /** Finds the next span from `chunk[offset]` on; returns where to go on. Not when done. */
  step(chunk: Buffer, offset: number): number {
    this.bytes = chunk;
    this.start = offset;
    this.end = offset;
    if (this.#at === AT.LENGTH) {
      this.end = Math.min(chunk.length, offset + this.#left);
      this.#left -= this.end - offset;
      this.dataBytes += this.end - offset;
      if (this.#left === 0) this.#at = AT.COMPLETE;
      return this.end;
    }
    if (this.#at === AT.UNTIL_CLOSE) {
      this.end = chunk.length;
      this.dataBytes += this.end - offset;
      return this.end;
    }
    return this.#mode === 'raw' ? this.#stepRaw(chunk, offset) : this.#stepDecoding(chunk, offset);
  }

  /** One span over as many chunks as go on without anything to leave out. */
  #stepRaw(chunk: Buffer, offset: number): number {
    if (this.#at === AT.TRAILERS) return this.#readTrailers(chunk, offset);
    let i = this.#line.isInExtension ? this.#skipExtension(chunk, offset) : offset;
    while (i < chunk.length && this.#at > AT.BAD) {
      if (this.#at === AT.DATA) {
        i = this.#skipData(chunk, i);
        continue;
      }
      const verdict = this.#readOctet(chunk[i] as number);
      if (verdict === LINE.DROP) {
        this.end = i;
        return i + 1;
      }
      if (this.#at === AT.TRAILERS) break;
      i += 1;
    }
    this.end = this.isBad ? this.start : i;
    return i;
  }

  /** Only the data, one chunk's at a time. */
  #stepDecoding(chunk: Buffer, offset: number): number {
    let i = offset;
    while (i < chunk.length && this.#at > AT.BAD) {
      if (this.#at === AT.TRAILERS) return this.#readTrailers(chunk, i);
      if (this.#at === AT.DATA) {
        this.start = i;
        this.end = this.#skipData(chunk, i);
        return this.end;
      }
      this.#readOctet(chunk[i] as number);
      if (this.#at !== AT.TRAILERS) i += 1;
    }
    this.start = i;
    this.end = i;
    return i;
  }

  /** Begins the span at the end of the extension; what was before it is left out. */
  #skipExtension(chunk: Buffer, offset: number): number {
    for (let i = offset; i < chunk.length; i += 1) {
      const verdict = this.#readOctet(chunk[i] as number);
      if (verdict === LINE.DROP) continue;
      this.start = i;
      return i + 1;
    }
    this.start = chunk.length;
    return chunk.length;
  }

  #skipData(chunk: Buffer, at: number): number {
    const bytes = Math.min(this.#left, chunk.length - at);
    this.#left -= bytes;
    this.dataBytes += bytes;
    if (this.#left === 0) this.#at = AT.DATA_CR;
    return at + bytes;
  }

  /** One octet of framing. It is not used up when it turns out to begin the trailers. */
  #readOctet(octet: number): number {
    switch (this.#at) {
      case AT.LINE:
        return this.#readLine(octet);
      case AT.DATA_CR:
        return this.#expect(octet, CR, AT.DATA_LF);
      case AT.DATA_LF:
        this.#line.next();
        return this.#expect(octet, LF, AT.LINE);
      case AT.TAIL:
        if (octet === CR) return this.#expect(octet, CR, AT.LAST_LF);
        this.#at = AT.TRAILERS;
        return LINE.KEEP;
      default:
        return this.#expect(octet, LF, AT.COMPLETE);
    }
  }

  #readLine(octet: number): number {
    const verdict = this.#line.read(octet);
    if (verdict === LINE.BAD) this.#at = AT.BAD;
    if (verdict !== LINE.END) return verdict;
    this.#left = this.#line.size;
    this.#at = this.#left === 0 ? AT.TAIL : AT.DATA;
    return LINE.KEEP;
  }

  #expect(octet: number, wanted: number, next: number): number {
    this.#at = octet === wanted ? next : AT.BAD;
    return LINE.KEEP;
  }

  #readTrailers(chunk: Buffer, offset: number): number {
    this.#trailers ??= new TrailerParser();
    const after = this.#trailers.push(chunk, offset);
    if (after === PUSH.MORE) {
      this.start = chunk.length;
      this.end = chunk.length;
      return chunk.length;
    }
    if (after !== PUSH.REFUSED && this.#mode === 'raw') {
      this.bytes = this.#trailers.filtered();
      this.start = 0;
      this.end = this.bytes.length;
    }
    this.#at = after === PUSH.REFUSED ? AT.BAD : AT.COMPLETE;
    this.#trailers.reset();
    return after === PUSH.REFUSED ? offset : after;
  }
}
