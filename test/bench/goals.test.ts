// A goal holds, holds with one shard alone, is missed, or was not measured: nothing else.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Goal, type Verdict, verdictOf } from '../../native-free-bench/suites/goals.ts';

const AT_LEAST: Goal = { what: 'a', value: 1, unit: 'x', wanted: 1, isAtLeast: true };

const CASES: readonly (readonly [Partial<Goal>, Verdict])[] = [
  [{}, 'held'],
  [{ value: 0.99 }, 'MISSED'],
  [{ value: 0.99, oneShard: 1 }, 'held with one shard'],
  [{ value: 1, oneShard: 0.5 }, 'held'],
  [{ value: 0.99, oneShard: 0.99 }, 'MISSED'],
  [{ value: 0.99, oneShard: Number.NaN }, 'MISSED'],
  [{ value: Number.NaN }, 'not measured'],
  [{ value: Number.NaN, oneShard: 2 }, 'not measured'],
  [{ isAtLeast: false }, 'held'],
  [{ isAtLeast: false, value: 1.01 }, 'MISSED'],
  [{ isAtLeast: false, value: 1.01, oneShard: 0.9 }, 'held with one shard'],
];

for (const [fields, verdict] of CASES) {
  test(`${JSON.stringify(fields)} is ${verdict}`, () => {
    assert.equal(verdictOf({ ...AT_LEAST, ...fields }), verdict);
  });
}
