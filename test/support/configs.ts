// Configurations for servers and clients of one test process, resolved as the program does.
//
// Invariant: every port is 0 unless a test says otherwise, and nothing waits longer than a test
// would. Must not know: what is started with them.

import { readFileSync } from 'node:fs';
import {
  type ClientConfig,
  resolveConfig,
  type ServerConfig,
  type TunnelSpec,
} from '../../src/config/config.ts';

export const TOKEN = 'integration-token-0123456789';
export const LOOPBACK = '127.0.0.1';

/** Options by their names without dashes, as on the command line. */
export type Flags = Readonly<Record<string, string | boolean | readonly string[]>>;

/** Shards log what goes wrong in them and nothing else. */
const QUIET: Flags = { 'log-level': 'error', 'log-format': 'json' };

export function serverConfig(
  flags: Flags = {},
  env: Readonly<Record<string, string>> = {},
): ServerConfig {
  return resolveConfig({
    command: 'server',
    flags: {
      ...QUIET,
      'control-addr': `${LOOPBACK}:0`,
      'http-addr': `${LOOPBACK}:0`,
      'admin-addr': `${LOOPBACK}:0`,
      'tcp-addr': LOOPBACK,
      shards: '2',
      'drain-delay': '0s',
      'drain-timeout': '3s',
      ...flags,
    },
    env: { SLUICEWAY_TOKEN: TOKEN, ...env },
    defaults: { cores: 2, logFormat: 'json' },
    readFile: refuseFile,
  });
}

export function clientConfig(flags: Flags): ClientConfig {
  return resolveConfig({
    command: 'client',
    flags: { ...QUIET, 'drain-timeout': '3s', 'status-dir': 'off', ...flags },
    env: { SLUICEWAY_TOKEN: TOKEN },
    defaults: { cores: 2, logFormat: 'json' },
    readFile: (path) => readFileSync(path, 'utf8'),
  });
}

/** Tunnels as `--upstream` and `--tcp` give them. */
export function tunnelSpecs(flags: Flags): readonly TunnelSpec[] {
  return clientConfig({ url: 'ws://127.0.0.1:1', ...flags }).tunnels;
}

function refuseFile(path: string): string {
  throw new Error(`no file is read in these tests, but ${path}`);
}
