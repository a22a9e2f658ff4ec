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
  readonly #options: BackoffOptions;
  #attempts = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  get attempts(): number {
    return this.#attempts;
  }

  /** The next delay in milliseconds. */
  nextMs(): number {
    const { baseMs, maxMs, random } = this.#options;
    const ceilingMs = Math.min(maxMs, baseMs * 2 ** Math.min(this.#attempts, 30));
    this.#attempts += 1;
    return random() * ceilingMs;
  }

  reset(): void {
    this.#attempts = 0;
  }
}
