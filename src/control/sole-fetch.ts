// What is fetched from somebody else: by one question at a time, and by none for a while after one
// that failed.
//
//   idle --run--> under way, for whoever runs it meanwhile --> last, or failed --cool-down--> idle
//
// Invariant: a failure is left alone for the cool-down, whoever asks; times are of the monotonic
// clock, for a wall clock that is set right would make what is a moment old last for hours. Must
// not know: what is fetched, or for how long it is good.

import type { Clock } from '../base/clock.ts';

export interface SoleFetchOptions<Found> {
  readonly fetch: () => Promise<Found>;
  /** After a failure the other side is left alone for so long. */
  readonly cooldownMs: number;
  readonly clock: Clock;
}

export class SoleFetch<Found> {
  readonly #options: SoleFetchOptions<Found>;
  #last: { readonly found: Found; readonly foundMs: number } | undefined;
  #underWay: Promise<Found> | undefined;
  #failedMs = Number.NEGATIVE_INFINITY;

  constructor(options: SoleFetchOptions<Found>) {
    this.#options = options;
  }

  /** What was found last, if that was less than `withinMs` ago. */
  lastWithin(withinMs: number): { readonly found: Found } | undefined {
    const last = this.#last;
    const isYoung = last !== undefined && this.#options.clock.nowMs() - last.foundMs < withinMs;
    return isYoung ? last : undefined;
  }

  /** Rejects at once within the cool-down of a failure. */
  async run(): Promise<Found> {
    const { clock, cooldownMs } = this.#options;
    if (clock.nowMs() - this.#failedMs < cooldownMs) {
      throw new Error('it did not answer a moment ago');
    }
    this.#underWay ??= this.#fetch().finally(() => {
      this.#underWay = undefined;
    });
    return this.#underWay;
  }

  async #fetch(): Promise<Found> {
    const { fetch, clock } = this.#options;
    try {
      const found = await fetch();
      this.#last = { found, foundMs: clock.nowMs() };
      return found;
    } catch (error) {
      this.#failedMs = clock.nowMs();
      throw error;
    }
  }
}
