// A sluiceway of our own started beside this one, for the demonstration: watched line by line.
//
// Invariant: the child is ended by its own pid, and its output is always read, so that it never
// waits for us; at most LINES_MAX lines are kept. Must not know: what the child does.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { systemClock } from '../base/clock.ts';
import { ownCommand } from './own-command.ts';

/** Lines shown when the child dies. Guess: enough for an error with its stack. */
const LINES_MAX = 20;
/** A child that ignores its signal for so long is killed. Above the drain it is given. */
const KILL_AFTER_MS = 5000;

export interface ChildOptions {
  readonly name: string;
  readonly args: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

interface Waiter {
  readonly matches: (line: string) => boolean;
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

export class Child {
  /** Rejects when the child ends before `stop` was called; resolves after it. */
  readonly ended: Promise<void>;
  readonly #name: string;
  readonly #process: ChildProcess;
  readonly #lines: string[] = [];
  readonly #waiters = new Set<Waiter>();
  #state: 'running' | 'stopping' | 'ended' = 'running';

  constructor({ name, args, env }: ChildOptions) {
    this.#name = name;
    const own = ownCommand(args);
    this.#process = spawn(own.command, own.args, {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      if (stream !== null) this.#watch(stream);
    }
    this.ended = new Promise((resolve, reject) => {
      this.#process.once('error', reject);
      this.#process.once('close', (code, signal) => this.#onClose(code ?? signal, resolve, reject));
    });
    // Awaited later: until then a rejection must not count as unhandled.
    this.ended.catch(() => undefined);
  }

  /** The first line, from now on, that matches. */
  line(matches: (line: string) => boolean): Promise<string> {
    return new Promise((resolve, reject) => {
      this.#waiters.add({ matches, resolve, reject });
    });
  }

  async stop(): Promise<void> {
    if (this.#state === 'running') {
      this.#state = 'stopping';
      this.#process.kill('SIGTERM');
      systemClock.after(KILL_AFTER_MS, () => this.#process.kill('SIGKILL'));
    }
    await this.ended.catch(() => undefined);
  }

  #watch(stream: Readable): void {
    createInterface({ input: stream, crlfDelay: Number.POSITIVE_INFINITY }).on('line', (line) => {
      this.#lines.push(line);
      if (this.#lines.length > LINES_MAX) this.#lines.shift();
      for (const waiter of this.#waiters) {
        if (!waiter.matches(line)) continue;
        this.#waiters.delete(waiter);
        waiter.resolve(line);
      }
    });
  }

  /** What it said last, without the log lines that tell of everyday events. */
  #complaints(): string {
    return this.#lines
      .filter((line) => !/^{"level":"(trace|debug|info)"/.test(line))
      .map((line) => `\n  ${line}`)
      .join('');
  }

  #onClose(how: number | string | null, resolve: () => void, reject: (error: Error) => void): void {
    const wasStopped = this.#state === 'stopping';
    this.#state = 'ended';
    const error = new Error(`the ${this.#name} ended by itself (${how})${this.#complaints()}`);
    for (const waiter of this.#waiters) waiter.reject(error);
    this.#waiters.clear();
    if (wasStopped) resolve();
    else reject(error);
  }
}
