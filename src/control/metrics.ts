// The Prometheus page: the contract's names over the totals of all shards.
//
// Invariant: label values are registered names, known methods, codes and numbers only; what is
// counted elsewhere is read when asked for, so nothing is counted twice. Must not know: how
// samples are gathered.

import { MetricsPage, type Row, type Value } from '../base/metrics-page.ts';
import type { SampleBook, Totals } from '../bridge/sample-book.ts';
import { REQUEST_BUCKETS_SECONDS } from '../bridge/shard-sample.ts';

/** What only control knows. */
export interface ControlCounts {
  readonly clients: number;
  /** By tunnel; 0 for one that is known and has none. */
  readonly tunnelClients: ReadonlyMap<string, number>;
  readonly links: number;
  readonly connects: ReadonlyMap<string, number>;
  readonly authFailures: ReadonlyMap<string, number>;
  /** Answers of the control port: `code path` to count. */
  readonly controlRequests: ReadonlyMap<string, number>;
  /** Of the process, as the shards were told. */
  readonly memory: { readonly level: number; readonly limitBytes: number };
  readonly shardRestarts: number;
  readonly logDropped: number;
  /** Ends of validity in seconds since the epoch, by certificate. */
  readonly certificates: Iterable<readonly [name: string, seconds: number]>;
  /** Orders of certificates, by result. */
  readonly acmeOrders: ReadonlyMap<string, number>;
  /** By token and limit. */
  readonly tokenLimited: Iterable<readonly [token: string, limit: string, count: number]>;
  /** By result. */
  readonly reloads: ReadonlyMap<string, number>;
  readonly version: string;
}

interface Reading {
  readonly totals: Totals;
  readonly counts: ControlCounts;
}

export class Metrics extends MetricsPage<Reading> {
  constructor(samples: SampleBook, readCounts: () => ControlCounts) {
    super(ROWS, () => ({ totals: samples.totals(), counts: readCounts() }));
  }
}

const none = {};
const isPort = (tunnel: string): boolean => tunnel.startsWith('tcp:');
const one = (value: number): Value[] => [{ value, labels: none }];

