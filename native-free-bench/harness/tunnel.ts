// Our own side: an exit node and a client as processes, on free loopback ports.
//
// Invariant: no native add-on takes part; `check` looks at what the processes have mapped. Must
// not know: what is measured.

import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type Child, type Children, freePort } from './children.ts';
import { nativeAddons } from './process-cost.ts';
import { HOST, type Side, type SideOptions } from './side.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
/** What is run when nothing else is said: the sources, which Node strips of their types. */
export const ENTRY = path.join(ROOT, 'src/cli/main.ts');
const ENV = {
  SLUICEWAY_TOKEN: 'bench-token',
  MSGPACKR_NATIVE_ACCELERATION_DISABLED: 'true',
};

export interface TunnelOptions extends SideOptions {
  readonly shards: number;
  /** The program to run, as `dist/cli/main.js`. */
  readonly entry: string;
}

export async function startTunnel(children: Children, options: TunnelOptions): Promise<Side> {
  const { origins, shards, entry, through = async (port: number) => port } = options;
  const server = children.run(
    process.execPath,
    [
      ...[entry, 'server', '--log-format=json', '--admin-addr=off', `--shards=${shards}`],
      ...['--control-addr=127.0.0.1:0', '--http-addr=127.0.0.1:0', '--tcp-addr=127.0.0.1'],
    ],
    ENV,
  );
  const listening = await readLines(server, ['"name":"control"', '"name":"http"']);
  const [raw, http] = [await freePort(), await freePort()];
  const client = children.run(
    process.execPath,
    [
      ...[entry, 'client', `--url=ws://127.0.0.1:${await through(portIn(listening, 'control'))}`],
      `--upstream=${HOST}=http://127.0.0.1:${origins.http}`,
      `--tcp=${raw}=127.0.0.1:${origins.raw},${http}=127.0.0.1:${origins.http}`,
    ],
    ENV,
  );
  await readLines(client, [`http://${HOST}`, `:${raw}`, `:${http}`]);
  return {
    name: 'tunnel',
    version: versionOf(path.join(ROOT, 'package.json')),
    ports: { raw, http, byHost: portIn(listening, 'http') },
    pids: { server: [server.pid], client: [client.pid] },
    check: () => assertNoAddons([process.pid, server.pid, client.pid]),
  };
}

function assertNoAddons(pids: readonly number[]): void {
  const found = pids.flatMap(nativeAddons);
  if (found.length > 0) throw new Error(`a native add-on is loaded: ${found.join(', ')}`);
}

function readLines(child: Child, wanted: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const look = (): void => {
      if (wanted.every((part) => child.output().includes(part))) resolve(child.output());
    };
    child.process.once('close', (code) =>
      reject(new Error(`exited with ${code}: ${child.output()}`)),
    );
    child.process.stdout?.on('data', look);
    child.process.stderr?.on('data', look);
  });
}

function portIn(log: string, name: string): number {
  const match = new RegExp(`"name":"${name}","address":"[^"]*:(\\d+)"`).exec(log);
  if (match === null) throw new Error(`no port of ${name} in: ${log}`);
  return Number(match[1]);
}

function versionOf(file: string): string {
  return String((JSON.parse(readFileSync(file, 'utf8')) as { version?: string }).version);
}
