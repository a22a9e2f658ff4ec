// Slows down who guesses tokens: so many refusals a minute and address, then 429.
//
// Invariant: a good token is never held off, as it is looked at before this is asked; what is kept
// is bounded, whatever addresses there are. Must not know: tokens.

import { addressKey } from '../base/address-key.ts';
import type { Clock } from '../base/clock.ts';
import { TokenBucket } from '../base/token-bucket.ts';

/** Refusals in a minute (issue of the design: ten). */
const REFUSALS_MAX = 10;
const MINUTE_MS = 60_000;
/** Addresses remembered; the oldest is forgotten first. Guess: some 2 MB. */
const ADDRESSES_MAX = 10_000;

export class LoginThrottle {
  readonly #clock: Clock;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get addressesCount(): number {
    return this.#buckets.size;
  }

  /** A login failed. Seconds to wait before another may fail; 0 for none. */
  refuse(address: string): number {
    const key = addressKey(address);
    const nowMs = this.#clock.nowMs();
    const bucket = this.#buckets.get(key) ?? this.#add(key, nowMs);
    if (bucket.take(nowMs)) return 0;
    return Math.ceil(MINUTE_MS / REFUSALS_MAX / 1000);
  }

  #add(key: string, nowMs: number): TokenBucket {
    const bucket = new TokenBucket((REFUSALS_MAX * 1000) / MINUTE_MS, nowMs, REFUSALS_MAX);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size >= ADDRESSES_MAX && oldest !== undefined) this.#buckets.delete(oldest);
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
