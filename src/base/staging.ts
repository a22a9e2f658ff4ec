// Small pieces that wait, copied behind one another: a piece of one byte that waits by itself costs
// some hundred bytes of objects, and a turn of whoever sends it.
//
//   piece, piece, piece --add--> [ piece piece piece | room ] --take--> one piece
//
// Invariant: order is kept; the memory is at most twice what is in it, or BYTES_MIN, so that it is
// not what costs; what was added is released, and what was taken belongs to its taker. Must not
// know: what it waits for.

import { readPool } from './read-pool.ts';

/** Pieces below this are worth a copy: one that waits by itself costs about 300 bytes (guess from
 * Node's request and buffer objects). */
export const SMALL_BYTES = 1024;
/** One that is as long is as good as any other. Guess. */
const BYTES_MAX = 16 * 1024;
/** About what the objects of one cost. */
const BYTES_MIN = 256;
const NOTHING = Buffer.alloc(0);

export class Staging {
  #memory = NOTHING;
  /** Of what is in it. */
  bytes = 0;

  /** False: there is no room for it before the next `take`. Else `piece` was copied. */
  add(piece: Buffer): boolean {
    const bytes = this.bytes + piece.length;
    if (bytes > BYTES_MAX) return false;
    if (bytes > this.#memory.length) this.#grow(bytes);
    piece.copy(this.#memory, this.bytes);
    this.bytes = bytes;
    readPool.release(piece, piece.length);
    return true;
  }

  /** All that is in it, in order. */
  take(): Buffer {
    const piece = this.#memory.subarray(0, this.bytes);
    this.clear();
    return piece;
  }

  clear(): void {
    this.#memory = NOTHING;
    this.bytes = 0;
  }

  #grow(bytesMin: number): void {
    let bytes = Math.max(BYTES_MIN, 2 * this.#memory.length);
    while (bytes < bytesMin) bytes *= 2;
    const memory = Buffer.alloc(bytes);
    this.#memory.copy(memory, 0, 0, this.bytes);
    this.#memory = memory;
  }
}
