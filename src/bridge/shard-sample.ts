// What a shard has counted, as it tells control when asked: plain data.
//
// Invariant: counts run since the shard started and never fall; streams, queues, waits, connections
// and round trips are as they are now. Must not know: metrics, or who asks.

import type { ErrorCode } from '../base/errors.ts';

export interface TunnelSample {
  readonly tunnel: string;
  readonly streams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** Ended streams by code; SLW_NONE for cleanly. */
  readonly results: readonly (readonly [ErrorCode, number])[];
  /** Streams that were opened for a visitor in place of another, which had brought it nothing. */
  readonly reopened: number;
}

export interface RequestSample {
  readonly tunnel: string;
  readonly method: string;
  readonly status: number;
  readonly count: number;
  /** Whole microseconds, so that sums are the same in whatever order shards are added up. */
  readonly durationUs: number;
  /** Cumulative counts, one a bucket of REQUEST_BUCKETS_SECONDS. */
  readonly buckets: readonly number[];
}

export interface LinkSample {
  readonly link: string;
  readonly streams: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly roundTripMs: number;
  readonly queuedBytes: number;
}

/** When a tunnel's upstream could not be connected to, last. */
export interface UpstreamFailure {
  readonly tunnel: string;
  /** Of the system, of TLS or of ours: capitals, digits and `_`. */
  readonly code: string;
  readonly wallMs: number;
}

/** Totals since the shard started, and what it has now. */
export interface ShardSample {
  readonly tunnels: readonly TunnelSample[];
  readonly requests: readonly RequestSample[];
  readonly links: readonly LinkSample[];
  readonly stalled: { readonly held: number; readonly waiting: number };
  readonly meshBytes: number;
  readonly visitorConnections: number;
  readonly protocolErrors: readonly (readonly [ErrorCode, number])[];
  readonly acceptErrors: readonly (readonly [string, number])[];
  readonly logDropped: number;
  /** HTTP requests that are being served, by tunnel. */
  readonly inFlight: readonly (readonly [string, number])[];
  /** How often a limit refused a visitor or held one back, by limit. */
  readonly limited: readonly (readonly [string, number])[];
  /** Visitors of the HTTPS port that were refused before a handshake, by reason. */
  readonly tlsRefused: readonly (readonly [string, number])[];
  /** Who was not on an allow list, by list. */
  readonly denied: readonly (readonly [string, number])[];
  /** Datagrams that passed, by direction, and those that were dropped, by reason. */
  readonly datagrams: {
    readonly passed: readonly (readonly [string, number])[];
    readonly dropped: readonly (readonly [string, number])[];
  };
  /** One a tunnel at most; absent in an exit node. */
  readonly upstreamFailures?: readonly UpstreamFailure[];
  /** Of the time since the last sample for the same watch; absent for `none`. */
  readonly loopDelay?: LoopDelay;
}

/** In seconds. */
export interface LoopDelay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Who watches the event loop: each has a measurement of its own, begun anew by its sample. */
export type LoopWatch = 'scrape' | 'look' | 'none';

/** Upper bounds of the request duration histogram: prom-client's defaults and a long tail. */
export const REQUEST_BUCKETS_SECONDS: readonly number[] = [
  0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
];
