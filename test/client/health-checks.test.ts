// Goal: an upstream is offered while it is well and withheld while it is not, after as many looks
// as asked for, each change told once. Method: looks by hand, a clock moved by hand; a model of
// streaks.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { UpstreamEntry } from '../../src/bridge/client-messages.ts';
import { type Health, HealthChecks, nextHealth } from '../../src/client/health-checks.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';

const ENTRY: UpstreamEntry = {
  ...{ name: 'a', label: 'a', host: '127.0.0.1', port: 1, tls: false, proxyProtocol: 'off' },
};
const CONFIG = { intervalMs: 1000, timeoutMs: 100, rise: 2, fall: 3 };

class Bench {
  readonly clock = new FakeClock();
  readonly log = new LogLines('client');
  readonly checks: HealthChecks;
  looks = 0;
  changes = 0;
  result: string | undefined;

  constructor() {
    this.checks = new HealthChecks({
      checked: [{ entry: ENTRY, check: { kind: 'tcp' } }],
      ...{ config: CONFIG, clock: this.clock, log: this.log.log, random: () => 0.5 },
      probe: async () => {
        this.looks += 1;
        return this.result;
      },
      onChange: () => {
        this.changes += 1;
      },
    });
  }

  /** Lets looks happen until there were `count` more; gives the health after each. */
  async look(results: readonly boolean[]): Promise<(Health | undefined)[]> {
    const seen: (Health | undefined)[] = [];
    for (const isGood of results) {
      this.result = isGood ? undefined : 'ECONNREFUSED';
      if (this.looks === 0) this.checks.start();
      else this.clock.advance(1000);
      await new Promise((resolve) => setImmediate(resolve));
      seen.push(this.checks.healthOf('a'));
    }
    return seen;
  }
}

test('the first look decides, then streaks do, and a change is told once', async () => {
  const bench = new Bench();
  assert.deepEqual(bench.checks.withheld, ['a']);
  assert.deepEqual(await bench.look([true]), ['well']);
  assert.deepEqual(bench.checks.withheld, []);
  const ill = await bench.look([false, false, true, false, false, false, false]);
  assert.deepEqual(ill, ['well', 'well', 'well', 'well', 'well', 'ill', 'ill']);
  assert.deepEqual(bench.checks.withheld, ['a']);
  assert.deepEqual(await bench.look([true, false, true, true]), ['ill', 'ill', 'ill', 'well']);
  assert.equal(bench.changes, 3);
  const told = bench.log.lines.map(({ msg }) => msg);
  assert.deepEqual(told, [
    'upstream is well',
    'upstream is not well, withdrawn',
    'upstream is well',
  ]);
  bench.checks.stop();
  await bench.look([false, false, false, false]);
  assert.equal(bench.checks.healthOf('a'), 'well');
});

test('an upstream that is down from the start is never offered', async () => {
  const bench = new Bench();
  assert.deepEqual(await bench.look([false, true, true]), ['ill', 'ill', 'well']);
  assert.equal(bench.checks.healthOf('b'), undefined);
});

test('a slow look delays the next one: there are never two', async () => {
  const bench = new Bench();
  await bench.look([true]);
  const before = bench.looks;
  bench.clock.advance(10_000);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(bench.looks, before + 1);
});

test('health follows the last streak that was long enough', () => {
  const limits = { rise: fc.integer({ min: 1, max: 5 }), fall: fc.integer({ min: 1, max: 5 }) };
  fc.assert(
    fc.property(fc.array(fc.boolean()), fc.record(limits), (looks, { rise, fall }) => {
      let state: { health: Health; against: number } = { health: 'unknown', against: 0 };
      let model: Health = 'unknown';
      let streak = 0;
      let last: boolean | undefined;
      for (const isGood of looks) {
        streak = isGood === last ? streak + 1 : 1;
        last = isGood;
        if (model === 'unknown') model = isGood ? 'well' : 'ill';
        else if (streak >= (isGood ? rise : fall)) model = isGood ? 'well' : 'ill';
        state = { ...nextHealth(state, isGood, { rise, fall }) };
        assert.equal(state.health, model);
        assert.ok(state.against < Math.max(rise, fall));
      }
    }),
    { numRuns: 2000 },
  );
});
