// Buffers that sockets read into, and the account of who still uses their bytes.
//
//   | headroom, of a message that carries it | what was read |    |      one memory
//
//   take --> reading --lend(n bytes)--> lent --release, in parts, n bytes in all--> free again
//                    \--giveBack--> free again
//   giveAway --> another thread --adopt(n bytes)--> lent there, and free there
//   free, and not taken for seconds --shrink--> no memory any more
//
// Invariant: every lent byte is released once, by whoever owns it then, and a buffer is read into
// again only when its last byte was released. A buffer that is never released is lost to the pool
// and to nobody else: the garbage collector has it. Must not know: sockets, or what bytes mean.

import { assert } from './assert.ts';

/**
 * Room of a buffer: one read and a message that carries it. Four of them under way leave most of a
 * core's cache to others: 0045 has what other sizes cost.
 */
export const READ_BUFFER_BYTES = 64 * 1024;
/** Room of a wide one: what is gathered of TLS's records, or goes to another thread. */
export const WIDE_BUFFER_BYTES = 256 * 1024;
/** Before what was read: for the header of one message and the small frames before it. */
export const HEADROOM_BYTES = 128;
/**
 * One read at most; with its headers it fills a buffer at the other end, and not a few bytes of the
 * next.
 */
export const READ_BYTES = READ_BUFFER_BYTES - HEADROOM_BYTES;
/**
 * Free ones kept of each kind for longer than a second: what a link's slow readers hold before
 * memory is short. Those that come next use it again (measured without: 67 MB for 46, decision
 * 0052).
 */
const FREE_BYTES_MAX = 48 * 1024 * 1024;
const FREE_MAX = FREE_BYTES_MAX / READ_BUFFER_BYTES;
const FREE_WIDE_MAX = FREE_BYTES_MAX / WIDE_BUFFER_BYTES;
/** Of those that nobody took, an eighth goes at a time: half in five seconds. Guess. */
const SHRINK_SHARE = 8;
/** A piece that must wait is copied when it is less of its buffer, and would keep it from use. */
const KEEP_PART_MIN = 1 / 4;

/** Of a read: from here on its copy is one, and else memory of its own size. A record of TLS, 16
 * KiB, would hold four times what its window says. */
const KEEP_READ_MIN = 1 / 2;

/** The memory of a wide one: what `giveAway` gives and `adopt` takes. */
export const WHOLE_BYTES = HEADROOM_BYTES + WIDE_BUFFER_BYTES;

interface Loan {
  /** With the headroom. */
  readonly whole: Buffer;
  readonly buffer: Buffer;
  bytes: number;
  /** Nothing lies before what was lent. */
  isRead: boolean;
}

