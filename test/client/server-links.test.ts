// The links to one server, with a server that answers as the test says and a clock moved by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/base/errors.ts';
import { ServerLinks } from '../../src/client/server-links.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const URL_TEXT = 'ws://server.example/connect';

/** A server of `shards` shards; its kernel picks one by a seeded generator. */
class FakeServer {
  readonly clock = new FakeClock();
  readonly dialled: string[] = [];
  readonly kept: string[] = [];
  /** How many links served at each of these, the kept one among them. */
  readonly servedWhenKept: number[] = [];
  readonly closed: [string, ErrorCode][] = [];
  readonly failures: [ErrorCode, number][] = [];
  /** How many links there were at each failure. */
  readonly left: number[] = [];
  readonly links: ServerLinks;
  /** What it says of how soon to come back. */
  spreadMs = 0;
  #seed: number;

  /** Of the client's shards, where each was dialled. */
  readonly dialledIn = new Map<string, number>();

  constructor(links = 0, seed = 1, random = () => 0.5, ownShards = 1) {
    this.#seed = seed;
    this.links = new ServerLinks({
      url: URL_TEXT,
      links,
      ownShards,
      clock: this.clock,
      log: SILENT_LOG,
      random,
      dial: (_server, ownShard) => {
        const key = `link-${this.dialled.length + 1}`;
        this.dialled.push(key);
        this.dialledIn.set(key, ownShard);
        return key;
      },
      keep: (link) => {
        this.kept.push(link);
        this.servedWhenKept.push(this.links.servingCount);
      },
      close: (link, code) => this.closed.push([link, code]),
      onFailure: (_server, { code, attempts, linksLeft }) => {
        this.failures.push([code, attempts]);
        this.left.push(linksLeft);
      },
    });
  }

  welcome(link: string, shard: number, shards: number): void {
    this.links.onWelcome({ link, shard, shards, node: 'n', agent: 'a', spreadMs: this.spreadMs });
  }

  pick(shards: number): number {
    this.#seed = (this.#seed * 1_103_515_245 + 12_345) % 2 ** 31;
    return Math.floor((this.#seed / 2 ** 31) * shards);
  }
}

test('one dial at first; the welcome says how many more', () => {
  const server = new FakeServer();
  server.links.fill();
  server.links.fill();
  assert.deepEqual(server.dialled, ['link-1']);
  server.welcome('link-1', 0, 3);
  assert.deepEqual(server.dialled, ['link-1', 'link-2', 'link-3']);
  server.welcome('link-2', 1, 3);
  server.welcome('link-3', 2, 3);
  assert.deepEqual(server.kept, ['link-1', 'link-2', 'link-3']);
  assert.equal(server.links.servingCount, 3);
});

test('every shard is covered though the kernel picks, with never more links than shards', () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const shards = 1 + (seed % 8);
    const server = new FakeServer(0, seed);
    server.links.fill();
    const covered = new Set<number>();
    for (let next = 0; covered.size < shards; next += 1) {
      assert.ok(next < 400, `seed ${seed}: still searching`);
      const key = server.dialled[next];
      if (key === undefined) {
        server.clock.advance(60_000);
        next -= 1;
        continue;
      }
      const shard = server.pick(shards);
      const keptBefore = server.kept.length;
      server.welcome(key, shard, shards);
      if (server.kept.length > keptBefore) covered.add(shard);
      assert.ok(server.links.servingCount <= shards, 'never more than the target');
    }
    assert.equal(server.links.servingCount, shards);
    assert.ok(server.closed.every(([, code]) => code === 'SLW_LINK_SURPLUS'));
  }
});

test('a search pauses between dials, longer each time', () => {
  const server = new FakeServer(0, 1, () => 0.999);
  server.links.fill();
  server.welcome('link-1', 0, 2);
  const gaps: number[] = [];
  for (let next = 2; next < 12; next += 1) {
    server.welcome(`link-${next}`, 0, 2);
    let waitedMs = 0;
    while (server.dialled.length === next) {
      server.clock.advance(10);
      waitedMs += 10;
      assert.ok(waitedMs < 120_000);
    }
    gaps.push(waitedMs);
  }
  assert.ok((gaps[0] ?? 0) <= 30, `first pause ${gaps[0]} ms`);
  assert.ok((gaps.at(-1) ?? 0) > (gaps[0] ?? 0) * 10, `pauses grow: ${gaps.join(', ')}`);
});

