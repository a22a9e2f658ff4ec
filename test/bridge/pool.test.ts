// Goal: a shard that falls is back after a pause, and what cannot be kept alive gives up instead of
// living on half. Method: real threads that run a tiny worker, which does as it is told.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Bridge } from '../../src/bridge/calls.ts';
import { ShardPool } from '../../src/bridge/pool.ts';
import type { ControlMethods, WorkerMethods } from '../fixtures/shard-worker.ts';
import { shardSettings } from '../shard/settings.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { LogLines } from '../support/log-lines.ts';

const EVENT_MS = 15_000;
const WORKER = new URL('../fixtures/shard-worker.ts', import.meta.url).href;
const BROKEN = new URL('../fixtures/shard-broken.ts', import.meta.url).href;

type WorkerBridge = Bridge<ControlMethods, WorkerMethods>;

interface BenchOptions {
  readonly shards?: number;
  readonly url?: string;
  /** What the worker does at its n-th start, from 0. */
  readonly agent?: (start: number) => string;
}

class Bench {
  readonly pool: ShardPool<ControlMethods, WorkerMethods>;
  readonly log = new LogLines('control');
  readonly hellos: number[] = [];
  readonly gone: number[] = [];
  readonly gaveUp: Promise<string>;
  starts = 0;
  giveUps = 0;

  constructor(t: TestContext, { shards = 1, url = WORKER, agent }: BenchOptions = {}) {
    const gaveUp = Promise.withResolvers<string>();
    this.gaveUp = gaveUp.promise;
    this.pool = new ShardPool<ControlMethods, WorkerMethods>({
      url,
      shards,
      log: this.log.log,
      createTask: (shard) => {
        const settings = shardSettings({ agent: agent?.(this.starts) ?? 'works' });
        this.starts += 1;
        return { role: 'exit', shard, settings, tls: undefined, fault: undefined };
      },
      serve: () => ({ hello: ({ shard }) => void this.hellos.push(shard) }),
      onStart: async (_shard, bridge) => {
        assert.equal(await bridge.call('ping', undefined, 1000), 'pong');
      },
      onGone: (shard) => this.gone.push(shard),
      onGiveUp: (reason) => {
        this.giveUps += 1;
        gaveUp.resolve(reason);
      },
    });
    undoAfter(t, () => this.pool.destroy());
  }

  bridge(shard: number): WorkerBridge {
    return this.pool.bridge(shard) ?? assert.fail(`shard ${shard} is not up`);
  }

  async restarted(count: number): Promise<void> {
    while (this.log.all('shard restarted').length < count) await this.#nextRestart();
  }

  reason(): Promise<string> {
    return within(EVENT_MS, 'the pool gives up', this.gaveUp);
  }

  #nextRestart(): Promise<void> {
    const before = this.log.all('shard restarted').length;
    return within(
      EVENT_MS,
      'a restart',
      new Promise((resolve) => {
        const look = (): void => {
          if (this.log.all('shard restarted').length > before) resolve();
          else setImmediate(look);
        };
        look();
      }),
    );
  }
}

test('shards start on threads of their own, answer, and stop', async (t) => {
  const bench = new Bench(t, { shards: 2 });
  await Promise.all([bench.pool.start(0), bench.pool.start(1)]);
  assert.deepEqual(bench.hellos.toSorted(), [0, 1]);
  assert.deepEqual(
    bench.pool
      .bridges()
      .map(([shard]) => shard)
      .toSorted(),
    [0, 1],
  );
  await within(EVENT_MS, 'the pool stops', bench.pool.stop(EVENT_MS));
  await bench.pool.stop(EVENT_MS);
  assert.deepEqual([bench.gone, bench.giveUps, bench.pool.restarts], [[], 0, 0]);
});

test('a shard that throws is gone at once and back soon; the other goes on', async (t) => {
  const bench = new Bench(t, { shards: 2 });
  await Promise.all([bench.pool.start(0), bench.pool.start(1)]);
  const other = bench.bridge(1);
  const pending = bench.bridge(0).call('ping', undefined);
  await pending;
  bench.bridge(0).tell('fall', undefined);
  await bench.restarted(1);
  assert.deepEqual([bench.gone, bench.pool.restarts], [[0], 1]);
  assert.equal(await bench.bridge(0).call('ping', undefined), 'pong');
  assert.equal(bench.bridge(1), other);
  assert.equal(await other.call('ping', undefined), 'pong');
  assert.equal(bench.giveUps, 0);
});

