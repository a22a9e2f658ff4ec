// Goal: five hundred clients that lose their server at once make at most 200 attempts in any
// second, however long it is away, and all are back within 13 s of its return, also when it told
// each of a different number of others. Method: real back-offs of 500 clients on one clock, and a
// server that answers at once; seeds are fixed, so the figures are the same each time.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ServerLinks } from '../../src/client/server-links.ts';
import { spreadOf } from '../../src/control/return-spread.ts';
import { seededRandom } from '../support/digest.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { mostInASecond } from '../support/rates.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const CLIENTS = 500;
const ATTEMPTS_PER_SECOND_MAX = 200;
const BACK_MS_MAX = 12_800;
const STEP_MS = 10;

interface Fleet {
  readonly clock: FakeClock;
  readonly attemptsMs: number[];
  readonly servers: readonly ServerLinks[];
  /** Links that are up, by client. */
  readonly up: Map<number, string>;
  /** Answers what was dialled, as the server is. */
  answer(isListening: boolean, saidOf: (client: number) => number): void;
}

function createFleet(seed: number): Fleet {
  const clock = new FakeClock();
  const attemptsMs: number[] = [];
  const up = new Map<number, string>();
  let dialled: { client: number; link: string }[] = [];
  let count = 0;
  const servers = Array.from({ length: CLIENTS }, (_, client) => {
    return new ServerLinks({
      ...{ url: 'ws://server/connect', links: 1, ownShards: 1, clock, log: SILENT_LOG },
      random: seededRandom(seed * CLIENTS + client),
      dial: () => {
        count += 1;
        const link = `${count}`;
        attemptsMs.push(clock.nowMs());
        dialled.push({ client, link });
        return link;
      },
      keep: (link) => up.set(client, link),
      close: () => assert.fail('no link is surplus'),
      onFailure: () => {},
    });
  });
  const answer: Fleet['answer'] = (isListening, saidOf) => {
    const asked = dialled;
    dialled = [];
    for (const { client, link } of asked) {
      const said = { node: 'n', shard: 0, shards: 1, agent: 'a', spreadMs: saidOf(client) };
      if (isListening) servers[client]?.onWelcome({ link, ...said });
      else servers[client]?.onEnd(link, 'SLW_DIAL_FAILED', '');
    }
  };
  return { clock, attemptsMs, servers, up, answer };
}

interface Outage {
  readonly attemptsPerSecond: number;
  readonly lastBackMs: number;
}

/** All lose the server, which is away for so long, and answers again. */
function loseAll(fleet: Fleet, awayMs: number, saidOf: (client: number) => number): Outage {
  fleet.clock.advance(60_000);
  fleet.attemptsMs.length = 0;
  const lost = [...fleet.up];
  fleet.up.clear();
  const startMs = fleet.clock.nowMs();
  for (const [client, link] of lost) fleet.servers[client]?.onEnd(link, 'SLW_LINK_LOST', '');
  let lastBackMs = 0;
  while (fleet.up.size < CLIENTS) {
    fleet.clock.advance(STEP_MS);
    const sinceMs = fleet.clock.nowMs() - startMs;
    const before = fleet.up.size;
    fleet.answer(sinceMs >= awayMs, saidOf);
    if (fleet.up.size > before) lastBackMs = sinceMs - awayMs;
    assert.ok(sinceMs < awayMs + 60_000, `${fleet.up.size} are back`);
  }
  return { attemptsPerSecond: mostInASecond(fleet.attemptsMs), lastBackMs };
}

function startFleet(seed: number, saidOf: (client: number) => number): Fleet {
  const fleet = createFleet(seed);
  for (const server of fleet.servers) server.fill();
  fleet.answer(true, saidOf);
  assert.equal(fleet.up.size, CLIENTS);
  return fleet;
}

function check(t: TestContext, name: string, { attemptsPerSecond, lastBackMs }: Outage): void {
  t.diagnostic(`${name}: ${attemptsPerSecond} attempts/s, all back after ${lastBackMs} ms`);
  assert.ok(attemptsPerSecond <= ATTEMPTS_PER_SECOND_MAX, `${name}: ${attemptsPerSecond} a second`);
  assert.ok(lastBackMs <= BACK_MS_MAX + STEP_MS, `${name}: back after ${lastBackMs} ms`);
}

for (const awayMs of [0, 1000, 3000, 10_000, 60_000]) {
  test(`a server of 500 clients is away for ${awayMs / 1000} s`, (t) => {
    for (const seed of [1, 2, 3]) {
      // They came one after the other, and each heard of those before.
      const joined = startFleet(seed, (client) => spreadOf(client + 1));
      check(
        t,
        'first outage',
        loseAll(joined, awayMs, (client) => spreadOf(client + 1)),
      );
      check(
        t,
        'second',
        loseAll(joined, awayMs, () => spreadOf(CLIENTS)),
      );
      check(
        t,
        'third',
        loseAll(joined, awayMs, () => spreadOf(CLIENTS)),
      );
    }
  });
}

test('a lone client is not made to wait', () => {
  for (const clients of [0, 1, 2, 16]) assert.equal(spreadOf(clients), 0);
  assert.equal(spreadOf(17), 800);
  assert.equal(spreadOf(32), 800);
  assert.equal(spreadOf(500), 12_800);
  assert.equal(spreadOf(512), 12_800);
  assert.equal(spreadOf(513), 25_600);
  assert.equal(spreadOf(100_000), 30_000);
});
