// Every suite of the benchmark runs for a moment, so that it cannot rot. Figures are not judged.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { sourceNewerThan } from '../../native-free-bench/arguments.ts';
import { judge } from '../../native-free-bench/suites/check.ts';
import { eventually } from '../support/deadline.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY } from '../support/tunnel.ts';

const RUN = new URL('../../native-free-bench/run.ts', import.meta.url).pathname;

async function smoke(...args: string[]): Promise<string> {
  const run = promisify(execFile);
  const { stdout } = await run(process.execPath, [RUN, '--smoke', ...args], { timeout: 120_000 });
  return stdout;
}

function rowsOf(text: string, unit: RegExp): string[] {
  return text.split('\n').filter((line) => unit.test(line));
}

test('the benchmark runs every scenario against a real tunnel and prints its table', async () => {
  const text = await smoke();
  const rows = rowsOf(text, / (?:MB\/s|\/s) /);
  assert.equal(rows.length, 10, text);
  for (const row of rows) assert.doesNotMatch(row, /NaN|Infinity| (?:0|-) (?:MB\/s|\/s)/, text);
  assert.match(text, /resident after the load: exit node \d+ MB, client \d+ MB/);
});

test('a run with peers has a table of ratios, and a reason for each peer that is not there', async (t) => {
  const text = await smoke('--peers', '--only', 'HTTP by host, 64');
  assert.match(text, /^tunnel by +relays/m);
  const there = /^tunnel by.*$/m.exec(text)?.[0] ?? '';
  for (const name of ['haproxy x2', 'rathole', 'bore', 'frp', 'chisel', 'ssh -R', 'wstunnel']) {
    if (there.includes(name)) continue;
    const reason = new RegExp(`^left out: ${name}: (.+)$`, 'm').exec(text)?.[1];
    assert.ok(reason !== undefined, `${name} is neither measured nor left out:\n${text}`);
    t.diagnostic(`${name}: ${reason}`);
  }
});

test('the suite of HTTP by host compares it with a TCP tunnel', async () => {
  const text = await smoke('--suite', 'http', '--only', 'keep-alive');
  const rows = rowsOf(text, /^keep-alive.* \/s /);
  assert.equal(rows.length, 2, text);
  for (const row of rows) assert.doesNotMatch(row, /NaN|Infinity| (?:0|-) \/s/, text);
  assert.match(text, /^HTTP tunnel by +TCP tunnel/m);
});

for (const [suite, title] of [
  ['latency', /^lone echo +p50 .*\ntunnel +[\d,]+ µs/m],
  ['memory', /^server \/ client +at rest .*\ntunnel +\d+ \/ \d+ MB/m],
  ['distance', /^one stream +tunnel .*\ndownload, 20 ms +[\d,]+ MB\/s/m],
  ['tls', /^full handshakes, 8 \(\/s\) +[\d,]+ +[\d,]+ /m],
  ['lines', /^download in pieces of 8 KiB +123 MB\/s +[\d,]+ MB\/s +[\d.]+ s\/GB/m],
  ['forward', /^download, 1 \(MB\/s\) +[\d,]+ +[\d,]+/m],
  [
    'reconnect',
    /^20 clients +half are back .*\nthe way breaks +[\d.]+ s .*\nthe exit node restarts +/m,
  ],
  ['mesh', /^download, 1 \(MB\/s\) +[\d,]+ +[\d,]+ +[\d.]+/m],
  ['scaling', /^model +serial part .*\ndownload, 1 \(MB\/s\) +[\d.]+ % +[\d,]+ +[\d.]+x/m],
  [
    'fairness',
    /^echoes beside 8 downloads +p50 alone .*\ntunnel +[\d,]+ µs +[\d,]+ µs +[\d,]+ µs +[\d,]+ µs +1\.00 +[\d,]+ MB\/s +[\d.]+$/m,
  ],
  [
    'logs',
    /^HTTP by host, 64, its log to +rate .*\nno such log +[\d,]+ \/s .* 0\n\/dev\/null +[\d,]+ \/s +±0 % +1\.00 .* [\d,]+\na file +[\d,]+ \/s .* [\d,]+\na pipe that is read +[\d,]+ \/s .* [\d,]+\na full device +[\d,]+ \/s .* [1-9][\d,]*\na pipe not read +[\d,]+ \/s .* [\d,]+\na closed pipe +[\d,]+ \/s .* [1-9][\d,]*\nwanted: 0\.8 /m,
  ],
  ['slow', /^8 beside 50 slow +alone .*\ntunnel +[\d,]+ MB\/s +[\d,]+ MB\/s/m],
] as const) {
  test(`the suite of ${suite} runs and has its rows`, async () => {
    assert.match(await smoke('--suite', suite), title);
  });
}

