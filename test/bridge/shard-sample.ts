// A sample of a shard that has counted nothing, to be changed where a test looks.

import { REQUEST_BUCKETS_SECONDS, type ShardSample } from '../../src/bridge/shard-sample.ts';

export function shardSample(changes: Partial<ShardSample> = {}): ShardSample {
  return {
    tunnels: [],
    requests: [],
    links: [],
    stalled: { held: 0, waiting: 0 },
    meshBytes: 0,
    visitorConnections: 0,
    protocolErrors: [],
    acceptErrors: [],
    logDropped: 0,
    inFlight: [],
    limited: [],
    tlsRefused: [],
    denied: [],
    datagrams: { passed: [], dropped: [] },
    loopDelay: { p50: 0.001, p99: 0.002, max: 0.003 },
    ...changes,
  };
}

export function requestSample(
  tunnel: string,
  method: string,
  count: number,
): ShardSample['requests'][number] {
  const buckets = REQUEST_BUCKETS_SECONDS.map(() => count);
  return { tunnel, method, status: 200, count, durationUs: count * 1000, buckets };
}

export function linkSample(
  link: string,
  changes: Partial<ShardSample['links'][number]> = {},
): ShardSample['links'][number] {
  const zeros = { streams: 0, bytesIn: 0, bytesOut: 0, roundTripMs: 0, queuedBytes: 0 };
  return { link, ...zeros, ...changes };
}