for (const [what, lose] of [
  ['lost', (server: FakeServer) => server.links.onEnd('link-1', 'SLW_LINK_LOST', '')],
  ['drained', (server: FakeServer) => server.links.onGoAway('link-1', 'SLW_LINK_DRAINING')],
  ['moved', (server: FakeServer) => server.links.onGoAway('link-1', 'SLW_LINK_MOVED')],
] as const) {
  test(`a search that waits for long keeps nobody from dialling when links are ${what}`, () => {
    const server = new FakeServer(0, 1, () => 0.999);
    server.links.fill();
    server.welcome('link-1', 0, 2);
    for (let next = 2; next < 22; next += 1) {
      server.welcome(`link-${next}`, 0, 2);
      if (next < 21) server.clock.advance(60_000);
    }
    assert.equal(server.dialled.length, 21, 'a search waits');
    lose(server);
    server.clock.advance(500);
    assert.equal(server.dialled.length, 22, 'dialled within the first back-off');
    server.links.onEnd('link-22', 'SLW_DIAL_FAILED', '');
    server.clock.advance(500);
    assert.equal(server.dialled.length, what === 'moved' ? 23 : 22, 'the second is longer');
    server.clock.advance(500);
    assert.equal(server.dialled.length, 23);
  });
}

test('a set number of links is kept, over the shards first', () => {
  const server = new FakeServer(3);
  server.links.fill();
  server.welcome('link-1', 0, 2);
  server.welcome('link-2', 1, 2);
  server.welcome('link-3', 1, 2);
  assert.deepEqual(server.kept, ['link-1', 'link-2', 'link-3']);
  assert.deepEqual(server.closed, []);
});

test('a lost link is dialled again after a back-off with full jitter', () => {
  for (const random of [() => 0, () => 0.999]) {
    const server = new FakeServer(0, 1, random);
    server.links.fill();
    for (let attempt = 1; attempt <= 9; attempt += 1) {
      server.links.onEnd(`link-${attempt}`, 'SLW_DIAL_FAILED', 'refused');
      const ceilingMs = Math.min(12_000, 500 * 2 ** (attempt - 1));
      server.clock.advance(random() * ceilingMs - 1);
      if (random() > 0) assert.equal(server.dialled.length, attempt, 'not before its time');
      server.clock.advance(2);
      assert.equal(server.dialled.length, attempt + 1, 'and one dial then');
    }
    assert.deepEqual(
      server.failures.map(([, attempts]) => attempts),
      [1, 2, 3, 4, 5, 6, 7, 8, 9],
    );
  }
});

test('links that are lost together are one attempt, and say how many are left', () => {
  const server = new FakeServer(0, 1, () => 0.999);
  server.links.fill();
  server.welcome('link-1', 0, 3);
  server.welcome('link-2', 1, 3);
  server.welcome('link-3', 2, 3);
  server.links.onGoAway('link-3', 'SLW_LINK_DRAINING');
  for (const link of ['link-1', 'link-2']) server.links.onEnd(link, 'SLW_LINK_LOST', '');
  server.clock.advance(500);
  server.links.onEnd('link-4', 'SLW_DIAL_FAILED', '');
  server.links.onEnd('link-3', 'SLW_LINK_ENDED', '');
  server.clock.advance(1000);
  server.links.onEnd('link-5', 'SLW_DIAL_FAILED', '');
  assert.deepEqual(server.failures, [
    ['SLW_LINK_LOST', 1],
    ['SLW_LINK_LOST', 1],
    ['SLW_DIAL_FAILED', 2],
    ['SLW_DIAL_FAILED', 3],
  ]);
  assert.deepEqual(server.left, [2, 1, 1, 0]);
});

test('a server of many says how long to take; half of it is kept when it says less later', () => {
  const server = new FakeServer(0, 1, () => 0.999);
  const lose = (link: string): number => {
    server.clock.advance(60_000);
    server.links.onEnd(link, 'SLW_LINK_LOST', '');
    const before = server.dialled.length;
    let waitedMs = 0;
    for (; server.dialled.length === before; waitedMs += 100) server.clock.advance(100);
    return waitedMs;
  };
  server.links.fill();
  const rows = [
    [8000, 8000],
    [0, 4000],
    [100_000, 30_000],
    [0, 30_000],
    [0, 25_000],
    [0, 12_500],
  ] as const;
  for (const [at, [saidMs, wantedMs]] of rows.entries()) {
    server.spreadMs = saidMs;
    server.welcome(`link-${at + 1}`, 0, 1);
    assert.equal(lose(`link-${at + 1}`), wantedMs, `after ${saidMs} ms were said`);
  }
});

