// A shard that stands still does not hold a scrape up, and what it says later is not lost.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Bridge } from '../../src/bridge/calls.ts';
import type { ExitControlMethods, ExitShardMethods } from '../../src/bridge/exit-messages.ts';
import type { ShardSample } from '../../src/bridge/shard-sample.ts';
import { Readings } from '../../src/control/readings.ts';
import { Registry } from '../../src/control/registry.ts';
import { shardSample } from '../bridge/shard-sample.ts';
import { serverConfig } from '../support/configs.ts';
import { PLAIN } from './registry-bench.ts';

const LONGEST = /^sluiceway_shard_loop_delay_seconds\{shard="0",quantile="1"\} (\S+)$/mu;

/** One shard, whose next answer comes when the test says so. */
function startReadings() {
  let held: Promise<unknown> = Promise.resolve();
  let sample = shardSample();
  const bridge = {
    call: async (): Promise<ShardSample> => {
      const answer = sample;
      await held;
      return answer;
    },
  } as unknown as Bridge<ExitControlMethods, ExitShardMethods>;
  const readings = new Readings({
    bridges: () => [[0, bridge]],
    registry: new Registry(PLAIN),
    config: () => serverConfig(),
    version: '0',
    counts: () => ({
      ...{ authFailures: new Map(), controlRequests: new Map(), acmeOrders: new Map() },
      ...{ reloads: new Map(), certificates: [], tokenLimited: [], shardRestarts: 0 },
      memory: { level: 0, limitBytes: 1 },
    }),
  });
  return {
    longest: async (): Promise<number> =>
      Number(LONGEST.exec((await readings.metrics()).text)?.[1] ?? Number.NaN),
    says: (max: number): void => {
      sample = shardSample({ loopDelay: { p50: 0, p99: 0, max } });
    },
    hold: (): (() => void) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      held = promise;
      return resolve;
    },
  };
}

test('the delay of a shard that stood still is on the page once it has answered', async () => {
  const { longest, says, hold } = startReadings();
  says(0.001);
  assert.equal(await longest(), 0.001);
  says(6);
  const release = hold();
  assert.equal(await longest(), 0.001, 'a second, and no longer');
  release();
  await new Promise((done) => setImmediate(done));
  says(0.002);
  assert.equal(await longest(), 6);
  assert.equal(await longest(), 0.002);
});
