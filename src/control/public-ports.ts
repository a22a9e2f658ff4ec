// The public ports of an exit node: its own listeners, and those of TCP and UDP tunnels.
//
// Invariant: a port is the same one in every shard that accepts, and open in all of them or in
// none; it is claimed before shards share it. A shard that starts gets what is open, whatever
// opens or closes meanwhile, and none is told to listen behind a drain. Must not know: who serves a
// tunnel, or what comes in.

import { SluicewayError } from '../base/errors.ts';
import { isOverlapping } from '../base/listen-overlap.ts';
import type { Logger } from '../base/log.ts';
import { isUdpTunnel, type PortName, readPortName } from '../base/port-name.ts';
import { showTarget } from '../base/target.ts';
import type { Bridge } from '../bridge/calls.ts';
import type {
  ExitControlMethods,
  ExitShardMethods,
  ListenRequest,
} from '../bridge/exit-messages.ts';
import type { ServerConfig } from '../config/config.ts';
import type { Inheritance, InheritedSocket } from './inheritance.ts';
import { claimPort, isTaken } from './ports.ts';

type ShardBridge = Bridge<ExitControlMethods, ExitShardMethods>;

export interface PublicPortsOptions {
  readonly config: ServerConfig;
  /** Do all shards accept, or the first alone? */
  readonly acceptsEverywhere: boolean;
  readonly bridges: () => Iterable<readonly [shard: number, bridge: ShardBridge]>;
  readonly log: Logger;
  /** What a predecessor left; absent: every socket is a new one. */
  readonly inheritance?: Inheritance | undefined;
}

/** Tunnels with ports, as a shard that starts needs to know them. */
export interface OpenTunnels {
  openPorts(): readonly string[];
  isPortOpen(name: string): boolean;
}

/** Who can come: `control` is clients alone, `visitors` is all but clients; `over` is nobody any
 * more, by ports of tunnels neither. */
type Stage = 'none' | 'control' | 'visitors' | 'all' | 'over';

const IS_OPEN: Readonly<Record<Stage, (name: string) => boolean>> = {
  none: () => false,
  control: (name) => name === 'control',
  visitors: (name) => name !== 'control',
  all: () => true,
  over: () => false,
};

export class PublicPorts {
  readonly #options: PublicPortsOptions;
  /** By listener name, once they are known: port 0 becomes one. */
  readonly #known = new Map<string, number>();
  /** Descriptors by listener name and shard. */
  readonly #fds = new Map<string, Map<number, readonly number[]>>();
  #stage: Stage;

  constructor(options: PublicPortsOptions) {
    this.#options = options;
    this.#stage = options.inheritance === undefined ? 'all' : 'none';
  }

  /** Rejects with a SluicewayError when another program has one of the listeners' ports. */
  async claim(): Promise<void> {
    const { inheritance } = this.#options;
    for (const listener of this.#listeners()) {
      const { host, port } = listener;
      if (inheritance?.has(listener) !== true) await claimPort(host, port);
    }
  }

