// What one tunnel may use: open streams, and bytes a second each way.
//
// Invariant: all streams of a tunnel share its two throttles; a tunnel that is forgotten leaves
// nothing behind but what its last streams hold. Directions are the visitor's, as in the metrics:
// `in` comes from visitors. Must not know: links, routes, sockets.

import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { Stream } from '../mux/stream.ts';
import { Throttle } from '../mux/throttle.ts';
import type { Limit } from './limited.ts';

/** Receive window of a stream under `out`, to begin with: what each new one may get ahead of its
 * turn. Guess: a web page's first bytes; it grows when the rate allows. */
export const THROTTLED_WINDOW_BYTES = 16 * 1024;

export interface TunnelRates {
  /** Each 0 for off. */
  readonly tunnelConnectionsMax: number;
  readonly tunnelBytesInPerSecondMax: number;
  readonly tunnelBytesOutPerSecondMax: number;
}

interface Throttles {
  readonly in: Throttle | undefined;
  readonly out: Throttle | undefined;
}

export class TunnelLimits {
  /** What a stream under these limits begins with at most; undefined: no limit of its own. */
  readonly windowBytesMax: number | undefined;
  readonly #rates: TunnelRates;
  readonly #clock: Clock;
  readonly #onLimited: (limit: Limit, times?: number) => void;
  readonly #throttles = new Map<string, Throttles>();

  constructor(rates: TunnelRates, clock: Clock, onLimited: (limit: Limit, times?: number) => void) {
    this.#rates = rates;
    this.#clock = clock;
    this.#onLimited = onLimited;
    const isThrottled = rates.tunnelBytesOutPerSecondMax > 0;
    this.windowBytesMax = isThrottled ? THROTTLED_WINDOW_BYTES : undefined;
  }

  /** A code when a tunnel with so many open streams may have no more. */
  refusal(streamsCount: number): ErrorCode | undefined {
    const { tunnelConnectionsMax } = this.#rates;
    if (tunnelConnectionsMax === 0 || streamsCount < tunnelConnectionsMax) return undefined;
    this.#onLimited('tunnel-connections');
    return 'SLW_STREAM_TUNNEL_LIMIT';
  }

  /** Puts a new stream of `tunnel` under its throttles. */
  attach(tunnel: string, stream: Stream): void {
    const { tunnelBytesInPerSecondMax, tunnelBytesOutPerSecondMax } = this.#rates;
    if (tunnelBytesInPerSecondMax === 0 && tunnelBytesOutPerSecondMax === 0) return;
    let throttles = this.#throttles.get(tunnel);
    if (throttles === undefined) {
      throttles = {
        in: this.#create(tunnelBytesInPerSecondMax),
        out: this.#create(tunnelBytesOutPerSecondMax),
      };
      this.#throttles.set(tunnel, throttles);
    }
    stream.throttle(throttles.in, throttles.out);
  }

  forget(tunnel: string): void {
    const throttles = this.#throttles.get(tunnel);
    if (throttles === undefined) return;
    this.#throttles.delete(tunnel);
    this.#count(throttles);
  }

  /** Before a sample is taken: how often streams were held back since the last one. */
  countWaits(): void {
    for (const throttles of this.#throttles.values()) this.#count(throttles);
  }

  #create(bytesPerSecond: number): Throttle | undefined {
    return bytesPerSecond === 0 ? undefined : new Throttle(bytesPerSecond, this.#clock);
  }

  #count({ in: inward, out }: Throttles): void {
    if (inward !== undefined) this.#onLimited('tunnel-bytes-in-per-second', takeWaits(inward));
    if (out !== undefined) this.#onLimited('tunnel-bytes-out-per-second', takeWaits(out));
  }
}

/** Undefined when none of them is limited, so that a stream pays one check. */
export function createTunnelLimits(
  rates: TunnelRates,
  clock: Clock,
  onLimited: (limit: Limit, times?: number) => void,
): TunnelLimits | undefined {
  const isOff =
    rates.tunnelConnectionsMax === 0 &&
    rates.tunnelBytesInPerSecondMax === 0 &&
    rates.tunnelBytesOutPerSecondMax === 0;
  return isOff ? undefined : new TunnelLimits(rates, clock, onLimited);
}

function takeWaits(throttle: Throttle): number {
  const count = throttle.waitsCount;
  throttle.waitsCount = 0;
  return count;
}
