// The client's own ports for services on the server's side: opened at the start, told of once.
//
// Invariant: a port that cannot be opened ends the start, with the option that asked for it; a port
// that the system chose stays the same when its shard is started anew; all are in one shard, which
// gets the first link of each server. Must not know: links, or what is dialled when.

import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { isLoopbackHost, showTarget } from '../base/target.ts';
import type { Bridge } from '../bridge/calls.ts';
import type {
  ClientControlMethods,
  ClientShardMethods,
  LocalListen,
} from '../bridge/client-messages.ts';
import type { ClientConfig } from '../config/config.ts';
import type { OnClientEvent } from './events.ts';
import type { LocalForwardView } from './local-status.ts';

/** The shard that listens. */
export const FORWARDING_SHARD = 0;

interface Entry {
  readonly option: string;
  /** With the port that is open, once one is. */
  listen: LocalListen;
}

export class LocalForwards {
  readonly #entries: readonly Entry[];
  readonly #log: Logger;
  readonly #onEvent: OnClientEvent;
  #state: 'silent' | 'told' = 'silent';

  constructor(config: ClientConfig, log: Logger, onEvent: OnClientEvent) {
    const { locals, localSocks, localHost: host } = config;
    this.#log = log;
    this.#onEvent = onEvent;
    const forwards = locals.map(({ port, target }): Entry => {
      const option = `--local ${port}:${showTarget(target)}`;
      return { option, listen: { name: option, host, port, target } };
    });
    const option = `--local-socks ${localSocks}`;
    const socks = { option, listen: { name: option, host, port: localSocks ?? 0 } };
    this.#entries = localSocks === undefined ? forwards : [...forwards, socks];
    if (this.#entries.length > 0 && !isLoopbackHost(host)) {
      log.warn({ address: host }, 'local forwards are open to whoever reaches --local-addr');
    }
  }

  get views(): LocalForwardView[] {
    return this.#entries.map(({ listen }) => ({
      listen: showTarget(listen),
      target: listen.target === undefined ? 'socks5' : showTarget(listen.target),
    }));
  }

  /** Opens all of them in a shard that starts. */
  async open(bridge: Bridge<ClientControlMethods, ClientShardMethods>): Promise<void> {
    for (const entry of this.#entries) {
      try {
        const port = await bridge.call('listenLocal', entry.listen);
        entry.listen = { ...entry.listen, port };
      } catch (cause) {
        const { code, message } = cause as SluicewayError;
        throw new SluicewayError(code, `${entry.option}: ${message}`, { cause });
      }
    }
  }

  /** A server takes links: says once what can be reached where. */
  tell(): void {
    if (this.#state === 'told') return;
    this.#state = 'told';
    for (const { listen, target } of this.views) {
      this.#log.info({ listen, target }, 'local forward up');
      this.#onEvent({ event: 'forward-up', listen, target });
    }
  }
}
