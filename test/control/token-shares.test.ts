// Goal: slots are never given out beyond the limit whatever shards ask and however they end, and a
// month that is used up is told to all at once. Method: shards that are tables, random steps.

import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type { TokenBudgetChange, TokenUse } from '../../src/bridge/exit-messages.ts';
import { TokenShares, type TokenSharesOptions } from '../../src/control/token-shares.ts';
import { TokenUsage } from '../../src/control/token-usage.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

const TOKEN = 'ci';
const SHARDS = 3;
const NO_USE = { used: 0, waiting: 0 };

/** What a shard knows of the token. */
class FakeShard {
  slots = 0;
  isFull = false;
  open = 0;
  month: string | undefined;
  changes: TokenBudgetChange[] = [];

  tell(method: string, change: TokenBudgetChange): void {
    assert.equal(method, 'tokenBudgets');
    this.changes.push(change);
    for (const share of change.shares) {
      this.slots += share.slots ?? 0;
      this.month = share.month;
      this.isFull = share.isFull === true;
    }
  }

  async call(method: string, { isAll }: { isAll: boolean }): Promise<number> {
    assert.equal(method, 'recallSlots');
    const free = Math.max(0, this.slots - this.open);
    const back = isAll ? free : Math.ceil(free / 2);
    this.slots -= back;
    return back;
  }
}

function scene(usage?: TokenUsage) {
  const clock = new FakeClock();
  const lines = new LogLines('control');
  const shards = new Map<number, FakeShard>();
  const bridges = (() => shards.entries()) as unknown as TokenSharesOptions['bridges'];
  const options = { accepting: SHARDS, bridges, usage, clock, log: lines.log };
  const shares = new TokenShares(options);
  const start = (shard: number): void => {
    const fake = new FakeShard();
    shards.set(shard, fake);
    shares.bringUp(shard, fake as never);
  };
  return { clock, lines, shards, shares, start };
}

const step = fc.oneof(
  fc.record({ kind: fc.constant('open' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('end' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('crash' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('limit' as const), shard: fc.integer({ min: 1, max: 20 }) }),
);

test('what shards hold is never more than the limit, and all of it can be had', async (t) => {
  const seed = Number(process.env.SLUICEWAY_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`seed ${seed}`);
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const { shards, shares, start, clock } = scene();
      let limit = 10;
      shares.replace([{ name: TOKEN, streamsMax: limit }]);
      for (let shard = 0; shard < SHARDS; shard += 1) start(shard);
      const openCount = (): number => [...shards.values()].reduce((sum, { open }) => sum + open, 0);
      const tryOpen = async (number: number): Promise<boolean> => {
        const shard = shards.get(number) as FakeShard;
        if (shard.open >= shard.slots) {
          const gained = await shares.serve(number).askSlots({ token: TOKEN });
          shard.slots += gained;
        }
        if (shard.isFull || shard.open >= shard.slots) return false;
        const before = openCount();
        shard.open += 1;
        assert.ok(before < limit, `${before + 1} open with a limit of ${limit}`);
        return true;
      };
      for (const { kind, shard: number } of steps) {
        const shard = shards.get(number);
        if (kind === 'open') await tryOpen(number);
        else if (kind === 'end' && shard !== undefined) shard.open = Math.max(0, shard.open - 1);
        else if (kind === 'crash') {
          shares.gone(number);
          start(number);
        } else if (kind === 'limit') {
          limit = number;
          shares.replace([{ name: TOKEN, streamsMax: limit }]);
          clock.advance(1000);
          // Recalls are answered.
          await new Promise((done) => setImmediate(done));
        }
      }
      // Alone, one shard can have all that the others do not use.
      for (const shard of shards.values()) shard.open = 0;
      let count = 0;
      for (let turn = 0; turn < 200 && count < limit; turn += 1) {
        clock.advance(1000);
        if (await tryOpen(0)) count += 1;
      }
      assert.equal(count, limit);
    }),
    { numRuns: 500, seed },
  );
});

async function usageOf(t: TestContext, clock: FakeClock): Promise<TokenUsage> {
  const file = path.join(scratchFolder(t), 'usage.json');
  const usage = new TokenUsage({ path: file, clock, log: new LogLines('control').log });
  await usage.load();
  return usage;
}

function moved(bytes: number): TokenUse {
  const rate = { used: bytes, waiting: 0 };
  return { token: TOKEN, requests: NO_USE, bytesIn: rate, bytesOut: NO_USE, limited: [] };
}

test('a month that is used up is told to every shard at once, counted and logged once', async (t) => {
  const usage = await usageOf(t, new FakeClock());
  const { shards, shares, start, lines } = scene(usage);
  shares.replace([{ name: TOKEN, bytesMonthMax: 10_000 }, { name: 'free' }]);
  for (let shard = 0; shard < SHARDS; shard += 1) start(shard);
  shares.serve(0).tokenUse([moved(6000)]);
  for (const { month } of shards.values()) assert.equal(month, 'open');
  shares.serve(1).tokenUse([moved(4000)]);
  for (const { month } of shards.values()) assert.equal(month, 'spent');
  shares.serve(1).tokenUse([moved(1)]);
  assert.deepEqual([...shares.limited()], [[TOKEN, 'bytes-month-max', 1]]);
  assert.equal(lines.complaints().length, 1);
  start(2);
  assert.equal(shards.get(2)?.month, 'spent', 'a shard that starts knows it');
  shares.replace([{ name: TOKEN, bytesMonthMax: 20_000 }]);
  for (const { month } of shards.values()) assert.equal(month, 'open');
  shares.replace([]);
  assert.deepEqual(shards.get(0)?.changes.at(-1), { isWhole: true, shares: [] });
  assert.deepEqual([...shares.limited()], [], 'the series go with the token');
  await shares.close();
});

test('a rate moves to the shard that waits, and a token without limits is told to nobody', () => {
  const { shards, shares, start, clock } = scene();
  shares.replace([{ name: TOKEN, bytesInPerSecondMax: 3000 }, { name: 'free' }]);
  for (let shard = 0; shard < SHARDS; shard += 1) start(shard);
  const rateOf = (shard: number): number =>
    shards.get(shard)?.changes.at(-1)?.shares[0]?.bytesInPerSecond ?? 0;
  assert.deepEqual([0, 1, 2].map(rateOf).map(Math.round), [1000, 1000, 1000]);
  const use = { ...moved(0), bytesIn: { used: 1000, waiting: 3 } };
  shares.serve(1).tokenUse([use]);
  clock.advance(1000);
  assert.ok(rateOf(1) > 2700, String(rateOf(1)));
  const sum = [0, 1, 2].reduce((all, shard) => all + rateOf(shard), 0);
  assert.ok(Math.abs(sum - 3000) < 1);
});
