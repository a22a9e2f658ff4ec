// The parts of an exit node, and what each is told of the others.
//
//   links, visitors --> shards --> serve-shard --> access, registry, logins --> ports
//   files, issuers ---> tls, https, access, reload --> shards
//   who asks ---------> answers, admin --> readings --> shards, registry, counts
//
// Invariant: all parts are made at once, and no port opens and no shard starts before that is asked
// for; a shard that has started is told all there is before it listens. Must not know: in which
// order a node is started, drained and stopped.

import { hostname } from 'node:os';
import { systemClock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Serve } from '../bridge/calls.ts';
import type { ExitControlMethods } from '../bridge/exit-messages.ts';
import type { ServerConfig } from '../config/config.ts';
import { AccessControl } from './access.ts';
import { openAdmin } from './admin.ts';
import type { AdminPort } from './admin-port.ts';
import { Answers } from './answers.ts';
import { ConfigReload } from './config-reload.ts';
import type { ControlTls } from './control-tls.ts';
import { ExitShards, type PreparedTask, type ShardBridge } from './exit-shards.ts';
import { HandOver } from './hand-over.ts';
import { LoginDesk } from './login-desk.ts';
import { MemoryWatch } from './memory-watch.ts';
import { OwnCounts } from './own-counts.ts';
import { residentBytes } from './process-memory.ts';
import { PublicPorts } from './public-ports.ts';
import { Readings } from './readings.ts';
import { Registry } from './registry.ts';
import { serveShard } from './serve-shard.ts';
import type { StartOptions } from './start-options.ts';
import { TakenPorts } from './taken-ports.ts';
import { TunnelLog } from './tunnel-log.ts';
import { VisitorTls } from './visitor-tls.ts';

export type NodeState = 'starting' | 'ready' | 'draining' | 'stopped';

/** What was read before any thread starts. */
export interface Prepared {
  readonly task: PreparedTask;
  readonly tls: ControlTls;
}

export interface ExitPartsOptions extends StartOptions {
  readonly config: ServerConfig;
  readonly prepared: Prepared;
  readonly state: () => NodeState;
  /** The shards cannot be kept alive. */
  readonly onGiveUp: (reason: string) => void;
  /** A successor serves; this process is to end. */
  readonly onHandedOver: () => void;
}

export class ExitParts {
  readonly reload: ConfigReload | undefined;
  readonly shards: ExitShards;
  readonly registry: Registry;
  readonly access: AccessControl;
  readonly logins: LoginDesk;
  readonly tls: ControlTls;
  readonly ports: PublicPorts;
  readonly tunnelPorts: TakenPorts;
  readonly https: VisitorTls | undefined;
  readonly handOver: HandOver | undefined;
  readonly memory: MemoryWatch;
  readonly #readings: Readings;
  readonly #answers: Answers;
  readonly #own: OwnCounts;
  readonly #tunnelLog: TunnelLog;
  readonly #options: ExitPartsOptions;
  readonly #log: Logger;
  readonly #nodeId = `${hostname()}-${process.pid}`;
  /** How many shards accept visitors: all, or the first alone. */
  readonly #accepting: number;
  #config: ServerConfig;
  #admin: AdminPort | undefined;

