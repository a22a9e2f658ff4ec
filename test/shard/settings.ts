// Settings of a shard with the defaults of the options.
//
// Invariant: what a test does not change is what an operator gets. Must not know: which part uses
// them.

import type { ShardSettings } from '../../src/bridge/shard-task.ts';
import { serverConfig } from '../support/configs.ts';

export function shardSettings(changes: Partial<ShardSettings> = {}): ShardSettings {
  const { tuning } = serverConfig();
  return {
    ...tuning,
    agent: 'sluiceway/test',
    logLevel: 'silent',
    logFormat: 'json',
    visitorConnectionsMax: 1000,
    ...changes,
  };
}
