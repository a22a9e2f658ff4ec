// What was told in the log of late: each matter once in a while, however often it is met.
//
// Invariant: as many matters as MATTERS_MAX are remembered; beyond that all are forgotten, so that
// one is told again too early rather than never. Must not know: what is told, or to whom.

/** One line a matter in so long: each visitor may meet the same. Guess. */
const AGAIN_MS = 60_000;
/** Guess: more than anybody reads in a minute. */
const MATTERS_MAX = 1000;

export class Told {
  readonly #toldMs = new Map<string, number>();

  /** Is it time to tell of `matter`? Counts as told if so. */
  isNews(matter: string, nowMs: number): boolean {
    const toldMs = this.#toldMs.get(matter);
    if (toldMs !== undefined && nowMs - toldMs < AGAIN_MS) return false;
    if (this.#toldMs.size >= MATTERS_MAX) this.#toldMs.clear();
    this.#toldMs.set(matter, nowMs);
    return true;
  }
}
