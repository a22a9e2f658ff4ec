// report.html: what a run found, on one page that needs nothing else.
//
// Invariant: no script, and no request to anywhere, which the page's own policy forbids too;
// whatever comes from outside goes through chart.ts, which escapes. Must not know: how anything was
// measured.

import { inMs, median, percent, ratio, round } from '../harness/table.ts';
import {
  type Axis,
  type Bar,
  bars,
  type Curve,
  curves,
  escaped,
  linearAxis,
  logAxis,
  tableOf,
} from './chart.ts';
import { countOf, failureText } from './problem.ts';
import { type BenchReport, failuresOf, type SelfReport, type TargetReport } from './report.ts';
import { STYLE } from './style.ts';
import type { Round } from './tally.ts';

/** By which a report of ours is known. */
export const PAGE_START = '<!doctype html>\n<!-- sluiceway bench -->\n';
const POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";
const NAMES: Readonly<Record<string, string>> = { relays: 'two relays', direct: 'no tunnel' };

export function pageOf(report: BenchReport): string {
  const title = report.kind === 'self' ? 'sluiceway, measured here' : report.url;
  const body = report.kind === 'self' ? selfBody(report) : targetBody(report);
  return [
    `${PAGE_START}<html lang="en"><head><meta charset="utf-8">`,
    `<meta http-equiv="Content-Security-Policy" content="${POLICY}">`,
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    `<title>${escaped(title)} – sluiceway bench</title><style>${STYLE}</style></head><body>`,
    `<header><p class="soft">sluiceway bench</p><h1>${escaped(title)}</h1></header>`,
    `<main>${body}</main>`,
    environmentOf(report),
    '</body></html>\n',
  ].join('\n');
}

function targetBody(report: TargetReport): string {
  const { rounds, summary, failures, load, options } = report;
  const isBulk = load === 'download' || load === 'upload';
  const { latency } = summary;
  const pace =
    options.perSecond > 0
      ? `${round(options.perSecond)} a second; one that had to wait counts from when it was due`
      : 'as fast as they are answered; waiting that this load caused is part of the times';
  const seconds = (bySecond: 'answersBySecond' | 'bytesBySecond', by: number): Curve[] =>
    rounds.map((each, index) => ({
      name: `round ${index + 1}`,
      points: each[bySecond].map((count, at) => [at + 1, count / by] as const),
    }));
  return [
    `<p class="soft">${escaped(`${load}, ${round(options.connections ?? 0)} connections`)}${
      isBulk ? '' : `, ${escaped(pace)}`
    }</p>`,
    cards([
      ...(isBulk ? [] : ([[`${round(summary.answersPerSecond)} /s`, 'answers, median']] as const)),
      [`${round(summary.bytesPerSecond / 1e6, 1)} MB/s`, 'bytes, median'],
      ...(isBulk || latency === undefined
        ? []
        : ([
            [inMs(latency.p50Us), 'half are faster (p50)'],
            [inMs(latency.p99Us), '99 of 100 are faster'],
            [inMs(latency.maxUs), 'the slowest'],
          ] as const)),
      [percent(summary.spread), 'spread of the rounds'],
    ]),
    failureLines([['', failures]]),
    '<h2>Second by second</h2>',
    timeline(
      isBulk ? seconds('bytesBySecond', 1e6) : seconds('answersBySecond', 1),
      isBulk ? 'MB in each second' : 'answers in each second',
    ),
    ...(isBulk
      ? []
      : [
          '<h2>Latency</h2>',
          latencyCurves(
            rounds.map(({ curve }, index) => ({ name: `round ${index + 1}`, points: curve })),
          ),
        ]),
    '<h2>Rounds</h2>',
    tableOf([
      ['', 'answers/s', 'MB/s', 'p50', 'p99', 'p99.9', 'slowest', 'failed'],
      ...rounds.map((each, index) => [`round ${index + 1}`, ...roundCells(each)]),
    ]),
  ].join('\n');
}

function roundCells({ answersPerSecond, bytesPerSecond, latency, failures }: Round): string[] {
  const times =
    latency === undefined
      ? ['-', '-', '-', '-']
      : [latency.p50Us, latency.p99Us, latency.p999Us, latency.maxUs].map(inMs);
  const rate = latency === undefined ? '-' : round(answersPerSecond);
  return [rate, round(bytesPerSecond / 1e6, 2), ...times, round(countOf(failures))];
}

