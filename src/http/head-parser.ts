// What parsers of requests, responses and trailers share: where a head's bytes are while it is
// read. A head that is whole inside one chunk is parsed in place; only one that spans chunks is
// gathered in a buffer of its own.
//
// Invariant: at most HEAD_BYTES_MAX bytes are held; the verdict depends on the bytes and not on
// how they were cut. After a verdict nothing is read until `reset`. Must not know: what a start
// line looks like, or what fields mean.

import type { ErrorCode } from '../base/errors.ts';
import { ConnectionOptions } from './connection-options.ts';
import { FieldBlock, SCAN } from './field-block.ts';

/** Start line, fields and empty line (reliability.md 4.2: Node's and most servers' limit). */
export const HEAD_BYTES_MAX = 16 * 1024;
/** What `push` returns in place of an offset. */
export const PUSH = { MORE: -1, REFUSED: -2 } as const;

/** First size of the buffer for a head that spans chunks. Guess: most of them fit twice. */
const GATHER_BYTES_MIN = 1024;
const EMPTY = Buffer.alloc(0);

export abstract class HeadParser {
  /** Holds the head once `push` has returned an offset; valid until the next `push` or `reset`. */
  bytes: Buffer = EMPTY;
  /** Where the head begins in `bytes`; every other position is relative to it. */
  base = 0;
  readonly fields = new FieldBlock();
  readonly options = new ConnectionOptions();
  /** Why `push` returned REFUSED. */
  error: ErrorCode = 'SLW_NONE';
  /** Position up to which the head was scanned, and where its fields begin (0: not yet). */
  #at = 0;
  #fieldsAt = 0;
  /** How much of `bytes` is gathered; 0 while the head is parsed in place. */
  #gatheredBytes = 0;

  reset(): void {
    this.bytes = EMPTY;
    this.base = 0;
    this.error = 'SLW_NONE';
    this.#at = 0;
    this.#fieldsAt = 0;
    this.#gatheredBytes = 0;
    this.fields.reset();
    this.options.reset();
  }

  /** Has a part of a head been read? The empty line before a request is none. */
  get isStarted(): boolean {
    return this.#gatheredBytes > 0;
  }

  /** Length of the head, once it is whole. */
  get headBytes(): number {
    return this.#at;
  }

  /**
   * Reads from `chunk[offset]` on. Returns the offset after the head when it is whole, MORE when
   * the chunk is used up, or REFUSED with `error` set. The chunk must stay as it is while the
   * head is used, but not between two pushes.
   */
  push(chunk: Buffer, offset: number): number {
    const gatheredBefore = this.#gatheredBytes;
    if (gatheredBefore === 0) {
      this.bytes = chunk;
      this.base = offset;
    } else {
      this.#gather(chunk, offset);
    }
    const available = gatheredBefore === 0 ? chunk.length : this.#gatheredBytes;
    const limit = this.base + HEAD_BYTES_MAX;
    const verdict = this.#scan(Math.min(available, limit));
    if (verdict === PUSH.MORE && available >= limit) return this.refuse(this.tooLarge);
    if (verdict !== PUSH.MORE) return verdict < 0 ? verdict : offset + verdict - gatheredBefore;
    if (gatheredBefore === 0 && offset < chunk.length) this.#gather(chunk, offset);
    return PUSH.MORE;
  }

  /** Code for a head above a limit of size or count. */
  protected abstract readonly tooLarge: ErrorCode;

  /** Reads the start line from `at`: the position of the fields, a MORE, or a REFUSED. */
  protected abstract startLine(at: number, end: number): number;

  /** The start line has been read up to here when it asked for more. */
  protected startLineAt = 0;

  /** The head is whole: what it means, or REFUSED. */
  protected abstract finish(): number;

  protected refuse(code: ErrorCode): number {
    this.error = code;
    return PUSH.REFUSED;
  }

  protected abstract readonly malformed: ErrorCode;

  #scan(end: number): number {
    if (this.#fieldsAt === 0) {
      const at = this.startLine(this.#at, end);
      if (at === PUSH.MORE) this.#at = this.startLineAt;
      if (at < 0) return at;
      this.#at = at;
      this.#fieldsAt = 1;
    }
    const at = this.fields.scan(this.bytes, this.base, this.#at, end);
    if (at < 0) return this.#unfinished(at);
    this.#at = at;
    const verdict = this.finish();
    return verdict < 0 ? verdict : at;
  }

  #unfinished(scan: number): number {
    this.#at = this.fields.scannedTo;
    if (scan === SCAN.MORE) return PUSH.MORE;
    return this.refuse(scan === SCAN.TOO_MANY ? this.tooLarge : this.malformed);
  }

  /** Copies what of `chunk` may belong to the head behind what was gathered before. */
  #gather(chunk: Buffer, offset: number): void {
    const before = this.#gatheredBytes;
    const wanted = Math.min(HEAD_BYTES_MAX, before + chunk.length - offset);
    if (before === 0 || wanted > this.bytes.length) {
      const room = Math.min(HEAD_BYTES_MAX, Math.max(GATHER_BYTES_MIN, wanted * 2));
      const larger = Buffer.alloc(room);
      if (before > 0) this.bytes.copy(larger, 0, 0, before);
      this.bytes = larger;
    }
    chunk.copy(this.bytes, before, offset, offset + wanted - before);
    this.#gatheredBytes = wanted;
    this.base = 0;
  }
}