/** A server of which so many dials have failed in a row, half a minute apart. */
function outage(dials: number): FakeServer {
  const server = new FakeServer(0, 1, () => 0.999);
  server.links.fill();
  for (let attempt = 1; attempt <= dials; attempt += 1) {
    server.links.onEnd(`link-${attempt}`, 'SLW_DIAL_FAILED', '');
    server.clock.advance(30_000);
  }
  return server;
}

test('a link that was up for long starts the back-off anew', () => {
  const server = outage(5);
  server.welcome('link-6', 0, 1);
  server.clock.advance(30_000);
  server.links.onEnd('link-6', 'SLW_LINK_LOST', '');
  server.clock.advance(500);
  assert.equal(server.dialled.length, 7);
});

for (const code of ['SLW_LINK_DRAINING', 'SLW_LINK_MOVED'] as const) {
  test(`a link that was up for long starts the back-off anew when it ends by ${code}`, () => {
    const server = outage(8);
    server.welcome('link-9', 0, 1);
    server.clock.advance(60_000);
    server.links.onGoAway('link-9', code);
    server.clock.advance(500);
    assert.equal(server.dialled.length, 10);
    server.links.onEnd('link-10', 'SLW_DIAL_FAILED', '');
    server.clock.advance(1000);
    assert.equal(server.dialled.length, 11, 'and what the outage before had come to is forgotten');
  });
}

test('the end of a link that leaves says nothing of how well its server is', () => {
  const server = new FakeServer(0, 1, () => 0.999);
  server.links.fill();
  server.welcome('link-1', 0, 1);
  server.links.onGoAway('link-1', 'SLW_LINK_DRAINING');
  for (let attempt = 2; attempt <= 6; attempt += 1) {
    server.clock.advance(12_000);
    server.links.onEnd(`link-${attempt}`, 'SLW_DIAL_FAILED', '');
  }
  server.clock.advance(12_000);
  server.links.onEnd('link-1', 'SLW_LINK_ENDED', '');
  server.links.onEnd('link-7', 'SLW_DIAL_FAILED', '');
  server.clock.advance(11_000);
  assert.equal(server.dialled.length, 7, 'it was up for no time at all');
});

test('a link that the server is leaving is replaced, and its end is no failure', () => {
  const server = new FakeServer();
  server.links.fill();
  server.welcome('link-1', 0, 1);
  server.links.onGoAway('link-1', 'SLW_LINK_DRAINING');
  server.links.onGoAway('link-1', 'SLW_LINK_DRAINING');
  assert.equal(server.links.servingCount, 0);
  server.clock.advance(500);
  assert.equal(server.dialled.length, 2);
  server.links.onEnd('link-1', 'SLW_LINK_ENDED', '');
  assert.deepEqual(server.failures, []);
});

test('a link that moves is replaced at once, and by no back-off', () => {
  const server = new FakeServer(0, 1, () => 0.999);
  server.links.fill();
  server.welcome('link-1', 0, 2);
  server.welcome('link-2', 1, 2);
  for (const link of ['link-1', 'link-2']) server.links.onGoAway(link, 'SLW_LINK_MOVED');
  server.links.onGoAway('link-1', 'SLW_LINK_MOVED');
  assert.equal(server.dialled.length, 2, 'not all clients in the same moment');
  server.clock.advance(300);
  assert.equal(server.dialled.length, 3, 'one, which tells how many there are');
  server.welcome('link-3', 1, 2);
  assert.equal(server.dialled.length, 4);
  server.links.onEnd('link-1', 'SLW_LINK_ENDED', '');
  assert.deepEqual(server.failures, []);
});

test('visitors come by a link that has moved until it ends, or leaves', () => {
  const server = new FakeServer(0, 1, () => 0.999);
  server.links.fill();
  server.welcome('link-1', 0, 2);
  server.welcome('link-2', 1, 2);
  const states = () => server.links.views().map(({ state }) => state);
  for (const link of ['link-1', 'link-2']) server.links.onGoAway(link, 'SLW_LINK_MOVED');
  assert.deepEqual([states(), server.links.servingCount], [['moved', 'moved'], 2]);
  server.links.onGoAway('link-1', 'SLW_LINK_DRAINING');
  server.links.onGoAway('link-1', 'SLW_LINK_MOVED');
  assert.deepEqual([states(), server.links.servingCount], [['leaving', 'moved'], 1]);
  server.links.onEnd('link-2', 'SLW_LINK_ENDED', '');
  assert.equal(server.links.servingCount, 0);
  server.clock.advance(300);
  assert.equal(server.dialled.length, 3, 'none of these delays its successor, or dials another');
  assert.deepEqual(server.failures, []);
});

