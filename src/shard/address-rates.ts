// How often a second each address may do one thing.
//
// Invariant: an address is known for as long as it has used up something within the last second, so
// that the map empties itself; with the map full, an address that is not in it may not. Must not
// know: what is done, or by whom.

import { addressKey } from '../base/address-key.ts';
import { TokenBucket } from '../base/token-bucket.ts';

/** Addresses within a second: more than a shard can answer requests in it (some 20,000). */
const ADDRESSES_MAX = 65_536;

export class AddressRates {
  readonly perSecond: number;
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(perSecond: number) {
    this.perSecond = perSecond;
  }

  /** Addresses that have something to remember. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Takes one; false when there is none. */
  take(address: string, nowMs: number): boolean {
    const key = addressKey(address);
    let bucket = this.#buckets.get(key);
    if (bucket === undefined) {
      if (this.#buckets.size >= ADDRESSES_MAX) return false;
      bucket = new TokenBucket(this.perSecond, nowMs);
      this.#buckets.set(key, bucket);
    }
    return bucket.take(nowMs);
  }

  /** About once a second: forgets who owes nothing. */
  sweep(nowMs: number): void {
    for (const [key, bucket] of this.#buckets) if (bucket.isFull(nowMs)) this.#buckets.delete(key);
  }
}
