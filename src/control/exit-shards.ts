// The shards of an exit node: what each is started with, and what all of them are told.
//
//   started --settings, then what the parts have--> in the mesh, serving
//   a new configuration --settings--> those that are up, and every later one
//
// Invariant: settings reach every shard in the order in which they came, and one that starts
// meanwhile gets the last. A failed shard is started again by the pool. Must not know: what the
// parts tell a shard, or when the node drains.

import { MessageChannel } from 'node:worker_threads';
import type { Logger } from '../base/log.ts';
import type { Bridge, Serve } from '../bridge/calls.ts';
import type { ExitControlMethods, ExitShardMethods } from '../bridge/exit-messages.ts';
import { ShardPool } from '../bridge/pool.ts';
import type {
  HttpsSettings,
  ShardSettings,
  ShardTask,
  VisitorSettings,
} from '../bridge/shard-task.ts';
import type { ServerConfig } from '../config/config.ts';
import { shardUrl } from '../shard/entry.ts';
import type { ControlTls } from './control-tls.ts';
import { acceptingShards, shardSettings, shareLimits, visitorSettings } from './settings.ts';

export type ShardBridge = Bridge<ExitControlMethods, ExitShardMethods>;

/** What every shard is started with. */
export interface PreparedTask {
  /** How many shards accept visitors: all, or the first alone. */
  readonly accepting: number;
  readonly settings: ShardSettings;
  readonly visitors: VisitorSettings;
}

/** Rejects with a ConfigError. */
export async function prepareTask(config: ServerConfig, version: string): Promise<PreparedTask> {
  const accepting = await acceptingShards(config);
  const [settings, visitors] = await Promise.all([
    shardSettings(config, version, accepting),
    visitorSettings(config, accepting),
  ]);
  return { accepting, settings, visitors };
}

export interface ExitShardsOptions {
  readonly config: ServerConfig;
  readonly version: string;
  readonly task: PreparedTask;
  readonly tls: ControlTls;
  readonly https: HttpsSettings | undefined;
  readonly serve: (shard: number) => Serve<ExitControlMethods>;
  /** Tells a shard that has started what the parts have; rejects when it cannot serve. */
  readonly bringUp: (shard: number, bridge: ShardBridge) => Promise<void>;
  /** A shard is gone; it may come back. */
  readonly onGone: (shard: number) => void;
  /** The shards cannot be kept alive. */
  readonly onGiveUp: (reason: string) => void;
  readonly log: Logger;
}

export class ExitShards {
  readonly pool: ShardPool<ExitControlMethods, ExitShardMethods>;
  readonly #options: ExitShardsOptions;
  /** What a shard is started with from now on. */
  #task: PreparedTask;
  /** New settings reach the shards in order. */
  #applying: Promise<void> = Promise.resolve();

  constructor(options: ExitShardsOptions) {
    this.#options = options;
    this.#task = options.task;
    const { config, serve, onGone, onGiveUp, log } = options;
    this.pool = new ShardPool({
      ...{ url: shardUrl, shards: config.shards, serve, onGone, onGiveUp, log },
      createTask: (shard) => this.#createTask(shard),
      onStart: (shard, bridge) => this.#bringUp(shard, bridge),
    });
  }

  #createTask(shard: number): Omit<ShardTask, 'port'> {
    const { config, tls, https } = this.#options;
    const { settings, visitors } = this.#task;
    const { fault } = config;
    const own = { shard, settings, visitors, tls: tls.port, fault };
    return { role: 'exit', ...own, ...(https === undefined ? {} : { https }) };
  }

  /** One after the other; rejects when one cannot serve. */
  async start(): Promise<void> {
    const { shards } = this.#options.config;
    for (let shard = 0; shard < shards; shard += 1) await this.pool.start(shard);
  }

  tellAll(tell: (bridge: ShardBridge) => void): void {
    for (const [, bridge] of this.pool.bridges()) tell(bridge);
  }

  /** Of a new configuration, what a running shard may take over. */
  apply(config: ServerConfig): void {
    this.#applying = this.#applying.then(() => this.#apply(config));
  }

  async #apply(config: ServerConfig): Promise<void> {
    const { accepting, visitors } = this.#task;
    const settings = await shardSettings(config, this.#options.version, accepting);
    const limits = shareLimits(config.limits, accepting);
    const { inspect } = config;
    this.#task = { accepting, settings, visitors: { ...visitors, limits, inspect } };
    this.tellAll((bridge) => bridge.tell('settings', { settings, limits, inspect }));
  }

  async #bringUp(shard: number, bridge: ShardBridge): Promise<void> {
    // It may have been started just before these were taken over.
    const { settings, visitors } = this.#task;
    const { limits, inspect } = visitors;
    bridge.tell('settings', { settings, limits, inspect });
    this.#joinMesh(shard, bridge);
    await this.#options.bringUp(shard, bridge);
  }

  #joinMesh(shard: number, bridge: ShardBridge): void {
    for (const [other, otherBridge] of this.pool.bridges()) {
      if (other === shard) continue;
      const { port1, port2 } = new MessageChannel();
      bridge.tell('mesh', { shard: other, port: port1 }, [port1]);
      otherBridge.tell('mesh', { shard, port: port2 }, [port2]);
    }
  }
}
