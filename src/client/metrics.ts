// The client's Prometheus page.
//
// Invariant: label values are what the client's own configuration names (servers, tunnels), words
// of ours and codes, so that no visitor and no server can add a series; a tunnel has its series
// from the start. Must not know: how what is read came together.

import { MetricsPage, type Row, type Value } from '../base/metrics-page.ts';
import type { Totals } from '../bridge/sample-book.ts';
import { type LocalStatus, servingLinks } from './local-status.ts';

export interface ClientReading {
  readonly status: LocalStatus;
  readonly totals: Totals;
  /** Dials that failed and links that were lost: `server code` to count. */
  readonly failures: ReadonlyMap<string, number>;
  /** Tunnels whose upstream is looked at, and whether it is well. */
  readonly health: ReadonlyMap<string, boolean>;
  readonly shardRestarts: number;
  /** Of the main thread; shards count their own. */
  readonly logDropped: number;
}

export class ClientMetrics extends MetricsPage<ClientReading> {
  constructor(look: () => ClientReading) {
    super(ROWS, look);
  }
}

const NO_LABELS = {};
const NO_TRAFFIC = { streams: 0, bytesIn: 0, bytesOut: 0, results: new Map<string, number>() };

const ROWS: readonly Row<ClientReading>[] = [
  row('connected', 'gauge', 'Is 1 while a link to the server is up.', ({ status }) =>
    status.servers.map(({ url, state }) => ({
      value: state === 'connected' ? 1 : 0,
      labels: { server: url },
    })),
  ),
  row('links', 'gauge', 'Links to the server that are up.', ({ status }) =>
    status.servers.map((server) => ({
      value: servingLinks(server).length,
      labels: { server: server.url },
    })),
  ),
  row('link_rtt_seconds', 'gauge', 'Round trip of the fastest link.', ({ status }) =>
    status.servers.flatMap((server) => {
      const trips = servingLinks(server).flatMap(({ rttMs }) => (rttMs > 0 ? [rttMs] : []));
      const labels = { server: server.url };
      return trips.length === 0 ? [] : [{ value: Math.min(...trips) / 1000, labels }];
    }),
  ),
  row('link_failures_total', 'counter', 'Failed dials and lost links.', ({ failures }) =>
    [...failures].map(([key, value]) => {
      const [server = '', code = ''] = key.split(' ');
      return { value, labels: { server, code } };
    }),
  ),
  row('tunnel_up', 'gauge', 'Is 1 while the server serves the tunnel by this client.', readTunnels),
  row('upstream_healthy', 'gauge', 'Is 1 while its health check is good.', ({ health }) =>
    [...health].map(([tunnel, isWell]) => ({ value: isWell ? 1 : 0, labels: { tunnel } })),
  ),
  row('streams_open', 'gauge', 'Open streams.', (reading) =>
    trafficOf(reading).map(([tunnel, { streams }]) => ({ value: streams, labels: { tunnel } })),
  ),
  row('streams_total', 'counter', 'Streams that ended, by result.', (reading) =>
    trafficOf(reading).flatMap(([tunnel, { results }]) =>
      [...results].map(([code, value]) => ({
        value,
        labels: { tunnel, result: code === 'SLW_NONE' ? 'ok' : code },
      })),
    ),
  ),
  row('bytes_total', 'counter', 'Payload: in from visitors, out to them.', (reading) =>
    trafficOf(reading).flatMap(([tunnel, { bytesIn, bytesOut }]) => [
      { value: bytesIn, labels: { tunnel, direction: 'in' } },
      { value: bytesOut, labels: { tunnel, direction: 'out' } },
    ]),
  ),
  row('udp_datagrams_total', 'counter', 'In from visitors, out to them.', ({ totals }) =>
    [...totals.datagrams].map(([direction, value]) => ({ value, labels: { direction } })),
  ),
  row('udp_dropped_total', 'counter', 'Datagrams dropped, by reason.', ({ totals }) =>
    [...totals.datagramsDropped].map(([reason, value]) => ({ value, labels: { reason } })),
  ),
  row('protocol_errors_total', 'counter', 'Links ended for a bad frame.', ({ totals }) =>
    [...totals.protocolErrors].map(([code, value]) => ({ value, labels: { code } })),
  ),
  row('shard_restarts_total', 'counter', 'Shards started again.', ({ shardRestarts }) =>
    one(shardRestarts),
  ),
  row('log_dropped_total', 'counter', 'Log lines dropped.', ({ totals, logDropped }) =>
    one(totals.logDropped + logDropped),
  ),
  row('build_info', 'gauge', 'Always 1.', ({ status }) => [
    { value: 1, labels: { version: status.version, node: process.version } },
  ]),
];

function row(
  name: string,
  kind: Row<ClientReading>['kind'],
  help: string,
  read: Row<ClientReading>['read'],
): Row<ClientReading> {
  return { name: `sluiceway_client_${name}`, kind, help, read };
}

function one(value: number): Value[] {
  return [{ value, labels: NO_LABELS }];
}

function readTunnels({ status }: ClientReading): Value[] {
  return status.servers.flatMap(({ url, tunnels }) =>
    tunnels.map(({ name, state }) => ({
      value: state === 'up' ? 1 : 0,
      labels: { tunnel: name, server: url },
    })),
  );
}

type Traffic = Pick<typeof NO_TRAFFIC, 'streams' | 'bytesIn' | 'bytesOut'> & {
  readonly results: ReadonlyMap<string, number>;
};

/** Those of the configuration first, and what local ports carry under `_other`. */
function trafficOf({ status, totals }: ClientReading): [tunnel: string, traffic: Traffic][] {
  const names = status.servers.flatMap(({ tunnels }) => tunnels.map(({ name }) => name));
  const all = new Map<string, Traffic>(names.map((name) => [name, NO_TRAFFIC]));
  for (const [name, total] of totals.tunnels) all.set(name, total);
  return [...all];
}
