// The processes that the bench starts: ours, the peers', relays and origins.
//
// Owns them and ends them by their ids, at the latest when the bench itself ends. Invariant: a
// child that ends early is an error that shows what it said last. Must not know: what is measured.

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { accessSync, constants, mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { benchFile } from './place.ts';

const LOOPBACK = '127.0.0.1';
/** What is kept of a child's output for an error message; a guess. */
const OUTPUT_CHARS_MAX = 4_000;
/** The slowest peer is ready within a second; a guess with room for a busy machine. */
const READY_MS = 15_000;
const RETRY_MS = 50;
/** Where Debian puts servers, which are not on everyone's PATH. */
const MORE_FOLDERS = ['/usr/sbin', '/sbin', '/usr/local/sbin'];

/** msgpackr loads its optional add-on when it is there and nobody says no. */
export const NO_ADDONS = { MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true' };

export interface Child {
  readonly pid: number;
  readonly process: ChildProcess;
  /** The last of what it wrote to stdout and stderr. */
  output(): string;
  isOver(): boolean;
}

export class Children {
  readonly #children: ChildProcess[] = [];
  readonly #folders: string[] = [];
  readonly #onExit = (): void => this.stop();

  constructor() {
    process.once('exit', this.#onExit);
  }

  /** Where stderr is a descriptor, the output is stdout's alone. */
  run(
    command: string,
    args: readonly string[],
    env: Record<string, string> = {},
    stderr: number | 'pipe' = 'pipe',
  ): Child {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', stderr],
      env: { ...ownEnvironment(), ...env },
    });
    this.#children.push(child);
    let output = '';
    let isOver = false;
    const keep = (piece: Buffer): void => {
      output = (output + piece.toString()).slice(-OUTPUT_CHARS_MAX);
    };
    child.stdout?.on('data', keep);
    child.stderr?.on('data', keep);
    child.once('error', (error) => keep(Buffer.from(error.message)));
    child.once('close', () => {
      isOver = true;
    });
    return { pid: child.pid ?? 0, process: child, output: () => output, isOver: () => isOver };
  }

  /** Forks a file of the harness and waits for the ports that it sends. */
  fork<Ports>(file: string, args: readonly (number | string)[]): Promise<Ports> {
    const child = this.forkFile(file, args);
    return new Promise((resolve, reject) => {
      child.once('exit', (code) => reject(new Error(`${file} exited with ${code}`)));
      child.once('message', (message) => resolve(message as Ports));
    });
  }

  /** Forks a file of the harness, for whoever speaks with it. */
  forkFile(file: string, args: readonly (number | string)[]): ChildProcess {
    const child = fork(benchFile(`harness/${file}`), args.map(String), {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
      env: { ...process.env, ...NO_ADDONS },
    });
    this.#children.push(child);
    return child;
  }

  /** An empty folder that goes when the children go. */
  folder(): string {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'sluiceway-bench-'));
    this.#folders.push(folder);
    return folder;
  }

  stop(): void {
    process.off('exit', this.#onExit);
    for (const child of this.#children.splice(0)) child.kill('SIGKILL');
    for (const folder of this.#folders.splice(0)) rmSync(folder, { recursive: true, force: true });
  }
}

/** Ours without what would configure a server or a client that is measured. */
function ownEnvironment(): NodeJS.ProcessEnv {
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith('SLUICEWAY_'));
  return Object.fromEntries(own);
}

export function findProgram(name: string, folder: string): string | undefined {
  return [folder, ...(process.env.PATH ?? '').split(':'), ...MORE_FOLDERS]
    .map((place) => path.resolve(place, name))
    .find(isExecutable);
}

const givenPorts = new Set<number>();

/** A port that nothing listens on just now, and that was not given before. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = await unusedPort();
    if (!givenPorts.has(port)) {
      givenPorts.add(port);
      return port;
    }
  }
}

function unusedPort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, LOOPBACK, () => {
      const address = server.address();
      const port = address !== null && typeof address === 'object' ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

/** Sends `request` to the port until `answer` comes back, while the child lives. */
export async function untilAnswers(
  port: number,
  request: string,
  answer: string,
  children: readonly Child[],
): Promise<void> {
  const endMs = performance.now() + READY_MS;
  while (!(await answers(port, request, answer))) {
    const dead = children.find((child) => child.isOver());
    if (dead !== undefined) throw new Error(`ended early: ${dead.output()}`);
    if (performance.now() > endMs) {
      throw new Error(`not ready: ${children.map((child) => child.output()).join('\n')}`);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

/** Connects until somebody listens. */
export function untilListens(port: number, child: Child): Promise<void> {
  return untilAnswers(port, '', '', [child]);
}

function answers(port: number, request: string, answer: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: LOOPBACK }, () => {
      if (request === '') socket.destroy();
      else socket.write(request);
      if (request === '') resolve(true);
    });
    let text = '';
    socket.setTimeout(1_000, () => socket.destroy());
    socket.on('data', (piece: Buffer) => {
      text += piece.toString('latin1');
      if (!text.includes(answer)) return;
      resolve(true);
      socket.destroy();
    });
    socket.on('error', () => undefined);
    socket.on('close', () => resolve(false));
  });
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    // Not there, or not ours to run: look further.
    return false;
  }
}
