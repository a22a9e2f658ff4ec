// One option given to a command in one way: as a flag, by the environment, or in a file.
//
// Invariant: a configuration is resolved as the program does it, with every port 0. Must not know:
// what an option is for.

import { readFileSync } from 'node:fs';
import { type ClientConfig, resolveConfig, type ServerConfig } from '../../src/config/config.ts';
import { variableOf } from '../../src/config/merge.ts';
import { type Flags, LOOPBACK } from './configs.ts';

export const CHANNELS = ['flag', 'environment', 'file'] as const;
export type Channel = (typeof CHANNELS)[number];
export type Command = 'server' | 'client';

const BASE: Readonly<Record<Command, Flags>> = {
  server: {
    ...{ 'log-level': 'error', 'log-format': 'json', shards: '1', 'drain-delay': '0s' },
    ...{ 'control-addr': `${LOOPBACK}:0`, 'http-addr': `${LOOPBACK}:0`, 'tcp-addr': LOOPBACK },
    'admin-addr': `${LOOPBACK}:0`,
  },
  client: { 'log-level': 'error', 'log-format': 'json', 'drain-timeout': '1s' },
};

export interface Given {
  readonly option: string;
  readonly value: string;
  readonly channel: Channel;
  /** What else has to be there, in the environment. */
  readonly env: Readonly<Record<string, string>>;
  readonly flags?: Flags;
}

function inputOf(command: Command, { option, value, channel, env, flags }: Given) {
  const { [option]: _replaced, ...base } = BASE[command];
  const variable = channel === 'environment' ? { [variableOf(option)]: value } : {};
  const file = { path: 'sluiceway.yaml', text: `${option}: ${JSON.stringify(value)}\n` };
  return {
    command,
    flags: { ...base, ...flags, ...(channel === 'flag' ? { [option]: value } : {}) },
    env: { ...env, ...variable },
    ...(channel === 'file' ? { file } : {}),
    defaults: { cores: 1, logFormat: 'json' as const },
    readFile: (name: string) => readFileSync(name, 'utf8'),
  };
}

export function serverOf(given: Given): ServerConfig {
  return resolveConfig({ ...inputOf('server', given), command: 'server' });
}

export function clientOf(given: Given): ClientConfig {
  return resolveConfig({ ...inputOf('client', given), command: 'client' });
}
