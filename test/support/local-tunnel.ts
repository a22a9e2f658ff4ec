// An exit node and its clients in the test's own process, with real worker threads and sockets.
//
// Guards: a warning that a test does not expect fails it, because a client that dials again in
// silence hides a broken link. Invariant: everything has stopped when the test has. Must not know:
// what is sent through.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { type Client, startClient } from '../../src/client/client.ts';
import type { Ending } from '../../src/client/ending.ts';
import { type ClientEvent, lineOf } from '../../src/client/events.ts';
import type { ClientConfig, ServerConfig } from '../../src/config/config.ts';
import type { Status } from '../../src/control/answers.ts';
import { type ExitNode, startServer } from '../../src/control/exit-node.ts';
import { Inheritance } from '../../src/control/inheritance.ts';
import type { Predecessor } from '../../src/control/predecessor.ts';
import { undoAfter } from './cleanup.ts';
import { clientConfig, type Flags, LOOPBACK, serverConfig, TOKEN } from './configs.ts';
import { eventually, within } from './deadline.ts';
import { LogLines } from './log-lines.ts';

const START_MS = 20_000;
const STOP_MS = 10_000;
const VERSION = '0.0.0-test';

export interface NodeOptions {
  readonly flags?: Flags;
  readonly env?: Readonly<Record<string, string>>;
  /** In place of what the flags gave: for options that name files. */
  readonly config?: Partial<ServerConfig>;
  /** True: warnings in the log are what the test is about. */
  readonly complains?: boolean;
  /** True: it takes over, from one that served nobody and has gone. */
  readonly succeeds?: boolean;
}

const GONE: Predecessor = {
  inheritance: new Inheritance([], () => undefined),
  prepared: async () => ({ tunnels: [], clients: [] }),
  ready: () => undefined,
  serves: () => false,
  isGone: true,
  pid: undefined,
};

export class LocalNode {
  readonly node: ExitNode;
  readonly log: LogLines;
  readonly controlPort: number;
  readonly httpPort: number;
  /** 0 where there is none. */
  readonly httpsPort: number;
  readonly adminPort: number;

  constructor(node: ExitNode, log: LogLines) {
    this.node = node;
    this.log = log;
    this.controlPort = portOf(log, 'control');
    this.httpPort = portOf(log, 'http');
    this.httpsPort = portOf(log, 'https');
    this.adminPort = portOf(log, 'admin');
  }

  async ask(path: string): Promise<{ status: number; body: string }> {
    const answer = await fetch(`http://${LOOPBACK}:${this.adminPort}${path}`, {
      headers: { authorization: `Bearer ${TOKEN}`, connection: 'close' },
    });
    return { status: answer.status, body: await answer.text() };
  }

  async status(): Promise<Status> {
    return JSON.parse((await this.ask('/status')).body) as Status;
  }

  /** A value of the metrics page; `series` is a name, with its labels if it has any. */
  async metric(series: string): Promise<number> {
    const { body } = await this.ask('/metrics');
    const line = body.split('\n').find((one) => one.startsWith(`${series} `));
    assert.ok(line !== undefined, `no ${series} in:\n${body}`);
    return Number(line.slice(line.lastIndexOf(' ') + 1));
  }

  /** Waits until a metric has a value: it is a state of other threads. */
  async untilMetric(series: string, isWanted: (value: number) => boolean): Promise<void> {
    await eventually(STOP_MS, `${series} as wanted`, async () => {
      const value = await this.metric(series);
      assert.ok(isWanted(value), `${series} is ${value}`);
    });
  }
}

/** Starts an exit node and stops it after the test. */
export async function startNode(t: TestContext, options: NodeOptions = {}): Promise<LocalNode> {
  const config = { ...serverConfig(options.flags, options.env), ...options.config };
  return startNodeWith(t, config, options);
}

async function startNodeWith(
  t: TestContext,
  config: ServerConfig,
  { complains = false, succeeds = false }: NodeOptions,
): Promise<LocalNode> {
  const log = new LogLines('control');
  const predecessor = succeeds ? GONE : undefined;
  const starting = startServer(config, { log: log.log, version: VERSION, predecessor });
  const node = await within(START_MS, 'the exit node starts', starting);
  undoAfter(t, async () => {
    node.stop();
    await within(STOP_MS, 'the exit node stops', node.closed);
    if (!complains) assert.deepEqual(log.complaints(), [], 'the exit node complained');
  });
  return new LocalNode(node, log);
}

export interface LocalClient {
  readonly client: Client;
  readonly log: LogLines;
  /** What it told its user. */
  readonly tunnelLines: readonly string[];
  readonly events: readonly ClientEvent[];
  ended(): Promise<Ending>;
}

export interface ClientOptions {
  readonly flags: Flags;
  /** In place of what the flags gave: for options that name files. */
  readonly config?: Partial<ClientConfig>;
  /** Where it dials instead of the node itself. */
  readonly port?: number;
  /** False: do not wait until its tunnels are up. */
  readonly waits?: boolean;
  readonly onTunnelUp?: () => void;
  readonly complains?: boolean;
}

/** Starts a client of `node`, waits for its tunnels, and stops it after the test. */
export async function startLocalClient(
  t: TestContext,
  node: { readonly controlPort: number },
  options: ClientOptions,
): Promise<LocalClient> {
  const url = `ws://${LOOPBACK}:${options.port ?? node.controlPort}`;
  const config = { ...clientConfig({ url, ...options.flags }), ...options.config };
  return runClient(t, config, options);
}

async function runClient(
  t: TestContext,
  config: ClientConfig,
  options: ClientOptions,
): Promise<LocalClient> {
  const log = new LogLines('client');
  const tunnelLines: string[] = [];
  const events: ClientEvent[] = [];
  const client = await startClient(config, {
    log: log.log,
    version: VERSION,
    onEvent: (event) => {
      events.push(event);
      const line = lineOf(event);
      if (line === undefined) return;
      tunnelLines.push(line);
      options.onTunnelUp?.();
    },
  });
  undoAfter(t, async () => {
    client.stop();
    await within(STOP_MS, 'the client stops', client.closed);
    if (options.complains !== true) assert.deepEqual(log.complaints(), [], 'the client complained');
  });
  const ended = (): Promise<Ending> => within(START_MS, 'the client ends', client.closed);
  if (options.waits === false) return { client, log, tunnelLines, events, ended };
  for (const { name } of config.tunnels) await log.line('tunnel up', { tunnel: name });
  return { client, log, tunnelLines, events, ended };
}

/** Waits until there are so many links: not that they stay, as one may be too many on a shard. */
export async function untilLinks(node: LocalNode, links: number): Promise<void> {
  await node.untilMetric('sluiceway_links', (value) => value === links);
}

/**
 * Waits until a tunnel has a link on each of the first `shards` shards; keys begin with theirs. Of
 * several clients that serve it one has to be named: what any has done is enough otherwise.
 */
export async function untilCovered(
  node: LocalNode,
  tunnel: string,
  shards: number,
  client?: string,
): Promise<void> {
  const of = client === undefined ? { tunnel } : { tunnel, client };
  for (let shard = 0; shard < shards; shard += 1) {
    await node.log.line('tunnel up', { ...of, link: new RegExp(`^${shard}-`, 'u') });
  }
}

function portOf(log: LogLines, name: string): number {
  const line = log.all('listening').find((one) => one.name === name);
  const address = String(line?.address ?? ':0');
  return Number(address.slice(address.lastIndexOf(':') + 1));
}
