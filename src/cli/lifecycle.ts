// Runs a server or a client from its start to its exit code: signals, uncaught errors, the log.
//
// Invariant: the first SIGTERM or SIGINT drains, the second ends at once; SIGHUP and SIGUSR2 end
// nothing, also while it starts, and SIGUSR1 opens nothing; an error that nobody caught is logged,
// stops what runs, and is a failure, because what it left behind is unknown; to stop and to flush
// the log take a bounded time, and then the process exits. Must not know: what runs.

import { systemClock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import { releaseOnceWorked } from '../base/late-compilers.ts';
import { closeLog, createLogger, type Logger } from '../base/log.ts';
import { collectStartupGarbage } from '../base/startup-garbage.ts';
import type { LogFormat, LogLevel } from '../config/config.ts';
import { EXIT, exitCodeOf } from './exit-codes.ts';
import { complain } from './output.ts';

/** How a running server or client is held. */
export interface Running {
  readonly closed: Promise<Ending>;
  drain(): void;
  stop(): void;
  /** Reads certificates again; absent when there is nothing to read. */
  reload?(): void;
  /** Starts a successor on the same sockets; absent where there is none. */
  takeOver?(): void;
}

export interface Ending {
  readonly exitCode: number;
  /** What to tell the operator, in one line. */
  readonly message?: string;
}

export interface RunOptions {
  readonly component: string;
  readonly logLevel: LogLevel;
  readonly logFormat: LogFormat;
  readonly start: (log: Logger) => Promise<Running>;
}

/** A stalled log sink holds up the exit no longer than this. Guess. */
const FLUSH_MS_MAX = 500;
/** When what a start leaves behind is collected: clients and first requests go first. Guess. */
const COLLECT_AFTER_MS = 1000;
/** After the second signal, for sockets to be closed; then the process ends anyway. Guess. */
const STOP_MS_MAX = 1000;

type Phase =
  /** A SIGHUP that comes before there is anything to reload counts when there is. */
  | { readonly name: 'starting'; readonly asked: 'nothing' | 'reload' }
  | { readonly name: 'running' | 'draining' | 'stopping' | 'failed'; readonly running: Running };

/** Never returns: the process exits. */
export async function runToExit(options: RunOptions): Promise<never> {
  const log = openLog(options);
  const lifecycle = new Lifecycle(log);
  try {
    const running = await options.start(log);
    lifecycle.onStarted(running);
    systemClock.after(COLLECT_AFTER_MS, collectStartupGarbage);
    releaseOnceWorked(systemClock);
    const ending = await running.closed;
    return await exit(log, lifecycle.hasFailed ? { ...ending, exitCode: EXIT.failure } : ending);
  } catch (error) {
    return await exit(log, endingOf(error));
  }
}

class Lifecycle {
  readonly #log: Logger;
  #phase: Phase = { name: 'starting', asked: 'nothing' };

  constructor(log: Logger) {
    this.#log = log;
    process.on('SIGTERM', () => this.#onSignal('SIGTERM'));
    process.on('SIGINT', () => this.#onSignal('SIGINT'));
    // Without a listener either would end the process.
    process.on('SIGHUP', () => this.#onHangUp());
    process.on('SIGUSR2', () => this.#onTakeOver());
    // Without one Node opens its debugger to everybody on this machine.
    process.on('SIGUSR1', () => this.#log.warn('SIGUSR1: no debugger is opened'));
    process.on('uncaughtException', (error) => this.#onUncaught(error, 'uncaught exception'));
    process.on('unhandledRejection', (error) => this.#onUncaught(error, 'unhandled rejection'));
  }

  /** Nobody caught an error: whatever else it ends with is no success. */
  get hasFailed(): boolean {
    return this.#phase.name === 'failed';
  }

  onStarted(running: Running): void {
    const isAsked = this.#phase.name === 'starting' && this.#phase.asked === 'reload';
    this.#phase = { name: 'running', running };
    if (isAsked) this.#onHangUp();
  }

  #onHangUp(): void {
    const phase = this.#phase;
    if (phase.name === 'starting') {
      this.#log.info('SIGHUP: read again when the start is complete');
      this.#phase = { name: 'starting', asked: 'reload' };
    } else if (phase.running.reload === undefined) {
      this.#log.warn('SIGHUP: there is nothing to reload yet');
    } else phase.running.reload();
  }

  #onTakeOver(): void {
    const phase = this.#phase;
    if (phase.name === 'starting') {
      this.#log.warn('SIGUSR2: nobody takes over before the start is complete');
    } else if (phase.running.takeOver === undefined) {
      this.#log.warn('SIGUSR2: only a server is taken over');
    } else phase.running.takeOver();
  }

  #onSignal(signal: string): void {
    const phase = this.#phase;
    switch (phase.name) {
      case 'starting':
        this.#log.info({ signal }, 'ending before the start is complete');
        this.#exitSoon(EXIT.failure);
        break;
      case 'running':
        this.#log.info({ signal }, 'draining, a second signal ends at once');
        this.#phase = { name: 'draining', running: phase.running };
        phase.running.drain();
        break;
      case 'draining':
        this.#log.info({ signal }, 'ending at once');
        this.#stop('stopping', phase.running);
        break;
      case 'stopping':
      case 'failed':
        break;
    }
  }

  #stop(name: 'stopping' | 'failed', running: Running): void {
    this.#phase = { name, running };
    systemClock.after(STOP_MS_MAX, () => this.#exitSoon(EXIT.failure));
    running.stop();
  }

  #onUncaught(error: unknown, text: string): void {
    const detail = error instanceof Error ? error : new Error(String(error));
    this.#log.fatal({ err: { message: detail.message, stack: detail.stack } }, text);
    complain(`${text}: ${detail.message}`);
    const phase = this.#phase;
    if (phase.name === 'starting' || phase.name === 'failed') this.#exitSoon(EXIT.failure);
    // The kernel would end what the shards carry as if all had been said.
    else this.#stop('failed', phase.running);
  }

  #exitSoon(exitCode: number): void {
    exit(this.#log, { exitCode }).catch(() => process.exit(exitCode));
  }
}

function openLog({ component, logLevel, logFormat }: RunOptions): Logger {
  return createLogger({ level: logLevel, component, format: logFormat });
}

function endingOf(error: unknown): Ending {
  const isKnown = error instanceof SluicewayError;
  const message = error instanceof Error ? error.message : String(error);
  return { exitCode: exitCodeOf(error), message: isKnown ? message : `internal error: ${message}` };
}

async function exit(log: Logger, ending: Ending): Promise<never> {
  if (ending.message !== undefined) complain(ending.message);
  await new Promise<void>((resolve) => {
    // Kept alive by a timer of its own: the clock's do not, and a stalled sink may never answer.
    const timer = setTimeout(resolve, FLUSH_MS_MAX);
    log.flush(() => {
      clearTimeout(timer);
      resolve();
    });
  });
  closeLog();
  process.exit(ending.exitCode);
}
