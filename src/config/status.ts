// The options of `sluiceway status`, and the configuration that they make.
//
// Invariant: a client and status agree by one option on where clients of this machine are asked.
// Must not know: who is asked, or how.

import type { Masked } from '../base/masked.ts';
import { type Address, serverUrl } from './address.ts';
import { CONFIG_OPTION } from './file.ts';
import { one, optional, present } from './option.ts';
import { boolean, duration, path } from './quantity.ts';
import { adminAddr, READINESS_OPTIONS } from './readiness.ts';
import type { Resolution } from './resolve.ts';
import { TOKEN_OPTIONS } from './token.ts';
import {
  buildTrust,
  type Environment,
  runtimeFolder,
  TRUST_OPTIONS,
  type TrustConfig,
} from './trust.ts';

const DAY_MS = 86_400_000;

/** `off` is none. */
export const STATUS_DIR_OPTION = {
  'status-dir': optional(path, {
    help: 'folder of the sockets for status --local; or off',
  }),
};

export const STATUS_OPTIONS = {
  ...CONFIG_OPTION,
  url: optional(serverUrl, { help: 'server to ask, such as wss://tunnel.example.com:8123' }),
  ...TOKEN_OPTIONS,
  ...TRUST_OPTIONS,
  local: one(boolean, { default: 'false', help: 'ask the clients of this user on this machine' }),
  ...STATUS_DIR_OPTION,
  ...READINESS_OPTIONS,
  'admin-addr': adminAddr,
  json: one(boolean, { default: 'false', help: 'print the answer as it came' }),
  wide: one(boolean, {
    default: 'false',
    help: 'print a wider table: traffic, round trip, restarts',
  }),
  watch: one(boolean, { default: 'false', help: 'ask again, see --watch-interval' }),
  'watch-interval': one(duration({ min: 100, max: DAY_MS }), {
    default: '2s',
    help: 'time between two answers',
  }),
};

export interface StatusConfig {
  readonly url: string;
  readonly token?: Masked;
  readonly trust: TrustConfig;
  /** Ask the clients on this machine, and not a server. */
  readonly local: boolean;
  readonly statusDir?: string;
  /** Ask for readiness alone. */
  readonly ready: boolean;
  readonly tunnel?: string;
  /** Of the server on this machine. */
  readonly adminAddr: Address | 'off';
  readonly json: boolean;
  readonly watch: boolean;
  readonly watchIntervalMs: number;
  readonly wide: boolean;
}

export function buildStatusDir(given: string | undefined, env: Environment): string | undefined {
  return given === 'off' ? undefined : (given ?? runtimeFolder(env));
}

export function buildStatus(
  { values, token }: Resolution<'status'>,
  env: Environment,
): StatusConfig {
  return {
    url: values.url ?? '',
    ...present('token', token),
    trust: buildTrust(values, values.url === undefined ? [] : [values.url], env),
    local: values.local,
    ...present('statusDir', buildStatusDir(values['status-dir'], env)),
    ready: values.ready,
    ...present('tunnel', values.tunnel),
    adminAddr: values['admin-addr'],
    json: values.json,
    watch: values.watch,
    watchIntervalMs: values['watch-interval'],
    wide: values.wide,
  };
}
