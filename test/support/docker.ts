// A Docker daemon of the test's own, and the project's image built in it.
//
// No bridge of its own, no packet filters and no image registry: what is built and run uses the
// machine's network, and the base image is made here. Invariant: daemon, containers and layers go
// with the test. Must not know: what is run in a container.

import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';
import { eventually } from './deadline.ts';
import { type Output, runProgram, startProcess } from './process.ts';
import { findProgram, scratchFolder, skipOrFail } from './programs.ts';

export const ROOT = path.resolve(import.meta.dirname, '../..');
export const IMAGE = 'sluiceway:test';
/** Of Debian: another client on the PATH may lack what it needs to build. */
const CLIENT = '/usr/bin/docker';
const PROGRAMS = ['dockerd', 'containerd', 'mmdebstrap', 'npm'];
const BUILD_MS = 600_000;

/** What `docker run` is given in every test: as little as the documentation says. */
export const HARDENED: readonly string[] = [
  ...['--init', '--read-only', '--cap-drop', 'ALL'],
  ...['--security-opt', 'no-new-privileges', '--network', 'host'],
];

export class Docker {
  readonly #t: TestContext;
  readonly env: NodeJS.ProcessEnv;

  constructor(t: TestContext, env: NodeJS.ProcessEnv) {
    this.#t = t;
    this.env = env;
  }

  /** Any command of the client; fails the test unless it ends with 0. */
  async run(...args: readonly string[]): Promise<string> {
    return demand(`docker ${args.join(' ')}`, await this.try(...args));
  }

  async try(...args: readonly string[]): Promise<Output> {
    return await this.#runProgram(CLIENT, args);
  }

  /** Another program that speaks to this daemon. */
  async with(command: string, ...args: readonly string[]): Promise<string> {
    return demand(`${command} ${args.join(' ')}`, await this.#runProgram(command, args));
  }

  /** `docker run -d` with a name; the container is gone when `t` has ended. */
  async start(
    t: TestContext,
    name: string,
    options: readonly string[],
    command: readonly string[] = [],
  ): Promise<void> {
    undoAfter(t, async () => {
      await this.try('rm', '--force', '--volumes', name);
    });
    await this.run('run', '--detach', '--name', name, ...options, IMAGE, ...command);
  }

  /** What one container wrote, for a failure message. */
  async logs(name: string): Promise<string> {
    const { stdout, stderr } = await this.try('logs', name);
    return `${stdout}\n${stderr}`;
  }

  #runProgram(command: string, args: readonly string[]): Promise<Output> {
    return runProgram(this.#t, { command, args, cwd: ROOT, env: this.env, ms: BUILD_MS });
  }
}

function demand(what: string, { code, stdout, stderr }: Output): string {
  if (code !== 0) throw new Error(`${what} ended with ${code}\n${stdout}\n${stderr}`);
  return stdout;
}

/** Undefined, with a skip, where there is no Docker, or no right to start it. */
export async function startDocker(t: TestContext): Promise<Docker | undefined> {
  const missing = PROGRAMS.filter((name) => findProgram(name) === undefined);
  if (!existsSync(CLIENT)) missing.push(CLIENT);
  if (missing.length > 0) {
    skipOrFail(t, `not installed: ${missing.join(', ')}`);
    return undefined;
  }
  if (process.getuid?.() !== 0) {
    skipOrFail(t, 'a Docker daemon wants root');
    return undefined;
  }
  const folder = scratchFolder(t);
  undoAfter(t, () => unmountBelow(folder));
  const socket = `unix://${folder}/docker.sock`;
  startProcess(t, {
    name: 'dockerd',
    command: findProgram('dockerd') ?? '',
    args: [
      ...['--host', socket, '--data-root', `${folder}/data`, '--exec-root', `${folder}/exec`],
      ...['--pidfile', `${folder}/pid`, '--bridge=none', '--iptables=false', '--ip6tables=false'],
    ],
    endCode: 0,
  });
  const env = { ...process.env, DOCKER_HOST: socket, DOCKER_BUILDKIT: '1' };
  const docker = new Docker(t, withoutCheckout(env));
  await eventually(60_000, 'dockerd answers', () => docker.run('version'));
  return docker;
}

/** What the daemon leaves mounted at its end, such as the network namespace of the machine. */
function unmountBelow(folder: string): void {
  const lines = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  const mounted = lines.map((line) => line.split(' ')[1] ?? '');
  for (const at of mounted.reverse().filter((one) => one.startsWith(`${folder}/`))) {
    execFileSync('umount', [at]);
  }
}

/** The image of this checkout, as docs/operating/docker.md builds it. */
export async function buildImage(docker: Docker): Promise<void> {
  await docker.with('docker/base-image.sh');
  const file = ['--file', 'docker/Dockerfile', '--tag', IMAGE];
  const facts = ['--build-arg', 'VERSION=0.0.0-test', '--build-arg', `REVISION=${'ab'.repeat(20)}`];
  await docker.run('build', '--network', 'host', '--progress', 'plain', ...file, ...facts, '.');
}

/** npm and its node are the system's, not the checkout's. */
function withoutCheckout(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const folders = (env.PATH ?? '').split(':');
  const PATH = folders.filter((folder) => !folder.endsWith('node_modules/.bin')).join(':');
  return { ...env, PATH: `/usr/bin:${PATH}` };
}