const ROWS: readonly Row<Reading>[] = [
  row('http_controlplane_connected_gauge', 'gauge', 'Clients that are connected.', ({ counts }) =>
    one(counts.clients),
  ),
  row('tcp_controlplane_connected_gauge', 'gauge', 'Clients that are connected.', ({ counts }) =>
    one(counts.clients),
  ),
  row('http_controlplane_requests_total', 'counter', 'Requests on the control port.', readControl),
  row('tcp_controlplane_requests_total', 'counter', 'Requests on the control port.', readControl),
  row('http_dataplane_requests_total', 'counter', 'Requests of visitors.', ({ totals }) =>
    [...totals.requests.values()].map((request) => ({
      value: request.count,
      labels: { code: request.status, host: request.tunnel, method: request.method },
    })),
  ),
  row(
    'http_dataplane_request_duration_seconds',
    'histogram',
    'From the request head to the end of the answer.',
    readDurations,
  ),
  row('sluiceway_http_requests_in_flight', 'gauge', 'Requests being served.', ({ totals }) =>
    [...totals.inFlight].map(([tunnel, value]) => ({ value, labels: { tunnel } })),
  ),
  row('sluiceway_limited_total', 'counter', 'Visitors that a limit held off.', ({ totals }) =>
    [...totals.limited].map(([limit, value]) => ({ value, labels: { limit } })),
  ),
  row('sluiceway_token_limited_total', 'counter', 'Held off by a token.', ({ counts }) =>
    [...counts.tokenLimited].map(([token, limit, value]) => ({ value, labels: { token, limit } })),
  ),
  row('sluiceway_denied_total', 'counter', 'Not on an allow list, by list.', ({ totals }) =>
    [...totals.denied].map(([list, value]) => ({ value, labels: { list } })),
  ),
  row('sluiceway_tls_refused_total', 'counter', 'Refused before TLS.', ({ totals }) =>
    [...totals.tlsRefused].map(([reason, value]) => ({ value, labels: { reason } })),
  ),
  row('tcp_dataplane_connections_gauge', 'gauge', 'Open TCP visitors.', ({ totals }) =>
    readPorts(totals, (tunnel) => tunnel.streams),
  ),
  row('tcp_dataplane_connections_total', 'counter', 'TCP visitors.', ({ totals }) =>
    // Each once, however many clients were tried for it.
    readPorts(totals, ({ streams, results, reopened }) => streams + sumOf(results) - reopened),
  ),
  row('sluiceway_udp_datagrams_total', 'counter', 'In from visitors, out to them.', ({ totals }) =>
    [...totals.datagrams].map(([direction, value]) => ({ value, labels: { direction } })),
  ),
  row('sluiceway_udp_dropped_total', 'counter', 'Datagrams dropped, by reason.', ({ totals }) =>
    [...totals.datagramsDropped].map(([reason, value]) => ({ value, labels: { reason } })),
  ),
  row('sluiceway_clients', 'gauge', 'Clients that are connected.', ({ counts }) =>
    one(counts.clients),
  ),
  row('sluiceway_links', 'gauge', 'Links of all clients.', ({ counts }) => one(counts.links)),
  row('sluiceway_tunnel_clients', 'gauge', 'Clients that serve a tunnel now.', ({ counts }) =>
    [...counts.tunnelClients].map(([tunnel, value]) => ({ value, labels: { tunnel } })),
  ),
  row('sluiceway_streams_open', 'gauge', 'Open streams.', ({ totals }) =>
    [...totals.tunnels].map(([tunnel, { streams }]) => ({ value: streams, labels: { tunnel } })),
  ),
  row('sluiceway_streams_total', 'counter', 'Streams that ended, by result.', ({ totals }) =>
    [...totals.tunnels].flatMap(([tunnel, { results }]) =>
      [...results].map(([code, value]) => ({
        value,
        labels: { tunnel, result: code === 'SLW_NONE' ? 'ok' : code },
      })),
    ),
  ),
  row('sluiceway_bytes_total', 'counter', 'Payload: in from visitors, out to them.', ({ totals }) =>
    // A stream's own `in` comes from the client, which is what goes out to the visitor.
    [...totals.tunnels].flatMap(([tunnel, { bytesIn, bytesOut }]) => [
      { value: bytesOut, labels: { tunnel, direction: 'in' } },
      { value: bytesIn, labels: { tunnel, direction: 'out' } },
    ]),
  ),
  row('sluiceway_client_connects_total', 'counter', 'How often a client started.', ({ counts }) =>
    [...counts.connects].map(([client, value]) => ({ value, labels: { client } })),
  ),
  row('sluiceway_streams_stalled', 'gauge', 'Streams that wait.', ({ totals }) => [
    { value: totals.stalled.held, labels: { reason: 'visitor' } },
    { value: totals.stalled.waiting, labels: { reason: 'link' } },
  ]),
  row('sluiceway_link_queue_bytes', 'gauge', 'Bytes queued for links.', ({ totals }) =>
    one([...totals.links.values()].reduce((sum, link) => sum + link.queuedBytes, 0)),
  ),
  row('sluiceway_link_rtt_seconds', 'gauge', 'Largest round trip of a link.', ({ totals }) =>
    one(Math.max(0, ...[...totals.links.values()].map((link) => link.roundTripMs)) / 1000),
  ),
  row('sluiceway_mesh_bytes_total', 'counter', 'Bytes between shards.', ({ totals }) =>
    one(totals.meshBytes),
  ),
  row('sluiceway_auth_failures_total', 'counter', 'Refused tokens.', ({ counts }) =>
    [...counts.authFailures].map(([reason, value]) => ({ value, labels: { reason } })),
  ),
  row('sluiceway_protocol_errors_total', 'counter', 'Links ended for a bad frame.', ({ totals }) =>
    [...totals.protocolErrors].map(([code, value]) => ({ value, labels: { code } })),
  ),
  row('sluiceway_accept_errors_total', 'counter', 'Failed accepts.', ({ totals }) =>
    [...totals.acceptErrors].map(([code, value]) => ({ value, labels: { code } })),
  ),
  row('sluiceway_memory_pressure', 'gauge', '0 none, 1 high, 2 severe, 3 full.', ({ counts }) =>
    one(counts.memory.level),
  ),
  row('sluiceway_memory_limit_bytes', 'gauge', 'What --memory-max means here.', ({ counts }) =>
    one(counts.memory.limitBytes),
  ),
  row('sluiceway_shard_restarts_total', 'counter', 'Shards started again.', ({ counts }) =>
    one(counts.shardRestarts),
  ),
  row(
    'sluiceway_shard_loop_delay_seconds',
    'summary',
    'Event-loop delay since the last scrape.',
    ({ totals }) =>
      [...totals.loopDelays.scrape].flatMap(([shard, { p50, p99, max }]) => [
        { value: p50, labels: { shard, quantile: '0.5' } },
        { value: p99, labels: { shard, quantile: '0.99' } },
        { value: max, labels: { shard, quantile: '1' } },
      ]),
  ),
  row('sluiceway_acme_orders_total', 'counter', 'Certificate orders, by result.', ({ counts }) =>
    [...counts.acmeOrders].map(([result, value]) => ({ value, labels: { result } })),
  ),
  row('sluiceway_log_dropped_total', 'counter', 'Log lines dropped.', ({ totals, counts }) =>
    one(totals.logDropped + counts.logDropped),
  ),
  row(
    'sluiceway_certificate_not_after_seconds',
    'gauge',
    'When a certificate ends, in seconds since the epoch.',
    ({ counts }) => [...counts.certificates].map(([name, value]) => ({ value, labels: { name } })),
  ),
  row('sluiceway_config_reloads_total', 'counter', 'Reloads, by result.', ({ counts }) =>
    [...counts.reloads].map(([result, value]) => ({ value, labels: { result } })),
  ),
  row('sluiceway_build_info', 'gauge', 'Always 1.', ({ counts }) => [
    { value: 1, labels: { version: counts.version, node: process.version } },
  ]),
];

