// Goal: the memory of another process counts while that is there, and once. Method: real processes.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { residentBytes } from '../../src/control/process-memory.ts';

/** No process has this number: above the largest of Linux. */
const NOBODY = 2 ** 30;
const MIB = 1024 * 1024;

test('who is not there counts nothing', () => {
  const own = process.memoryUsage.rss();
  for (const others of [[], [undefined], [NOBODY], [undefined, NOBODY]]) {
    const all = residentBytes(...others);
    assert.ok(Math.abs(all - own) < 16 * MIB, `${all} of ${own}`);
  }
});

test('of another process counts what it has for itself', (t) => {
  if (process.platform !== 'linux') return t.skip('who has how much is read in /proc, of Linux');
  const own = process.memoryUsage.rss();
  const added = residentBytes(process.pid) - own;
  assert.ok(added > own / 10, `${added} of ${own}`);
  assert.ok(added < own - 16 * MIB, 'without the code, which both have once');
});
