// The client: shards that hold links and serve upstreams, and one set of links a server.
//
// Invariant: a failure that trying again cannot cure (a refused token, a newer instance of this
// client) ends the client, as `ending.ts` says; anything else is tried again, until every server
// is given up where the user set how often. Must not know: frames, sockets, what is printed where.

import { randomBytes } from 'node:crypto';
import { endsWithin, systemClock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { type MetricsPort, openMetricsPort } from '../base/metrics-port.ts';
import type { Serve } from '../bridge/calls.ts';
import type {
  ClientControlMethods,
  ClientShardMethods,
  UpstreamEntry,
} from '../bridge/client-messages.ts';
import { ShardPool } from '../bridge/pool.ts';
import type { ShardSettings } from '../bridge/shard-task.ts';
import type { ClientConfig } from '../config/config.ts';
import { shardUrl } from '../shard/entry.ts';
import { DialToken } from './dial-token.ts';
import { Dials, type ShardBridge } from './dials.ts';
import {
  type Ending,
  EXIT_FAILURE,
  finalEnding,
  givingUp,
  type LinkFailure,
  reasonOf,
} from './ending.ts';
import type { OnClientEvent } from './events.ts';
import { FolderUpstreams } from './folder-upstreams.ts';
import { type Checked, HealthChecks } from './health-checks.ts';
import { FORWARDING_SHARD, LocalForwards } from './local-forwards.ts';
import { probeUpstream } from './probe.ts';
import { Readings } from './readings.ts';
import { ServerLinks } from './server-links.ts';
import { isExposed, ServerTrust } from './server-trust.ts';
import { openStatusSocket, type StatusSocket } from './status-socket.ts';
import { TunnelBoard } from './tunnel-board.ts';
import { readUpstreams } from './upstream-entries.ts';

export interface StartOptions {
  readonly log: Logger;
  readonly version: string;
  readonly onEvent: OnClientEvent;
}

export interface Client {
  readonly closed: Promise<Ending>;
  drain(): void;
  stop(): void;
}

const STOP_TIMEOUT_MS = 2000;

/** Starts a client; rejects with a SluicewayError when it cannot. */
export async function startClient(config: ClientConfig, options: StartOptions): Promise<Client> {
  const folders = await FolderUpstreams.open(config.tunnels, options.log);
  try {
    const upstreams = await readUpstreams(config, options.log, folders.sockets);
    const client = new RunningClient(config, options, { upstreams, folders });
    await client.start();
    return client;
  } catch (error) {
    await folders.close();
    throw error;
  }
}

/** What tunnels lead to, and the folders among it that are served here. */
interface Served {
  readonly upstreams: readonly UpstreamEntry[];
  readonly folders: FolderUpstreams;
}

class RunningClient implements Client {
  readonly closed: Promise<Ending>;
  readonly #config: ClientConfig;
  readonly #log: Logger;
  readonly #upstreams: readonly UpstreamEntry[];
  readonly #folders: FolderUpstreams;
  readonly #dials: Dials;
  readonly #pool: ShardPool<ClientControlMethods, ClientShardMethods>;
  readonly #onEvent: OnClientEvent;
  readonly #board: TunnelBoard;
  readonly #forwards: LocalForwards;
  readonly #health: HealthChecks;
  readonly #servers: readonly ServerLinks[];
  readonly #id: string;
  /** Servers of which it was told that they are connected. */
  readonly #connected = new Set<string>();
  readonly #readings: Readings;
  #status: StatusSocket | undefined;
  #metrics: MetricsPort | undefined;
  #state: 'running' | 'draining' | 'stopped' = 'running';
  #settle: (ending: Ending) => void = () => {};

  constructor(config: ClientConfig, options: StartOptions, { upstreams, folders }: Served) {
    this.#config = config;
    this.#log = options.log;
    this.#upstreams = upstreams;
    this.#folders = folders;
    this.#id = config.id ?? randomBytes(16).toString('hex');
    this.#dials = new Dials({
      ...{ config, clientId: this.#id, clock: systemClock },
      trust: new ServerTrust({ trust: config.trust, clock: systemClock, log: options.log }),
      token: new DialToken(config, options.log),
      bridgeOf: (shard) => this.#pool.bridge(shard),
    });
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const { log, onEvent } = options;
    this.#onEvent = onEvent;
    this.#board = new TunnelBoard({ tunnels: config.tunnels, log, onEvent });
    this.#forwards = new LocalForwards(config, log, onEvent);
    this.#health = new HealthChecks({
      checked: checkedOf(config, upstreams),
      config: config.health,
      ...{ clock: systemClock, log, random: Math.random, probe: probeUpstream },
      onChange: () => this.#withhold(),
    });
    this.#servers = config.urls.map((url) => this.#createServer(url));
    const settings = shardSettings(config, options.version);
    this.#pool = new ShardPool({
      url: shardUrl,
      shards: config.shards,
      log,
      createTask: (shard) => ({
        role: 'client',
        shard,
        settings,
        tls: undefined,
        fault: undefined,
      }),
      serve: (shard) => this.#serve(shard),
      onStart: (shard, bridge) => this.#bringUp(shard, bridge),
      onGone: (shard) => {
        this.#readings.retire(shard);
        this.#dials.endShard(shard);
      },
      onGiveUp: (reason) => void this.#end({ exitCode: EXIT_FAILURE, message: reason }),
    });
    this.#readings = new Readings({
      ...{ clientID: this.#id, version: options.version, tunnels: config.tunnels },
      ...{ servers: this.#servers, board: this.#board, health: this.#health },
      forwards: this.#forwards,
      state: () => this.#state,
      bridges: () => this.#pool.bridges(),
      shardRestarts: () => this.#pool.restarts,
    });
  }

  async start(): Promise<void> {
    try {
      for (let shard = 0; shard < this.#config.shards; shard += 1) await this.#pool.start(shard);
      await this.#openMetrics();
    } catch (error) {
      await this.#pool.destroy();
      throw error;
    }
    const { urls } = this.#config;
    this.#log.info({ client: this.#id, urls }, 'client started');
    this.#onEvent({ event: 'started', client: this.#id, servers: urls });
    for (const url of urls.filter(isExposed)) {
      this.#log.warn({ url }, 'not encrypted: the token and all traffic can be read on the way');
    }
    this.#health.start();
    for (const server of this.#servers) server.fill();
    // A slow folder holds nobody up.
    void this.#openStatus();
  }

  drain(): void {
    if (this.#state !== 'running') return;
    this.#state = 'draining';
    void this.#drain();
  }

  stop(): void {
    void this.#end({ exitCode: EXIT_FAILURE, message: 'stopped before streams had ended' });
  }

  /** Rejects when the address cannot be had: who asked for it would never know. */
  async #openMetrics(): Promise<void> {
    const { metricsAddr: address } = this.#config;
    if (address === 'off') return;
    const log = this.#log;
    this.#metrics = await openMetricsPort({
      ...{ address, log, metrics: () => this.#readings.metrics() },
      whyNotReady: (tunnel) => this.#readings.whyNotReady(tunnel),
    });
    log.info({ name: 'metrics', address: this.#metrics.shown }, 'listening');
  }

  async #openStatus(): Promise<void> {
    const { statusDir: folder } = this.#config;
    if (folder === undefined) return;
    const tell = (): Promise<unknown> => this.#readings.status();
    const socket = await openStatusSocket({ folder, pid: process.pid, tell, log: this.#log });
    if (this.#state === 'stopped') socket?.close();
    else this.#status = socket;
  }

  #withhold(): void {
    const { withheld } = this.#health;
    for (const name of withheld) {
      if (this.#board.withdraw(name)) this.#onEvent({ event: 'tunnel-withdrawn', tunnel: name });
    }
    for (const [, bridge] of this.#pool.bridges()) bridge.tell('withhold', withheld);
  }

  async #bringUp(shard: number, bridge: ShardBridge): Promise<void> {
    await bridge.call('upstreams', this.#upstreams);
    bridge.tell('withhold', this.#health.withheld);
    if (shard === FORWARDING_SHARD) await this.#forwards.open(bridge);
  }

  #createServer(url: string): ServerLinks {
    return new ServerLinks({
      url,
      links: this.#config.links,
      ownShards: this.#config.shards,
      clock: systemClock,
      log: this.#log,
      random: Math.random,
      dial: (server, shard) => this.#dials.dial(server, shard),
      keep: (link) => {
        this.#dials.bridgeOf(link)?.tell('keep', { link });
        this.#onLinked(url);
      },
      close: (link, code) => this.#dials.bridgeOf(link)?.tell('close', { link, code }),
      onFailure: (server, failure) => this.#onFailure(server, failure),
    });
  }

  #onLinked(url: string): void {
    if (this.#linksTo(url) === 1) this.#board.beginAnew(url);
    if (!this.#connected.has(url)) this.#onEvent({ event: 'connected', server: url });
    this.#connected.add(url);
    this.#forwards.tell();
  }

  #linksTo(url: string): number {
    return this.#servers.reduce((sum, one) => sum + (one.url === url ? one.servingCount : 0), 0);
  }

  #serve(shard: number): Serve<ClientControlMethods> {
    return {
      welcomed: (welcome) => this.#dials.serverOf(welcome.link)?.onWelcome(welcome),
      registered: ({ link, results }) => this.#onRegistered(link, results),
      goAway: ({ link, code }) => this.#onGoAway(link, code),
      ended: ({ link, code, detail }) => this.#dials.end(link, code, detail),
      lastSample: (sample) => this.#readings.keepLast(shard, sample),
    };
  }

  #onRegistered(
    link: string,
    results: ClientControlMethods['registered']['takes']['results'],
  ): void {
    const server = this.#dials.serverOf(link);
    if (server === undefined || this.#state !== 'running') return;
    // That the link goes says nothing of its tunnels: another is there for them, or comes.
    const told = results.filter(({ code }) => code !== 'SLW_LINK_LOST');
    const againMs = this.#board.report(server.url, told);
    if (againMs !== undefined) this.#dials.offerAgain(link, againMs);
  }

  #onGoAway(link: string, code: ErrorCode): void {
    const server = this.#dials.serverOf(link);
    if (server === undefined) return;
    this.#log.info({ url: server.url, link, code }, 'server takes no new streams here');
    const ending = finalEnding(server.url, { code, detail: '' });
    if (ending === undefined) server.onGoAway(link, code);
    else void this.#end(ending);
  }

  #onFailure(server: ServerLinks, failure: LinkFailure): void {
    if (this.#state !== 'running') return;
    const { url } = server;
    const { code, attempts } = failure;
    this.#log.warn({ url, ...failure }, 'link failed');
    this.#readings.onFailure(url, failure);
    if (this.#linksTo(url) === 0) {
      this.#connected.delete(url);
      const reason = reasonOf(failure);
      this.#onEvent({ event: 'disconnected', server: url, code, reason, attempts });
    }
    const final = finalEnding(url, failure);
    if (final === undefined) this.#giveUpMaybe(server, failure);
    else void this.#end(final);
  }

  /** The last server that is given up ends the client; a link of another may still serve. */
  #giveUpMaybe(server: ServerLinks, failure: LinkFailure): void {
    const ending = givingUp(server.url, failure, this.#config);
    if (ending === undefined) return;
    server.close();
    if (this.#servers.every(({ isClosed }) => isClosed)) void this.#end(ending);
    else this.#log.error({ url: server.url, reason: ending.message }, 'server given up');
  }

  async #drain(): Promise<void> {
    for (const server of this.#servers) server.close();
    this.#dials.stop();
    const { drainTimeoutMs } = this.#config;
    this.#log.info({ drainTimeoutMs }, 'draining');
    const calls = this.#pool
      .bridges()
      .map(([, bridge]) => bridge.call('drain', undefined, drainTimeoutMs + STOP_TIMEOUT_MS));
    await endsWithin(Promise.allSettled(calls), drainTimeoutMs);
    await this.#end({ exitCode: 0 });
  }

  async #end(ending: Ending): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'stopped';
    for (const server of this.#servers) server.close();
    this.#dials.stop();
    this.#status?.close();
    this.#metrics?.close();
    this.#health.stop();
    await this.#pool.stop(STOP_TIMEOUT_MS);
    await this.#folders.close();
    const { exitCode, message = '' } = ending;
    this.#onEvent({ event: 'ended', exitCode, reason: message });
    this.#settle(ending);
  }
}

/** Upstreams that are looked at. */
function checkedOf({ tunnels }: ClientConfig, upstreams: readonly UpstreamEntry[]): Checked[] {
  const checks = new Map(tunnels.map(({ name, health = 'off' }) => [name, health]));
  return upstreams.flatMap((entry) => {
    const check = checks.get(entry.name) ?? 'off';
    return check === 'off' ? [] : [{ entry, check }];
  });
}

function shardSettings(config: ClientConfig, version: string): ShardSettings {
  const { tuning, logLevel, logFormat } = config;
  return { ...tuning, agent: `sluiceway/${version}`, logLevel, logFormat };
}
