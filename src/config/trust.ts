// Which certificates a server shows and a client believes: the options, their relations, defaults.
//
// Invariant: an option that protects is in force or a problem: a fingerprint, a private CA or a
// client certificate that could not have an effect is never passed over in silence. Must not
// know: how certificates are made, fetched or compared.

import { isIP } from 'node:net';
import { isAbsolute, join } from 'node:path';
import { isLoopbackHost, readHost } from '../base/target.ts';
import type { Address } from './address.ts';
import { InvalidText, type Kind, kindOf, many, optional } from './option.ts';
import { buildProxies, type Proxies, proxyUrl } from './proxy.ts';
import { boolean, path } from './quantity.ts';

/** The server's private CA. */
export interface AutoTlsConfig {
  readonly folder: string;
  /** Empty: those of the machine. */
  readonly names: readonly string[];
}

/** Whom a client believes to be its server, and what it shows. */
export interface TrustConfig {
  /** Through which servers are reached; absent: directly. */
  readonly proxies?: Proxies;
  readonly tlsCa?: string;
  /** `by-address`: for servers that are dialled by an IP address. */
  readonly autoTls: 'on' | 'off' | 'by-address';
  /** Not empty: a private CA must be one of these; `sha256:` and 64 hex digits. */
  readonly fingerprints: readonly string[];
  readonly knownServers: string;
  /** Paths, both or none. */
  readonly clientCert?: string;
  readonly clientKey?: string;
}

export interface OptionProblem {
  readonly option: string;
  readonly wrong: string;
}

export type Environment = Readonly<Record<string, string | undefined>>;
type Has = (name: string) => boolean;

/** Where system services keep their state (Filesystem Hierarchy Standard, 5.8). */
const SYSTEM_STATE = '/var/lib/sluiceway';

export const serverName: Kind<string> = kindOf(
  'host',
  'HOST',
  (text) => readHost(text) ?? new InvalidText('is neither a host name nor an IP address'),
  String,
);

export const fingerprint: Kind<string> = kindOf(
  'fingerprint',
  'sha256:HEX',
  (text) => {
    if (/^sha256:[0-9a-f]{64}$/i.test(text)) return text.toLowerCase();
    return new InvalidText('is not a fingerprint; write sha256: and 64 hexadecimal digits');
  },
  String,
);

export const AUTO_TLS_OPTIONS = {
  'auto-tls': optional(boolean, {
    help: 'make a private CA for the control port; on without --tls-cert, unless on loopback',
  }),
  'auto-tls-san': many(serverName, {
    help: 'name or address that clients dial, for the certificate; those of the machine if none',
  }),
  'auto-tls-dir': optional(path, { help: 'folder that keeps the private CA and its keys' }),
};

/** Of whoever dials a server. */
export const TRUST_OPTIONS = {
  proxy: optional(proxyUrl, {
    help: 'reach the server through this HTTP or SOCKS5 proxy; else as HTTPS_PROXY says; or off',
  }),
  'tls-ca': optional(path, { help: 'trust this CA for the server, PEM' }),
  'auto-tls': optional(boolean, {
    help: "fetch the server's private CA; on for IP addresses and with a fingerprint",
  }),
  'auto-tls-fingerprint': many(fingerprint, {
    help: "trust the server's private CA with this fingerprint alone, as the server prints it",
  }),
  'known-servers': optional(path, { help: 'file that remembers the CA of each server' }),
  'tls-client-cert': optional(path, { help: 'certificate to show to the server, PEM' }),
  'tls-client-key': optional(path, { help: 'private key of --tls-client-cert, PEM' }),
};

interface ServerValues {
  readonly 'auto-tls'?: boolean | undefined;
  readonly 'auto-tls-san'?: readonly string[] | undefined;
  readonly 'auto-tls-dir'?: string | undefined;
  readonly 'tls-cert'?: string | undefined;
  readonly 'client-ca'?: string | undefined;
  readonly 'control-addr'?: Address | undefined;
}

export function buildAutoTls(values: ServerValues, env: Environment): AutoTlsConfig | undefined {
  if (!isAutoTls(values)) return undefined;
  const folder = values['auto-tls-dir'] ?? join(stateFolder(env), 'tls');
  return { folder, names: values['auto-tls-san'] ?? [] };
}

export function autoTlsProblems(values: ServerValues, has: Has): OptionProblem[] {
  const problems: OptionProblem[] = [];
  if (values['auto-tls'] === true && has('tls-cert')) {
    problems.push({ option: 'auto-tls', wrong: 'excludes --tls-cert; keep one of them' });
  }
  // Another problem may have left out what this depends on.
  if (values['control-addr'] === undefined || (has('tls-cert') && !values['tls-cert'])) {
    return problems;
  }
  const isAuto = isAutoTls(values);
  if (has('auto-tls-san') && !isAuto) {
    const wrong = 'has no effect without --auto-tls, which is off here';
    problems.push({ option: 'auto-tls-san', wrong });
  }
  if (has('client-ca') && !isAuto && !has('tls-cert')) {
    const wrong = 'needs TLS on the control port; give --auto-tls, or --tls-cert and --tls-key';
    problems.push({ option: 'client-ca', wrong });
  }
  return problems;
}

