// Delays between attempts: exponential with full jitter, so that clients do not return in step.
//
// Invariant: 0 <= delay <= ceiling, and the ceiling never exceeds `maxMs`. Source: "Exponential
// Backoff And Jitter", AWS Architecture Blog, 2015. Must not know: what is attempted.

export interface BackoffOptions {
  readonly baseMs: number;
  readonly maxMs: number;
  /** Uniform in [0, 1). A parameter, so that tests can choose. */
  readonly random: () => number;
}

export class Backoff {
  readonly #random: () => number;
  #baseMs: number;
  #maxMs: number;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#random = options.random;
    this.#baseMs = options.baseMs;
    this.#maxMs = options.maxMs;
  }

  get attempts(): number {
    return this.#attempts;
  }

  /** The next delay in milliseconds. */
  nextMs(): number {
    const ceilingMs = Math.min(this.#maxMs, this.#baseMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    return this.#random() * ceilingMs;
  }

  /** From the next delay on. */
  setRange({ baseMs, maxMs }: { readonly baseMs: number; readonly maxMs: number }): void {
    this.#baseMs = baseMs;
    this.#maxMs = maxMs;
  }

  reset(): void {
    this.#attempts = 0;
  }
}
