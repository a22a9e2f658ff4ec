// What each dial is given to trust its server, to be known by it, and to get there.
//
// Invariant: the private CA of a server is checked before the first dial, and again after a dial
// that its certificate failed; a dial never goes without what was configured. The client's own
// certificate is read for each dial, as such are short-lived. Must not know: links.

import { readFile } from 'node:fs/promises';
import type { Clock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import { unbracketed } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import { isLoopbackHost } from '../base/target.ts';
import type { TrustConfig } from '../config/config.ts';
import { isFetched } from '../config/trust.ts';
import { fetchServerCa, type ServerCa } from './server-ca.ts';

export interface ServerTrustOptions {
  readonly trust: TrustConfig;
  readonly clock: Clock;
  readonly log?: Logger;
}

export interface DialTrust {
  /** PEM; undefined: the authorities that Node knows. */
  readonly ca: string | undefined;
  readonly own?: { readonly cert: string; readonly key: string };
  /** The proxy on the way, with its login. */
  readonly proxy?: string;
}

export class ServerTrust {
  readonly #options: ServerTrustOptions;
  /** By URL; one fetch for links that are dialled at once. */
  readonly #fetched = new Map<string, Promise<ServerCa>>();

  constructor(options: ServerTrustOptions) {
    this.#options = options;
  }

  /** What to dial `url` with. Rejects with a SluicewayError. */
  async forDial(url: string): Promise<DialTrust> {
    const [ca, own] = await Promise.all([this.#caOf(url), this.#ownPair(url)]);
    const proxy = this.#options.trust.proxies?.[url]?.reveal();
    return {
      ca,
      ...(own === undefined ? {} : { own }),
      ...(proxy === undefined ? {} : { proxy }),
    };
  }

  /** A dial was refused for its certificate: what is known of the CA is asked for again. */
  forget(url: string): void {
    this.#fetched.delete(url);
  }

  async #caOf(url: string): Promise<string | undefined> {
    const { trust } = this.#options;
    if (!isFetched(trust, url)) {
      return trust.tlsCa === undefined ? undefined : await readPem('--tls-ca', trust.tlsCa);
    }
    let fetched = this.#fetched.get(url);
    if (fetched === undefined) {
      fetched = this.#fetch(url);
      this.#fetched.set(url, fetched);
    }
    return (await fetched).ca;
  }

  async #fetch(url: string): Promise<ServerCa> {
    const { trust, clock, log } = this.#options;
    try {
      const found = await fetchServerCa({ url, trust, clock });
      const { fingerprint, isNew } = found;
      const file = isNew ? trust.knownServers : undefined;
      log?.info({ url, fingerprint, file }, isNew ? 'CA of a new server' : 'CA of the server');
      return found;
    } catch (error) {
      this.#fetched.delete(url);
      throw error;
    }
  }

  async #ownPair(url: string): Promise<DialTrust['own'] | undefined> {
    const { clientCert, clientKey } = this.#options.trust;
    if (clientCert === undefined || clientKey === undefined || !url.startsWith('wss:')) {
      return undefined;
    }
    const [cert, key] = await Promise.all([
      readPem('--tls-client-cert', clientCert),
      readPem('--tls-client-key', clientKey),
    ]);
    return { cert, key };
  }
}

/** Would a token cross a network in the clear? */
export function isExposed(url: string): boolean {
  const { protocol, hostname } = new URL(url);
  return protocol === 'ws:' && !isLoopbackHost(unbracketed(hostname));
}

/** Rejects for what is no PEM: given to TLS it would mean "none", and others would be trusted. */
async function readPem(option: string, path: string): Promise<string> {
  try {
    const text = await readFile(path, 'utf8');
    if (!text.includes('-----BEGIN ')) throw new Error('holds nothing in PEM format');
    return text;
  } catch (cause) {
    const detail = `${option} ${path}: ${(cause as Error).message}`;
    throw new SluicewayError('SLW_DIAL_FAILED', detail, { cause });
  }
}
