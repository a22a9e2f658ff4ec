// Every scenario of the benchmark runs for a moment, so that it cannot rot. Figures are not judged.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';

const RUN = new URL('../../native-free-bench/run.ts', import.meta.url).pathname;

test('the benchmark runs every scenario against a real tunnel and prints its table', async () => {
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, [RUN, '--smoke'], { timeout: 120_000 });
  const rows = stdout.split('\n').filter((line) => /(MB\/s| \/s)/.test(line));
  assert.equal(rows.length, 8, stdout);
  for (const row of rows) assert.doesNotMatch(row, /NaN|Infinity| 0 (MB\/s|\/s)/, row);
  assert.match(stdout, /resident after the load: exit node \d+ MB, client \d+ MB/);
});
