// Real processes under test, on free loopback ports: an origin, an exit node and a client, and two
// plain relays in a row as the yardstick.
//
// Owns the children and ends them by their ids. Native add-ons are off in each. Must not know:
// what is measured.

import { type ChildProcess, fork, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';

export interface Bench {
  readonly origin: { readonly raw: number; readonly http: number };
  readonly relays: { readonly raw: number; readonly http: number };
  readonly tunnel: { readonly raw: number; readonly http: number };
  /** CPU seconds that exit node and client have used so far. */
  cpuSeconds(): number;
  /** Resident bytes of exit node and client. */
  residentBytes(): { readonly server: number; readonly client: number };
  stop(): void;
}

export const HOST = 'bench.example';
const MAIN = new URL('../../src/cli/main.ts', import.meta.url).pathname;
const RELAY = new URL('./relay.ts', import.meta.url).pathname;
const ORIGIN = new URL('./origin.ts', import.meta.url).pathname;
/** Clock ticks a second on Linux, fixed by the kernel's interface to programs. */
const TICKS_PER_SECOND = 100;
const PAGE_BYTES = 4096;

export async function startBench(options: { readonly shards: number }): Promise<Bench> {
  const children: ChildProcess[] = [];
  const stop = (): void => {
    for (const child of children) child.kill('SIGKILL');
  };
  try {
    const ports = await start<{ raw: number; http: number }>(children, ORIGIN, []);
    const first = await start<[number, number]>(children, RELAY, [ports.raw, ports.http]);
    const [raw, http] = await start<[number, number]>(children, RELAY, first);
    const tcpPort = await freePort();
    const server = run(children, [
      'server',
      '--control-addr=127.0.0.1:0',
      '--http-addr=127.0.0.1:0',
      '--admin-addr=off',
      '--tcp-addr=127.0.0.1',
      `--shards=${options.shards}`,
    ]);
    const listening = await readLines(server, 'stderr', ['"name":"control"', '"name":"http"']);
    const client = run(children, [
      'client',
      `--url=ws://127.0.0.1:${portIn(listening, 'control')}`,
      `--upstream=${HOST}=http://127.0.0.1:${ports.http}`,
      `--tcp=${tcpPort}=127.0.0.1:${ports.raw}`,
    ]);
    await readLines(client, 'stdout', [`http://${HOST}`, 'tcp://']);
    return {
      origin: ports,
      relays: { raw, http },
      tunnel: { raw: tcpPort, http: portIn(listening, 'http') },
      cpuSeconds: () => cpuSeconds(server) + cpuSeconds(client),
      residentBytes: () => ({ server: residentBytes(server), client: residentBytes(client) }),
      stop,
    };
  } catch (error) {
    stop();
    throw error;
  }
}

/** Forks a helper of the bench and waits for its ports. */
function start<Ports>(
  children: ChildProcess[],
  path: string,
  args: readonly number[],
): Promise<Ports> {
  const child = fork(path, args.map(String), { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] });
  children.push(child);
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`${path} exited with ${code}`)));
    child.once('message', (message) => resolve(message as Ports));
  });
}

function run(children: ChildProcess[], args: string[]): ChildProcess {
  const child = spawn(process.execPath, [MAIN, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      SLUICEWAY_TOKEN: 'bench-token',
      MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true',
    },
  });
  children.push(child);
  return child;
}

function readLines(
  child: ChildProcess,
  name: 'stdout' | 'stderr',
  wanted: string[],
): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = '';
    child.once('exit', (code) => reject(new Error(`exited with ${code}: ${text}`)));
    child[name]?.on('data', (piece: Buffer) => {
      text += piece.toString();
      if (wanted.every((part) => text.includes(part))) resolve(text);
    });
    const other = name === 'stdout' ? 'stderr' : 'stdout';
    child[other]?.resume();
  });
}

function portIn(log: string, name: string): number {
  const match = new RegExp(`"name":"${name}","address":"[^"]*:(\\d+)"`).exec(log);
  if (match === null) throw new Error(`no port of ${name} in: ${log}`);
  return Number(match[1]);
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() =>
        resolve(address !== null && typeof address === 'object' ? address.port : 0),
      );
    });
  });
}

function cpuSeconds(child: ChildProcess): number {
  const fields = readFileSync(`/proc/${child.pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}

function residentBytes(child: ChildProcess): number {
  const pages = readFileSync(`/proc/${child.pid}/statm`, 'utf8').split(' ')[1];
  return Number(pages) * PAGE_BYTES;
}
