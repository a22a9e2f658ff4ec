// How many orders an hour has room for, on two clocks.

import assert from 'node:assert/strict';
import test from 'node:test';
import { OrderBudget } from '../../src/control/order-budget.ts';

const HOUR_MS = 3_600_000;
const WALL_MS = 1_700_000_000_000;
const at = (nowMs: number) => ({ nowMs, wallMs: WALL_MS });

test('a fifth order of a name waits until the first is an hour old', () => {
  const budget = new OrderBudget();
  const waitMs = (...agoMs: number[]) =>
    budget.waitMs({ earlierMs: agoMs.map((ms) => WALL_MS - ms), isOnDemand: false }, at(0));
  assert.equal(waitMs(), 0);
  assert.equal(waitMs(3_000_000, 2000, 1000), 0);
  assert.equal(waitMs(3_000_000, 3000, 2000, 1000), 600_000);
});

test('the twenty-first of all clients waits, and no name of the configuration does', () => {
  const budget = new OrderBudget();
  const waitMs = (nowMs: number, isOnDemand = true) =>
    budget.waitMs({ earlierMs: [], isOnDemand }, at(nowMs));
  for (let count = 0; count < 19; count += 1) budget.noteOnDemand(count * 1000);
  assert.equal(waitMs(20_000), 0);
  budget.noteOnDemand(20_000);
  assert.equal(waitMs(20_000), HOUR_MS - 20_000);
  assert.equal(waitMs(20_000, false), 0);
  // The first is an hour old: it makes room for one.
  assert.equal(waitMs(HOUR_MS), 0);
  budget.noteOnDemand(HOUR_MS);
  assert.equal(waitMs(HOUR_MS), 1000);
});

test('a name on demand waits for the later of both', () => {
  const budget = new OrderBudget();
  for (let count = 0; count < 20; count += 1) budget.noteOnDemand(0);
  const waitMs = (agoMs: number) => {
    const earlierMs = [agoMs, 3, 2, 1].map((ms) => WALL_MS - ms);
    return budget.waitMs({ earlierMs, isOnDemand: true }, at(HOUR_MS - 5000));
  };
  assert.equal(waitMs(HOUR_MS - 9000), 9000);
  assert.equal(waitMs(HOUR_MS - 1000), 5000);
});
