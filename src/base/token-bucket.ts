// So many a second, with some saved up: numbers only.
//
// Invariant: never more than `burst` are saved up; a clock that goes back gives nothing and takes
// nothing but the time it went. Below zero is owed. Must not know: what is counted, or what time
// it is.

export class TokenBucket {
  #burst: number;
  #perSecond: number;
  #tokens: number;
  #filledMs: number;

  /** Full at the start; `burst` is a second's worth unless it is given. */
  constructor(perSecond: number, nowMs: number, burst = perSecond) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
    this.#filledMs = nowMs;
  }

  get burst(): number {
    return this.#burst;
  }

  /** From now on; what is saved up beyond the new burst is gone. */
  setRate(perSecond: number, nowMs: number, burst = perSecond): void {
    this.fill(nowMs);
    this.#perSecond = perSecond;
    this.#burst = burst;
    this.#tokens = Math.min(this.#tokens, burst);
  }

  /** As of the last `fill`, less what was spent since. */
  get tokens(): number {
    return this.#tokens;
  }

  /** Adds what time has brought; returns what there is. */
  fill(nowMs: number): number {
    const elapsedMs = Math.max(0, nowMs - this.#filledMs);
    this.#filledMs = nowMs;
    this.add((elapsedMs * this.#perSecond) / 1000);
    return this.#tokens;
  }

  add(tokens: number): void {
    this.#tokens = Math.min(this.#burst, this.#tokens + tokens);
  }

  /** Takes `tokens`, whether they are there or not. */
  spend(tokens: number): void {
    this.#tokens -= tokens;
  }

  /** Takes one; false when there is none. */
  take(nowMs: number): boolean {
    if (this.fill(nowMs) < 1) return false;
    this.spend(1);
    return true;
  }

  /** Nothing is owed: a new bucket would be the same. */
  isFull(nowMs: number): boolean {
    return this.fill(nowMs) >= this.#burst;
  }
}
