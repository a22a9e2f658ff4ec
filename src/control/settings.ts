// From an exit node's configuration to what each of its shards needs to know.
//
// Invariant: plain data; no credential. A limit of the whole server is divided by the shards that
// accept, and a share is rounded up, so that no limit becomes 0, which would be none. Without an
// operator's limit, visitors get half of the open files, so that links, upstreams and health checks
// find theirs. Must not know: how shards use it.

import { readFile } from 'node:fs/promises';
import { networkTable } from '../base/network-set.ts';
import type { VisitorLimits } from '../base/visitor-limits.ts';
import type { ShardSettings, VisitorSettings } from '../bridge/shard-task.ts';
import type { ServerConfig } from '../config/config.ts';
import { readErrorPages } from './error-pages.ts';
import { supportsReusePort } from './ports.ts';

/** Where the limit cannot be read (not Linux): a usual one. */
const OPEN_FILES_DEFAULT = 65_536;
/** Above this nobody has that many visitors, and `unlimited` has to be some number. Guess. */
const OPEN_FILES_MAX = 1_048_576;

/** Settings of one shard, of which `accepting` accept visitors. */
export async function shardSettings(
  config: ServerConfig,
  version: string,
  accepting: number,
): Promise<ShardSettings> {
  const { tuning, logLevel, logFormat } = config;
  const connections = tuning.visitorConnectionsMax || (await openFilesLimit()) / 2;
  return {
    ...tuning,
    agent: `sluiceway/${version}`,
    logLevel,
    logFormat,
    allowIps: config.allowIps,
    denied: networkTable(config.denyIps),
    controlAllowIps: config.controlAllowIps,
    acceptProxyProtocol: config.acceptProxyProtocol,
    trustedProxies: config.trustedProxies,
    clientForwarding: config.clientForwarding,
    visitorConnectionsMax: Math.ceil(connections / accepting),
    udpFlowsMax: Math.ceil(tuning.udpFlowsMax / accepting),
    udpFlowsPerAddressMax: Math.ceil(tuning.udpFlowsPerAddressMax / accepting),
    udpNewFlowsPerSecondMax: Math.ceil(tuning.udpNewFlowsPerSecondMax / accepting),
  };
}

/** How one of `accepting` shards treats visitors. Rejects with a ConfigError. */
export async function visitorSettings(
  config: ServerConfig,
  accepting: number,
): Promise<VisitorSettings> {
  const { limits, inspect, accessLog, errorPages } = config;
  return {
    limits: shareLimits(limits, accepting),
    inspect,
    accessLog,
    linkSchemes: config.linkSchemes,
    errorPages: await readErrorPages(errorPages),
  };
}

/** The limits of one of `accepting` shards. */
export function shareLimits(limits: VisitorLimits, accepting: number): VisitorLimits {
  const share = (limit: number): number => Math.ceil(limit / accepting);
  return {
    connectionsPerAddressMax: share(limits.connectionsPerAddressMax),
    addressConnectionsPerSecondMax: share(limits.addressConnectionsPerSecondMax),
    tunnelConnectionsMax: share(limits.tunnelConnectionsMax),
    requestsPerSecondMax: share(limits.requestsPerSecondMax),
    addressRequestsPerSecondMax: share(limits.addressRequestsPerSecondMax),
    tunnelRequestsPerSecondMax: share(limits.tunnelRequestsPerSecondMax),
    tunnelBytesInPerSecondMax: share(limits.tunnelBytesInPerSecondMax),
    tunnelBytesOutPerSecondMax: share(limits.tunnelBytesOutPerSecondMax),
    requestBodyBytesMax: limits.requestBodyBytesMax,
  };
}

/** The soft limit of this process; Node has raised it to the hard one. */
async function openFilesLimit(): Promise<number> {
  try {
    const limits = await readFile('/proc/self/limits', 'utf8');
    const files = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? OPEN_FILES_MAX);
    return Math.min(files, OPEN_FILES_MAX);
  } catch {
    // No /proc here.
    return OPEN_FILES_DEFAULT;
  }
}

/** How many accept: all, where the kernel spreads connections over them; else the first. */
export async function acceptingShards({ shards, reusePort }: ServerConfig): Promise<number> {
  return reusePort === 'auto' && shards > 1 && (await supportsReusePort()) ? shards : 1;
}
