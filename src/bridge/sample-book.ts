// The running totals of all shards, kept through deaths of shards and through slow answers.
//
// Invariant: a counter never falls: what a dead shard had counted stays in the sum; one that does
// not answer in time counts with its last sample, so a scrape never waits for it longer than the
// deadline. Must not know: Prometheus, HTTP.

import type { ErrorCode } from '../base/errors.ts';
import type {
  LinkSample,
  LoopDelay,
  LoopWatch,
  RequestSample,
  ShardSample,
  TunnelSample,
  UpstreamFailure,
} from './shard-sample.ts';

export interface Totals {
  readonly tunnels: ReadonlyMap<string, TunnelTotal>;
  readonly requests: ReadonlyMap<string, RequestSample>;
  readonly links: ReadonlyMap<string, LinkSample>;
  readonly protocolErrors: ReadonlyMap<ErrorCode, number>;
  readonly acceptErrors: ReadonlyMap<string, number>;
  readonly stalled: { readonly held: number; readonly waiting: number };
  readonly meshBytes: number;
  readonly logDropped: number;
  readonly inFlight: ReadonlyMap<string, number>;
  readonly limited: ReadonlyMap<string, number>;
  readonly tlsRefused: ReadonlyMap<string, number>;
  readonly denied: ReadonlyMap<string, number>;
  readonly datagrams: ReadonlyMap<string, number>;
  readonly datagramsDropped: ReadonlyMap<string, number>;
  readonly visitorConnections: number;
  /** The last one, by tunnel. */
  readonly upstreamFailures: ReadonlyMap<string, UpstreamFailure>;
  /** By shard: since the last scrape, and since the last look of the dashboard. */
  readonly loopDelays: Readonly<Record<'scrape' | 'look', ReadonlyMap<number, LoopDelay>>>;
}

export interface TunnelTotal {
  readonly streams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly results: ReadonlyMap<ErrorCode, number>;
  readonly reopened: number;
}

