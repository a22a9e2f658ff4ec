// Slows down who guesses tokens and passwords: so many refusals a minute and address, then 429.
//
// Invariant: a good token is never held off, as it is looked at before this is asked. It is too
// long to be guessed; a password is not, so that whoever compares one asks `isSpent` first. What is
// kept is bounded, whatever addresses there are. Must not know: tokens, passwords.

import { addressKey } from './address-key.ts';
import type { Clock } from './clock.ts';
import { TokenBucket } from './token-bucket.ts';

/** One login more of an address may fail in so many seconds, once too many have failed. */
export const LOGIN_RETRY_SECONDS = 6;

/** Refusals at once; after them one in LOGIN_RETRY_SECONDS, so that ten a minute go on. */
const REFUSALS_MAX = 10;
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

  /** Would the next failure be one too many? Counts nothing. */
  isSpent(address: string): boolean {
    const bucket = this.#buckets.get(addressKey(address));
    return bucket !== undefined && bucket.fill(this.#clock.nowMs()) < 1;
  }

  /** A login failed. False: it was one too many, and is to be told so. */
  refuse(address: string): boolean {
    const key = addressKey(address);
    const nowMs = this.#clock.nowMs();
    const bucket = this.#buckets.get(key) ?? this.#add(key, nowMs);
    return bucket.take(nowMs);
  }

  #add(key: string, nowMs: number): TokenBucket {
    const bucket = new TokenBucket(1 / LOGIN_RETRY_SECONDS, nowMs, REFUSALS_MAX);
    const [oldest] = this.#buckets.keys();
    if (this.#buckets.size >= ADDRESSES_MAX && oldest !== undefined) this.#buckets.delete(oldest);
    this.#buckets.set(key, bucket);
    return bucket;
  }
}
