// The keys of an issuer of JWTs: fetched when they are needed, and kept for a while.
//
//   read --none, or old--> fetched --> kept --a key that is not among them--> fetched again
//     failed --cool-down--> fetched again by whoever comes next
//
// Invariant: one fetch is under way at a time, and is no nearer to the one before than the
// cool-downs say, whatever is asked for and whether it failed; all by the monotonic clock, for a
// wall clock that is set right would make keys of a moment ago last for hours. Must not know: what
// a key is, or what it is for.

import type { Clock } from '../base/clock.ts';

export interface IssuerKeysOptions<Keys> {
  readonly fetch: () => Promise<Keys>;
  /** A key that the issuer has withdrawn is believed for so long. */
  readonly keptMs: number;
  /** A key that is not known makes the keys be fetched again, this often at most. */
  readonly cooldownMs: number;
  /** After a failure the issuer is left alone for so long. */
  readonly failureCooldownMs: number;
  readonly clock: Clock;
}

export class IssuerKeys<Keys> {
  readonly #options: IssuerKeysOptions<Keys>;
  #kept: { readonly keys: Keys; readonly fetchedMs: number } | undefined;
  #fetching: Promise<Keys> | undefined;
  #failedMs = Number.NEGATIVE_INFINITY;

  constructor(options: IssuerKeysOptions<Keys>) {
    this.#options = options;
  }

  /** Rejects while there are none, or old ones only, and the issuer does not give any. */
  async read(): Promise<Keys> {
    const { clock, keptMs } = this.#options;
    const kept = this.#kept;
    return kept !== undefined && clock.nowMs() - kept.fetchedMs < keptMs
      ? kept.keys
      : this.#fetchOnce();
  }

  /** For a key that is not among `known`. Undefined: there are no others, as of a moment ago. */
  async readBeyond(known: Keys): Promise<Keys | undefined> {
    const { clock, cooldownMs } = this.#options;
    const kept = this.#kept;
    if (kept === undefined || clock.nowMs() - kept.fetchedMs >= cooldownMs) {
      return this.#fetchOnce();
    }
    return kept.keys === known ? undefined : kept.keys;
  }

  async #fetchOnce(): Promise<Keys> {
    const { clock, failureCooldownMs } = this.#options;
    if (clock.nowMs() - this.#failedMs < failureCooldownMs) {
      throw new Error('its keys could not be fetched a moment ago');
    }
    this.#fetching ??= this.#fetch().finally(() => {
      this.#fetching = undefined;
    });
    return this.#fetching;
  }

  async #fetch(): Promise<Keys> {
    const { fetch, clock } = this.#options;
    try {
      const keys = await fetch();
      this.#kept = { keys, fetchedMs: clock.nowMs() };
      return keys;
    } catch (error) {
      this.#failedMs = clock.nowMs();
      throw error;
    }
  }
}
