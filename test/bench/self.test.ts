// What was measured is told whatever fails behind it: the tunnel of `sluiceway bench` without
// --url, or the place of the report.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { runBench } from '../../native-free-bench/command/bench.ts';
import type { SelfReport } from '../../native-free-bench/command/report.ts';
import type { BenchRequest } from '../../src/cli/bench-request.ts';
import { scratchFolder } from '../support/programs.ts';
import { startHttp } from '../support/upstream.ts';

const REQUEST: Omit<BenchRequest, 'folder'> = {
  ...{ connections: 4, durationMs: 200, warmUpMs: 0, rounds: 1, perSecond: 50, shards: 1 },
};

/** The server that this process has started. */
function serverPid(): number {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
  const pids = children.split(' ').filter(Boolean).map(Number);
  const found = pids.find((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes('server'),
  );
  assert.ok(found !== undefined, `no server among ${pids.join(', ')}`);
  return found;
}

for (const [scenario, rates] of [
  ['download, 1: tunnel', 0],
  ['upload, 8: tunnel', 2],
] as const) {
  test(`a server that ends at '${scenario}' leaves a report of what was before`, async (t) => {
    const folder = scratchFolder(t);
    let isKilled = false;
    const tell = (progress: string): void => {
      if (isKilled || progress !== `round 1 of 1: ${scenario}`) return;
      isKilled = true;
      process.kill(serverPid(), 'SIGKILL');
    };
    const outcome = await runBench({ ...REQUEST, folder }, { tell });
    assert.ok(isKilled && 'report' in outcome, JSON.stringify(outcome));
    const report = JSON.parse(readFileSync(path.join(folder, 'report.json'), 'utf8'));
    const { samples, latencies, failure } = report as SelfReport;
    const page = readFileSync(path.join(folder, 'report.html'), 'utf8');
    assert.equal(samples.length, rates);
    for (const { scenario: name, sides } of samples) {
      assert.ok((sides.tunnel?.rates[0] ?? 0) > 0, name);
      assert.match(outcome.text, new RegExp(`^${name} `, 'm'));
    }
    assert.match(failure ?? '', new RegExp(`^${scenario}: .*(?:lost|ECONN)`));
    assert.equal(outcome.problem, failure);
    assert.ok(page.includes(`Ended before its time: ${scenario}: `));
    assert.doesNotMatch(page, /NaN|Infinity|undefined|No request failed/);
    assert.deepEqual(latencies, []);
  });
}

test('figures are told where their report cannot be written any more', async (t) => {
  const port = await startHttp(t, (_request, response) => response.end('ok'));
  const url = new URL(`http://127.0.0.1:${port}/`);
  const folder = path.join(scratchFolder(t), 'gone');
  const target = { url, load: 'http', headers: [] } as const;
  const tell = (): void => rmSync(folder, { recursive: true, force: true });
  const outcome = await runBench({ ...REQUEST, target, folder }, { tell });
  assert.ok('report' in outcome && outcome.report !== undefined);
  assert.match(outcome.text, /^round 1 /m);
  assert.match(outcome.problem ?? '', /^the report cannot be written: ENOENT/);
});

test('a tunnel that does not start leaves no report', async (t) => {
  const folder = scratchFolder(t);
  const outcome = await runBench({ ...REQUEST, shards: 0, folder }, { tell: () => undefined });
  assert.ok('refusal' in outcome && outcome.refusal === 'failure', 'a failure');
  assert.match(outcome.reason, /exited with 2: .*--shards/s);
  assert.deepEqual(readdirSync(folder), []);
});
