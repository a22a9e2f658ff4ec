// What a shard counts, and the sample of it that control asks for.
//
// Invariant: keys are registered tunnel names, known methods and codes only, so that no visitor
// can add a key; counters only grow, also of a port that is closed and opens again. Must not know:
// Prometheus, or how samples are added up.

import type { ErrorCode } from '../base/errors.ts';
import { droppedLogLines } from '../base/log.ts';
import {
  type LoopWatch,
  REQUEST_BUCKETS_SECONDS,
  type RequestSample,
  type ShardSample,
  type TunnelSample,
} from '../bridge/shard-sample.ts';
import type { StreamMeter } from '../mux/stream.ts';
import { DatagramMeter } from './datagram-meter.ts';
import type { InFlight } from './http-context.ts';
import { type Limit, LimitedCounts } from './limited.ts';
import { LoopMeter } from './loop-meter.ts';
import { TlsRefusals } from './tls-refusals.ts';

/** Label of everything that is not a registered name (contract). */
export const OTHER = '_other';
/** Ports that nobody serves, with what was counted of them; as many as control remembers hosts. */
const RETIRED_MAX = 10_000;
/** Error codes of accept() that are counted apart; there are about ten. */
const ACCEPT_CODES_MAX = 32;
const METHODS = new Set(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'TRACE']);

export interface TunnelMeter extends StreamMeter {
  readonly results: Map<ErrorCode, number>;
  /** Streams that took the place of another of the same visitor. */
  reopened: number;
}

interface RequestCounter {
  readonly tunnel: string;
  /** Of the first request that it counted: with methods that are not known, one of them. */
  readonly method: string;
  readonly status: number;
  count: number;
  durationUs: number;
  /** Each by itself; a sample adds them up. */
  readonly buckets: number[];
}

export class Meters {
  readonly #tunnels = new Map<string, TunnelMeter>();
  /** Of those, names that are not known now, the longest gone first. */
  readonly #retired = new Set<string>();
  /** By tunnel, and then by method and status: one of thousands is forgotten for what it has. */
  readonly #requests = new Map<string, Map<string, RequestCounter>>();
  #lastCounter: RequestCounter | undefined;
  readonly #inFlight = new Map<string, InFlight>();
  readonly tlsRefusals = new TlsRefusals();
  readonly datagrams = new DatagramMeter();
  readonly #limited = new LimitedCounts();
  readonly #protocolErrors = new Map<ErrorCode, number>();
  readonly #acceptErrors = new Map<string, number>();
  /** Each is begun by its first look: a histogram is 360 KB, and a client's is never read. */
  readonly #loops = new Map<LoopWatch, LoopMeter>();

  /** The meter of a registered tunnel. */
  tunnel(name: string): TunnelMeter {
    this.#retired.delete(name);
    let meter = this.#tunnels.get(name);
    if (meter === undefined) {
      meter = { streams: 0, bytesIn: 0, bytesOut: 0, results: new Map(), reopened: 0 };
      this.#tunnels.set(name, meter);
    }
    return meter;
  }

