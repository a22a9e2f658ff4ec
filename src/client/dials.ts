// Links by key: to which server each leads, in which shard of ours it lives, and how it is dialled.
//
// Invariant: until it is stopped, a link is known from its dial to its end, which is told once to
// its server; whatever keeps a dial from being made is told like a dial that failed. A refused
// tunnel is offered again while its link lives. Must not know: how many links a server should
// have, or what failures mean.

import { randomBytes } from 'node:crypto';
import type { Clock, Timer } from '../base/clock.ts';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import type { Bridge } from '../bridge/calls.ts';
import type { ClientControlMethods, ClientShardMethods } from '../bridge/client-messages.ts';
import type { ClientConfig } from '../config/config.ts';
import type { DialToken } from './dial-token.ts';
import type { ServerLinks } from './server-links.ts';
import type { ServerTrust } from './server-trust.ts';

export type ShardBridge = Bridge<ClientControlMethods, ClientShardMethods>;

/** A server of which links are dialled. */
export type DialledServer = Pick<ServerLinks, 'url' | 'onWelcome' | 'onGoAway' | 'onEnd'>;

export interface DialsOptions {
  readonly config: Pick<ClientConfig, 'urls' | 'linkMask'>;
  /** Names this client to servers. */
  readonly clientId: string;
  readonly trust: Pick<ServerTrust, 'forDial' | 'forget'>;
  readonly token: Pick<DialToken, 'read'>;
  readonly bridgeOf: (shard: number) => Pick<ShardBridge, 'tell'> | undefined;
  readonly clock: Clock;
}

interface Link {
  readonly server: DialledServer;
  /** Of our own. */
  readonly shard: number;
  /** When its tunnels are offered again. */
  offer?: { readonly atMs: number; readonly timer: Timer } | undefined;
}

export class Dials {
  readonly #options: DialsOptions;
  /** Tells this process from one before it with the same id. */
  readonly #instance = randomBytes(16).toString('hex');
  readonly #links = new Map<string, Link>();
  #count = 0;
  #state: 'open' | 'stopped' = 'open';

  constructor(options: DialsOptions) {
    this.#options = options;
  }

  /** Undefined: it has ended. */
  serverOf(link: string): DialledServer | undefined {
    return this.#links.get(link)?.server;
  }

  bridgeOf(link: string): Pick<ShardBridge, 'tell'> | undefined {
    const entry = this.#links.get(link);
    return entry === undefined ? undefined : this.#options.bridgeOf(entry.shard);
  }

  /** Starts a dial in a shard of ours; returns the link's key, of which `end` is told. */
  dial(server: DialledServer, shard: number): string {
    this.#count += 1;
    const link = `link-${this.#count}`;
    this.#links.set(link, { server, shard });
    void this.#dialTrusted(link, server.url);
    return link;
  }

  /** Offers the tunnels of the link once more, in a while; sooner if they already wait for less. */
  offerAgain(link: string, delayMs: number): void {
    const { clock } = this.#options;
    const entry = this.#links.get(link);
    if (entry === undefined || this.#state !== 'open') return;
    const atMs = clock.nowMs() + delayMs;
    if (entry.offer !== undefined && entry.offer.atMs <= atMs) return;
    entry.offer?.timer.cancel();
    const timer = clock.after(delayMs, () => {
      entry.offer = undefined;
      this.bridgeOf(link)?.tell('keep', { link });
    });
    entry.offer = { atMs, timer };
  }

  end(link: string, code: ErrorCode, detail: string): void {
    const entry = this.#links.get(link);
    if (entry === undefined) return;
    if (code === 'SLW_TLS_REFUSED') this.#options.trust.forget(entry.server.url);
    this.#links.delete(link);
    entry.offer?.timer.cancel();
    entry.server.onEnd(link, code, detail);
  }

  endShard(shard: number): void {
    for (const [link, entry] of [...this.#links]) {
      if (entry.shard === shard) this.end(link, 'SLW_SHARD_FAILED', 'shard failed');
    }
  }

  /** No dial begins from now on, and nothing is offered again. */
  stop(): void {
    this.#state = 'stopped';
    for (const { offer } of this.#links.values()) offer?.timer.cancel();
  }

  /** Dials once it is known whom to trust. */
  async #dialTrusted(link: string, url: string): Promise<void> {
    const { trust, token, config, clientId } = this.#options;
    try {
      const [trusted, secret] = await Promise.all([trust.forDial(url), token.read()]);
      // The client may have stopped meanwhile, or the shard may be restarting.
      if (this.#state !== 'open' || !this.#links.has(link)) return;
      const bridge = this.bridgeOf(link);
      if (bridge === undefined) throw new SluicewayError('SLW_SHARD_FAILED', 'shard is restarting');
      bridge.tell('dial', {
        link,
        server: config.urls.indexOf(url),
        url,
        ...trusted,
        token: secret,
        client: clientId,
        instance: this.#instance,
        mask: config.linkMask,
      });
    } catch (error) {
      const { code, message } = error as SluicewayError;
      this.end(link, code, message);
    }
  }
}