export class SampleBook {
  readonly #last = new Map<number, ShardSample>();
  readonly #retired: ShardSample[] = [];
  readonly #loopDelays = {
    scrape: new Map<number, LoopDelay>(),
    look: new Map<number, LoopDelay>(),
  };
  /** Of samples that came too late to be told. */
  readonly #missedDelays = {
    scrape: new Map<number, LoopDelay>(),
    look: new Map<number, LoopDelay>(),
  };

  set(shard: number, sample: ShardSample, loop: LoopWatch): void {
    this.#last.set(shard, sample);
    const { loopDelay } = sample;
    if (loop === 'none' || loopDelay === undefined) return;
    const missed = this.#missedDelays[loop];
    this.#loopDelays[loop].set(shard, worse(loopDelay, missed.get(shard)));
    missed.delete(shard);
  }

  /** Of a shard that stood still when it was asked: its delay begins anew with each sample, and is
   * told with the next one. */
  setLate(shard: number, sample: ShardSample, loop: LoopWatch): void {
    this.#last.set(shard, sample);
    const { loopDelay } = sample;
    if (loop === 'none' || loopDelay === undefined) return;
    const missed = this.#missedDelays[loop];
    missed.set(shard, worse(loopDelay, missed.get(shard)));
  }

  /** A shard is gone: its counts stay, its gauges do not. */
  retire(shard: number): void {
    for (const book of [this.#loopDelays, this.#missedDelays]) {
      for (const delays of Object.values(book)) delays.delete(shard);
    }
    const last = this.#last.get(shard);
    if (last === undefined) return;
    this.#last.delete(shard);
    this.#retired.push(withoutGauges(last));
    // Restarts are bounded by the pool, so folding two into one is all that is ever needed.
    if (this.#retired.length > 1) this.#retired.splice(0, 2, fold(this.#retired));
  }

  totals(): Totals {
    const samples = [...this.#retired, ...this.#last.values()];
    return {
      tunnels: sumTunnels(samples),
      requests: sumRequests(samples),
      links: new Map(samples.flatMap(({ links }) => links.map((link) => [link.link, link]))),
      protocolErrors: sumPairs(samples.flatMap((sample) => sample.protocolErrors)),
      acceptErrors: sumPairs(samples.flatMap((sample) => sample.acceptErrors)),
      stalled: {
        held: sum(samples, (sample) => sample.stalled.held),
        waiting: sum(samples, (sample) => sample.stalled.waiting),
      },
      meshBytes: sum(samples, (sample) => sample.meshBytes),
      logDropped: sum(samples, (sample) => sample.logDropped),
      inFlight: sumPairs(samples.flatMap((sample) => sample.inFlight)),
      limited: sumPairs(samples.flatMap((sample) => sample.limited)),
      tlsRefused: sumPairs(samples.flatMap((sample) => sample.tlsRefused)),
      denied: sumPairs(samples.flatMap((sample) => sample.denied)),
      datagrams: sumPairs(samples.flatMap(({ datagrams }) => datagrams.passed)),
      datagramsDropped: sumPairs(samples.flatMap(({ datagrams }) => datagrams.dropped)),
      visitorConnections: sum(samples, (sample) => sample.visitorConnections),
      upstreamFailures: lastFailures(samples),
      loopDelays: this.#loopDelays,
    };
  }
}

/** The streams that it had were reset with it: who counts what began must not see them vanish. */
function withoutGauges(sample: ShardSample): ShardSample {
  return {
    ...sample,
    tunnels: sample.tunnels.map(({ streams, results, ...counts }) => ({
      ...counts,
      streams: 0,
      results: streams === 0 ? results : [...results, ['SLW_STREAM_RESET', streams]],
    })),
    links: [],
    stalled: { held: 0, waiting: 0 },
    visitorConnections: 0,
    inFlight: [],
  };
}

function fold(samples: readonly ShardSample[]): ShardSample {
  const last = samples.at(-1) as ShardSample;
  return {
    ...last,
    tunnels: [...sumTunnels(samples)].map(([tunnel, total]) => ({
      ...total,
      tunnel,
      results: [...total.results],
    })),
    requests: [...sumRequests(samples).values()],
    protocolErrors: [...sumPairs(samples.flatMap((sample) => sample.protocolErrors))],
    acceptErrors: [...sumPairs(samples.flatMap((sample) => sample.acceptErrors))],
    meshBytes: sum(samples, (sample) => sample.meshBytes),
    logDropped: sum(samples, (sample) => sample.logDropped),
    limited: [...sumPairs(samples.flatMap((sample) => sample.limited))],
    tlsRefused: [...sumPairs(samples.flatMap((sample) => sample.tlsRefused))],
    denied: [...sumPairs(samples.flatMap((sample) => sample.denied))],
    upstreamFailures: [...lastFailures(samples).values()],
    datagrams: {
      passed: [...sumPairs(samples.flatMap(({ datagrams }) => datagrams.passed))],
      dropped: [...sumPairs(samples.flatMap(({ datagrams }) => datagrams.dropped))],
    },
  };
}

function lastFailures(samples: readonly ShardSample[]): Map<string, UpstreamFailure> {
  const last = new Map<string, UpstreamFailure>();
  for (const failure of samples.flatMap(({ upstreamFailures = [] }) => upstreamFailures)) {
    const known = last.get(failure.tunnel);
    if (known === undefined || known.wallMs < failure.wallMs) last.set(failure.tunnel, failure);
  }
  return last;
}

function sumTunnels(samples: readonly ShardSample[]): Map<string, TunnelTotal> {
  const totals = new Map<string, TunnelTotal>();
  for (const { tunnels } of samples) {
    for (const sample of tunnels)
      totals.set(sample.tunnel, addTunnel(totals.get(sample.tunnel), sample));
  }
  return totals;
}

function addTunnel(total: TunnelTotal | undefined, sample: TunnelSample): TunnelTotal {
  return {
    streams: (total?.streams ?? 0) + sample.streams,
    bytesIn: (total?.bytesIn ?? 0) + sample.bytesIn,
    bytesOut: (total?.bytesOut ?? 0) + sample.bytesOut,
    results: sumPairs([...(total?.results ?? []), ...sample.results]),
    reopened: (total?.reopened ?? 0) + sample.reopened,
  };
}

function sumRequests(samples: readonly ShardSample[]): Map<string, RequestSample> {
  const totals = new Map<string, RequestSample>();
  for (const { requests } of samples) {
    for (const sample of requests) {
      const key = `${sample.tunnel} ${sample.method} ${sample.status}`;
      const total = totals.get(key);
      totals.set(key, total === undefined ? sample : addRequest(total, sample));
    }
  }
  return totals;
}

function addRequest(total: RequestSample, sample: RequestSample): RequestSample {
  return {
    ...total,
    count: total.count + sample.count,
    durationUs: total.durationUs + sample.durationUs,
    buckets: total.buckets.map((count, index) => count + (sample.buckets[index] ?? 0)),
  };
}

function sumPairs<Key>(pairs: readonly (readonly [Key, number])[]): Map<Key, number> {
  const totals = new Map<Key, number>();
  for (const [key, count] of pairs) totals.set(key, (totals.get(key) ?? 0) + count);
  return totals;
}

function sum(samples: readonly ShardSample[], of: (sample: ShardSample) => number): number {
  return samples.reduce((total, sample) => total + of(sample), 0);
}

/** Of both: what half of the turns had is that of `now`, and the longest is the longest of both. */
function worse(now: LoopDelay, missed: LoopDelay | undefined): LoopDelay {
  if (missed === undefined) return now;
  const { p50, p99, max } = now;
  return { p50, p99: Math.max(p99, missed.p99), max: Math.max(max, missed.max) };
}
