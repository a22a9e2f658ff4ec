// The public ports of an exit node: its own listeners, and those of TCP tunnels.
//
// Invariant: a port is the same one in every shard that accepts, and open in all of them or in
// none; it is claimed before shards share it. A shard that starts gets what is open, whatever
// opens or closes meanwhile. Must not know: who serves a tunnel, or what comes in.

import type { Logger } from '../base/log.ts';
import type { Bridge } from '../bridge/calls.ts';
import type { ExitControlMethods, ExitShardMethods } from '../bridge/messages.ts';
import type { ServerConfig } from '../config/config.ts';
import { claimPort } from './ports.ts';

type ShardBridge = Bridge<ExitControlMethods, ExitShardMethods>;

export interface PublicPortsOptions {
  readonly config: ServerConfig;
  /** Do all shards accept, or the first alone? */
  readonly acceptsEverywhere: boolean;
  readonly bridges: () => Iterable<readonly [shard: number, bridge: ShardBridge]>;
  readonly log: Logger;
}

/** TCP tunnels, as a shard that starts needs to know them. */
export interface OpenTunnels {
  openPorts(): readonly string[];
  isPortOpen(name: string): boolean;
}

export class PublicPorts {
  readonly #options: PublicPortsOptions;
  /** By listener name, once they are known: port 0 becomes one. */
  readonly #known = new Map<string, number>();

  constructor(options: PublicPortsOptions) {
    this.#options = options;
  }

  /** Rejects with a SluicewayError when another program has one of the listeners' ports. */
  async claim(): Promise<void> {
    for (const { host, port } of this.#listeners()) await claimPort(host, port);
  }

  /** Opens everything in a shard that has just started. */
  async bringUp(shard: number, bridge: ShardBridge, tunnels: OpenTunnels): Promise<void> {
    if (!this.#isAccepting(shard)) return;
    const { acceptsEverywhere: reusePort } = this.#options;
    for (const { name, host, port } of this.#listeners()) {
      const wanted = this.#known.get(name) ?? port;
      const answer = await bridge.call('listen', { name, host, port: wanted, reusePort });
      this.#known.set(name, answer.port);
    }
    for (const name of tunnels.openPorts()) {
      await bridge.call('listen', this.#request(name, Number(name.slice('tcp:'.length))));
      // It may have been closed on the others while this one was opening it.
      if (!tunnels.isPortOpen(name)) await bridge.call('unlisten', { name });
    }
  }

  describe(): void {
    for (const { name, host } of this.#listeners()) {
      const address = `${host}:${this.#known.get(name)}`;
      this.#options.log.info({ name, address }, 'listening');
    }
  }

  /** Opens a TCP tunnel's port in every shard, or in none: rejects with a SluicewayError. */
  async open(name: string, port: number): Promise<void> {
    const { config, log } = this.#options;
    await claimPort(config.tcpHost, port);
    try {
      const asked = new Set<ShardBridge>();
      // A shard may start meanwhile, and what it was brought up with did not have this port.
      for (let next = this.#nextToAsk(asked); next !== undefined; next = this.#nextToAsk(asked)) {
        asked.add(next);
        await next.call('listen', this.#request(name, port));
      }
    } catch (error) {
      await this.close(name);
      throw error;
    }
    log.info({ tunnel: name, address: `${config.tcpHost}:${port}` }, 'port open');
  }

  async close(name: string): Promise<void> {
    const { bridges, log } = this.#options;
    await Promise.allSettled([...bridges()].map(([, bridge]) => bridge.call('unlisten', { name })));
    log.info({ tunnel: name }, 'port closed');
  }

  #listeners(): { name: string; host: string; port: number }[] {
    const { controlAddr, httpAddr, https } = this.#options.config;
    return [
      { name: 'control', ...controlAddr },
      ...(httpAddr === 'off' ? [] : [{ name: 'http', ...httpAddr }]),
      ...(https === undefined ? [] : [{ name: 'https', ...https.addr }]),
    ];
  }

  #isAccepting(shard: number): boolean {
    return this.#options.acceptsEverywhere || shard === 0;
  }

  #request(name: string, port: number): ExitShardMethods['listen']['takes'] {
    const { config, acceptsEverywhere } = this.#options;
    return { name, host: config.tcpHost, port, reusePort: acceptsEverywhere };
  }

  #nextToAsk(asked: ReadonlySet<ShardBridge>): ShardBridge | undefined {
    for (const [shard, bridge] of this.#options.bridges()) {
      if (this.#isAccepting(shard) && !asked.has(bridge)) return bridge;
    }
    return undefined;
  }
}