function row(
  name: string,
  kind: Row<Reading>['kind'],
  help: string,
  read: Row<Reading>['read'],
): Row<Reading> {
  return { name, kind, help, read };
}

function readControl({ counts }: Reading): Value[] {
  return [...counts.controlRequests].map(([key, value]) => {
    const [code = '0', path = '_other'] = key.split(' ');
    return { value, labels: { code, path } };
  });
}

function readPorts(
  totals: Totals,
  of: (
    tunnel: Totals['tunnels'] extends ReadonlyMap<string, infer Total> ? Total : never,
  ) => number,
): Value[] {
  return [...totals.tunnels]
    .filter(([tunnel]) => isPort(tunnel))
    .map(([tunnel, total]) => ({
      value: of(total),
      labels: { port: tunnel.slice('tcp:'.length) },
    }));
}

function readDurations({ totals }: Reading): Value[] {
  const name = 'http_dataplane_request_duration_seconds';
  return [...totals.requests.values()].flatMap((request) => {
    const labels = { code: request.status, host: request.tunnel, method: request.method };
    const buckets = REQUEST_BUCKETS_SECONDS.map((bound, index) => ({
      metricName: `${name}_bucket`,
      value: request.buckets[index] ?? 0,
      labels: { ...labels, le: String(bound) },
    }));
    return [
      ...buckets,
      { metricName: `${name}_bucket`, value: request.count, labels: { ...labels, le: '+Inf' } },
      { metricName: `${name}_sum`, value: request.durationUs / 1e6, labels },
      { metricName: `${name}_count`, value: request.count, labels },
    ];
  });
}

function sumOf(results: ReadonlyMap<string, number>): number {
  return [...results.values()].reduce((sum, count) => sum + count, 0);
}
