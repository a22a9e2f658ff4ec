// The exit node: brings shards up with listeners, mesh and routes, and takes them down.
//
//   starting --all listeners up--> ready --drain()--> draining --no stream left, or late--> stopped
//
// Invariant: ready means every shard listens; a drain is announced, waits, stops accepting, waits
// again, each for a bounded time; `closed` settles exactly once. Must not know: payload, frames.

import { hostname } from 'node:os';
import { endsWithin, sleep, systemClock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Serve } from '../bridge/calls.ts';
import type { ExitControlMethods } from '../bridge/exit-messages.ts';
import type { ServerConfig } from '../config/config.ts';
import { AccessControl } from './access.ts';
import { claimAdmin, openAdmin } from './admin.ts';
import type { AdminPort } from './admin-port.ts';
import { Answers } from './answers.ts';
import { ConfigReload } from './config-reload.ts';
import { type ControlTls, openControlTls } from './control-tls.ts';
import { ExitShards, type PreparedTask, prepareTask, type ShardBridge } from './exit-shards.ts';
import { HandOver } from './hand-over.ts';
import { LoginDesk } from './login-desk.ts';
import { MemoryWatch } from './memory-watch.ts';
import { OwnCounts } from './own-counts.ts';
import { type Predecessor, succeed } from './predecessor.ts';
import { residentBytes } from './process-memory.ts';
import { PublicPorts } from './public-ports.ts';
import { Readings } from './readings.ts';
import { Registry } from './registry.ts';
import { serveShard } from './serve-shard.ts';
import type { Ending, ExitNode, StartOptions } from './start-options.ts';
import { TakenPorts } from './taken-ports.ts';
import { TunnelLog } from './tunnel-log.ts';
import { VisitorTls } from './visitor-tls.ts';

export type { Ending, ExitNode, StartOptions } from './start-options.ts';

/** Exit code of a runtime failure (contract). */
const EXIT_FAILURE = 1;
/** For goodbyes at the end. */
const STOP_TIMEOUT_MS = 2000;

/** Starts an exit node; rejects with a SluicewayError when it cannot. */
export async function startServer(config: ServerConfig, options: StartOptions): Promise<ExitNode> {
  const [tls, task] = await Promise.all([
    openControlTls({ config, clock: systemClock, log: options.log }),
    prepareTask(config, options.version),
  ]);
  const node = new RunningNode(config, options, { tls, task });
  await node.start();
  return node;
}

/** What was read before any thread starts. */
interface Prepared {
  readonly task: PreparedTask;
  readonly tls: ControlTls;
}

class RunningNode implements ExitNode {
  readonly closed: Promise<Ending>;
  #config: ServerConfig;
  /** How many shards accept visitors: all, or the first alone. */
  readonly #accepting: number;
  readonly #reload: ConfigReload | undefined;
  readonly #options: StartOptions;
  readonly #log: Logger;
  readonly #shards: ExitShards;
  readonly #registry: Registry;
  readonly #readings: Readings;
  readonly #answers: Answers;
  readonly #access: AccessControl;
  readonly #logins: LoginDesk;
  readonly #tls: ControlTls;
  readonly #nodeId = `${hostname()}-${process.pid}`;
  readonly #own: OwnCounts;
  readonly #tunnelLog: TunnelLog;
  readonly #ports: PublicPorts;
  readonly #tunnelPorts: TakenPorts;
  readonly #https: VisitorTls | undefined;
  readonly #handOver: HandOver | undefined;
  readonly #memory: MemoryWatch;
  #admin: AdminPort | undefined;
  #state: 'starting' | 'ready' | 'draining' | 'stopped' = 'starting';
  #settle: (ending: Ending) => void = () => {};

