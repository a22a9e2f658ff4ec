// The table of upstreams that shards get: tunnels with what is dialled for each, and the CA files
// of those that have one of their own.
//
// Invariant: a file that cannot be read ends the start, and is never "no CA"; an upstream that is
// not verified is told of each time. Must not know: links, or how an upstream is dialled.

import { readFile } from 'node:fs/promises';
import { ConfigError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { UpstreamEntry } from '../bridge/messages.ts';
import type { ClientConfig, TunnelSpec } from '../config/config.ts';

export async function readUpstreams(
  { tunnels, proxyProtocol }: ClientConfig,
  log: Logger,
): Promise<readonly UpstreamEntry[]> {
  const texts = new Map<string, string>();
  for (const { name, upstream } of tunnels) {
    const ca = upstream.verify?.ca;
    if (ca !== undefined && !texts.has(ca)) texts.set(ca, await readCa(name, ca));
    if (upstream.verify?.isUnverified === true) {
      log.warn({ tunnel: name }, 'tls-insecure: the certificate of this upstream is not verified');
    }
  }
  return tunnels.map((tunnel) => ({
    ...describe(tunnel, texts),
    proxyProtocol: tunnel.kind === 'http' ? 'off' : proxyProtocol,
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

async function readCa(name: string, path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new ConfigError([`--upstream ${name} tls-ca: ${(cause as Error).message}`], { cause });
  }
}
