// Our own side: an exit node and a client as processes, on free loopback ports.
//
// Invariant: no native add-on takes part; `check` looks at what the processes have mapped. Must
// not know: what is measured.

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type Child, type Children, freePort, NO_ADDONS, untilAnswers } from './children.ts';
import { packageVersion } from './place.ts';
import { nativeAddons } from './process-cost.ts';
import { HOST, type Side, type SideOptions } from './side.ts';

export interface TunnelOptions extends SideOptions {
  readonly shards: number;
  /** The program to run, as `dist/cli/main.js`. */
  readonly entry: string;
  /**
   * The link is TLS, with a private CA that the exit node makes in this folder; beside it lie
   * `ca.crt`, and `server.crt` and `server.key` for HOST, for other programs.
   */
  readonly tlsFolder?: string;
  /** A local port of the client, too, that leads to the raw origin. */
  readonly forwards?: boolean;
  /** HTTPS for visitors, with the PEM files of this pair. */
  readonly https?: { readonly cert: string; readonly key: string };
  /** Of the exit node, where it must come back at its old place; free ones when left out. */
  readonly ports?: { readonly control: number; readonly http: number };
  /** Where the exit node's log goes, as a descriptor: `ports` are given then, as none says them. */
  readonly log?: number;
  readonly serverArgs?: readonly string[];
  readonly clientArgs?: readonly string[];
}

export interface Tunnel extends Side {
  /** Where links and scrapes go. */
  readonly controlPort: number;
  readonly exitNode: Child;
}

/** What a scrape and a link show. */
export const TOKEN = 'bench-token';
const ENV = { ...NO_ADDONS, SLUICEWAY_TOKEN: TOKEN };
const IS_READY = 'GET /readyz HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n';

export async function startTunnel(children: Children, options: TunnelOptions): Promise<Tunnel> {
  const { origins, entry, https, through = async (port: number) => port } = options;
  const node = await startExitNode(children, options);
  if (options.tlsFolder !== undefined) splitPems(options.tlsFolder);
  const [raw, http, local] = [await freePort(), await freePort(), await freePort()];
  const client = children.run(
    process.execPath,
    [
      ...[entry, 'client', ...linkArgs(options, await through(node.ports.control))],
      `--upstream=${HOST}=http://127.0.0.1:${origins.http}`,
      ...(options.forwards ? [`--local=${local}:127.0.0.1:${origins.raw}`] : []),
      `--tcp=${raw}=127.0.0.1:${origins.raw},${http}=127.0.0.1:${origins.http}`,
      ...(options.clientArgs ?? []),
    ],
    ENV,
  );
  await readLines(client, [`://${HOST} -> `, `:${raw}`, `:${http}`]);
  return {
    name: 'tunnel',
    version: packageVersion(),
    ports: {
      ...{ raw, http, byHost: node.ports.http },
      ...(options.forwards ? { local } : {}),
      ...(https === undefined ? {} : { https: node.ports.https }),
    },
    pids: { server: [node.child.pid], client: [client.pid] },
    controlPort: node.ports.control,
    exitNode: node.child,
    check: () => assertNoAddons([process.pid, node.child.pid, client.pid]),
  };
}

export interface ExitNode {
  readonly child: Child;
  /** `https` is 0 when there is none. */
  readonly ports: { readonly control: number; readonly http: number; readonly https: number };
}

/** Resolves when it listens. */
export async function startExitNode(children: Children, options: TunnelOptions): Promise<ExitNode> {
  const { origins, shards, entry, https, log, ports = { control: 0, http: 0 } } = options;
  const child = children.run(
    process.execPath,
    [
      ...[entry, 'server', '--log-format=json', '--admin-addr=off', `--shards=${shards}`],
      ...[`--control-addr=127.0.0.1:${ports.control}`, `--http-addr=127.0.0.1:${ports.http}`],
      '--tcp-addr=127.0.0.1',
      ...secureArgs(options),
      ...(options.forwards ? [`--client-forwarding=127.0.0.1:${origins.raw}`] : []),
      ...(options.serverArgs ?? []),
    ],
    ENV,
    log,
  );
  if (log !== undefined) {
    await untilAnswers(ports.control, IS_READY, ' 200 ', [child]);
    return { child, ports: { ...ports, https: 0 } };
  }
  const names = ['control', 'http', ...(https === undefined ? [] : ['https'])];
  const listening = await readLines(
    child,
    names.map((name) => `"name":"${name}"`),
  );
  return {
    child,
    ports: {
      control: portIn(listening, 'control'),
      http: portIn(listening, 'http'),
      https: https === undefined ? 0 : portIn(listening, 'https'),
    },
  };
}

/** Of a metric without labels, as the exit node counts it now. */
export async function scrape({ controlPort }: Tunnel, metric: string): Promise<number> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const answer = await fetch(`http://127.0.0.1:${controlPort}/metrics`, { headers });
  const value = new RegExp(`^${metric} (\\S+)$`, 'm').exec(await answer.text())?.[1];
  if (value === undefined) throw new Error(`no ${metric} in /metrics`);
  return Number(value);
}

function secureArgs({ tlsFolder, https }: TunnelOptions): string[] {
  return [
    ...(tlsFolder === undefined ? [] : ['--auto-tls', `--auto-tls-dir=${tlsFolder}`]),
    ...(tlsFolder === undefined ? [] : [`--auto-tls-san=${HOST}`, '--auto-tls-san=127.0.0.1']),
    ...(https === undefined ? [] : ['--https-addr=127.0.0.1:0']),
    ...(https === undefined ? [] : [`--https-cert=${HOST}=${https.cert},${https.key}`]),
  ];
}

function linkArgs({ tlsFolder }: TunnelOptions, port: number): string[] {
  if (tlsFolder === undefined) return [`--url=ws://127.0.0.1:${port}`];
  return [`--url=wss://127.0.0.1:${port}`, `--tls-ca=${path.join(tlsFolder, 'ca.crt')}`];
}

/** The exit node keeps a key and its certificate in one file; others want them apart. */
function splitPems(folder: string): void {
  const block = (file: string, label: string): string => {
    const text = readFileSync(path.join(folder, file), 'utf8');
    const end = `-----END ${label}-----`;
    const from = text.indexOf(`-----BEGIN ${label}-----`);
    return `${text.slice(from, text.indexOf(end) + end.length)}\n`;
  };
  const put = (file: string, text: string): void => writeFileSync(path.join(folder, file), text);
  put('ca.crt', block('ca.pem', 'CERTIFICATE'));
  put('server.crt', block('leaf.pem', 'CERTIFICATE'));
  put('server.key', block('leaf.pem', 'PRIVATE KEY'));
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