  constructor(options: ExitPartsOptions) {
    const { config, prepared, log } = options;
    this.#options = options;
    this.#config = config;
    this.#log = log;
    this.#own = new OwnCounts(log);
    this.#tunnelLog = new TunnelLog(log);
    const { task, tls } = prepared;
    this.#accepting = task.accepting;
    this.ports = new PublicPorts({
      config,
      acceptsEverywhere: this.#acceptsEverywhere,
      bridges: () => this.shards.pool.bridges(),
      log: this.#log,
      inheritance: options.predecessor?.inheritance,
    });
    this.tunnelPorts = new TakenPorts({
      open: (name) => this.#openPort(name),
      isUnderWay: () => this.#isSucceeding || this.handOver?.isUnderWay === true,
      clock: systemClock,
    });
    this.tls = tls;
    this.access = this.#createAccess();
    this.logins = this.#createLogins();
    this.reload = this.#createReload();
    this.registry = this.#createRegistry();
    this.https = this.#createHttps();
    this.handOver = this.#createHandOver();
    this.shards = this.#createShards(task);
    this.memory = new MemoryWatch({
      max: config.memoryMax,
      tell: (level) => this.shards.tellAll((bridge) => bridge.tell('pressure', { level })),
      // The processes of a take-over have one container.
      usedBytes: () => residentBytes(this.handOver?.successorPid, options.predecessor?.pid),
      ...{ clock: systemClock, log: this.#log },
    });
    this.#readings = this.#createReadings();
    this.#answers = this.#createAnswers();
  }

  /** As it is now. */
  get config(): ServerConfig {
    return this.#config;
  }

  /** Undefined until it is opened. */
  get admin(): AdminPort | undefined {
    return this.#admin;
  }

  async openAdmin(): Promise<void> {
    const { log, predecessor } = this.#options;
    this.#admin = await openAdmin({
      address: this.#config.adminAddr,
      inheritance: predecessor?.inheritance,
      access: this.access,
      readings: this.#readings,
      answers: this.#answers,
      bridges: () => this.shards.pool.bridges(),
      inspect: () => this.#config.inspect,
      log,
    });
  }

  /** Or the first shard alone? */
  get #acceptsEverywhere(): boolean {
    return this.#accepting > 1;
  }

  get #isSucceeding(): boolean {
    return this.#options.state() === 'starting' && this.#options.predecessor !== undefined;
  }

  #createShards(task: PreparedTask): ExitShards {
    return new ExitShards({
      config: this.#config,
      version: this.#options.version,
      ...{ task, tls: this.tls, https: this.https?.settings },
      serve: (shard) => this.#serve(shard),
      bringUp: (shard, bridge) => this.#bringUp(shard, bridge),
      onGone: (shard) => {
        this.#readings.retire(shard);
        this.access.shares.gone(shard);
        this.registry.shardGone(shard);
        this.ports.shardGone(shard);
      },
      onGiveUp: this.#options.onGiveUp,
      log: this.#log,
    });
  }

  #createReload(): ConfigReload | undefined {
    const { source, log } = this.#options;
    if (source === undefined) return undefined;
    const { reloads } = this.tls;
    const apply = (config: ServerConfig): void => this.#apply(config);
    return new ConfigReload({ source, clock: systemClock, log, reloads, apply });
  }

  #apply(config: ServerConfig): void {
    this.#config = config;
    this.#log.level = config.logLevel;
    this.access.share(config.token);
    this.memory.setMax(config.memoryMax);
    this.shards.apply(config);
  }

  /** A shard has started: what the parts have, and its listeners last. */
  async #bringUp(shard: number, bridge: ShardBridge): Promise<void> {
    this.access.shares.bringUp(shard, bridge);
    this.logins.bringUp(bridge);
    bridge.tell('pressure', { level: this.memory.level });
    bridge.tell('route', this.registry.snapshot());
    this.https?.bringUp(bridge);
    if (this.#options.state() === 'draining') return;
    await this.ports.bringUp(shard, bridge, this.registry);
  }

  #createRegistry(): Registry {
    const { https } = this.#config;
    return new Registry({
      isPortAllowed: (port) => this.ports.isAllowed(port),
      hasHttps: https !== undefined,
      wallMs: () => systemClock.wallMs(),
      hasLoginProvider: (name) => this.logins.hasProvider(name),
      scopes: this.access,
      publish: (changes) => this.shards.tellAll((bridge) => bridge.tell('route', changes)),
      openPort: (name) => this.tunnelPorts.open(name),
      closePort: (name) => this.ports.close(name),
      doubtLinks: (shard, links) => this.shards.pool.bridge(shard)?.tell('doubtLinks', { links }),
      closeLinks: (shard, links, code) =>
        this.shards.pool.bridge(shard)?.tell('closeLinks', { links, code }),
    });
  }

  #createAccess(): AccessControl {
    const { token, tokensFile, tokensUsageFile, oidc } = this.#config;
    return new AccessControl({
      ...{ token, tokensFile, tokensUsageFile, oidc, accepting: this.#accepting },
      bridges: () => this.shards.pool.bridges(),
      endLinks: (isOver, code) => this.registry.endLinks(isOver, code),
      onGrants: () => this.#tellGrants(),
      onRefusal: (reason) => this.#own.onRefusal(reason),
      reloads: this.tls.reloads,
      clock: systemClock,
      log: this.#log,
    });
  }

  #createLogins(): LoginDesk {
    const { loginProviders: file } = this.#config;
    const [bridges, { reloads }] = [() => this.shards.pool.bridges(), this.tls];
    return new LoginDesk({ file, bridges, reloads, clock: systemClock, log: this.#log });
  }

  #createHandOver(): HandOver | undefined {
    const { successor: start } = this.#options;
    if (start === undefined) return undefined;
    return new HandOver({
      start,
      ports: this.ports,
      registry: this.registry,
      adminSocket: () => this.#admin?.socket,
      tellClients: () => this.shards.tellAll((bridge) => bridge.tell('move', undefined)),
      onDone: this.#options.onHandedOver,
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
      bridges: () => this.shards.pool.bridges().map(([, bridge]) => bridge),
      isServed: (tunnel) => this.registry.isServed(tunnel),
      dnsHook: this.#options.dnsHook,
      reloads: this.tls.reloads,
      agent: `sluiceway/${this.#options.version}`,
      log: this.#log,
    });
  }

  #tellGrants(): void {
    for (const [shard, links] of this.registry.linksByShard()) {
      const grantOf = this.access.grantOf.bind(this.access);
      const grants = links.map(({ link, holder }) => ({ link, grant: grantOf(holder) }));
      this.shards.pool.bridge(shard)?.tell('grants', grants);
    }
  }

  async #openPort(name: string): Promise<void> {
    if (this.#options.state() === 'draining') throw new SluicewayError('SLW_TUNNEL_SHUTDOWN');
    await this.ports.open(name);
  }

  #serve(shard: number): Serve<ExitControlMethods> {
    return serveShard(shard, {
      nodeId: this.#nodeId,
      shards: this.#acceptsEverywhere ? this.#config.shards : 1,
      registry: this.registry,
      access: this.access,
      logins: this.logins,
      answers: this.#answers,
      own: this.#own,
      readings: this.#readings,
      onTunnelUp: (tunnel) => this.https?.onTunnel(tunnel),
      isHttps: (tunnel) => this.https?.isFor(tunnel) === true,
      tunnelLog: this.#tunnelLog,
      log: this.#log,
    });
  }

  #createReadings(): Readings {
    return new Readings({
      bridges: () => this.shards.pool.bridges(),
      registry: this.registry,
      config: () => this.#config,
      version: this.#options.version,
      counts: () => ({
        authFailures: this.#own.authFailures,
        controlRequests: this.#own.controlRequests,
        shardRestarts: this.shards.pool.restarts,
        certificates: [...this.tls.notAfterSeconds(), ...(this.https?.notAfterSeconds() ?? [])],
        acmeOrders: this.https?.orders ?? new Map(),
        tokenLimited: this.access.shares.limited(),
        reloads: this.tls.reloads,
        memory: this.memory,
      }),
    });
  }

  #createAnswers(): Answers {
    return new Answers({
      judge: (request) => this.access.judge(request),
      // In a take-over visitors are served by the predecessor, and then by the successor.
      isReady: () =>
        this.#options.state() === 'ready' || this.#isSucceeding || this.handOver?.isDone === true,
      isServed: (tunnel) =>
        this.registry.isServed(tunnel) || this.#options.predecessor?.serves(tunnel) === true,
      status: () => this.#readings.status(),
      metrics: () => this.#readings.metrics(),
      ca: () => this.tls.ca,
      onAnswer: (path, status) => this.#own.onAnswer(path, status),
    });
  }
}