function selfBody(report: SelfReport): string {
  const { samples, latencies, options, shards, failure } = report;
  const order = ['tunnel', 'relays', 'direct'] as const;
  const groups = samples.map(({ scenario, unit, sides }) => ({
    title: scenario,
    bars: order.map((name): Bar => {
      const value = median(sides[name]?.rates ?? []);
      const text = Number.isFinite(value) ? `${round(value)} ${unit}` : '-';
      return { name: NAMES[name] ?? name, value, text };
    }),
  }));
  const share = (scenario: string, name: string): string => {
    const sides = samples.find((sample) => sample.scenario === scenario)?.sides;
    return ratio(sides?.tunnel?.rates ?? [], sides?.[name]?.rates ?? []);
  };
  const [first] = latencies;
  const pace = `${round(options.perSecond)} /s`;
  return [
    `<p class="soft">A server with ${round(shards)} shard${shards === 1 ? '' : 's'},`,
    'a client, and a service behind it, on this machine alone; beside it two plain relays in a',
    'row, and no tunnel at all. What holds elsewhere are the ratios, not the rates.</p>',
    ...(failure === undefined
      ? []
      : [`<p class="bad">${escaped(`Ended before its time: ${failure}`)}</p>`]),
    cards([
      [share('download, 8', 'relays'), 'bulk, of two plain relays'],
      [share('HTTP by host, 64', 'relays'), 'requests, of two plain relays'],
      [share('HTTP by host, 64', 'direct'), 'requests, of no tunnel'],
      ...(first?.summary.latency === undefined
        ? []
        : ([[inMs(first.summary.latency.p99Us), `p99 at ${pace}`]] as const)),
    ]),
    '<h2>Rates, longer is better</h2>',
    ...samples.flatMap(({ scenario, sides }) => lostSides(scenario, sides)),
    bars(groups),
    ...pacedPart(report),
    '<h2>CPU time of server and client together</h2>',
    bars(
      samples.map(({ scenario, unit, sides }) => {
        const isBulk = unit === 'MB/s';
        return {
          title: `${scenario}, ${isBulk ? 'a GB' : 'each'}`,
          bars: (['tunnel', 'relays'] as const).map((name): Bar => {
            const value = median(sides[name]?.costs ?? []) * (isBulk ? 1e3 : 1e6);
            const text = isBulk ? `${round(value, 2)} s` : `${round(value)} µs`;
            return { name: NAMES[name] ?? name, value, text };
          }),
        };
      }),
    ),
    '<h2>Ratios</h2>',
    tableOf([
      ['', 'of two relays', 'of no tunnel'],
      ...samples.map(({ scenario }) => [
        scenario,
        share(scenario, 'relays'),
        share(scenario, 'direct'),
      ]),
    ]),
  ].join('\n');
}

/** Of a run that ended before them there are none. */
function pacedPart({ latencies, options }: SelfReport): string[] {
  if (latencies.length === 0) return [];
  return [
    `<h2>Latency at ${round(options.perSecond)} requests a second</h2>`,
    '<p class="soft">A request that had to wait counts from when it was due.</p>',
    failureLines(
      latencies.map(({ side, rounds }) => [`${NAMES[side] ?? side}: `, failuresOf(rounds)]),
    ),
    latencyCurves(
      latencies.map(({ side, rounds }) => ({
        name: NAMES[side] ?? side,
        points: medianCurve(rounds),
      })),
    ),
  ];
}

/** At each percentile that all rounds have, their median. */
function medianCurve(rounds: readonly Round[]): [number, number][] {
  const [first] = rounds;
  return (first?.curve ?? []).flatMap(([percentile]): [number, number][] => {
    const found = rounds.flatMap(({ curve }) => curve.filter(([at]) => at === percentile));
    return found.length === rounds.length ? [[percentile, median(found.map(([, us]) => us))]] : [];
  });
}