  /**
   * Keeps what was counted of a tunnel that is no longer known, and may be again: its counters must
   * not fall then. Gives the one to be forgotten for it when there are too many.
   */
  retire(name: string): string | undefined {
    const retired = this.#retired;
    if (!this.#tunnels.has(name)) return undefined;
    retired.add(name);
    if (retired.size <= RETIRED_MAX) return undefined;
    for (const one of retired) if (this.#tunnels.get(one)?.streams === 0) return one;
    return undefined;
  }

  /** Forgets a tunnel that control has forgotten. */
  forget(name: string): void {
    this.#tunnels.delete(name);
    this.#retired.delete(name);
    this.#inFlight.delete(name);
    this.#requests.delete(name);
    this.#lastCounter = undefined;
  }

  onRequest(tunnel: string | undefined, method: string, status: number, durationMs: number): void {
    const counter = this.#counterOf(tunnel ?? OTHER, method, status);
    const seconds = durationMs / 1000;
    counter.count += 1;
    counter.durationUs += Math.round(durationMs * 1000);
    let index = 0;
    while (seconds > (REQUEST_BUCKETS_SECONDS[index] ?? Number.POSITIVE_INFINITY)) index += 1;
    if (index < counter.buckets.length) {
      counter.buckets[index] = (counter.buckets[index] ?? 0) + 1;
    }
  }

  /** Mostly the one of the request before, for which no key need be made. */
  #counterOf(tunnel: string, method: string, status: number): RequestCounter {
    const last = this.#lastCounter;
    const isSame = last?.tunnel === tunnel && last.method === method && last.status === status;
    if (last !== undefined && isSame) return last;
    let counters = this.#requests.get(tunnel);
    if (counters === undefined) {
      counters = new Map();
      this.#requests.set(tunnel, counters);
    }
    const key = `${METHODS.has(method) ? method : OTHER} ${status}`;
    let counter = counters.get(key);
    if (counter === undefined) {
      const buckets = REQUEST_BUCKETS_SECONDS.map(() => 0);
      counter = { tunnel, method, status, count: 0, durationUs: 0, buckets };
      counters.set(key, counter);
    }
    this.#lastCounter = counter;
    return counter;
  }

  /** Of a registered tunnel; a request holds it while it is served. */
  inFlight(tunnel: string): InFlight {
    let inFlight = this.#inFlight.get(tunnel);
    if (inFlight === undefined) {
      inFlight = { requests: 0 };
      this.#inFlight.set(tunnel, inFlight);
    }
    return inFlight;
  }

  onLimited(limit: Limit, times = 1): void {
    this.#limited.add(limit, times);
  }

  onProtocolError(code: ErrorCode): void {
    increment(this.#protocolErrors, code);
  }

  onAcceptError(code: string): void {
    if (this.#acceptErrors.has(code) || this.#acceptErrors.size < ACCEPT_CODES_MAX) {
      increment(this.#acceptErrors, code);
    }
  }

  /** Everything but what only the shard's other parts know. */
  sample(
    loop: LoopWatch,
  ): Omit<ShardSample, 'links' | 'stalled' | 'meshBytes' | 'visitorConnections'> {
    return {
      tunnels: [...this.#tunnels].map(([tunnel, meter]) => sampleTunnel(tunnel, meter)),
      requests: [...this.#requests.values()].flatMap((counters) =>
        [...counters].map(([key, counter]) => sampleRequest(key, counter)),
      ),
      protocolErrors: [...this.#protocolErrors],
      acceptErrors: [...this.#acceptErrors],
      logDropped: droppedLogLines(),
      inFlight: [...this.#inFlight].map(([tunnel, { requests }]) => [tunnel, requests]),
      limited: this.#limited.sample(),
      tlsRefused: this.tlsRefusals.sample(),
      denied: [],
      datagrams: this.datagrams.sample(),
      ...(loop === 'none' ? {} : { loopDelay: this.#loopOf(loop).read() }),
    };
  }

  /** Before anybody looks, so that the first look says something. */
  watchLoop(watch: LoopWatch): void {
    this.#loopOf(watch);
  }

  close(): void {
    for (const loop of this.#loops.values()) loop.close();
  }

  #loopOf(watch: LoopWatch): LoopMeter {
    const loop = this.#loops.get(watch) ?? new LoopMeter();
    this.#loops.set(watch, loop);
    return loop;
  }
}

function sampleTunnel(tunnel: string, meter: TunnelMeter): TunnelSample {
  const { streams, bytesIn, bytesOut, results, reopened } = meter;
  return { tunnel, streams, bytesIn, bytesOut, results: [...results], reopened };
}

function sampleRequest(key: string, counter: RequestCounter): RequestSample {
  const [method = OTHER] = key.split(' ', 1);
  const { tunnel, status, count, durationUs } = counter;
  let below = 0;
  const buckets = counter.buckets.map((inBucket) => {
    below += inBucket;
    return below;
  });
  return { tunnel, method, status, count, durationUs, buckets };
}

function increment<Key>(map: Map<Key, number>, key: Key): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}
