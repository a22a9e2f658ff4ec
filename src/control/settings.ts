// From an exit node's configuration to what each of its shards needs to know.
//
// Invariant: plain data; no credential. Without an operator's limit, visitors get half of the open
// files, so that links, upstreams and health checks find theirs. Must not know: how shards use it.

import { readFile } from 'node:fs/promises';
import type { ShardSettings } from '../bridge/messages.ts';
import type { ServerConfig } from '../config/config.ts';

/** Where the limit cannot be read (not Linux): a usual one. */
const OPEN_FILES_DEFAULT = 65_536;
/** Above this nobody has that many visitors, and `unlimited` has to be some number. Guess. */
const OPEN_FILES_MAX = 1_048_576;

/** Settings of one shard of `config.shards`. */
export async function shardSettings(config: ServerConfig, version: string): Promise<ShardSettings> {
  const { tuning, logLevel, logFormat, shards } = config;
  const connections = tuning.visitorConnectionsMax || (await openFilesLimit()) / 2;
  return {
    ...tuning,
    agent: `sluiceway/${version}`,
    logLevel,
    logFormat,
    acceptProxyProtocol: config.acceptProxyProtocol,
    trustedProxies: config.trustedProxies,
    visitorConnectionsMax: Math.max(1, Math.floor(connections / shards)),
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
