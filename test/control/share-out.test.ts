// Goal: shares of a rate add up to it whatever was used, nobody is left with nothing, and who waits
// gets what others leave. Method: random uses, printed seed by fast-check, and a few by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { evenPart, shareOut } from '../../src/control/share-out.ts';

const use = fc.record({
  used: fc.integer({ min: 0, max: 10_000_000 }),
  waiting: fc.integer({ min: 0, max: 1000 }),
});

test('shares add up to the rate and each is above zero', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 10_000_000 }),
      fc.array(use, { minLength: 1, maxLength: 16, size: 'max' }),
      (rate, uses) => {
        const shares = shareOut(rate, uses);
        const sum = shares.reduce((all, share) => all + share, 0);
        assert.ok(Math.abs(sum - rate) < rate / 1e6, `${sum} of ${rate}`);
        for (const share of shares) assert.ok(share > 0, String(shares));
      },
    ),
  );
});

test('a single shard has all of it', () => {
  assert.deepEqual(shareOut(10, [{ used: 0, waiting: 0 }]), [10]);
  assert.deepEqual(shareOut(10, [{ used: 3, waiting: 9 }]), [10]);
});

test('the one that waits gets what the idle ones do not use, and those who wait get the same', () => {
  const idle = { used: 0, waiting: 0 };
  const [most = 0] = shareOut(1000, [{ used: 250, waiting: 1 }, idle, idle, idle]);
  assert.ok(most > 900, String(most));
  const [left, right] = shareOut(1000, [
    { used: 900, waiting: 2 },
    { used: 100, waiting: 2 },
  ]);
  assert.equal(left, right);
});

test('who waits is not starved by who uses much and does not', () => {
  const [, share = 0] = shareOut(1000, [
    { used: 950, waiting: 0 },
    { used: 50, waiting: 1 },
  ]);
  assert.ok(share >= 450, String(share));
});

test('even parts add up', () => {
  for (const [count, shards] of [
    [10, 4],
    [3, 8],
    [0, 2],
    [8, 8],
  ] as const) {
    const parts = Array.from({ length: shards }, (_none, shard) => evenPart(count, shard, shards));
    assert.equal(
      parts.reduce((sum, part) => sum + part, 0),
      count,
    );
    assert.ok(Math.max(...parts) - Math.min(...parts) <= 1);
  }
});
