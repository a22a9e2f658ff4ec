// The page of a report: nothing from outside becomes markup, axes fit what they show, and in a
// real browser it asks nobody, complains of nothing, and is no wider than a phone.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { linearAxis, logAxis } from '../../native-free-bench/command/chart.ts';
import { pageOf } from '../../native-free-bench/command/page.ts';
import { selfProblem, targetProblem } from '../../native-free-bench/command/problem.ts';
import {
  type BenchReport,
  failuresOf,
  headOf,
  type SelfReport,
  shownUrl,
  summaryOf,
  type TargetReport,
} from '../../native-free-bench/command/report.ts';
import type { Round } from '../../native-free-bench/command/tally.ts';
import { openPage, startBrowser } from '../support/browser.ts';
import { scratchFolder } from '../support/programs.ts';

const HOSTILE = '<img src=x onerror=alert(1)>"\'&';
/** Where the pictures of the documentation go, when they are wanted. */
const PICTURES = process.env.SLUICEWAY_PICTURES;

function roundOf(scale: number): Round {
  const seconds = 10;
  const bySecond = Array.from(
    { length: seconds },
    (_, at) => scale * (11_000 + 900 * Math.sin(at * 1.7) + (at === 6 ? -2_600 : 0)),
  ).map(Math.round);
  const answers = bySecond.reduce((sum, count) => sum + count, 0);
  const curve = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99].map(
    (percent): [number, number] => [percent, (420 / scale) * (1 - percent / 100.5) ** -0.7],
  );
  const at = (percent: number): number => curve.find(([each]) => each === percent)?.[1] ?? 0;
  return {
    ...{ seconds, answers, answersPerSecond: answers / seconds },
    bytesPerSecond: (answers * 210) / seconds,
    failures: {},
    answersBySecond: bySecond,
    bytesBySecond: bySecond.map((count) => count * 210),
    latency: { p50Us: at(50), p99Us: at(99), p999Us: at(99.9), maxUs: 61_300, count: answers },
    curve,
  };
}

function targetReport(more: Partial<TargetReport> = {}): TargetReport {
  const rounds = [roundOf(0.94), roundOf(1), roundOf(1.05)];
  return {
    ...headOf({
      ...{ durationMs: 10_000, warmUpMs: 2_000, rounds: 3, connections: 50, perSecond: 0 },
    }),
    ...{ kind: 'target', url: 'https://shop.example.com/', load: 'http', headerNames: ['Accept'] },
    ...{ summary: summaryOf(rounds), failures: failuresOf(rounds), rounds },
    ...more,
  };
}

function selfReport(): SelfReport {
  const series = (rate: number, cost: number) => ({
    ...{ rates: [rate * 0.97, rate, rate * 1.02], costs: [cost], serverCosts: [], mainCosts: [] },
  });
  const sample = (scenario: string, unit: string, [tunnel, relays, direct]: number[]) => ({
    ...{ scenario, unit },
    sides: {
      tunnel: series(tunnel ?? 0, 0.6 / (tunnel ?? 1)),
      relays: series(relays ?? 0, 0.8 / (relays ?? 1)),
      direct: series(direct ?? 0, 0),
    },
  });
  const latency = (side: string, scale: number) => {
    const rounds = [roundOf(scale), roundOf(scale * 1.1)];
    return { side, rounds, summary: summaryOf(rounds) };
  };
  return {
    ...headOf({ durationMs: 2_000, warmUpMs: 500, rounds: 3, connections: 64, perSecond: 2_000 }),
    ...{ kind: 'self', shards: 1 },
    samples: [
      sample('download, 1', 'MB/s', [812, 1430, 2610]),
      sample('download, 8', 'MB/s', [905, 1502, 2750]),
      sample('echo of 64 B, 64', '/s', [41_200, 45_100, 96_300]),
      sample('HTTP by host, 64', '/s', [33_800, 44_100, 91_700]),
    ],
    latencies: [latency('tunnel', 0.8), latency('relays', 1), latency('direct', 2)],
  };
}

test('what comes from outside is text on the page, never markup', () => {
  const page = pageOf(
    targetReport({ url: HOSTILE, headerNames: [HOSTILE], failures: { [HOSTILE]: 3 } }),
  );
  assert.doesNotMatch(page, /<img|onerror=alert\(1\)>/);
  assert.equal(page.split('&lt;img src=x onerror=alert(1)&gt;&quot;&#39;&amp;').length - 1, 4);
});

test('a query and a login are not in a report', () => {
  assert.equal(
    shownUrl(new URL('http://a:b@x.example:8000/p?q=secret#f')),
    'http://x.example:8000/p?…',
  );
  assert.equal(shownUrl(new URL('tcp://[::1]:22')), 'tcp://[::1]:22');
});

test('axes begin at nothing or at a power of ten, and hold what they show', () => {
  const linear = linearAxis(8_700, '', String);
  assert.deepEqual(
    linear.ticks.map(({ value }) => value),
    [0, 2_500, 5_000, 7_500, 10_000],
  );
  assert.equal(linear.place(10_000), 1);
  assert.equal(linearAxis(0, '', String).place(0), 0);
  const log = logAxis([0.3, 42], '', String);
  assert.deepEqual([log.place(0.1), log.place(100), log.place(0)], [0, 1, 0]);
  assert.deepEqual(
    log.ticks.map(({ value }) => value),
    [0.1, 1, 10, 100],
  );
});

test('rounds in which nothing was answered have a page all the same', () => {
  const empty: Round = {
    ...{ seconds: 0.4, answers: 0, answersPerSecond: 0, bytesPerSecond: 0 },
    ...{ failures: { ECONNRESET: 7 }, answersBySecond: [], bytesBySecond: [], curve: [] },
  };
  const rounds = [empty, empty];
  const page = pageOf(
    targetReport({ rounds, summary: summaryOf(rounds), failures: failuresOf(rounds) }),
  );
  assert.match(page, /14 failed: 14 × ECONNRESET/);
  assert.match(page, /Nothing was answered/);
  assert.doesNotMatch(page, /NaN|Infinity|undefined/);
});

