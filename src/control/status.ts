// The status document: clients, what each serves, and how much went through.
//
// Invariant: keys and shapes are the contract's; it only grows. Must not know: who asks.

import { hostname } from 'node:os';
import type { Totals } from '../bridge/sample-book.ts';
import type { ServerConfig } from '../config/config.ts';
import type { Status, StatusClient } from './answers.ts';
import type { Client } from './clients.ts';
import type { Registry } from './registry.ts';
import { shownOwnerOf } from './tokens.ts';

export interface StatusRequest {
  readonly registry: Registry;
  readonly totals: Totals;
  readonly config: ServerConfig;
  readonly version: string;
  readonly startedMs: number;
}

export function describeStatus(request: StatusRequest): Status {
  const { registry, config, version, startedMs } = request;
  return {
    info: {
      version,
      mode: modeOf(config),
      hostname: hostname(),
      startTime: new Date(startedMs).toISOString(),
      shards: config.shards,
    },
    clients: [...registry.clients].map((client) => describeClient(client, request)),
  };
}

/** What visitors can come by. */
function modeOf({ httpAddr, https, tcpPorts, udpPorts }: ServerConfig): string {
  const modes = [
    ...(httpAddr === 'off' ? [] : ['http']),
    ...(https === undefined ? [] : ['https', 'tls']),
    ...(tcpPorts.length === 0 ? [] : ['tcp']),
    ...(udpPorts.length === 0 ? [] : ['udp']),
  ];
  return modes.join(',');
}

function describeClient(client: Client, { totals, registry }: StatusRequest): StatusClient {
  const roundTripsMs: number[] = [];
  let streams = 0;
  let bytesIn = 0;
  let bytesOut = 0;
  for (const key of client.links) {
    const link = totals.links.get(key);
    if (link !== undefined && link.roundTripMs > 0) roundTripsMs.push(link.roundTripMs);
    streams += link?.streams ?? 0;
    // Seen from visitors: what comes from the client goes out to them.
    bytesIn += link?.bytesOut ?? 0;
    bytesOut += link?.bytesIn ?? 0;
  }
  const token = shownOwnerOf(client.credential);
  return {
    clientID: client.id,
    remoteAddr: client.remoteAddress,
    ...(client.identity === undefined ? {} : { identity: client.identity }),
    ...(token === '' ? {} : { token }),
    since: new Date(client.sinceMs).toISOString(),
    version: client.agent.replace(/^sluiceway\//, ''),
    links: client.links.size,
    upstreams: [...client.tunnels.values()],
    tunnels: [...client.tunnels.keys()],
    streams,
    bytesIn,
    bytesOut,
    rttMs: roundTripsMs.length === 0 ? 0 : Math.round(Math.min(...roundTripsMs) * 100) / 100,
    restarts: Math.max(0, (registry.connects.get(client.id) ?? 1) - 1),
  };
}