test('a link that has moved serves until its successor is kept, whatever becomes of that', () => {
  const server = new FakeServer(0, 1, () => 0.5);
  server.links.fill();
  server.welcome('link-1', 0, 2);
  server.welcome('link-2', 1, 2);
  for (const link of ['link-1', 'link-2']) server.links.onGoAway(link, 'SLW_LINK_MOVED');
  server.clock.advance(300);
  assert.equal(server.links.servingCount, 2, 'its server has listeners while none has come');
  server.welcome('link-3', 0, 2);
  assert.equal(server.servedWhenKept.at(-1), 3, 'and is not new to who keeps its successor');
  assert.equal(server.links.servingCount, 1);
  const states = () => server.links.views().map(({ state }) => state);
  assert.deepEqual(states(), ['leaving', 'leaving', 'up', 'dialling']);
  for (const link of ['link-3', 'link-4']) server.links.onEnd(link, 'SLW_LINK_LOST', '');
  assert.equal(server.links.servingCount, 0, 'the old process gets no visitors any more');
  server.clock.advance(500);
  server.welcome('link-5', 0, 2);
  assert.equal(server.servedWhenKept.at(-1), 1, 'who comes now is new');
  for (const link of ['link-1', 'link-2']) server.links.onEnd(link, 'SLW_LINK_ENDED', '');
  assert.equal(server.failures.length, 2);
});

test('with links still up, only what is missing is dialled', () => {
  const server = new FakeServer();
  server.links.fill();
  server.welcome('link-1', 0, 3);
  server.welcome('link-2', 1, 3);
  server.welcome('link-3', 2, 3);
  server.links.onEnd('link-2', 'SLW_LINK_LOST', '');
  server.clock.advance(1000);
  assert.equal(server.dialled.length, 4);
  server.welcome('link-4', 1, 3);
  assert.equal(server.links.servingCount, 3);
});

test('nothing is dialled after close', () => {
  const server = new FakeServer();
  server.links.fill();
  server.links.onEnd('link-1', 'SLW_DIAL_FAILED', '');
  server.links.close();
  server.clock.advance(100_000);
  server.links.fill();
  assert.equal(server.dialled.length, 1);
});

test('what a server says beside a link that stays is believed', () => {
  const server = new FakeServer(2, 1, () => 0.999);
  const lose = (...links: readonly string[]): number => {
    for (const link of links) server.links.onEnd(link, 'SLW_LINK_LOST', '');
    const before = server.dialled.length;
    let waitedMs = 0;
    for (; server.dialled.length === before; waitedMs += 100) server.clock.advance(100);
    return waitedMs;
  };
  server.spreadMs = 24_000;
  server.links.fill();
  server.welcome('link-1', 0, 2);
  server.welcome('link-2', 1, 2);
  server.clock.advance(60_000);
  assert.equal(lose('link-1', 'link-2'), 24_000);
  // It was started again, and has heard of few others.
  server.spreadMs = 0;
  server.welcome('link-3', 0, 2);
  server.welcome('link-4', 1, 2);
  server.clock.advance(29_000);
  assert.equal(lose('link-4'), 12_000);
  server.welcome('link-5', 1, 2);
  server.clock.advance(60_000);
  assert.equal(lose('link-5'), 500, 'the others went elsewhere');
});

test('links that are kept are spread over our own shards, however many dials it took', () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const server = new FakeServer(0, seed, () => 0.5, 4);
    server.links.fill();
    for (let index = 0; server.kept.length < 4; index += 1) {
      assert.ok(index < 1000, 'all shards are found');
      const link = server.dialled[index];
      // Surplus links are closed, and their end is far away: nobody has told of it yet.
      if (link === undefined) {
        server.clock.advance(1000);
        index -= 1;
      } else server.welcome(link, server.pick(4), 4);
    }
    const shards = server.kept.map((link) => server.dialledIn.get(link));
    assert.deepEqual(shards.sort(), [0, 1, 2, 3], `seed ${seed}`);
  }
});

test('what comes after a link that leaves is dialled where it was', () => {
  const server = new FakeServer(0, 1, () => 0.5, 2);
  server.links.fill();
  server.welcome('link-1', 0, 2);
  server.welcome('link-2', 1, 2);
  server.links.onGoAway('link-2', 'SLW_LINK_MOVED');
  server.clock.advance(60_000);
  assert.deepEqual([...server.dialledIn.values()], [0, 1, 1]);
});
