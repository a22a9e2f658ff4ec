// Goal: slots are never given out beyond the limit whatever shards ask and however they end, and a
// month that is used up is told to all at once. Method: shards that are tables, random steps.

import assert from 'node:assert/strict';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import fc from 'fast-check';
import type {
  SlotsBack,
  SlotsRecall,
  TokenBudgetChange,
  TokenUse,
} from '../../src/bridge/exit-messages.ts';
import { TokenShares, type TokenSharesOptions } from '../../src/control/token-shares.ts';
import { TokenUsage } from '../../src/control/token-usage.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

const TOKEN = 'ci';
const SHARDS = 3;
const NO_USE = { used: 0, waiting: 0 };

/** What a shard knows of the token, as of the messages that it has read. */
class FakeShard {
  slots = 0;
  isFull = false;
  open = 0;
  month: string | undefined;
  changes: TokenBudgetChange[] = [];
  /** Control has long stopped to wait when it reads again. */
  state: 'reading' | 'still' = 'reading';
  readonly #answer: (back: SlotsBack) => void;
  readonly #unread: (() => void)[] = [];

  constructor(answer: (back: SlotsBack) => void) {
    this.#answer = answer;
  }

  tell(method: string, body: never): void {
    this.#unread.push(() => this.#run(method, body));
    if (this.state === 'reading') this.read();
  }

  /** Reads what has come. */
  read(): void {
    this.state = 'reading';
    for (let one = this.#unread.shift(); one !== undefined; one = this.#unread.shift()) one();
  }

  #run(method: string, body: never): void {
    if (method === 'tokenBudgets') this.#apply(body);
    else if (method === 'recallSlots') this.#giveBack(body);
    else {
      assert.equal(method, 'slotsGiven');
      this.slots += (body as { count: number }).count;
    }
  }

  #apply(change: TokenBudgetChange): void {
    this.changes.push(change);
    if (change.isWhole && change.shares.length === 0) this.slots = 0;
    for (const share of change.shares) {
      this.slots += share.slots ?? 0;
      this.month = share.month;
      this.isFull = share.isFull === true;
    }
  }

  #giveBack({ token, isAll, epoch }: SlotsRecall): void {
    const free = Math.max(0, this.slots - this.open);
    const count = isAll ? free : Math.ceil(free / 2);
    this.slots -= count;
    this.#answer({ token, count, epoch });
  }
}

function scene(usage?: TokenUsage) {
  const clock = new FakeClock();
  const lines = new LogLines('control');
  const shards = new Map<number, FakeShard>();
  const bridges = (() => shards.entries()) as unknown as TokenSharesOptions['bridges'];
  const options = { accepting: SHARDS, bridges, usage, clock, log: lines.log };
  const shares = new TokenShares(options);
  const answers: (() => void)[] = [];
  const start = (shard: number): void => {
    const { slotsBack } = shares.serve(shard);
    const fake = new FakeShard((back) => answers.push(() => slotsBack(back)));
    shards.set(shard, fake);
    shares.bringUp(shard, fake as never);
  };
  /** Control reads what shards have answered: never in the middle of telling them something. */
  const settle = (): void => {
    for (let one = answers.shift(); one !== undefined; one = answers.shift()) one();
  };
  return { clock, lines, shards, shares, start, settle };
}

/** Three shards of one token: steps that a test or chance chooses. */
class Slots {
  readonly scene = scene();
  limit: number;

  constructor(limit = 10) {
    this.limit = limit;
    this.scene.shares.replace([{ name: TOKEN, streamsMax: this.limit }]);
    for (let shard = 0; shard < SHARDS; shard += 1) this.scene.start(shard);
  }

  shard(number: number): FakeShard {
    return this.scene.shards.get(number) as FakeShard;
  }

  ask(number: number): void {
    this.scene.shares.serve(number).askSlots({ token: TOKEN });
    this.scene.settle();
  }

  tryOpen(number: number): boolean {
    const shard = this.shard(number);
    if (shard.state === 'still') return false;
    if (shard.open >= shard.slots) this.ask(number);
    if (shard.isFull || shard.open >= shard.slots) return false;
    const before = [...this.scene.shards.values()].reduce((sum, { open }) => sum + open, 0);
    shard.open += 1;
    assert.ok(before < this.limit, `${before + 1} open with a limit of ${this.limit}`);
    return true;
  }

  setLimit(limit: number): void {
    this.limit = limit;
    this.scene.shares.replace([{ name: TOKEN, streamsMax: limit }]);
    this.scene.clock.advance(1000);
    this.scene.settle();
  }