function timeline(all: readonly Curve[], title: string): string {
  const values = all.flatMap(({ points }) => points.map(([, count]) => count));
  const last = Math.max(1, ...all.flatMap(({ points }) => points.map(([at]) => at)));
  if (last < 2) return '<p class="soft">A round of less than two seconds has no curve.</p>';
  const step = Math.ceil((last - 1) / 5);
  const marks = Array.from({ length: Math.floor((last - 1) / step) + 1 }, (_, at) => 1 + at * step);
  const x: Axis = {
    title: 'second of the round',
    place: (value) => (value - 1) / (last - 1),
    ticks: marks.map((value) => ({ value, text: String(value) })),
  };
  const y = linearAxis(Math.max(0, ...values), title, (value) =>
    round(value, Number.isInteger(value) ? 0 : 1),
  );
  return curves(all, { x, y, label: `${title}, for each round` });
}

/** Percentiles as far apart as each is rarer than the one before: 90, 99, 99.9. */
function latencyCurves(all: readonly Curve[]): string {
  const points = all.flatMap((curve) => curve.points);
  if (points.length === 0) return '<p class="soft">Nothing was answered.</p>';
  const rarity = (percentile: number): number => -Math.log10(1 - percentile / 100);
  const last = rarity(Math.max(...points.map(([at]) => at)));
  const x: Axis = {
    title: 'share of answers that were faster, in percent',
    place: (percentile) => rarity(percentile) / last,
    ticks: [0, 50, 90, 99, 99.9, 99.99, 99.999]
      .filter((percentile) => rarity(percentile) <= last + 1e-9)
      .map((percentile) => ({ value: percentile, text: String(percentile) })),
  };
  const y = logAxis(
    points.map(([, us]) => us / 1000),
    'milliseconds',
    (value) => (value < 1 ? String(Number(value.toPrecision(2))) : round(value)),
  );
  const inMsPoints = all.map(({ name, points: each }) => ({
    name,
    points: each.map(([at, us]) => [at, us / 1000] as const),
  }));
  return curves(inMsPoints, { x, y, label: 'latency by percentile' });
}

function cards(all: readonly (readonly [value: string, what: string])[]): string {
  const drawn = all.map(
    ([value, what]) => `<li><b>${escaped(value)}</b><span>${escaped(what)}</span></li>`,
  );
  return `<ul class="cards">${drawn.join('')}</ul>`;
}

/** Sides without a figure, and why. */
function lostSides(scenario: string, sides: SelfReport['samples'][number]['sides']): string[] {
  return Object.entries(sides).flatMap(([name, { failure }]) => {
    if (failure === undefined) return [];
    return [`<p class="bad">${escaped(`${scenario}: ${NAMES[name] ?? name}: ${failure}`)}</p>`];
  });
}

/** Of several sides, each with its name. */
function failureLines(all: readonly (readonly [name: string, Round['failures']])[]): string {
  const failed = all.flatMap(([name, failures]) => {
    const text = failureText(failures);
    return text === undefined ? [] : [`<p class="bad">${escaped(`${name}${text}`)}</p>`];
  });
  return failed.length === 0 ? '<p>No request failed.</p>' : failed.join('');
}

function systemOf({ kernel, node, congestion }: BenchReport['environment']): string {
  return `${kernel}${congestion === undefined ? '' : `, TCP ${congestion}`}, Node ${node}`;
}

function environmentOf(report: BenchReport): string {
  const { environment, options, program } = report;
  const rows: [string, string][] = [
    ['when', environment.date],
    ['machine', `${environment.cores} × ${environment.cpu}`],
    ['memory', `${round(environment.memoryBytes / 2 ** 30, 1)} GiB`],
    ['system', systemOf(environment)],
    ['sluiceway', `${program}${environment.commit === undefined ? '' : `, ${environment.commit}`}`],
    ['rounds', `${options.rounds} of ${options.durationMs / 1000} s`],
    ...(report.kind === 'target' && report.headerNames.length > 0
      ? ([['headers sent', report.headerNames.join(', ')]] as [string, string][])
      : []),
  ];
  const drawn = rows.map(([name, value]) => `<dt>${escaped(name)}</dt><dd>${escaped(value)}</dd>`);
  return `<footer><h2>Measured with</h2><dl>${drawn.join('')}</dl></footer>`;
}
