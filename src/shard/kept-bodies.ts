// How much of request bodies a shard keeps until clients have opened their streams, so that other
// clients may have them.
//
// Invariant: never more than a number of bytes, of all requests together; who takes some gives as
// much back. Must not know: requests, or why one keeps nothing more.

/** Each of a link's 1,024 unanswered streams may have 192 KiB, and a shard has many links. Guess:
 * as many as 85 whole ones, where clients are not all silent at once. */
export const KEPT_BYTES_MAX = 16 * 1024 * 1024;

export class KeptBodies {
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  /** False: that many are not to be had. */
  take(bytes: number): boolean {
    if (this.#bytes + bytes > KEPT_BYTES_MAX) return false;
    this.#bytes += bytes;
    return true;
  }

  giveBack(bytes: number): void {
    this.#bytes -= bytes;
  }
}