  constructor(config: ServerConfig, options: StartOptions, prepared: Prepared) {
    this.#config = config;
    this.#options = options;
    this.#log = options.log;
    this.#own = new OwnCounts(options.log);
    this.#tunnelLog = new TunnelLog(options.log);
    this.closed = new Promise((resolve) => {
      this.#settle = resolve;
    });
    const { task, tls } = prepared;
    this.#accepting = task.accepting;
    this.#ports = new PublicPorts({
      config,
      acceptsEverywhere: this.#acceptsEverywhere,
      bridges: () => this.#shards.pool.bridges(),
      log: this.#log,
      inheritance: options.predecessor?.inheritance,
    });
    this.#tunnelPorts = new TakenPorts({
      open: (name) => this.#openPort(name),
      isUnderWay: () => this.#isSucceeding || this.#handOver?.isUnderWay === true,
      clock: systemClock,
    });
    this.#tls = tls;
    this.#access = this.#createAccess();
    this.#logins = this.#createLogins();
    this.#reload = this.#createReload();
    this.#registry = this.#createRegistry();
    this.#https = this.#createHttps();
    this.#handOver = this.#createHandOver();
    this.#shards = this.#createShards(task);
    this.#memory = new MemoryWatch({
      max: config.memoryMax,
      tell: (level) => this.#shards.tellAll((bridge) => bridge.tell('pressure', { level })),
      // The processes of a take-over have one container.
      usedBytes: () => residentBytes(this.#handOver?.successorPid, options.predecessor?.pid),
      ...{ clock: systemClock, log: this.#log },
    });
    this.#readings = this.#createReadings();
    this.#answers = this.#createAnswers();
  }

  #createShards(task: PreparedTask): ExitShards {
    return new ExitShards({
      config: this.#config,
      version: this.#options.version,
      ...{ task, tls: this.#tls, https: this.#https?.settings },
      serve: (shard) => this.#serve(shard),
      bringUp: (shard, bridge) => this.#bringUp(shard, bridge),
      onGone: (shard) => {
        this.#readings.retire(shard);
        this.#access.shares.gone(shard);
        this.#registry.shardGone(shard);
        this.#ports.shardGone(shard);
      },
      onGiveUp: (reason) => void this.#end({ exitCode: EXIT_FAILURE, message: reason }),
      log: this.#log,
    });
  }

  /** Or the first shard alone? */
  get #acceptsEverywhere(): boolean {
    return this.#accepting > 1;
  }

  get #isSucceeding(): boolean {
    return this.#state === 'starting' && this.#options.predecessor !== undefined;
  }

  async start(): Promise<void> {
    try {
      await this.#access.load();
      await this.#logins.load();
      await this.#https?.load();
      await this.#openPorts();
      await this.#watchTls();
      await this.#access.watch();
      await this.#logins.watch();
      await this.#reload?.watch();
    } catch (error) {
      this.#admin?.close();
      this.#closeWatches();
      await this.#shards.pool.destroy();
      throw error;
    }
    this.#state = 'ready';
    this.#options.predecessor?.ready();
    if (this.#options.predecessor !== undefined) this.#tunnelPorts.expectClosing();
    this.#https?.start();
    this.#log.info({ shards: this.#config.shards, version: this.#options.version }, 'ready');
  }

  drain(): void {
    if (this.#state !== 'ready') return;
    this.#handOver?.cancel();
    this.#state = 'draining';
    void this.#drain(this.#config.drainDelayMs, false);
  }

  takeOver(): void {
    if (this.#handOver === undefined || this.#state !== 'ready') {
      this.#log.warn('no take-over: not supported, or not ready');
    } else this.#handOver.begin();
  }

  stop(): void {
    void this.#end({ exitCode: EXIT_FAILURE, message: 'stopped before streams had ended' });
  }

  reload(): void {
    void this.#tls.reload();
    void this.#https?.reload();
    void this.#access.reload();
    void this.#logins.reload();
    this.#reload?.reload();
  }

  #createReload(): ConfigReload | undefined {
    const { source, log } = this.#options;
    if (source === undefined) return undefined;
    const { reloads } = this.#tls;
    const apply = (config: ServerConfig): void => this.#apply(config);
    return new ConfigReload({ source, clock: systemClock, log, reloads, apply });
  }

  #apply(config: ServerConfig): void {
    this.#config = config;
    this.#log.level = config.logLevel;
    this.#access.share(config.token);
    this.#memory.setMax(config.memoryMax);
    this.#shards.apply(config);
  }

  async #watchTls(): Promise<void> {
    await this.#tls.watch((tls) => this.#shards.tellAll((bridge) => bridge.tell('tls', tls)));
    this.#tls.describe();
    const { fingerprint } = this.#tls;
    if (fingerprint !== undefined) this.#options.onFingerprint?.(fingerprint);
  }

  async #openPorts(): Promise<void> {
    const { predecessor } = this.#options;
    if (predecessor === undefined) await this.#openAdmin();
    // It opens last: what cannot be opened is to end this process while nobody has moved.
    else await claimAdmin(this.#config.adminAddr, predecessor.inheritance);
    await this.#ports.claim();
    await this.#shards.start();
    if (predecessor !== undefined) await this.#succeed(predecessor);
    this.#ports.describe();
  }

  #succeed(predecessor: Predecessor): Promise<void> {
    const [ports, registry] = [this.#ports, this.#registry];
    const openAdmin = () => this.#openAdmin();
    return succeed(predecessor, { ports, registry, openAdmin, clock: systemClock, log: this.#log });
  }

  async #openAdmin(): Promise<void> {
    const { log, predecessor } = this.#options;
    this.#admin = await openAdmin({
      address: this.#config.adminAddr,
      inheritance: predecessor?.inheritance,
      access: this.#access,
      readings: this.#readings,
      answers: this.#answers,
      bridges: () => this.#shards.pool.bridges(),
      inspect: () => this.#config.inspect,
      log,
    });
  }

  /** A shard has started: what the parts have, and its listeners last. */
  async #bringUp(shard: number, bridge: ShardBridge): Promise<void> {
    this.#access.shares.bringUp(shard, bridge);
    this.#logins.bringUp(bridge);
    bridge.tell('pressure', { level: this.#memory.level });
    bridge.tell('route', this.#registry.snapshot());
    this.#https?.bringUp(bridge);
    if (this.#state === 'draining') return;
    await this.#ports.bringUp(shard, bridge, this.#registry);
  }

  #createRegistry(): Registry {
    const { https } = this.#config;
    return new Registry({
      isPortAllowed: (port) => this.#ports.isAllowed(port),
      hasHttps: https !== undefined,
      wallMs: () => systemClock.wallMs(),
      hasLoginProvider: (name) => this.#logins.hasProvider(name),
      scopes: this.#access,
      publish: (changes) => this.#shards.tellAll((bridge) => bridge.tell('route', changes)),
      openPort: (name) => this.#tunnelPorts.open(name),
      closePort: (name) => this.#ports.close(name),
      doubtLinks: (shard, links) => this.#shards.pool.bridge(shard)?.tell('doubtLinks', { links }),
      closeLinks: (shard, links, code) =>
        this.#shards.pool.bridge(shard)?.tell('closeLinks', { links, code }),
    });
  }

  #createAccess(): AccessControl {
    const { token, tokensFile, tokensUsageFile, oidc } = this.#config;
    return new AccessControl({
      ...{ token, tokensFile, tokensUsageFile, oidc, accepting: this.#accepting },
      bridges: () => this.#shards.pool.bridges(),
      endLinks: (isOver, code) => this.#registry.endLinks(isOver, code),
      onGrants: () => this.#tellGrants(),
      onRefusal: (reason) => this.#own.onRefusal(reason),
      reloads: this.#tls.reloads,
      clock: systemClock,
      log: this.#log,
    });
  }

  #createLogins(): LoginDesk {
    const { loginProviders: file } = this.#config;
    const [bridges, { reloads }] = [() => this.#shards.pool.bridges(), this.#tls];
    return new LoginDesk({ file, bridges, reloads, clock: systemClock, log: this.#log });
  }

  #createHandOver(): HandOver | undefined {
    const { successor: start } = this.#options;
    if (start === undefined) return undefined;
    return new HandOver({
      start,
      ports: this.#ports,
      registry: this.#registry,
      adminSocket: () => this.#admin?.socket,
      tellClients: () => this.#shards.tellAll((bridge) => bridge.tell('move', undefined)),
      onDone: () => {
        this.#state = 'draining';
        this.#admin?.leave();
        void this.#drain(0, true);
      },
      clock: systemClock,
      log: this.#log,
    });
  }

  #createHttps(): VisitorTls | undefined {
    const { https, httpAddr } = this.#config;
    if (https === undefined) return undefined;
    return new VisitorTls({
      config: https,
      hasHttp: httpAddr !== 'off',
      bridges: () => this.#shards.pool.bridges().map(([, bridge]) => bridge),
      isServed: (tunnel) => this.#registry.isServed(tunnel),
      dnsHook: this.#options.dnsHook,
      reloads: this.#tls.reloads,
      agent: `sluiceway/${this.#options.version}`,
      log: this.#log,
    });
  }

  #tellGrants(): void {
    for (const [shard, links] of this.#registry.linksByShard()) {
      const grantOf = this.#access.grantOf.bind(this.#access);
      const grants = links.map(({ link, holder }) => ({ link, grant: grantOf(holder) }));
      this.#shards.pool.bridge(shard)?.tell('grants', grants);
    }
  }

  async #openPort(name: string): Promise<void> {
    if (this.#state === 'draining') throw new SluicewayError('SLW_TUNNEL_SHUTDOWN');
    await this.#ports.open(name);
  }

  #serve(shard: number): Serve<ExitControlMethods> {
    return serveShard(shard, {
      nodeId: this.#nodeId,
      shards: this.#acceptsEverywhere ? this.#config.shards : 1,
      registry: this.#registry,
      access: this.#access,
      logins: this.#logins,
      answers: this.#answers,
      own: this.#own,
      readings: this.#readings,
      onTunnelUp: (tunnel) => this.#https?.onTunnel(tunnel),
      isHttps: (tunnel) => this.#https?.isFor(tunnel) === true,
      tunnelLog: this.#tunnelLog,
      log: this.#log,
    });
  }

  #createReadings(): Readings {
    return new Readings({
      bridges: () => this.#shards.pool.bridges(),
      registry: this.#registry,
      config: () => this.#config,
      version: this.#options.version,
      counts: () => ({
        authFailures: this.#own.authFailures,
        controlRequests: this.#own.controlRequests,
        shardRestarts: this.#shards.pool.restarts,
        certificates: [...this.#tls.notAfterSeconds(), ...(this.#https?.notAfterSeconds() ?? [])],
        acmeOrders: this.#https?.orders ?? new Map(),
        tokenLimited: this.#access.shares.limited(),
        reloads: this.#tls.reloads,
        memory: this.#memory,
      }),
    });
  }

  #createAnswers(): Answers {
    return new Answers({
      judge: (request) => this.#access.judge(request),
      // In a take-over visitors are served by the predecessor, and then by the successor.
      isReady: () =>
        this.#state === 'ready' || this.#isSucceeding || this.#handOver?.isDone === true,
      isServed: (tunnel) =>
        this.#registry.isServed(tunnel) || this.#options.predecessor?.serves(tunnel) === true,
      status: () => this.#readings.status(),
      metrics: () => this.#readings.metrics(),
      ca: () => this.#tls.ca,
      onAnswer: (path, status) => this.#own.onAnswer(path, status),
    });
  }

  async #drain(delayMs: number, isMoved: boolean): Promise<void> {
    const { drainTimeoutMs } = this.#config;
    this.#log.info({ drainDelayMs: delayMs, drainTimeoutMs }, 'draining');
    this.#https?.stopOrders();
    await sleep(delayMs);
    // A shard that is being started would listen behind its drain, beside whoever follows.
    this.#ports.stopOpening();
    const calls = this.#shards.pool
      .bridges()
      .map(([, bridge]) => bridge.call('drain', { isMoved }, drainTimeoutMs + STOP_TIMEOUT_MS));
    const isDrained = await endsWithin(Promise.allSettled(calls), drainTimeoutMs);
    if (!isDrained) this.#log.warn('drain timed out, streams that live are cut');
    await this.#end({ exitCode: 0 });
  }

  async #end(ending: Ending): Promise<void> {
    if (this.#state === 'stopped') return;
    this.#state = 'stopped';
    this.#https?.stop();
    await this.#shards.pool.stop(STOP_TIMEOUT_MS);
    await this.#access.shares.close();
    this.#admin?.close();
    this.#closeWatches();
    this.#settle(ending);
  }

  #closeWatches(): void {
    this.#memory.stop();
    this.#tls.close();
    this.#access.close();
    this.#logins.close();
    this.#reload?.close();
  }
}
