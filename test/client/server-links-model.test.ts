// Goal: whatever happens to its links, a client never holds more than it was told, and gets back to
// that number. Method: histories drawn at random against a server whose kernel picks shards by a
// seeded generator, with a clock that the test moves; and the histories that once went wrong.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { ErrorCode } from '../../src/base/errors.ts';
import { ServerLinks } from '../../src/client/server-links.ts';
import { seededRandom } from '../support/digest.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';

interface BenchOptions {
  readonly links?: number;
  readonly shards?: number;
  readonly seed?: number;
  /** What full jitter draws; the seeded generator when left out. */
  readonly random?: () => number;
}

class Bench {
  readonly clock = new FakeClock();
  readonly server: ServerLinks;
  readonly dialling: string[] = [];
  /** Links that are up, and the shard of each. */
  readonly up = new Map<string, number>();
  readonly kept: string[] = [];
  readonly surplus: string[] = [];
  readonly failures: { code: ErrorCode; attempts: number }[] = [];
  dials = 0;
  readonly #shards: number;
  readonly #pick: () => number;

  constructor({ links = 0, shards = 3, seed = 1, random }: BenchOptions = {}) {
    this.#shards = shards;
    this.#pick = seededRandom(seed);
    this.server = new ServerLinks({
      url: 'ws://server/connect',
      links,
      ownShards: 1,
      clock: this.clock,
      log: new LogLines('client').log,
      random: random ?? seededRandom(seed + 1),
      dial: () => {
        this.dials += 1;
        const key = `link-${this.dials}`;
        this.dialling.push(key);
        return key;
      },
      keep: (link) => this.kept.push(link),
      close: (link, code) => {
        assert.equal(code, 'SLW_LINK_SURPLUS');
        this.surplus.push(link);
        this.up.delete(link);
      },
      onFailure: (_server, { code, attempts }) => this.failures.push({ code, attempts }),
    });
    this.server.fill();
  }

  /** The oldest dial succeeds, on the shard that the kernel picks. */
  welcome(shard = Math.floor(this.#pick() * this.#shards)): string {
    const link = this.dialling.shift() ?? assert.fail('nothing is being dialled');
    this.up.set(link, shard);
    const said = { node: 'node', agent: 'sluiceway/1', spreadMs: 0 };
    this.server.onWelcome({ link, shard, shards: this.#shards, ...said });
    return link;
  }

  welcomeAll(): void {
    while (this.dialling.length > 0) this.welcome();
  }

  fail(code: ErrorCode = 'SLW_DIAL_FAILED'): void {
    const link = this.dialling.shift() ?? assert.fail('nothing is being dialled');
    this.server.onEnd(link, code, '');
  }

  end(link: string, code: ErrorCode = 'SLW_LINK_LOST'): void {
    this.up.delete(link);
    this.server.onEnd(link, code, '');
  }

  covered(): Set<number> {
    return new Set(this.up.values());
  }
}

const ALMOST_ONE = () => 0.999_999;

test('a server that turns a greeting away counts as a failure, so that retries may end', () => {
  const bench = new Bench();
  const [link] = bench.dialling;
  bench.server.onGoAway(link ?? '', 'SLW_LINK_DRAINING');
  bench.fail('SLW_LINK_LIMIT');
  assert.deepEqual(bench.failures, [{ code: 'SLW_LINK_LIMIT', attempts: 1 }]);
  bench.clock.advance(30_000);
  assert.equal(bench.dialling.length, 1);
});

test('the end of a link that was let go does not delay the next dial', () => {
  const bench = new Bench({ shards: 2, random: ALMOST_ONE });
  bench.welcome(0);
  bench.welcome(1);
  const [first, second] = [...bench.up.keys()];
  bench.server.onGoAway(first ?? '', 'SLW_LINK_DRAINING');
  bench.clock.advance(500);
  bench.welcome(0);
  bench.end(first ?? '', 'SLW_LINK_ENDED');
  bench.end(second ?? '');
  const startMs = bench.clock.nowMs();
  while (bench.dialling.length === 0) bench.clock.advance(10);
  assert.ok(bench.clock.nowMs() - startMs <= 1000, `${bench.clock.nowMs() - startMs} ms`);
});

test('whatever happens, links never exceed the target', (t) => {
  const seed = 404;
  t.diagnostic(`seed ${seed}`);
  const event = fc.record({
    kind: fc.constantFrom('welcome', 'welcome', 'welcome', 'fail', 'lose', 'goAway', 'wait'),
    pick: fc.nat({ max: 15 }),
    ms: fc.nat({ max: 40_000 }),
  });
  const setting = fc.record({ links: fc.nat({ max: 5 }), shards: fc.integer({ min: 1, max: 5 }) });
  fc.assert(
    fc.property(
      setting,
      fc.array(event, { maxLength: 60, size: 'max' }),
      ({ links, shards }, events) => {
        const bench = new Bench({ links, shards, seed });
        const leaving = new Set<string>();
        const target = links === 0 ? shards : links;
        for (const { kind, pick, ms } of events) {
          const upLinks = [...bench.up.keys()];
          const link = upLinks[pick % Math.max(1, upLinks.length)];
          if (kind === 'welcome' && bench.dialling.length > 0) bench.welcome(pick % shards);
          else if (kind === 'fail' && bench.dialling.length > 0) bench.fail();
          else if (kind === 'lose' && link !== undefined) bench.end(link);
          else if (kind === 'goAway' && link !== undefined) {
            leaving.add(link);
            bench.server.onGoAway(link, 'SLW_LINK_DRAINING');
          } else if (kind === 'wait') bench.clock.advance(ms);
          const staying = [...bench.up.keys()].filter((key) => !leaving.has(key)).length;
          assert.equal(bench.server.servingCount, staying);
          assert.ok(staying + bench.dialling.length <= Math.max(1, target), 'too many links');
        }
        // And it recovers: left alone with a server that works, it reaches its target.
        for (let round = 0; round < 200; round += 1) {
          bench.clock.advance(30_000);
          bench.welcomeAll();
        }
        assert.equal(bench.server.servingCount, target);
      },
    ),
    { seed, numRuns: 300 },
  );
});
