// Asks a new exit node whether it is ready, and whose certificate it shows.
//
// Invariant: a certificate of a private CA is verified against that CA, name and dates included, so
// that a client which pins the fingerprint will be let in; not yet is undefined, never is an error.
// Must not know: clouds.

import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { SluicewayError } from '../base/errors.ts';
import { http, https } from '../base/http-modules.ts';
import { fetchServerCa } from '../client/server-ca.ts';
import { controlUrl } from '../config/address.ts';

export interface Reached {
  /** Absent where a certificate is not of a private CA, or there is none. */
  readonly fingerprint?: string;
}

export type ControlTls = 'private' | 'own' | 'none';

const TIMEOUT_MS = 10_000;
/** What comes while a machine starts: nobody listens, or packets are dropped. */
const NOT_YET: ReadonlySet<string> = new Set(['SLW_DIAL_FAILED', 'SLW_TIMEOUT']);

/** `url` is the server's, as a client would be given it. */
export async function reachServer(
  url: string,
  tls: ControlTls,
  timeoutMs = TIMEOUT_MS,
): Promise<Reached | undefined> {
  if (tls === 'own') return (await canConnect(new URL(url), timeoutMs)) ? {} : undefined;
  if (tls === 'none') return (await isReady(url, timeoutMs)) ? {} : undefined;
  const folder = mkdtempSync(join(tmpdir(), 'sluiceway-'));
  try {
    const knownServers = join(folder, 'known-servers');
    const trust = { autoTls: 'on', fingerprints: [], knownServers } as const;
    const { ca, fingerprint } = await fetchServerCa({ url, trust, clock: systemClock, timeoutMs });
    return (await isReady(url, timeoutMs, ca)) ? { fingerprint } : undefined;
  } catch (error) {
    if (error instanceof SluicewayError && NOT_YET.has(error.code)) return undefined;
    throw error;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function isReady(url: string, timeoutMs: number, ca?: string): Promise<boolean> {
  const ready = controlUrl(url, '/readyz');
  const signal = AbortSignal.timeout(timeoutMs);
  return new Promise((resolve) => {
    const options = { agent: false as const, signal, ...attemptsWithin(timeoutMs) };
    const request =
      ca === undefined
        ? http.get(ready, options)
        : https.get(ready, { ...options, ca, rejectUnauthorized: true });
    request.on('error', () => resolve(false));
    request.on('response', (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
  });
}

/** A certificate of the operator's is for a name, and we come by an address. */
function canConnect({ hostname, port }: URL, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({
      host: hostname,
      port: Number(port || 443),
      timeout: timeoutMs,
      ...attemptsWithin(timeoutMs),
    });
    const end = (isOpen: boolean): void => {
      socket.destroy();
      resolve(isOpen);
    };
    socket.on('connect', () => end(true));
    socket.on('timeout', () => end(false));
    socket.on('error', () => end(false));
  });
}
