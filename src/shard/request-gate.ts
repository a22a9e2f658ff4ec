// May one more request pass? Counts requests a second in all, by visitor address and by tunnel.
//
// Invariant: a tunnel, as an address (address-rates.ts), is known for as long as it has used up
// something within the last second, so that the map empties itself; an address that cannot be
// remembered is refused and not let through. Must not know: HTTP, sockets.

import type { ErrorCode } from '../base/errors.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { AddressRates } from './address-rates.ts';
import type { Limit } from './limited.ts';

export interface RequestRates {
  /** Each 0 for off. */
  readonly requestsPerSecondMax: number;
  readonly addressRequestsPerSecondMax: number;
  readonly tunnelRequestsPerSecondMax: number;
}

export class RequestGate {
  readonly #rates: RequestRates;
  readonly #onLimited: (limit: Limit) => void;
  /** Undefined: it is off. */
  readonly #addresses: AddressRates | undefined;
  readonly #tunnels = new Map<string, TokenBucket>();
  #all: TokenBucket | undefined;

  constructor(rates: RequestRates, onLimited: (limit: Limit) => void) {
    this.#rates = rates;
    const { addressRequestsPerSecondMax: ofAddress } = rates;
    this.#addresses = ofAddress === 0 ? undefined : new AddressRates(ofAddress);
    this.#onLimited = onLimited;
  }

  /** Buckets that have something to remember. */
  get size(): number {
    return (this.#addresses?.size ?? 0) + this.#tunnels.size;
  }

  /** A code when the request must wait. `tunnel` is undefined when it names none. */
  refusal(address: string, tunnel: string | undefined, nowMs: number): ErrorCode | undefined {
    // First by address, so that one visitor's surplus does not use up what is there for all.
    const limit =
      this.#ofAddress(address, nowMs) ?? this.#ofAll(nowMs) ?? this.#ofTunnel(tunnel, nowMs);
    if (limit === undefined) return undefined;
    this.#onLimited(limit);
    return 'SLW_HTTP_RATE_LIMIT';
  }

  /** About once a second: forgets who owes nothing. */
  sweep(nowMs: number): void {
    this.#addresses?.sweep(nowMs);
    const tunnels = this.#tunnels;
    for (const [tunnel, bucket] of tunnels) if (bucket.isFull(nowMs)) tunnels.delete(tunnel);
  }

  #ofAddress(address: string, nowMs: number): Limit | undefined {
    const isWithin = this.#addresses?.take(address, nowMs) ?? true;
    return isWithin ? undefined : 'requests-per-second-per-ip';
  }

  #ofAll(nowMs: number): Limit | undefined {
    const rate = this.#rates.requestsPerSecondMax;
    if (rate === 0) return undefined;
    this.#all ??= new TokenBucket(rate, nowMs);
    return this.#all.take(nowMs) ? undefined : 'requests-per-second';
  }

  #ofTunnel(tunnel: string | undefined, nowMs: number): Limit | undefined {
    const rate = this.#rates.tunnelRequestsPerSecondMax;
    if (rate === 0 || tunnel === undefined) return undefined;
    let bucket = this.#tunnels.get(tunnel);
    if (bucket === undefined) {
      bucket = new TokenBucket(rate, nowMs);
      this.#tunnels.set(tunnel, bucket);
    }
    return bucket.take(nowMs) ? undefined : 'tunnel-requests-per-second';
  }
}

/** Undefined when no rate is limited, so that a request pays one check. */
export function createRequestGate(
  rates: RequestRates,
  onLimited: (limit: Limit) => void,
): RequestGate | undefined {
  const isOff =
    rates.requestsPerSecondMax === 0 &&
    rates.addressRequestsPerSecondMax === 0 &&
    rates.tunnelRequestsPerSecondMax === 0;
  return isOff ? undefined : new RequestGate(rates, onLimited);
}
