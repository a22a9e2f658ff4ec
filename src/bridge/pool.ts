// Runs shards: one never-ending piscina task on a thread each, started again when it fails.
//
// Invariant: a shard that throws costs its own streams only and is back after a back-off; a burst
// of failures, a thread out of memory or one that never comes up gives the process up instead of
// leaving it half alive. Must not know: what shards do, or which process this is. The only file
// that knows piscina; used by exit node and client alike (docs/decisions/0003).

import { MessageChannel } from 'node:worker_threads';
import { Piscina } from 'piscina';
import { endsWithin, systemClock, type Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { Bridge, type Methods, type Serve } from './calls.ts';
import type { ShardTask } from './shard-task.ts';

/** Restarts of all shards in RESTART_WINDOW_MS before the process gives up (design: F1). */
const RESTARTS_MAX = 5;
const RESTART_WINDOW_MS = 60_000;
/** Delay before the first restart, doubled for each in the window. Guess. */
const RESTART_DELAY_MS = 100;

export interface ShardPoolOptions<Control extends Methods, Shard extends Methods> {
  readonly url: string;
  readonly shards: number;
  readonly log: Logger;
  /** Everything of a task but its port. */
  readonly createTask: (shard: number) => Omit<ShardTask, 'port'>;
  readonly serve: (shard: number) => Serve<Control>;
  /** A shard's thread was started: bring it up to date. A rejection counts as a failure. */
  readonly onStart: (shard: number, bridge: Bridge<Control, Shard>) => Promise<void>;
  /** A shard is gone; it may come back. */
  readonly onGone: (shard: number) => void;
  /** The shards cannot be kept alive. Once. */
  readonly onGiveUp: (reason: string) => void;
}

interface Slot<Control extends Methods, Shard extends Methods> {
  readonly bridge: Bridge<Control, Shard>;
}

export class ShardPool<Control extends Methods, Shard extends Methods> {
  /** How often a shard was started again. */
  restarts = 0;
  readonly #options: ShardPoolOptions<Control, Shard>;
  readonly #piscina: Piscina;
  readonly #slots = new Map<number, Slot<Control, Shard>>();
  readonly #timers = new Set<Timer>();
  #restartTimesMs: number[] = [];
  /** Given up, the shards that are left still run, until whoever was told stops them. */
  #state: 'running' | 'given up' | 'stopping' | 'stopped' = 'running';

  constructor(options: ShardPoolOptions<Control, Shard>) {
    this.#options = options;
    this.#piscina = new Piscina({
      filename: options.url,
      minThreads: options.shards,
      maxThreads: options.shards,
      concurrentTasksPerWorker: 1,
      // With the default an idle worker blocks its event loop, and with it open sockets.
      atomics: 'disabled',
      recordTiming: false,
    });
    // A thread that dies outside a task; the task's own end is what counts.
    this.#piscina.on('error', (error: Error) => {
      options.log.error({ err: error.message }, 'shard thread failed');
    });
  }

  /** The shards that are up, or being brought up. */
  bridges(): [number, Bridge<Control, Shard>][] {
    return [...this.#slots].map(([shard, slot]) => [shard, slot.bridge]);
  }

  bridge(shard: number): Bridge<Control, Shard> | undefined {
    return this.#slots.get(shard)?.bridge;
  }

  /** Starts `shard`; resolves when it is up, rejects when its start failed. */
  async start(shard: number): Promise<void> {
    const { port1, port2 } = new MessageChannel();
    const { createTask, serve, onStart, log } = this.#options;
    const bridge = new Bridge<Control, Shard>(port1, serve(shard), (error) => {
      log.error({ err: error }, 'a call from a shard failed');
    });
    const slot: Slot<Control, Shard> = { bridge };
    this.#slots.set(shard, slot);
    const task: ShardTask = { ...createTask(shard), port: port2 };
    // Piscina's type follows a newer overload of postMessage; a list is what it passes on.
    const transferList = [port2] as never;
    this.#piscina.run(task, { transferList }).then(
      () => this.#onEnd(shard, slot, undefined),
      (error: Error) => this.#onEnd(shard, slot, error),
    );
    await onStart(shard, bridge);
  }

  /**
   * Tells all shards to stop and waits for their threads to end, `timeoutMs` at most: one that does
   * not answer is ended, and would keep the process alive.
   */
  async stop(timeoutMs: number): Promise<void> {
    if (this.#state === 'stopping' || this.#state === 'stopped') return;
    this.#state = 'stopping';
    for (const timer of this.#timers) timer.cancel();
    if (!(await endsWithin(this.#stopAll(), timeoutMs))) await this.destroy();
    this.#state = 'stopped';
  }

  async #stopAll(): Promise<void> {
    const calls = [...this.#slots.values()].map(({ bridge }) => bridge.call('stop', undefined));
    await Promise.allSettled(calls);
    await this.#piscina.close({ force: false }).catch(() => undefined);
  }

  /** Ends all threads at once. */
  async destroy(): Promise<void> {
    this.#state = 'stopping';
    for (const timer of this.#timers) timer.cancel();
    await this.#piscina.destroy().catch(() => undefined);
  }

  #onEnd(shard: number, slot: Slot<Control, Shard>, error: Error | undefined): void {
    slot.bridge.end();
    if (this.#slots.get(shard) !== slot) return;
    this.#slots.delete(shard);
    if (this.#state !== 'running') return;
    const { log, onGone } = this.#options;
    log.error({ shard, err: error?.stack ?? 'ended by itself' }, 'shard failed');
    onGone(shard);
    if ((error as NodeJS.ErrnoException)?.code === 'ERR_WORKER_OUT_OF_MEMORY') {
      this.#giveUp('a shard ran out of memory');
    } else this.#restartLater(shard);
  }

  #restartLater(shard: number): void {
    const nowMs = systemClock.nowMs();
    const recent = this.#restartTimesMs.filter((atMs) => nowMs - atMs < RESTART_WINDOW_MS);
    if (recent.length >= RESTARTS_MAX) {
      this.#giveUp(`shards failed ${RESTARTS_MAX + 1} times in a minute`);
      return;
    }
    this.#restartTimesMs = [...recent, nowMs];
    const timer = systemClock.after(RESTART_DELAY_MS * 2 ** recent.length, () => {
      this.#timers.delete(timer);
      void this.#restart(shard);
    });
    this.#timers.add(timer);
  }

  async #restart(shard: number): Promise<void> {
    this.restarts += 1;
    try {
      await this.start(shard);
      this.#options.log.info({ shard }, 'shard restarted');
    } catch (error) {
      // A thread that dies meanwhile comes here as well, and its own end is what restarts it.
      if (this.#slots.has(shard)) this.#giveUp(`shard ${shard} does not come up: ${String(error)}`);
    }
  }

  #giveUp(reason: string): void {
    if (this.#state !== 'running') return;
    this.#state = 'given up';
    this.#options.onGiveUp(reason);
  }
}
