// Goal: five hundred clients whose exit node is killed come back without a stampede: at most 200
// attempts in any second, all of them within 15 s after it listens, and visitors of another client
// are served meanwhile. Method: an exit node as a process, killed and started again on its ports;
// 500 clients with ids of their own whose links live in one real shard, and one as a process.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import type {
  ClientControlMethods,
  ClientShardMethods,
  LinkWelcome,
} from '../../src/bridge/client-messages.ts';
import { ShardPool } from '../../src/bridge/pool.ts';
import { ServerLinks } from '../../src/client/server-links.ts';
import { shardUrl } from '../../src/shard/entry.ts';
import { undoAfter } from '../support/cleanup.ts';
import { clientConfig } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { freePorts } from '../support/free-port.ts';
import { mostInASecond } from '../support/rates.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { spawnClient, startServer, type TestServer, TOKEN } from '../support/tunnel.ts';
import { get, startHttp } from '../support/upstream.ts';

const CLIENTS = 500;
const ATTEMPTS_PER_SECOND_MAX = 200;
const BACK_MS_MAX = 15_000;
/** At the beginning, when nobody has been told yet. */
const JOIN_AT_ONCE = 20;
const OTHER = 'other.example.com';

class Fleet {
  readonly attemptsMs: number[] = [];
  readonly welcomesMs: number[] = [];
  readonly #pool: ShardPool<ClientControlMethods, ClientShardMethods>;
  readonly #servers: ServerLinks[] = [];
  readonly #owners = new Map<string, ServerLinks>();
  #dials = 0;

  constructor(t: TestContext, controlPort: number) {
    const url = `ws://127.0.0.1:${controlPort}/connect`;
    const { tuning } = clientConfig({ url, upstream: 'a.example.com=http://127.0.0.1:1' });
    this.#pool = new ShardPool({
      ...{ url: shardUrl, shards: 1, log: SILENT_LOG },
      createTask: (shard) => ({
        ...{ role: 'client', shard, tls: undefined, fault: undefined },
        settings: { ...tuning, agent: 'fleet', logLevel: 'silent', logFormat: 'json' },
      }),
      serve: () => ({
        welcomed: (welcome: LinkWelcome) => {
          this.welcomesMs.push(performance.now());
          this.#owners.get(welcome.link)?.onWelcome(welcome);
        },
        registered: () => {},
        goAway: ({ link, code }) => this.#owners.get(link)?.onGoAway(link, code),
        ended: ({ link, code, detail }) => this.#owners.get(link)?.onEnd(link, code, detail),
        lastSample: () => {},
      }),
      onStart: async () => {},
      onGone: () => {},
      onGiveUp: (reason) => assert.fail(reason),
    });
    for (let number = 0; number < CLIENTS; number += 1) this.#addClient(url, `client-${number}`);
    undoAfter(t, async () => {
      for (const server of this.#servers) server.close();
      await this.#pool.stop(10_000);
    });
  }

  get upCount(): number {
    return this.#servers.filter(({ servingCount }) => servingCount > 0).length;
  }

  async start(): Promise<void> {
    await this.#pool.start(0);
    for (let at = 0; at < CLIENTS; at += JOIN_AT_ONCE) {
      const joined = at + JOIN_AT_ONCE;
      for (const server of this.#servers.slice(at, joined)) server.fill();
      await eventually(20_000, `${joined} clients are up`, async () => {
        assert.ok(this.upCount >= joined, `${this.upCount}`);
      });
    }
  }

  #addClient(url: string, client: string): void {
    const bridge = () => this.#pool.bridge(0);
    const server: ServerLinks = new ServerLinks({
      ...{ url, links: 1, ownShards: 1, clock: systemClock, log: SILENT_LOG, random: Math.random },
      dial: () => {
        this.#dials += 1;
        const link = `link-${this.#dials}`;
        this.#owners.set(link, server);
        this.attemptsMs.push(performance.now());
        bridge()?.tell('dial', {
          ...{ link, server: 0, url, token: TOKEN, ca: undefined, client, instance: client },
          mask: 'never',
        });
        return link;
      },
      keep: (link) => bridge()?.tell('keep', { link }),
      close: (link, code) => bridge()?.tell('close', { link, code }),
      onFailure: () => {},
    });
    this.#servers.push(server);
  }
}

/** Visits the other client's tunnel, from when it is back until told to end; gives how often. */
async function visitUntil(t: TestContext, port: number, isDone: () => boolean): Promise<number> {
  const visit = () => get(t, { port, host: OTHER });
  await eventually(30_000, 'the other client is back', async () => {
    assert.equal((await visit()).status, 200);
  });
  let visits = 0;
  while (!isDone()) {
    const { status, body } = await visit();
    assert.deepEqual([status, body], [200, 'other'], `after ${visits} visits`);
    visits += 1;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return visits;
}

test('five hundred clients come back after their exit node was killed, twice', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('other'));
  const first = await freePorts(3);
  const ports = { control: first, http: first + 1, admin: first + 2 };
  const start = (): Promise<TestServer> => startServer(t, { ports, shards: 1, endsItself: true });
  let server = await start();
  const args = ['--upstream', `${OTHER}=http://127.0.0.1:${upstream}`];
  const other = spawnClient(t, server, { args });
  await other.line('the other client is up', () => other.stdout.length > 0);
  const fleet = new Fleet(t, server.controlPort);
  await fleet.start();

  // After the first outage all have been told of many; before it some heard of few.
  for (const outage of ['first', 'second']) {
    fleet.attemptsMs.length = 0;
    process.kill(server.process.pid, 'SIGKILL');
    await server.process.ended;
    server = await start();
    const listensMs = performance.now();
    fleet.welcomesMs.length = 0;
    let isDone = false;
    const visits = visitUntil(t, ports.http, () => isDone);
    await eventually(BACK_MS_MAX, `all are back after the ${outage} outage`, async () => {
      assert.equal(fleet.upCount, CLIENTS);
    });
    isDone = true;
    const backMs = fleet.welcomesMs.map((ms) => ms - listensMs).sort((a, b) => a - b);
    const [p50, last] = [backMs[CLIENTS / 2] ?? 0, backMs.at(-1) ?? 0];
    const perSecond = mostInASecond(fleet.attemptsMs);
    t.diagnostic(
      `${outage}: ${fleet.attemptsMs.length} attempts, at most ${perSecond} in a second; back ` +
        `after ${Math.round(p50)} ms (half), ${Math.round(last)} ms (all); ${await visits} visits`,
    );
    assert.ok(perSecond <= ATTEMPTS_PER_SECOND_MAX, `${perSecond} attempts in a second`);
    assert.ok((await visits) > 0, 'nobody visited meanwhile');
  }
});