function isAutoTls(values: ServerValues): boolean {
  const isPublic = !isLoopbackHost(values['control-addr']?.host ?? '');
  return values['auto-tls'] ?? (values['tls-cert'] === undefined && isPublic);
}

interface ClientValues {
  readonly 'auto-tls'?: boolean | undefined;
  readonly proxy?: string | undefined;
  readonly 'auto-tls-fingerprint'?: readonly string[] | undefined;
  readonly 'known-servers'?: string | undefined;
  readonly 'tls-ca'?: string | undefined;
  readonly 'tls-client-cert'?: string | undefined;
  readonly 'tls-client-key'?: string | undefined;
}

export function buildTrust(
  values: ClientValues,
  urls: readonly string[],
  env: Environment,
): TrustConfig {
  const { 'tls-ca': tlsCa, 'tls-client-cert': clientCert, 'tls-client-key': clientKey } = values;
  const proxies = buildProxies(values.proxy, urls, env);
  return {
    ...(Object.keys(proxies).length > 0 ? { proxies } : {}),
    ...(tlsCa === undefined ? {} : { tlsCa }),
    autoTls: autoTlsOf(values),
    fingerprints: values['auto-tls-fingerprint'] ?? [],
    knownServers: values['known-servers'] ?? join(stateFolder(env), 'known-servers'),
    ...(clientCert === undefined || clientKey === undefined ? {} : { clientCert, clientKey }),
  };
}

/** A pin holds for every server, also for one that the system's store would accept. */
function autoTlsOf(values: ClientValues): TrustConfig['autoTls'] {
  const given = values['auto-tls'];
  if (given !== undefined) return given ? 'on' : 'off';
  if ((values['auto-tls-fingerprint'] ?? []).length > 0) return 'on';
  return values['tls-ca'] === undefined ? 'by-address' : 'off';
}

/** Is this server's CA a private one, to be fetched from it? */
export function isFetched(trust: TrustConfig, url: string): boolean {
  const { protocol, hostname } = new URL(url);
  if (protocol !== 'wss:' || trust.autoTls === 'off') return false;
  return trust.autoTls === 'on' || isIP(hostname.replace(/^\[(.*)\]$/, '$1')) !== 0;
}

/** Options that would have no effect over a plain link. */
const NEED_TLS = ['auto-tls', 'auto-tls-fingerprint', 'tls-client-cert'] as const;

export function trustProblems(
  values: ClientValues,
  urls: readonly string[],
  has: Has,
): OptionProblem[] {
  const problems: OptionProblem[] = [];
  const isPinned = has('auto-tls-fingerprint');
  if (isPinned && values['auto-tls'] === false) {
    const wrong = 'has no effect with --no-auto-tls; keep one of them';
    problems.push({ option: 'auto-tls-fingerprint', wrong });
  }
  if (has('tls-ca') && (isPinned || values['auto-tls'] === true)) {
    const option = isPinned ? 'auto-tls-fingerprint' : 'auto-tls';
    problems.push({ option, wrong: 'excludes --tls-ca; keep one of them' });
  }
  const plain = urls.find((url) => url.startsWith('ws:'));
  for (const option of plain === undefined ? [] : NEED_TLS) {
    if (!has(option) || (option === 'auto-tls' && values[option] !== true)) continue;
    problems.push({ option, wrong: `has no effect on ${plain}; write wss://` });
  }
  return problems;
}

/** For sockets of what runs: where systemd says, the user's folder for them, or that of state. */
export function runtimeFolder(env: Environment): string {
  const service = env.RUNTIME_DIRECTORY?.split(':', 1)[0] ?? '';
  if (isAbsolute(service)) return service;
  const { XDG_RUNTIME_DIR: runtime = '' } = env;
  return isAbsolute(runtime) ? join(runtime, 'sluiceway') : join(stateFolder(env), 'run');
}

/** For what must not be forgotten: where systemd says, the user's folder, or the system's. */
export function stateFolder(env: Environment): string {
  const service = env.STATE_DIRECTORY?.split(':', 1)[0] ?? '';
  if (isAbsolute(service)) return service;
  const { XDG_STATE_HOME: state = '', HOME: home = '' } = env;
  if (isAbsolute(state)) return join(state, 'sluiceway');
  return isAbsolute(home) && home !== '/' ? join(home, '.local/state/sluiceway') : SYSTEM_STATE;
}