test('failures of paced requests through a tunnel of its own are told, and are a problem', () => {
  const report = selfReport();
  assert.equal(selfProblem(report), undefined);
  assert.match(pageOf(report), /<p>No request failed\.<\/p>/);
  const [tunnel, ...others] = report.latencies;
  assert.ok(tunnel !== undefined);
  const [first, ...more] = tunnel.rounds;
  assert.ok(first !== undefined);
  const rounds = [{ ...first, failures: { 'status 502': 7 } }, ...more];
  const failing = { ...report, latencies: [{ ...tunnel, rounds }, ...others] };
  assert.equal(selfProblem(failing), 'paced requests: tunnel: 7 failed: 7 × status 502');
  const page = pageOf(failing);
  assert.match(page, /<p class="bad">tunnel: 7 failed: 7 × status 502<\/p>/);
  assert.doesNotMatch(page, /No request failed/);
});

test('a side that failed a scenario is named, and spoils no bar of the others', () => {
  const report = selfReport();
  const [first, ...others] = report.samples;
  assert.ok(first !== undefined);
  const failure = '1 of 8 connections were lost <b>';
  const relays = { rates: [], costs: [], serverCosts: [], mainCosts: [], failure };
  const samples = [{ ...first, sides: { ...first.sides, relays } }, ...others];
  const page = pageOf({ ...report, samples });
  assert.doesNotMatch(page, /NaN|Infinity/);
  assert.match(page, /<p class="bad">[^<]*: [^<]*: 1 of 8 connections were lost &lt;b&gt;<\/p>/);
  assert.match(page, /width:100\.0%/);
});

test('a side that does not reach its rate, or has no figure, is a problem', () => {
  const report = selfReport();
  const options = { ...report.options, perSecond: 10_000 };
  assert.match(
    selfProblem({ ...report, options }) ?? '',
    /^paced requests: tunnel: the rate was not reached: [\d,]+ of 10,000 a second in round 1$/,
  );
  const [sample] = report.samples;
  assert.ok(sample !== undefined);
  const gone = { rates: [], costs: [], serverCosts: [], mainCosts: [], failure: 'ECONNRESET' };
  const samples = [{ ...sample, sides: { ...sample.sides, relays: gone } }];
  assert.equal(selfProblem({ ...report, samples }), 'download, 1: relays: ECONNRESET');
  const still = { rates: [800, 0, 810], costs: [], serverCosts: [], mainCosts: [] };
  assert.equal(
    selfProblem({ ...report, samples: [{ ...sample, sides: { ...sample.sides, tunnel: still } }] }),
    'download, 1: tunnel: nothing came back while round 2 was counted',
  );
});

test('one round that is silent, or too slow, is a problem whatever the others were', () => {
  const silent = roundOf(0);
  const usual = roundOf(1);
  const report = targetReport({ rounds: [usual, usual, silent] });
  assert.equal(targetProblem(report), 'nothing came back while round 3 was counted');
  assert.equal(
    targetProblem({ ...report, load: 'download' }),
    'nothing came back while round 3 was counted',
  );
  const slow = { ...usual, answersPerSecond: 80 };
  const paced = { ...report, options: { ...report.options, perSecond: 100 } };
  assert.equal(
    targetProblem({ ...paced, rounds: [usual, slow, usual] }),
    'the rate was not reached: 80 of 100 a second in round 2',
  );
});

test('the edges of a short round are not a rate that was missed', () => {
  const report = (durationMs: number, perSecond: number, answersPerSecond: number) => {
    const usual = targetReport();
    const options = { ...usual.options, durationMs, perSecond };
    return { ...usual, options, rounds: [{ ...roundOf(1), answersPerSecond }] };
  };
  assert.equal(targetProblem(report(200, 100, 95)), undefined);
  assert.match(targetProblem(report(200, 100, 70)) ?? '', /70 of 100 a second/);
  assert.match(targetProblem(report(10_000, 100, 95)) ?? '', /95 of 100 a second/);
  assert.equal(targetProblem(report(10_000, 100, 99)), undefined);
});

const KINDS: readonly [string, () => BenchReport][] = [
  ['target', targetReport],
  ['self', selfReport],
];

for (const [kind, report] of KINDS) {
  test(`the page of kind ${kind} fits a phone and a desk, in light and dark, and asks nobody`, async (t) => {
    const browser = await startBrowser(t);
    if (browser === undefined) return;
    const file = path.join(scratchFolder(t), 'report.html');
    writeFileSync(file, pageOf(report()));
    for (const [size, width, height] of [
      ['desktop', 1280, 900],
      ['phone', 390, 844],
    ] as const) {
      for (const colorScheme of ['light', 'dark'] as const) {
        const watched = await openPage(browser, { width, height, colorScheme });
        await watched.page.goto(pathToFileURL(file).href);
        const wide = await watched.page.evaluate('document.documentElement.scrollWidth');
        assert.equal(wide, width, `${size}: wider than the screen`);
        assert.deepEqual(watched.complaints, []);
        assert.deepEqual([...watched.hosts], [''], 'the file alone');
        if (PICTURES !== undefined) {
          mkdirSync(PICTURES, { recursive: true });
          const name = `bench-${kind}-${size}${colorScheme === 'dark' ? '-dark' : ''}.png`;
          await watched.page.screenshot({ path: path.join(PICTURES, name), fullPage: true });
        }
        await watched.context.close();
      }
    }
  });
}
