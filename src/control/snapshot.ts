// What the dashboard shows of one second, as rates: the difference of two readings.
//
//   reading, 1 s, reading --> rates of that second; the last ten seconds --> latency, errors
//
// Invariant: a figure that is not known yet is null, never a zero that looks measured; lists are
// bounded, those in their rows and the texts of clients too, the busiest first, and say how many
// there are. Must not know: who looks.

import type { Totals } from '../bridge/sample-book.ts';
import { REQUEST_BUCKETS_SECONDS } from '../bridge/shard-sample.ts';
import type { Status, StatusClient } from './answers.ts';
import type { Reading } from './readings.ts';

/** Rows of a list; more would be read by nobody, and sent each second. Guess. */
const ROWS_MAX = 200;
/** Upstreams in a client's row. A client may have a thousand, and 200 such clients would be 100 MB
 * a second to write; more than a few are no reading. Guess. */
const UPSTREAMS_SHOWN_MAX = 8;
/** Of a text that a client chose, which may be 512 long. Guess: `NAME=URL` is some 60. */
const TEXT_SHOWN_LENGTH_MAX = 100;
/** Latency and errors are of so long: a second of a quiet tunnel says little. */
const WINDOW_MS = 10_000;
/** Readings kept for the window: one a second, and one more. */
const READINGS_MAX = 12;

export interface Percentiles {
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
}

export interface TunnelRow {
  readonly name: string;
  readonly clients: number;
  readonly streams: number;
  readonly requestsPerSecond: number | null;
  readonly errorsPerSecond: number | null;
  readonly bytesInPerSecond: number | null;
  readonly bytesOutPerSecond: number | null;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

/** A client of the status document without its lists. */
export interface ClientRow extends Omit<StatusClient, 'tunnels'> {
  /** The first ones, in short. */
  readonly upstreams: readonly string[];
  readonly tunnelsCount: number;
}

/** All rates are of the time since the snapshot before; `In` is from visitors, `Out` to them. */
export interface Snapshot {
  readonly atMs: number;
  readonly info: Status['info'];
  readonly requestsPerSecond: number | null;
  readonly errorsPerSecond: number | null;
  readonly bytesInPerSecond: number | null;
  readonly bytesOutPerSecond: number | null;
  /** Of the last ten seconds; null without a request in them. */
  readonly latencyMs: Percentiles | null;
  readonly errorShare: number | null;
  readonly streams: number;
  readonly requestsInFlight: number;
  readonly visitors: number;
  readonly links: number;
  readonly shardRestarts: number;
  readonly authFailures: number;
  readonly shards: readonly {
    readonly shard: number;
    readonly loopP50Ms: number;
    readonly loopP99Ms: number;
    readonly loopMaxMs: number;
  }[];
  readonly tunnelsCount: number;
  readonly tunnels: readonly TunnelRow[];
  readonly clientsCount: number;
  readonly clients: readonly ClientRow[];
  readonly certificates: readonly { readonly name: string; readonly notAfterMs: number }[];
}

interface Tally {
  requests: number;
  errors: number;
  bytesIn: number;
  bytesOut: number;
}

interface Kept {
  readonly monotonicMs: number;
  readonly tunnels: ReadonlyMap<string, Tally>;
  readonly sum: Tally;
  /** Requests by bucket of duration, cumulative, and all of them behind the last. */
  readonly buckets: readonly number[];
}

export interface Moment {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** Makes snapshots of readings that come one after the other. */
export class Snapshots {
  readonly #kept: Kept[] = [];

  /** Forgets what was: nobody has looked for a while, and a rate of that while says nothing. */
  reset(): void {
    this.#kept.length = 0;
  }

