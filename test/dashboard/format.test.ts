// Goal: figures read as people write them, and what is left out is counted. Method: the page's own
// module, loaded as the browser does, without a page.

import assert from 'node:assert/strict';
import { test } from 'node:test';

interface Format {
  daysLeft(days: number): string;
  daysUntil(wallMs: number, nowMs: number): number;
  rate(value: number): string;
  some(shown: readonly string[], all: number): string;
}

const PAGE = new URL('../../src/dashboard/page/format.js', import.meta.url);
const show: Format = await import(PAGE.href);

test('a list that leaves some out says how many there are', () => {
  assert.equal(show.some([], 0), '');
  assert.equal(show.some(['a', 'b'], 2), 'a, b');
  assert.equal(show.some(['a', 'b'], 994), '994, such as a, b');
});

test('what has ended says so, and what is little is not nothing', () => {
  const now = Date.UTC(2026, 0, 10);
  const left = (day: number): string => show.daysLeft(show.daysUntil(Date.UTC(2026, 0, day), now));
  assert.deepEqual([left(1), left(9), left(10)], ['ended', 'ended', '0 days']);
  assert.deepEqual([left(11), left(30)], ['1 day', '20 days']);
  assert.deepEqual([0, 0.004, 0.006, 0.2].map(show.rate), ['0/s', '<0.01/s', '0.01/s', '0.2/s']);
});
