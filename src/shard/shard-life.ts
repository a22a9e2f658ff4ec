// The life of a shard of either role: its log, its heartbeat, its drain and its end.
//
//   running --drain()--> draining --nothing left--> drained (answered) --stop()--> stopped
//
// Invariant: one timer serves every deadline, and ticks never overlap; a drain is answered once,
// when the owner has nothing left; an uncaught error first cuts the owner's sockets, and an end of
// the task those with bytes unsent, so that nobody takes the death of the thread for a clean end.
// Must not know: links, listeners, roles.

import { type Clock, systemClock, type Timer } from '../base/clock.ts';
import { createLogger, createRecordLog, type Logger } from '../base/log.ts';
import { readPool } from '../base/read-pool.ts';
import type { RecordLog } from '../base/record-log.ts';
import { collectStartupGarbage } from '../base/startup-garbage.ts';
import type { ShardTask } from '../bridge/shard-task.ts';
import { returnIdleBuffers } from '../link/socket-reads.ts';
import { Meters } from './meters.ts';

/** How exact deadlines are (design: heads are checked every 2 s at least). */
const TICK_MS = 1000;
/** Time for the answer to control, and for goodbyes on links, to leave. Guess. */
const STOP_FLUSH_MS = 50;

export interface ShardOwner {
  onTick(nowMs: number): void;
  /** Is no stream and no connection left? */
  isDrained(): boolean;
  /** The thread dies of an uncaught error: reset the sockets. */
  onCrash(): void;
  /** The task ends, and with it what waits in the process: reset the sockets it was for. */
  onStopped(): void;
}

export class ShardLife {
  readonly stopped: Promise<void>;
  readonly clock: Clock = systemClock;
  readonly log: Logger;
  readonly meters = new Meters();
  readonly #owner: ShardOwner;
  readonly #task: ShardTask;
  #timer: Timer;
  #onDrained: (() => void) | undefined;
  #onStopped: () => void = () => {};

  constructor(task: ShardTask, owner: ShardOwner) {
    const { settings, shard } = task;
    this.#task = task;
    const { logLevel: level, logFormat: format } = settings;
    this.log = createLogger({ level, format, component: 'shard' }).child({ shard });
    this.#owner = owner;
    this.stopped = new Promise((resolve) => {
      this.#onStopped = resolve;
    });
    this.#timer = this.clock.after(TICK_MS, () => {
      collectStartupGarbage();
      this.#tick();
    });
    process.once('uncaughtExceptionMonitor', () => owner.onCrash());
  }

  /** For the lines of the access log, whatever `--log-level` says. */
  createAccessLog(): RecordLog {
    const { logFormat: format } = this.#task.settings;
    return createRecordLog({ format, component: 'access' });
  }

  /** Resolves when the owner has nothing left. */
  drain(): Promise<undefined> {
    return new Promise((resolve) => {
      this.#onDrained = () => resolve(undefined);
      this.checkDrained();
    });
  }

  /** Something has ended: was it the last? */
  checkDrained(): void {
    if (this.#onDrained === undefined || !this.#owner.isDrained()) return;
    this.#onDrained();
    this.#onDrained = undefined;
  }

  /** Ends the shard's task a moment later; `close` ends what the task still holds. */
  stop(close: () => void): void {
    this.#timer.cancel();
    this.meters.close();
    this.clock.after(STOP_FLUSH_MS, () => {
      this.#owner.onStopped();
      close();
      this.#onStopped();
    });
  }

  #tick(): void {
    this.#timer = this.clock.after(TICK_MS, () => this.#tick());
    this.#owner.onTick(this.clock.nowMs());
    returnIdleBuffers();
    readPool.shrink();
    this.checkDrained();
  }
}

/** Our own bug in a method: the thread ends, as for any uncaught error. */
export function crash(error: unknown): void {
  setImmediate(() => {
    throw error;
  });
}
