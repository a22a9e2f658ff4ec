// The table of upstreams that shards get: tunnels with what is dialled for each, and the CA files
// of those that have one of their own.
//
// Invariant: a file that cannot be read ends the start, and is never "no CA"; an upstream that is
// not verified is told of each time. Must not know: links, or how an upstream is dialled.

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { LOGINS_MAX } from '../base/tunnel-options.ts';
import { declareLogin, declareProviderLogin, type LoginScheme } from '../base/visitor-login.ts';
import type { UpstreamEntry } from '../bridge/client-messages.ts';
import type { ClientConfig, TunnelSpec } from '../config/config.ts';
import { readBearerTokens } from '../config/visitor-login.ts';

/** As the exit node reads it: 32 hexadecimal digits. */
const SALT_BYTES = 16;

/** `sockets` has where the folders of tunnels are served, by tunnel. */
export async function readUpstreams(
  { tunnels, proxyProtocol, udpProxyProtocol }: ClientConfig,
  log: Logger,
  sockets: ReadonlyMap<string, string> = new Map(),
): Promise<readonly UpstreamEntry[]> {
  const texts = new Map<string, string>();
  const raw = { tcp: proxyProtocol, tls: proxyProtocol };
  const versions = { http: 'off', ...raw, udp: udpProxyProtocol } as const;
  const logins = await declareLogins(tunnels);
  for (const { name, upstream } of tunnels) {
    const ca = upstream.verify?.ca;
    if (ca !== undefined && !texts.has(ca)) texts.set(ca, await readCa(name, ca));
    if (upstream.verify?.isUnverified === true) {
      log.warn({ tunnel: name }, 'tls-insecure: the certificate of this upstream is not verified');
    }
  }
  return tunnels.map((tunnel) => ({
    ...withLogins(describe(tunnel, texts), logins.get(tunnel.name) ?? []),
    ...withSocket(sockets.get(tunnel.name)),
    proxyProtocol: versions[tunnel.kind],
  }));
}

function describe(
  { name, label, options, upstream }: TunnelSpec,
  texts: ReadonlyMap<string, string>,
): Omit<UpstreamEntry, 'proxyProtocol'> {
  const { path, host, port, tls, verify = {} } = upstream;
  const { ca, serverName, isUnverified } = verify;
  const caText = ca === undefined ? undefined : texts.get(ca);
  return { name, label, path, host, port, tls, ca: caText, serverName, isUnverified, options };
}

/** The logins of each tunnel as they are declared, by its name. */
async function declareLogins(
  tunnels: readonly TunnelSpec[],
): Promise<ReadonlyMap<string, readonly string[]>> {
  const declared = new Map<string, readonly string[]>();
  for (const { name, logins } of tunnels) {
    if (logins === undefined) continue;
    const tokens: string[] = [];
    for (const path of logins.bearerFiles) tokens.push(...(await readTokens(name, path)));
    const declare = (scheme: LoginScheme) => (secret: string) =>
      declareLogin(scheme, secret, randomBytes(SALT_BYTES).toString('hex'));
    const { basic, provider, allow } = logins;
    const rules = provider === undefined ? [] : allow;
    const all = [
      ...[...basic.map(declare('basic')), ...tokens.map(declare('bearer'))],
      ...rules.map((rule) => declareProviderLogin(provider ?? '', rule)),
    ];
    if (all.length === 0 || all.length > LOGINS_MAX) {
      const problem = `--upstream ${name}: ${all.length} logins; give 1 to ${LOGINS_MAX}`;
      throw new ConfigError([problem]);
    }
    declared.set(name, all);
  }
  return declared;
}

async function readTokens(name: string, path: string): Promise<readonly string[]> {
  try {
    const read = readBearerTokens(await readFile(path, 'utf8'));
    if (typeof read !== 'string') return read;
    throw new Error(read);
  } catch (cause) {
    const problem = `--upstream ${name} bearer-token-file: ${(cause as Error).message}`;
    throw new ConfigError([problem], { cause });
  }
}

function withLogins<Entry extends Pick<UpstreamEntry, 'options'>>(
  entry: Entry,
  logins: readonly string[],
): Entry {
  if (logins.length === 0) return entry;
  return { ...entry, options: { ...entry.options, 'visitor-login': logins } };
}

function withSocket(path: string | undefined): Pick<UpstreamEntry, 'path'> {
  return path === undefined ? {} : { path };
}

async function readCa(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new ConfigError([`--upstream ${name} tls-ca: ${(cause as Error).message}`], { cause });
  }
}
