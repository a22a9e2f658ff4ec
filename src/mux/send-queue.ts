// What a stream has to send and may not yet, oldest first: pieces, and the place of our FIN.
//
//   small piece --\
//                  staged --when it is next, or something follows--> pieces --first, next--> sent
//   other piece --------------------------------------------------/
//
// Invariant: order is kept; small pieces wait as one, so that a window of one-byte frames costs its
// bytes; taking the next costs the same however many wait (`shift()` moves all that are behind
// it); pieces are released once, and FIN is last. Must not know: credit, links.

import { readPool } from '../base/read-pool.ts';
import { SMALL_BYTES, Staging } from '../base/staging.ts';

/** Marks the place of our FIN. */
export const FIN_MARK = Buffer.alloc(0);
/** Places of pieces that are gone, before those behind them move up: once for as many. */
const GONE_MAX = 32;

export class SendQueue {
  readonly #pieces: Buffer[] = [];
  /** Of the oldest in `#pieces`. */
  #at = 0;
  #staging: Staging | undefined;
  /** Of all that wait. */
  bytes = 0;

  get isEmpty(): boolean {
    return this.#pieces.length === 0 && !this.#isStaging;
  }

  /** FIN was asked for. */
  get isEnded(): boolean {
    return this.#pieces.at(-1) === FIN_MARK;
  }

  /** Owns `piece`. */
  add(piece: Buffer): void {
    this.bytes += piece.length;
    if (piece.length < SMALL_BYTES) {
      this.#staging ??= new Staging();
      if (this.#staging.add(piece)) return;
    }
    this.#unstage();
    if (piece.length >= SMALL_BYTES) this.#pieces.push(readPool.keep(piece));
    else this.#staging?.add(piece);
  }

  end(): void {
    this.#unstage();
    this.#pieces.push(FIN_MARK);
  }

  /** Nothing but FIN is left. */
  get isAtEnd(): boolean {
    return this.#pieces[this.#at] === FIN_MARK;
  }

  /** The oldest, which stays; FIN_MARK for the place of FIN. */
  first(): Buffer | undefined {
    if (this.#pieces.length === 0) this.#unstage();
    return this.#pieces[this.#at];
  }

  /** So many bytes of `first` are gone. */
  advance(bytes: number): void {
    const first = this.#pieces[this.#at] ?? FIN_MARK;
    this.bytes -= bytes;
    if (bytes === first.length) this.#leave();
    else this.#pieces[this.#at] = first.subarray(bytes);
  }

  /** What waits is lost. */
  clear(): void {
    const pieces = this.#pieces;
    for (let at = this.#at; at < pieces.length; at += 1) {
      const piece = pieces[at] ?? FIN_MARK;
      readPool.release(piece, piece.length);
    }
    pieces.length = 0;
    this.#at = 0;
    this.#staging = undefined;
    this.bytes = 0;
  }

  get #isStaging(): boolean {
    return this.#staging !== undefined && this.#staging.bytes > 0;
  }

  #unstage(): void {
    if (this.#staging !== undefined && this.#isStaging) this.#pieces.push(this.#staging.take());
  }

  #leave(): void {
    const pieces = this.#pieces;
    pieces[this.#at] = FIN_MARK;
    this.#at += 1;
    if (this.#at === pieces.length) {
      pieces.length = 0;
      this.#at = 0;
    } else if (this.#at >= GONE_MAX && this.#at * 2 >= pieces.length) {
      pieces.copyWithin(0, this.#at);
      pieces.length -= this.#at;
      this.#at = 0;
    }
  }
}
