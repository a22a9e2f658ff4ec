// A shard of the client: dials links for control, and serves their streams with upstreams.
//
// Invariant: only tunnels of its own configuration are dialled, whatever an exit node asks for;
// everything that happens to a link is told to control. Must not know: when to dial again, how
// many links there should be, or what is printed.

import { type Clock, systemClock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import { createLogger, type Logger } from '../base/log.ts';
import { Bridge } from '../bridge/calls.ts';
import type {
  ClientControlMethods,
  ClientShardMethods,
  LinkDial,
  ShardSample,
  ShardTask,
} from '../bridge/messages.ts';
import { ClientLink } from './client-link.ts';
import { Meters } from './meters.ts';
import { startTicks } from './ticks.ts';
import { Upstreams } from './upstreams.ts';

export async function runClientShard(task: ShardTask): Promise<void> {
  const shard = new ClientShard(task);
  await shard.stopped;
}

type Method<Name extends keyof ClientShardMethods> = ClientShardMethods[Name]['takes'];

class ClientShard {
  readonly stopped: Promise<void>;
  readonly #task: ShardTask;
  readonly #clock: Clock = systemClock;
  readonly #log: Logger;
  readonly #bridge: Bridge<ClientShardMethods, ClientControlMethods>;
  readonly #meters = new Meters();
  readonly #upstreams: Upstreams;
  readonly #links = new Map<string, ClientLink>();
  readonly #ticks: { stop(): void };
  #onDrained: (() => void) | undefined;
  #onStopped: () => void = () => {};

  constructor(task: ShardTask) {
    this.#task = task;
    const { settings } = task;
    this.stopped = new Promise((resolve) => {
      this.#onStopped = resolve;
    });
    this.#log = openLog(task);
    this.#upstreams = new Upstreams({ limits: settings, clock: this.#clock, meters: this.#meters });
    this.#bridge = new Bridge(task.port, this.#methods(), crash);
    this.#ticks = startTicks(this.#clock, (nowMs) => this.#tick(nowMs));
    process.once('uncaughtExceptionMonitor', () => this.#upstreams.cutAll());
  }

  #methods(): ConstructorParameters<typeof Bridge<ClientShardMethods, ClientControlMethods>>[1] {
    return {
      upstreams: (entries: Method<'upstreams'>) => this.#upstreams.replace(entries),
      dial: (dial: Method<'dial'>) => this.#dial(dial),
      keep: ({ link }: Method<'keep'>) => this.#links.get(link)?.offer(this.#upstreams.offers()),
      close: ({ link, code }: Method<'close'>) => this.#links.get(link)?.close(code),
      sample: () => this.#sample(),
      drain: () => this.#drain(),
      stop: () => this.#stop(),
    };
  }

  #dial(dial: LinkDial): void {
    const link = new ClientLink({
      dial,
      settings: this.#task.settings,
      bridge: this.#bridge,
      upstreams: this.#upstreams,
      clock: this.#clock,
      log: this.#log,
      onEnd: (code) => this.#forgetLink(dial.link, code),
      onIdle: () => this.#checkDrained(),
    });
    this.#links.set(dial.link, link);
  }

  #forgetLink(key: string, code: ErrorCode): void {
    this.#links.delete(key);
    if (code.startsWith('SLW_WIRE_')) this.#meters.onProtocolError(code);
    this.#checkDrained();
  }

  #tick(nowMs: number): void {
    for (const link of this.#links.values()) link.tick(nowMs);
    this.#upstreams.sweep(nowMs);
    this.#checkDrained();
  }

  #drain(): Promise<undefined> {
    for (const link of this.#links.values()) link.leave();
    return new Promise((resolve) => {
      this.#onDrained = () => resolve(undefined);
      this.#checkDrained();
    });
  }

  #checkDrained(): void {
    if (this.#onDrained === undefined) return;
    if (this.#upstreams.connectionsCount > 0) return;
    for (const link of this.#links.values()) if (link.streamsCount > 0) return;
    this.#onDrained();
    this.#onDrained = undefined;
  }

  #stop(): undefined {
    for (const link of [...this.#links.values()]) link.close('SLW_LINK_ENDED');
    this.#ticks.stop();
    this.#meters.close();
    this.#clock.after(STOP_FLUSH_MS, () => {
      this.#bridge.close();
      this.#onStopped();
    });
    return undefined;
  }

  #sample(): ShardSample {
    const stalled = { held: 0, waiting: 0 };
    const links = [...this.#links.values()].flatMap((link) => {
      const sample = link.sample();
      if (sample === undefined) return [];
      stalled.held += sample.stalled.held;
      stalled.waiting += sample.stalled.waiting;
      return [sample.link];
    });
    return { ...this.#meters.sample(), links, stalled, meshBytes: 0, visitorConnections: 0 };
  }
}

function openLog({ settings, shard }: ShardTask): Logger {
  const { logLevel: level, logFormat: format } = settings;
  return createLogger({ level, format, component: 'shard' }).child({ shard });
}

/** Time for goodbyes to leave. Guess. */
const STOP_FLUSH_MS = 50;

/** Our own bug in a method: the thread ends, as for any uncaught error. */
function crash(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
