// A real process of a test: started, watched line by line, ended by its own pid.
//
// Invariant: whatever a test starts has ended when the test has, also when the test failed; a
// process that dies while nobody expects it fails the test with what it wrote. Must not know: which
// program.

import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';
import { within } from './deadline.ts';

export interface ProcessOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: NodeJS.ProcessEnv;
  readonly cwd?: string;
  /** Signal that ends it when the test is over; SIGTERM when left out. */
  readonly endSignal?: NodeJS.Signals;
  readonly uid?: number;
  readonly gid?: number;
  /** True for a program that runs to its end: ending is no failure. */
  readonly endsItself?: boolean;
  /** The exit code it must end with when the test ends it. */
  readonly endCode?: number;
}

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A process ends this long after its signal, or the test fails. Above any drain of the tests. */
const END_WITHIN_MS = 15_000;
/** Processes of one test file, each of which ends with ours. */
process.setMaxListeners(100);
/** Lines kept for the failure message. */
const LINES_SHOWN = 60;

interface Waiter {
  readonly matches: (line: string) => boolean;
  readonly found: (line: string) => void;
  readonly failed: (error: Error) => void;
}

export class TestProcess {
  readonly stdout: string[] = [];
  readonly stderr: string[] = [];
  readonly ended: Promise<Ending>;
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #endSignal: NodeJS.Signals;
  readonly #endCode: number | undefined;
  readonly #waiters = new Set<Waiter>();
  #expectEnd: boolean;
  #ending: Ending | undefined;

  constructor(options: ProcessOptions) {
    this.#name = options.name;
    this.#endSignal = options.endSignal ?? 'SIGTERM';
    this.#endCode = options.endCode;
    this.#expectEnd = options.endsItself ?? false;
    const { env, cwd, uid, gid } = options;
    this.#child = spawn(options.command, options.args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(env === undefined ? {} : { env }),
      ...(cwd === undefined ? {} : { cwd }),
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    this.ended = new Promise((resolve) => {
      this.#child.once('error', (error) => this.stderr.push(String(error)));
      this.#child.once('close', (code, signal) => resolve(this.#onEnd({ code, signal })));
    });
    this.#collect('stdout');
    this.#collect('stderr');
    process.once('exit', this.#onParentExit);
  }

  get pid(): number {
    return this.#child.pid ?? -1;
  }

  get isRunning(): boolean {
    return this.#ending === undefined;
  }

  /** The first line, past or coming, of either stream that matches. */
  line(what: string, matches: (line: string) => boolean, ms = 15_000): Promise<string> {
    const past = [...this.stdout, ...this.stderr].find(matches);
    if (past !== undefined) return Promise.resolve(past);
    const coming = new Promise<string>((found, failed) => {
      if (!this.isRunning) failed(new Error(`${this.#name} ended before: ${what}\n${this.tail()}`));
      else this.#waiters.add({ matches, found, failed });
    });
    return within(ms, `${this.#name}: ${what}`, coming).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.tail()}`);
    });
  }

  kill(signal: NodeJS.Signals): void {
    this.#expectEnd = true;
    if (this.isRunning) this.#child.kill(signal);
  }

  /** For a process that ends on its own: its end is no failure. */
  expectEnd(): Promise<Ending> {
    this.#expectEnd = true;
    return within(END_WITHIN_MS, `${this.#name} ends`, this.ended).catch((error: unknown) => {
      throw new Error(`${String(error)}\n${this.tail()}`);
    });
  }

  /** Asks it to end and waits until it has. */
  async stop(signal = this.#endSignal): Promise<Ending> {
    this.kill(signal);
    return await this.expectEnd();
  }

  /** After the test: ends it, by force if it must, and fails when it had died before. */
  async finish(): Promise<void> {
    const died = !this.isRunning && !this.#expectEnd;
    try {
      if (this.isRunning) this.#checkEnd(await this.stop());
    } finally {
      if (this.isRunning) this.#child.kill('SIGKILL');
      await this.ended;
    }
    if (died) {
      throw new Error(`${this.#name} died unexpectedly: ${this.endText()}\n${this.tail()}`);
    }
  }

  #checkEnd(ending: Ending): void {
    if (this.#endCode === undefined || ending.code === this.#endCode) return;
    throw new Error(`${this.#name} ended with ${this.endText()}\n${this.tail()}`);
  }

  endText(): string {
    return this.#ending === undefined
      ? 'still running'
      : `code ${this.#ending.code}, signal ${this.#ending.signal}`;
  }

  /** The last lines it wrote, for a failure message. */
  tail(): string {
    const lines = [...this.stdout.slice(-LINES_SHOWN), ...this.stderr.slice(-LINES_SHOWN)];
    return lines.map((line) => `  ${this.#name}| ${line}`).join('\n');
  }

  #collect(name: 'stdout' | 'stderr'): void {
    const stream = this.#child[name];
    if (stream === null) return;
    createInterface({ input: stream, crlfDelay: Infinity }).on('line', (line) => {
      this[name].push(line);
      for (const waiter of this.#waiters) {
        if (!waiter.matches(line)) continue;
        this.#waiters.delete(waiter);
        waiter.found(line);
      }
    });
  }

  #onEnd(ending: Ending): Ending {
    this.#ending = ending;
    process.removeListener('exit', this.#onParentExit);
    for (const waiter of this.#waiters) {
      waiter.failed(new Error(`${this.#name} ended: ${this.endText()}`));
    }
    this.#waiters.clear();
    return ending;
  }

  readonly #onParentExit = (): void => {
    this.#child.kill('SIGKILL');
  };
}

/** Starts a process that ends with the test. */
export function startProcess(t: TestContext, options: ProcessOptions): TestProcess {
  const started = new TestProcess(options);
  undoAfter(t, () => started.finish());
  return started;
}

export interface Output extends Ending {
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a program to its end, at most `ms`, and gives what it wrote. */
export async function runProgram(
  t: TestContext,
  options: Omit<ProcessOptions, 'name'> & { readonly ms?: number },
): Promise<Output> {
  const name = options.command.split('/').at(-1) ?? options.command;
  const run = startProcess(t, { ...options, name, endSignal: 'SIGKILL', endsItself: true });
  const ending = await within(options.ms ?? 60_000, `${name} ends`, run.ended).catch(
    (error: unknown) => {
      throw new Error(`${String(error)}\n${run.tail()}`);
    },
  );
  return { ...ending, stdout: run.stdout.join('\n'), stderr: run.stderr.join('\n') };
}