/** Free buffers of one kind. */
class FreeBuffers {
  readonly #countMax: number;
  readonly #buffers: Buffer[] = [];
  /** The fewest that were here since the last `shrink`: so many were not needed. */
  #unusedCount = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  take(): Buffer | undefined {
    const buffer = this.#buffers.pop();
    this.#unusedCount = Math.min(this.#unusedCount, this.#buffers.length);
    return buffer;
  }

  /**
   * Those over the limit as well, until the next `shrink`, as the caller may look at it still: no
   * more than were taken at once.
   */
  give(buffer: Buffer): void {
    this.#buffers.push(buffer);
  }

  shrink(): void {
    const unused = Math.ceil(this.#unusedCount / SHRINK_SHARE);
    const count = Math.max(unused, this.#buffers.length - this.#countMax);
    // The first are those that nobody took: what was used last is still in a cache.
    for (const buffer of this.#buffers.splice(0, count)) freeMemory(buffer);
    this.#unusedCount = this.#buffers.length;
  }

  get count(): number {
    return this.#buffers.length;
  }
}

/**
 * Frees what a buffer lies in, which has no bytes then. Garbage would wait for the next collection,
 * which buffers hardly bring about, and memory that is taken meanwhile would come beside it.
 */
function freeMemory({ buffer }: Buffer): void {
  (buffer as ArrayBuffer).transfer(0);
}

export class ReadPool {
  readonly #free = new FreeBuffers(FREE_MAX);
  readonly #freeWide = new FreeBuffers(FREE_WIDE_MAX);
  readonly #loans = new WeakMap<ArrayBufferLike, Loan>();
  #lentCount = 0;
  /** What copies are put into, from `#copiesEnd` on. */
  #copies: Loan | undefined;
  #copiesEnd = 0;

  /** Buffers of which somebody has not released all bytes. */
  get lentCount(): number {
    return this.#lentCount - (this.#isCopiesRoomAlone() ? 1 : 0);
  }

  /** Buffers that wait for the next read. */
  get freeCount(): number {
    return this.#free.count + this.#freeWide.count;
  }

  /** About once a second: gives back some of what was not taken since the last time. */
  shrink(): void {
    this.#free.shrink();
    this.#freeWide.shrink();
  }

  /** A buffer of READ_BYTES to read into. */
  take(): Buffer {
    const bytes = HEADROOM_BYTES + READ_BUFFER_BYTES;
    return this.#free.take() ?? this.#enter(Buffer.allocUnsafeSlow(bytes)).buffer;
  }

  /** A wide one, to gather in. */
  takeWide(): Buffer {
    return this.#freeWide.take() ?? this.#enter(Buffer.allocUnsafeSlow(WHOLE_BYTES)).buffer;
  }

  /** The memory of a free wide one, if there is one, to be transferred to another thread. */
  spare(): ArrayBuffer | undefined {
    return this.#freeWide.take()?.buffer as ArrayBuffer | undefined;
  }

  /**
   * The memory of a wide one to fill from its beginning on: the caller transfers it to another
   * thread, or gives it to `welcome` again.
   */
  giveAway(): Buffer<ArrayBuffer> {
    return this.#loans.get(this.takeWide().buffer)?.whole as Buffer<ArrayBuffer>;
  }

  /** Memory that another thread has given away, lent from `from` to `to`: it stays here. */
  adopt(memory: ArrayBuffer, from: number, to: number): Buffer {
    const loan = this.#enter(Buffer.from(memory));
    assert(from < to && to <= WHOLE_BYTES, 'a part of the memory is lent');
    loan.bytes = to - from;
    loan.isRead = false;
    this.#lentCount += 1;
    return loan.whole.subarray(from, to);
  }

  /** Memory that nothing is in: from another thread, or from `giveAway`. */
  welcome(memory: ArrayBuffer): void {
    const loan = this.#loans.get(memory) ?? this.#enter(Buffer.from(memory));
    this.giveBack(loan.buffer);
  }

  #enter(whole: Buffer): Loan {
    const buffer = whole.subarray(HEADROOM_BYTES, whole.length - HEADROOM_BYTES);
    const loan: Loan = { whole, buffer, bytes: 0, isRead: true };
    this.#loans.set(whole.buffer, loan);
    return loan;
  }

  /** Takes back a buffer from `take` that was not lent. */
  giveBack(buffer: Buffer): void {
    (buffer.length > READ_BYTES ? this.#freeWide : this.#free).give(buffer);
  }

  /** Lends the first `bytes` of a buffer from `take`, which is not the caller's any more. */
  lend(buffer: Buffer, bytes: number): Buffer {
    const loan = this.#loans.get(buffer.buffer);
    assert(loan?.bytes === 0 && bytes > 0, 'a buffer is lent once at a time');
    loan.bytes = bytes;
    loan.isRead = true;
    this.#lentCount += 1;
    return loan.whole.subarray(HEADROOM_BYTES, HEADROOM_BYTES + bytes);
  }

  /**
   * A copy of `piece`, of less than READ_BYTES, on loan: behind other copies in one buffer, at its
   * beginning again when nobody has any of them (0055). All of the buffer is lent meanwhile, the
   * room behind the last copy to the pool itself: a byte at least, or the last copy's release would
   * make it free while it is filled here.
   *
   *   | headroom | copy | copy | copy | room |
   */
  copy(piece: Uint8Array): Buffer {
    const bytes = piece.length;
    assert(bytes > 0 && bytes < READ_BYTES, 'a copy is of a part of a read');
    const loan = this.#roomForCopy(bytes);
    const from = HEADROOM_BYTES + this.#copiesEnd;
    this.#copiesEnd += bytes;
    const copy = loan.whole.subarray(from, from + bytes);
    copy.set(piece);
    return copy;
  }

  #roomForCopy(bytes: number): Loan {
    const loan = this.#copies;
    if (this.#isCopiesRoomAlone()) {
      this.#copiesEnd = 0;
      if (loan !== undefined) loan.bytes = READ_BYTES;
    }
    if (loan !== undefined && this.#copiesEnd + bytes < READ_BYTES) return loan;
    const buffer = this.take();
    this.lend(buffer, READ_BYTES);
    const next = this.#loans.get(buffer.buffer) as Loan;
    if (loan !== undefined) this.#releaseOf(loan, READ_BYTES - this.#copiesEnd);
    this.#copies = next;
    this.#copiesEnd = 0;
    return next;
  }

  /** Has every copy been released? */
  #isCopiesRoomAlone(): boolean {
    return this.#copies?.bytes === READ_BYTES - this.#copiesEnd;
  }

  /** The first `bytes` of a buffer from `take`, which may be READ_BUFFER_BYTES, to read into. */
  room(buffer: Buffer, bytes: number): Buffer {
    if (bytes === buffer.length) return buffer;
    const whole = this.#loans.get(buffer.buffer)?.whole ?? buffer;
    return whole.subarray(HEADROOM_BYTES, HEADROOM_BYTES + bytes);
  }

  /** What is behind the first `bytes` of a buffer from `take`, to the end of its memory. */
  roomBehind(buffer: Buffer, bytes: number): Buffer {
    const whole = this.#loans.get(buffer.buffer)?.whole ?? buffer;
    return whole.subarray(HEADROOM_BYTES + bytes);
  }

  /** `bytes` of what `piece` lies in will not be looked at again. Of other memory: nothing. */
  release(piece: Uint8Array, bytes: number): void {
    if (bytes === 0) return;
    const loan = this.#loans.get(piece.buffer);
    if (loan !== undefined) this.#releaseOf(loan, bytes);
  }

  #releaseOf(loan: Loan, bytes: number): void {
    assert(bytes <= loan.bytes, 'every lent byte is released once');
    loan.bytes -= bytes;
    if (loan.bytes > 0) return;
    this.#lentCount -= 1;
    this.giveBack(loan.buffer);
  }

  isLent(piece: Uint8Array): boolean {
    return this.#loans.has(piece.buffer);
  }

  /**
   * The memory of a lent `piece` that is the beginning of its read, from the headroom on. Its owner
   * alone writes there, and once.
   */
  wholeOf(piece: Uint8Array): Buffer | undefined {
    if (piece.byteOffset !== HEADROOM_BYTES) return undefined;
    const loan = this.#loans.get(piece.buffer);
    return loan?.isRead === true ? loan.whole : undefined;
  }

  /**
   * `piece` for somebody who must wait with it and then releases it: itself, or a copy when it is a
   * small part of its memory, also of Node's own blocks of 64 KiB. Of a wide one a part may be as
   * much as a read, and its copy is on loan as well: new memory for each was 110 MB a second of a
   * download over TLS, and six collections (0054).
   */
  keep<Piece extends Uint8Array>(piece: Piece): Piece | Buffer {
    const loan = this.#loans.get(piece.buffer);
    const wholeBytes = loan?.buffer.length ?? piece.buffer.byteLength;
    if (piece.length >= wholeBytes * KEEP_PART_MIN || piece.length === 0) return piece;
    const isRead = loan !== undefined && piece.length >= READ_BUFFER_BYTES * KEEP_READ_MIN;
    const copy = isRead
      ? this.lend(this.take(), piece.length)
      : Buffer.allocUnsafeSlow(piece.length);
    copy.set(piece);
    this.release(piece, piece.length);
    return copy;
  }

  /** `piece` in memory that need not be released: itself, or a copy when it is lent. */
  own<Piece extends Uint8Array>(piece: Piece): Piece | Buffer {
    if (piece.length === 0 || !this.isLent(piece)) return piece;
    const copy = Buffer.from(piece);
    this.release(piece, piece.length);
    return copy;
  }
}

/** The pool of this thread. */
export const readPool = new ReadPool();
