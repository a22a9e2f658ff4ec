// A whole tunnel of real processes: `sluiceway server` and `sluiceway client` on loopback.
//
// Starts `src/cli/main.ts` as a user would, reads the ports from the JSON lines on the server's
// stderr and the tunnels from the client's stdout. Invariant: both end with exit code 0 on SIGTERM
// at the end of a test that did not end them itself. Must not know: what is sent through.

import path from 'node:path';
import process from 'node:process';
import type { TestContext } from 'node:test';
import { eventually } from './deadline.ts';
import { freePort } from './free-port.ts';
import type { Netns } from './netns.ts';
import { startProcess, type TestProcess } from './process.ts';

export const ENTRY = path.resolve(import.meta.dirname, '../../src/cli/main.ts');
export const TOKEN = 'e2e-token-0123456789abcdef';
const LOOPBACK = '127.0.0.1';
const START_MS = 30_000;

export interface ServerOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Program to run instead of the checkout's, for the packed one. */
  readonly entry?: string;
  /** Worker threads; 2, so that every test crosses from shard to shard. */
  readonly shards?: number;
  /** Ports that clients may ask for; all unprivileged ones when left out. */
  readonly tcpPorts?: string;
  /** True when the server is expected to refuse to start. */
  readonly endsItself?: boolean;
  readonly drainDelay?: string;
  readonly drainTimeout?: string;
  /** Where it runs; here when left out. */
  readonly netns?: Netns;
  /** Fixed ports, for a server that comes back at its old place; free ones when left out. */
  readonly ports?: Ports;
}

export interface Ports {
  readonly control: number;
  readonly http: number;
  readonly admin: number;
}

export interface TestServer {
  readonly process: TestProcess;
  readonly controlPort: number;
  readonly httpPort: number;
  readonly adminPort: number;
}

export async function startServer(
  t: TestContext,
  options: ServerOptions = {},
): Promise<TestServer> {
  const ports = options.ports ?? { control: 0, http: 0, admin: 0 };
  const server = startProcess(t, {
    name: 'server',
    ...nodeIn(options.netns, [
      ...[options.entry ?? ENTRY, 'server', '--log-format', 'json'],
      ...['--control-addr', `${LOOPBACK}:${ports.control}`],
      ...['--http-addr', `${LOOPBACK}:${ports.http}`],
      ...['--admin-addr', `${LOOPBACK}:${ports.admin}`],
      ...['--tcp-addr', LOOPBACK, '--tcp-ports', options.tcpPorts ?? '1024-65535'],
      ...['--shards', String(options.shards ?? 2)],
      ...['--drain-delay', options.drainDelay ?? '0s'],
      ...['--drain-timeout', options.drainTimeout ?? '3s'],
      ...(options.args ?? []),
    ]),
    env: environment(options.env),
    endCode: 0,
    endsItself: options.endsItself ?? false,
  });
  const [controlPort, httpPort, adminPort] = await Promise.all([
    listeningPort(server, 'control'),
    listeningPort(server, 'http'),
    listeningPort(server, 'admin'),
  ]);
  return { process: server, controlPort, httpPort, adminPort };
}

export interface ClientOptions {
  /** Arguments behind `client --url …`: the tunnels and whatever a test wants. */
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly entry?: string;
  readonly netns?: Netns;
  /** Where it dials, when not loopback. */
  readonly url?: string;
  /** Tunnels that must be up before the test goes on; all that `args` names when left out. */
  readonly tunnels?: number;
}

export async function startClient(
  t: TestContext,
  server: Pick<TestServer, 'controlPort'>,
  options: ClientOptions,
): Promise<TestProcess> {
  const client = spawnClient(t, server, options);
  const named = options.args.filter((arg) =>
    /^--(?:upstream|tcp|udp|tls-passthrough|local|local-socks)$/u.test(arg),
  ).length;
  const wanted = options.tunnels ?? named;
  await client.line(`${wanted} tunnels up`, () => client.stdout.length >= wanted, START_MS);
  return client;
}

function nodeIn(netns: Netns | undefined, args: readonly string[]) {
  return netns?.inside(process.execPath, args) ?? { command: process.execPath, args };
}

/** A client that is not waited for: it may be refused. */
export function spawnClient(
  t: TestContext,
  server: Pick<TestServer, 'controlPort'>,
  options: ClientOptions,
): TestProcess {
  return startProcess(t, {
    name: 'client',
    ...nodeIn(options.netns, [
      ...[options.entry ?? ENTRY, 'client', '--log-format', 'json'],
      ...['--url', options.url ?? `ws://${LOOPBACK}:${server.controlPort}`],
      ...['--drain-timeout', '3s', ...options.args],
    ]),
    env: environment(options.env),
    endCode: 0,
  });
}

export interface TestTunnel extends TestServer {
  readonly client: TestProcess;
}

/** A server with two shards and one client that serves the tunnels which `args` names. */
export async function startTunnel(
  t: TestContext,
  args: readonly string[],
  server: ServerOptions = {},
): Promise<TestTunnel> {
  const started = await startServer(t, server);
  const client = await startClient(t, started, { args });
  return { ...started, client };
}

/** A tunnel to one TCP upstream; gives the public port. */
export async function tcpTunnel(t: TestContext, upstreamPort: number): Promise<number> {
  const port = await freePort();
  await startTunnel(t, ['--tcp', `${port}=${LOOPBACK}:${upstreamPort}`]);
  return port;
}

/** A tunnel to one HTTP upstream under `host`. */
export async function httpTunnel(
  t: TestContext,
  host: string,
  upstreamPort: number,
): Promise<TestTunnel> {
  return await startTunnel(t, ['--upstream', `${host}=http://${LOOPBACK}:${upstreamPort}`]);
}

/** The environment of a child: ours without what would configure sluiceway, plus the token. */
export function environment(more: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const clean = Object.entries(process.env).filter(
    ([name]) => !/^(?:SLUICEWAY_|NODE_OPTIONS$|NODE_TEST_CONTEXT$|HTTPS?_PROXY$)/iu.test(name),
  );
  // No sockets in the folders of whoever runs the tests.
  const own = { SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_STATUS_DIR: 'off' };
  return { ...Object.fromEntries(clean), ...own, ...more };
}

/** Waits until the server of `--admin-addr` says that `tunnel` is served, or is not. */
export async function tunnelReadiness(
  server: TestServer,
  tunnel: string,
  status: 200 | 503,
): Promise<void> {
  const url = `http://${LOOPBACK}:${server.adminPort}/readyz?tunnel=${encodeURIComponent(tunnel)}`;
  await eventually(15_000, `/readyz of ${tunnel} is ${status}`, async () => {
    const response = await fetch(url);
    await response.arrayBuffer();
    if (response.status !== status) throw new Error(`/readyz of ${tunnel}: ${response.status}`);
  });
}

export async function listeningPort(server: TestProcess, name: string): Promise<number> {
  const line = await server.line(
    `listening ${name}`,
    (text) => isListening(parseLine(text), name),
    START_MS,
  );
  const address = String(parseLine(line).address);
  return Number(address.slice(address.lastIndexOf(':') + 1));
}

function isListening(entry: Readonly<Record<string, unknown>>, name: string): boolean {
  return entry.msg === 'listening' && entry.name === name;
}

/** A JSON log line as an object; an empty one for other text. */
export function parseLine(text: string): Readonly<Record<string, unknown>> {
  if (!text.startsWith('{')) return {};
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch {
    // Half a line, or not ours: no entry.
    return {};
  }
}