test('a run that is ended ends what it has started', async () => {
  const bench = spawn(process.execPath, [RUN, '--smoke', '--only', 'download, 1'], {
    stdio: 'ignore',
  });
  const ended = once(bench, 'exit');
  const list = `/proc/${bench.pid}/task/${bench.pid}/children`;
  let started: string[] = [];
  await eventually(30_000, 'programs run', async () => {
    started = readFileSync(list, 'utf8').trim().split(' ');
    assert.ok(started.length >= 3);
  });
  bench.kill('SIGTERM');
  assert.deepEqual(await ended, [143, null]);
  await eventually(5000, 'they are gone', async () => {
    const left = started.filter((pid) => existsSync(`/proc/${pid}`));
    assert.deepEqual(left, []);
  });
});

test('goals have a value, what was wanted, and a verdict', async () => {
  const text = await smoke('--goals', '--only', 'memory', '--entry', ENTRY);
  const goals = rowsOf(text, / [≥≤] .* (?:held|MISSED|not measured)$/);
  assert.equal(goals.length, 3, text);
  for (const goal of goals) assert.match(goal, /[\d.]+ (?:KiB|MB) +≤ [\d.]+ (?:KiB|MB) /);
  assert.match(text, /^\d held, \d with one shard alone, \d missed, 0 not measured$/m);
});

test('goals are a table of Markdown on request', async () => {
  const text = await smoke('--goals', '--markdown', '--only', 'memory', '--entry', ENTRY);
  assert.match(
    text,
    /^\d{4}-\d\d-\d\d, \d+ × .*, Node v\S+, .*: \d held, \d with one shard alone, \d missed/m,
  );
  assert.equal(
    rowsOf(text, /^\| .* \| ≤ [\d.]+ (?:KiB|MB) \| (?:held|MISSED) \|$/).length,
    3,
    text,
  );
});

test('the guard measures each ratio beside its yardstick, and holds it against the stored one', async () => {
  const text = await smoke('--check');
  const rows = rowsOf(text, / (?:held|FALLEN|held, at the second look)$/);
  assert.equal(rows.length, 6, text);
  for (const row of rows) assert.doesNotMatch(row, /NaN|Infinity| - /, text);
  assert.match(text, /^wanted: at least 0\.85 of what is stored; \d fallen$/m);
});

test('a ratio below its share of the stored one has fallen, and so has one that is not stored', () => {
  const now = new Map([
    ['same', [1, 1.02, 0.7]],
    ['slower', [0.84, 0.8, 2]],
    ['new', [1]],
    ['broken', [Number.NaN]],
  ]);
  const fallen = judge(now, { same: 1, slower: 1, broken: 1 }, 0.85);
  assert.deepEqual(
    fallen.map(({ hasFallen }) => hasFallen),
    [false, true, true, true],
  );
  assert.deepEqual(
    judge(now, { same: 1, slower: 1 }, 0.8).map(({ hasFallen }) => hasFallen),
    [false, false, true, true],
  );
});

test('what was built before the sources changed is found out', (t) => {
  const folder = scratchFolder(t);
  const [built, source] = [path.join(folder, 'main.js'), path.join(folder, 'src/link.ts')];
  mkdirSync(path.join(folder, 'src'));
  for (const file of [built, source]) writeFileSync(file, '');
  utimesSync(built, 1_000, 1_000);
  utimesSync(source, 999, 999);
  assert.equal(sourceNewerThan(built, path.join(folder, 'src')), undefined);
  utimesSync(source, 1_001, 1_001);
  assert.equal(sourceNewerThan(built, path.join(folder, 'src')), 'link.ts');
});

test('a number that is none is refused', async () => {
  await assert.rejects(smoke('--rounds', 'many'), /--rounds: 'many' is no whole number above 0/);
});

test('a suite that there is not is refused with the names of those there are', async () => {
  await assert.rejects(smoke('--suite', 'speed'), /no suite speed: rates, http/);
});