test('a shard that ends by itself is started again too', async (t) => {
  const bench = new Bench(t, { agent: (start) => (start === 1 ? 'ends at once' : 'works') });
  await bench.pool.start(0);
  bench.bridge(0).tell('fall', undefined);
  await bench.restarted(1);
  assert.equal(bench.starts, 3);
  assert.equal(await bench.bridge(0).call('ping', undefined), 'pong');
});

test('a burst of failures gives up after five restarts, each later than the one before', async (t) => {
  const bench = new Bench(t, { agent: (start) => (start === 0 ? 'works' : 'throws at once') });
  await bench.pool.start(0);
  const startMs = performance.now();
  bench.bridge(0).tell('fall', undefined);
  assert.match(await bench.reason(), /failed 6 times in a minute/);
  // 100, 200, 400, 800 and 1,600 ms.
  const tookMs = performance.now() - startMs;
  assert.ok(tookMs >= 3000, `gave up after ${tookMs} ms`);
  assert.deepEqual([bench.starts, bench.pool.restarts, bench.giveUps], [6, 5, 1]);
});

test('a shard out of memory gives up at once', async (t) => {
  const bench = new Bench(t);
  await bench.pool.start(0);
  bench.bridge(0).tell('exhaust', undefined);
  assert.match(await bench.reason(), /out of memory/);
  assert.deepEqual([bench.pool.restarts, bench.gone], [0, [0]]);
});

test('what was given up can be stopped: the shards that are left end', async (t) => {
  const bench = new Bench(t, { shards: 2 });
  await Promise.all([bench.pool.start(0), bench.pool.start(1)]);
  bench.bridge(0).tell('exhaust', undefined);
  await bench.reason();
  assert.equal(await bench.bridge(1).call('ping', undefined), 'pong');
  await within(EVENT_MS, 'the pool stops', bench.pool.stop(EVENT_MS));
  assert.deepEqual(bench.pool.bridges(), []);
  assert.deepEqual([bench.gone, bench.giveUps, bench.pool.restarts], [[0], 1, 0]);
});

test('a shard that does not answer is ended when the time to stop is over', async (t) => {
  const bench = new Bench(t, { shards: 2 });
  await Promise.all([bench.pool.start(0), bench.pool.start(1)]);
  bench.bridge(0).tell('hang', undefined);
  await within(EVENT_MS, 'the pool stops', bench.pool.stop(300));
  assert.deepEqual([bench.pool.bridges(), bench.gone, bench.giveUps], [[], [], 0]);
});

test('a shard that never comes up again gives up', async (t) => {
  const bench = new Bench(t, { agent: (start) => (start === 0 ? 'works' : 'is mute') });
  await bench.pool.start(0);
  bench.bridge(0).tell('fall', undefined);
  assert.match(await bench.reason(), /does not come up/);
});

test('a first start that fails rejects, soon', async (t) => {
  for (const options of [{ agent: () => 'throws at once' }, { agent: () => 'ends at once' }]) {
    const bench = new Bench(t, options);
    await assert.rejects(within(5000, 'the start ends', bench.pool.start(0)), {
      code: 'SLW_SHARD_FAILED',
    });
    await bench.pool.destroy();
  }
});

test('a module that cannot be loaded rejects the start, soon', async (t) => {
  const bench = new Bench(t, { url: BROKEN });
  await assert.rejects(within(5000, 'the start ends', bench.pool.start(0)), {
    code: 'SLW_SHARD_FAILED',
  });
  assert.match(JSON.stringify(bench.log.lines), /cannot be loaded/);
});

test('a pool that stops starts nothing again', async (t) => {
  const bench = new Bench(t);
  await bench.pool.start(0);
  bench.bridge(0).tell('fall', undefined);
  await bench.log.line('shard failed');
  await within(EVENT_MS, 'the pool stops', bench.pool.stop(EVENT_MS));
  assert.deepEqual([bench.starts, bench.pool.restarts, bench.pool.bridges().length], [1, 0, 0]);
});
