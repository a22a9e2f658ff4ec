// From an exit node's configuration to what each of its shards needs to know.
//
// Invariant: plain data; no credential. Must not know: how shards use it.

import type { ShardSettings } from '../bridge/messages.ts';
import type { ServerConfig } from '../config/config.ts';

/** Visitor connections when the operator sets no limit: half of a usual open-file limit of
 * 65,536, the other half for links and upstreams (Envoy's rule). */
const VISITOR_CONNECTIONS_DEFAULT = 32_768;

export function shardSettings(config: ServerConfig, version: string): ShardSettings {
  const { tuning, logLevel, shards } = config;
  const connections = tuning.visitorConnectionsMax || VISITOR_CONNECTIONS_DEFAULT;
  return {
    ...tuning,
    agent: `sluiceway/${version}`,
    logLevel,
    visitorConnectionsMax: Math.max(1, Math.floor(connections / shards)),
  };
}
