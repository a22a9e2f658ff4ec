// The control port's own certificate, read once at the start.
//
// Invariant: a certificate that cannot be used is found before a socket opens. Must not know: who
// serves it.

import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { ConfigError } from '../base/errors.ts';
import type { ServerConfig } from '../config/config.ts';

export async function readTls(
  config: ServerConfig,
): Promise<{ cert: string; key: string } | undefined> {
  const { tlsCert, tlsKey } = config;
  if (tlsCert === undefined || tlsKey === undefined) return undefined;
  try {
    const [cert, key] = await Promise.all([readFile(tlsCert, 'utf8'), readFile(tlsKey, 'utf8')]);
    createSecureContext({ cert, key });
    return { cert, key };
  } catch (cause) {
    const detail = `--tls-cert, --tls-key: ${(cause as Error).message}`;
    throw new ConfigError([detail], { cause });
  }
}