  read(number: number): void {
    this.shard(number).read();
    this.scene.settle();
  }

  /** The token is limited no more, and then again: streams that live are not counted. */
  renew(): void {
    this.scene.shares.replace([]);
    for (const shard of this.scene.shards.values()) shard.open = 0;
    this.scene.shares.replace([{ name: TOKEN, streamsMax: this.limit }]);
  }

  /** Alone, one shard can have all that the others do not use. */
  assertAllCanBeHad(): void {
    for (const [number, shard] of this.scene.shards) {
      shard.open = 0;
      this.read(number);
    }
    let count = 0;
    for (let turn = 0; turn < 200 && count < this.limit; turn += 1) {
      this.scene.clock.advance(1000);
      if (this.tryOpen(0)) count += 1;
    }
    assert.equal(count, this.limit);
  }
}

const step = fc.oneof(
  fc.record({ kind: fc.constant('open' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('end' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('crash' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('still' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('read' as const), shard: fc.nat(SHARDS - 1) }),
  fc.record({ kind: fc.constant('renew' as const), shard: fc.constant(0) }),
  fc.record({ kind: fc.constant('limit' as const), shard: fc.integer({ min: 1, max: 20 }) }),
);

test('what shards hold is never more than the limit, and all of it can be had', (t) => {
  const seed = Number(process.env.SLUICEWAY_SEED ?? Math.floor(Math.random() * 2 ** 31));
  t.diagnostic(`seed ${seed}`);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const slots = new Slots();
      const { shares, start } = slots.scene;
      for (const { kind, shard: number } of steps) {
        if (kind === 'limit') slots.setLimit(number);
        else if (kind === 'renew') slots.renew();
        else if (kind === 'open') slots.tryOpen(number);
        else if (kind === 'crash') {
          shares.gone(number);
          start(number);
        } else {
          const shard = slots.shard(number);
          if (kind === 'end') shard.open = Math.max(0, shard.open - 1);
          else if (kind === 'read') slots.read(number);
          else shard.state = 'still';
        }
      }
      slots.assertAllCanBeHad();
    }),
    { numRuns: 500, seed },
  );
});

test('slots that a shard gives back late are not lost, and nobody waits for it', () => {
  const slots = new Slots();
  const slow = slots.shard(1);
  slow.state = 'still';
  // It is recalled from once, however often others ask, and they have the third shard's slots.
  let count = 0;
  for (let turn = 0; turn < 20; turn += 1) if (slots.tryOpen(0)) count += 1;
  assert.ok(count >= 6, `${count} opened beside a shard that stands still`);
  const before = slow.slots;
  slots.read(1);
  assert.equal(slow.slots, Math.floor(before / 2));
  slots.assertAllCanBeHad();
});

test('slots that a shard is given while it stands still are there when it reads', () => {
  const slots = new Slots();
  const slow = slots.shard(1);
  const before = slow.slots;
  slow.open = before;
  slow.state = 'still';
  slots.ask(1);
  assert.equal(slow.slots, before);
  slots.read(1);
  assert.ok(slow.slots > before);
  slots.assertAllCanBeHad();
});

test('what comes back of slots that are no more does not count for those of today', () => {
  const slots = new Slots(20);
  slots.shard(1).state = 'still';
  while (slots.tryOpen(0));
  slots.limit = 3;
  slots.renew();
  while (slots.tryOpen(0));
  slots.read(1);
  while (slots.tryOpen(0) || slots.tryOpen(1) || slots.tryOpen(2));
  slots.assertAllCanBeHad();
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

test('a month that is back, as the clock was wrong, is as used up as it was', async (t) => {
  const wall = new FakeClock();
  const [rightMs, wrongMs] = [wall.wallMs(), 0];
  let wallMs = rightMs;
  wall.wallMs = () => wallMs;
  const { clock, shards, shares, start } = scene(await usageOf(t, wall));
  shares.replace([{ name: TOKEN, bytesMonthMax: 10_000 }]);
  for (let shard = 0; shard < SHARDS; shard += 1) start(shard);
  shares.serve(0).tokenUse([moved(10_000)]);
  for (const [atMs, wanted] of [
    [rightMs, 'spent'],
    [wrongMs, 'open'],
    [rightMs, 'spent'],
  ] as const) {
    wallMs = atMs;
    clock.advance(2000);
    for (const { month } of shards.values()) assert.equal(month, wanted);
  }
  await shares.close();
});