  take({ totals, counts, status }: Reading, { monotonicMs, wallMs }: Moment): Snapshot {
    const now = keep(totals, monotonicMs);
    const before = this.#kept.at(-1);
    const first = this.#kept.find((kept) => monotonicMs - kept.monotonicMs <= WINDOW_MS);
    this.#kept.push(now);
    if (this.#kept.length > READINGS_MAX) this.#kept.shift();
    const seconds = before === undefined ? 0 : (monotonicMs - before.monotonicMs) / 1000;
    const tunnels = rowsOf({ totals, status, now, before, seconds });
    const clients = [...status.clients].sort((a, b) => b.streams - a.streams || byId(a, b));
    return {
      atMs: wallMs,
      info: status.info,
      ...ratesOf(now.sum, before?.sum, seconds),
      ...windowOf(now, first),
      streams: sumOf(totals.tunnels.values(), ({ streams }) => streams),
      requestsInFlight: sumOf(totals.inFlight.values(), (count) => count),
      visitors: totals.visitorConnections,
      links: counts.links,
      shardRestarts: counts.shardRestarts,
      authFailures: sumOf(counts.authFailures.values(), (count) => count),
      shards: shardsOf(totals),
      tunnelsCount: tunnels.length,
      tunnels: tunnels.slice(0, ROWS_MAX),
      clientsCount: clients.length,
      clients: clients.slice(0, ROWS_MAX).map(clientRowOf),
      certificates: [...counts.certificates]
        .map(([name, seconds]) => ({ name, notAfterMs: seconds * 1000 }))
        .sort((a, b) => a.notAfterMs - b.notAfterMs)
        .slice(0, ROWS_MAX),
    };
  }
}

function keep(totals: Totals, monotonicMs: number): Kept {
  const tunnels = new Map<string, Tally>();
  const sum: Tally = { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0 };
  const buckets = Array.from({ length: REQUEST_BUCKETS_SECONDS.length + 1 }, () => 0);
  const tallyOf = (tunnel: string): Tally => {
    const tally = tunnels.get(tunnel) ?? { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0 };
    tunnels.set(tunnel, tally);
    return tally;
  };
  for (const [tunnel, { bytesIn, bytesOut }] of totals.tunnels) {
    const tally = tallyOf(tunnel);
    // A stream's own `in` comes from the client, which is what goes out to the visitor.
    for (const to of [tally, sum]) {
      to.bytesIn += bytesOut;
      to.bytesOut += bytesIn;
    }
  }
  for (const request of totals.requests.values()) {
    for (const to of [tallyOf(request.tunnel), sum]) {
      to.requests += request.count;
      if (request.status >= 500) to.errors += request.count;
    }
    for (const index of buckets.keys()) {
      buckets[index] = (buckets[index] ?? 0) + (request.buckets[index] ?? request.count);
    }
  }
  return { monotonicMs, tunnels, sum, buckets };
}

function ratesOf(now: Tally, before: Tally | undefined, seconds: number) {
  const rate = (of: (tally: Tally) => number): number | null =>
    // A tunnel that was forgotten and came again begins anew.
    before === undefined || seconds <= 0 ? null : Math.max(0, of(now) - of(before)) / seconds;
  return {
    requestsPerSecond: rate(({ requests }) => requests),
    errorsPerSecond: rate(({ errors }) => errors),
    bytesInPerSecond: rate(({ bytesIn }) => bytesIn),
    bytesOutPerSecond: rate(({ bytesOut }) => bytesOut),
  };
}

function windowOf(now: Kept, first: Kept | undefined): Pick<Snapshot, 'latencyMs' | 'errorShare'> {
  const requests = first === undefined ? 0 : now.sum.requests - first.sum.requests;
  if (first === undefined || requests <= 0) return { latencyMs: null, errorShare: null };
  const buckets = now.buckets.map((count, index) => count - (first.buckets[index] ?? 0));
  const errors = Math.max(0, now.sum.errors - first.sum.errors);
  const [p50, p95, p99] = [0.5, 0.95, 0.99].map((share) => quantileMs(buckets, share));
  return {
    latencyMs: { p50: p50 ?? 0, p95: p95 ?? 0, p99: p99 ?? 0 },
    errorShare: Math.min(1, errors / requests),
  };
}

/** As Prometheus' histogram_quantile: even within a bucket, the last bound beyond the last one. */
export function quantileMs(cumulative: readonly number[], share: number): number {
  const all = cumulative.at(-1) ?? 0;
  const wanted = all * share;
  const index = cumulative.findIndex((count) => count >= wanted);
  const upper = REQUEST_BUCKETS_SECONDS[index] ?? REQUEST_BUCKETS_SECONDS.at(-1) ?? 0;
  if (index >= REQUEST_BUCKETS_SECONDS.length) return upper * 1000;
  const lower = index <= 0 ? 0 : (REQUEST_BUCKETS_SECONDS[index - 1] ?? 0);
  const below = index <= 0 ? 0 : (cumulative[index - 1] ?? 0);
  const within = (cumulative[index] ?? 0) - below;
  const part = within <= 0 ? 1 : (wanted - below) / within;
  return (lower + (upper - lower) * part) * 1000;
}

interface RowsInput {
  readonly totals: Totals;
  readonly status: Status;
  readonly now: Kept;
  readonly before: Kept | undefined;
  readonly seconds: number;
}

/** Tunnels that somebody serves, or that visitors are on. */
function rowsOf({ totals, status, now, before, seconds }: RowsInput): TunnelRow[] {
  const clients = new Map<string, number>();
  for (const { tunnels } of status.clients) {
    for (const name of tunnels) clients.set(name, (clients.get(name) ?? 0) + 1);
  }
  const names = new Set([...clients.keys(), ...totals.tunnels.keys()]);
  const rows = [...names].map((name): TunnelRow => {
    const tally = now.tunnels.get(name) ?? { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0 };
    // One that was not there before has done nothing before.
    const from = before && (before.tunnels.get(name) ?? NOTHING);
    return {
      name,
      clients: clients.get(name) ?? 0,
      streams: totals.tunnels.get(name)?.streams ?? 0,
      ...ratesOf(tally, from, seconds),
      bytesIn: tally.bytesIn,
      bytesOut: tally.bytesOut,
    };
  });
  const shown = rows.filter(({ clients: count, streams }) => count > 0 || streams > 0);
  return shown.sort((a, b) => busyness(b) - busyness(a) || (a.name < b.name ? -1 : 1));
}

const NOTHING: Tally = { requests: 0, errors: 0, bytesIn: 0, bytesOut: 0 };

function busyness({ bytesInPerSecond, bytesOutPerSecond, requestsPerSecond }: TunnelRow): number {
  // In steps, so that rows of like traffic do not change places each second.
  const bytes = (bytesInPerSecond ?? 0) + (bytesOutPerSecond ?? 0) + (requestsPerSecond ?? 0);
  return Math.round(Math.log10(1 + bytes));
}

function shardsOf({ loopDelays }: Totals): Snapshot['shards'] {
  return [...loopDelays.look]
    .sort(([a], [b]) => a - b)
    .map(([shard, { p50, p99, max }]) => ({
      shard,
      loopP50Ms: p50 * 1000,
      loopP99Ms: p99 * 1000,
      loopMaxMs: max * 1000,
    }));
}

function clientRowOf({ tunnels, upstreams, ...client }: StatusClient): ClientRow {
  return {
    ...client,
    version: cut(client.version),
    ...(client.identity === undefined ? {} : { identity: cut(client.identity) }),
    upstreams: upstreams.slice(0, UPSTREAMS_SHOWN_MAX).map(cut),
    tunnelsCount: tunnels.length,
  };
}

function cut(text: string): string {
  const isLong = text.length > TEXT_SHOWN_LENGTH_MAX;
  return isLong ? `${text.slice(0, TEXT_SHOWN_LENGTH_MAX)}…` : text;
}

function byId(a: StatusClient, b: StatusClient): number {
  return a.clientID < b.clientID ? -1 : 1;
}

function sumOf<T>(values: Iterable<T>, of: (value: T) => number): number {
  let sum = 0;
  for (const value of values) sum += of(value);
  return sum;
}