  /** Opens what belongs to `stage`, in all shards. */
  async advance(stage: Stage, tunnels: OpenTunnels): Promise<void> {
    // A take-over may fail while this process ends: its shards are closing what they have.
    if (this.#stage === 'over') return;
    this.#stage = stage;
    for (const [shard, bridge] of this.#options.bridges()) {
      await this.bringUp(shard, bridge, tunnels);
    }
  }

  /** Lets the control port go: from now on a successor's clients come there alone. */
  async leaveControl(): Promise<void> {
    if (this.#stage !== 'over') this.#stage = 'visitors';
    await this.#unlisten('control');
  }

  /** Of what is under way nothing more is opened: the shards are about to close what they have. */
  stopOpening(): void {
    this.#stage = 'over';
  }

  /** Every listening socket, for a successor. */
  sockets(): InheritedSocket[] {
    const own = this.#listeners().map(({ name, host, port }) => ({ name, host, port }));
    const { config } = this.#options;
    const names = new Set(own.map(({ name }) => name));
    const ofTunnels = [...this.#fds.keys()]
      .filter((name) => !names.has(name))
      .map((name) => ({ name, ...addressOf(name, config) }));
    return [...own, ...ofTunnels].map((listener) => ({
      ...listener,
      fds: [...(this.#fds.get(listener.name)?.values() ?? [])].flat(),
      ...(isUdpTunnel(listener.name) ? { isShared: true } : {}),
    }));
  }

  /** A shard is gone, and its sockets with it: their numbers may mean anything now. */
  shardGone(shard: number): void {
    for (const byShard of this.#fds.values()) byShard.delete(shard);
  }

  /** Opens everything in a shard that has just started. */
  async bringUp(shard: number, bridge: ShardBridge, tunnels: OpenTunnels): Promise<void> {
    if (!this.#isAccepting(shard)) return;
    const { acceptsEverywhere: reusePort } = this.#options;
    for (const { name, host, port } of this.#listeners()) {
      if (!IS_OPEN[this.#stage](name)) continue;
      const wanted = this.#known.get(name) ?? port;
      await this.#listen(shard, bridge, { name, host, port: wanted, reusePort }, port);
    }
    for (const name of tunnels.openPorts()) {
      // Closed since: who opens it again asks this shard, too.
      if (this.#stage === 'over' || !tunnels.isPortOpen(name)) continue;
      await this.#listen(shard, bridge, this.#request(name));
      // Closed meanwhile: this shard was told, too, behind this; only its answer came later. The
      // port may be open there again.
      if (!tunnels.isPortOpen(name)) this.#forget(name, shard);
    }
  }

  describe(): void {
    for (const { name, host } of this.#listeners()) {
      const address = `${host}:${this.#known.get(name)}`;
      this.#options.log.info({ name, address }, 'listening');
    }
  }

  /** May clients ask for this port at all? */
  isAllowed({ transport, port }: PortName): boolean {
    const { tcpPorts, udpPorts } = this.#options.config;
    const ranges = transport === 'tcp' ? tcpPorts : udpPorts;
    return ranges.some(({ first, last }) => first <= port && port <= last);
  }

  /** Opens a tunnel's port in every shard, or in none: rejects with a SluicewayError. */
  async open(name: string): Promise<void> {
    const { log, inheritance } = this.#options;
    const request = this.#request(name);
    const { host, port } = request;
    const isHeld = inheritance?.has(request) === true;
    if (!isHeld) await this.#claimFor(name, request);
    try {
      const asked = new Set<ShardBridge>();
      // A shard may start meanwhile, and what it was brought up with did not have this port.
      for (let next = this.#nextToAsk(asked); next !== undefined; next = this.#nextToAsk(asked)) {
        const [shard, bridge] = next;
        if (this.#stage === 'over') throw new SluicewayError('SLW_TUNNEL_SHUTDOWN');
        asked.add(bridge);
        await this.#listen(shard, bridge, request);
      }
    } catch (error) {
      await this.close(name);
      throw error;
    }
    log.info({ tunnel: name, address: `${host}:${port}` }, 'port open');
  }

  /** What this exit node has itself is no other program's. */
  async #claimFor(name: string, { host, port }: ListenRequest): Promise<void> {
    const { transport } = readPortName(name) ?? {};
    try {
      await claimPort(host, port, transport);
    } catch (cause) {
      const own = transport === 'tcp' && isTaken(cause) ? this.#ownOption(host, port) : undefined;
      if (own === undefined) throw cause;
      const detail = `${showTarget({ host, port })} is in use by this exit node, as its ${own}`;
      throw new SluicewayError('SLW_TUNNEL_PORT_TAKEN', detail, { cause });
    }
  }

  #ownOption(host: string, port: number): string | undefined {
    const { adminAddr } = this.#options.config;
    const admin = adminAddr === 'off' ? [] : [{ name: 'admin', ...adminAddr }];
    const own = [...this.#listeners(), ...admin].find((listener) => {
      const known = this.#known.get(listener.name) ?? listener.port;
      return known === port && isOverlapping(listener.host, host);
    });
    return own === undefined ? undefined : `--${own.name}-addr`;
  }

  async close(name: string): Promise<void> {
    await this.#unlisten(name);
    this.#options.log.info({ tunnel: name }, 'port closed');
  }

  async #unlisten(name: string): Promise<void> {
    this.#fds.delete(name);
    const { bridges } = this.#options;
    await Promise.allSettled([...bridges()].map(([, bridge]) => bridge.call('unlisten', { name })));
  }

  /** A shard's descriptors, until it says others. */
  #forget(name: string, shard: number): void {
    const byShard = this.#fds.get(name);
    byShard?.delete(shard);
    if (byShard?.size === 0) this.#fds.delete(name);
  }

  /** `port`: the one that was configured, by which a predecessor's socket is found. */
  async #listen(
    shard: number,
    bridge: ShardBridge,
    request: ListenRequest,
    port = request.port,
  ): Promise<void> {
    const { inheritance, config } = this.#options;
    const { name, host } = request;
    const shards = this.#options.acceptsEverywhere ? config.shards : 1;
    const inherited = inheritance?.take({ name, host, port }, shard, shards) ?? [];
    const answer = await bridge.call('listen', { ...request, inherited });
    this.#known.set(name, answer.port);
    const byShard = this.#fds.get(name) ?? new Map<number, readonly number[]>();
    this.#fds.set(name, byShard.set(shard, answer.fds));
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

  #request(name: string): ListenRequest {
    const { config, acceptsEverywhere } = this.#options;
    return { name, ...addressOf(name, config), reusePort: acceptsEverywhere };
  }

  #nextToAsk(asked: ReadonlySet<ShardBridge>): readonly [number, ShardBridge] | undefined {
    for (const [shard, bridge] of this.#options.bridges()) {
      if (this.#isAccepting(shard) && !asked.has(bridge)) return [shard, bridge];
    }
    return undefined;
  }
}

/** Where a tunnel's port opens. */
function addressOf(
  tunnel: string,
  { tcpHost, udpHost }: Pick<ServerConfig, 'tcpHost' | 'udpHost'>,
): { readonly host: string; readonly port: number } {
  const { transport, port = 0 } = readPortName(tunnel) ?? {};
  return { host: transport === 'udp' ? udpHost : tcpHost, port };
}
