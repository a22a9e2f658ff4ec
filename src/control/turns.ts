// Work that is done one piece after the other, in the order in which it came.
//
// Invariant: a piece begins when the one before it has ended. Pieces do not fail: each says itself
// what went wrong. Must not know: what is done.

export class Turns {
  #last: Promise<void> = Promise.resolve();

  /** Resolves when `piece` has ended. */
  take(piece: () => Promise<void>): Promise<void> {
    this.#last = this.#last.then(piece);
    return this.#last;
  }
}
