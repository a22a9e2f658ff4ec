// The suite of scaling: an exit node with two shards against one with one, and what its main thread
// takes of each unit of work, from which a model says what more cores could carry.
//
// Invariant: both exit nodes have the same origin and load; only the number of shards, and with it
// of links, differs. The model is Amdahl's, with the main thread as the serial part: a bound from
// above, for locks of the kernel and the speed of memory are not in it.

import { measureDownload, measureEchoes, measureRequests } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { type LoadRow, loadScenarios, measureRounds, type Sample } from '../harness/rounds.ts';
import { HOST, type Side } from '../harness/side.ts';
import { type SuiteOptions, type SuiteResult, versionsOf } from '../harness/suite.ts';
import { costText, median, percent, ratio, round, spread, table } from '../harness/table.ts';
import { startTunnel } from '../harness/tunnel.ts';

const [ONE, TWO] = ['1 shard', '2 shards'] as const;
/** What the model is worked out for. */
const CORES = [4, 16, 64] as const;

const ROWS: readonly LoadRow[] = [
  ['download, 1', 'MB/s', measureDownload, 1],
  ['download, 8', 'MB/s', measureDownload, 8],
  ['echo of 64 B, 64', '/s', measureEchoes, 64],
  ['HTTP by host, 64', '/s', (options) => measureRequests(options, HOST), 64],
];

export async function measureScaling(options: SuiteOptions): Promise<SuiteResult> {
  const { children, rounds, tell, entry } = options;
  const origins = await startOrigins(children);
  const sides: Side[] = [];
  for (const [name, shards] of [
    [ONE, 1],
    [TWO, 2],
  ] as const) {
    const clientArgs = [`--shards=${shards}`];
    sides.push({ ...(await startTunnel(children, { origins, shards, entry, clientArgs })), name });
  }
  const [byHost, raw] = [ROWS.slice(-1), ROWS.slice(0, -1)];
  const samples = [
    ...(await measureRounds({ scenarios: loadScenarios(raw, options), sides, rounds, tell })),
    ...(await measureRounds({
      scenarios: loadScenarios(byHost, options),
      sides: sides.map((side) => ({ ...side, ports: { raw: side.ports.byHost ?? 0 } })),
      rounds,
      tell,
    })),
  ];
  const text = [ratesTable(samples), modelTable(samples)].join('\n');
  return { text, samples, versions: versionsOf(sides), left: [] };
}

function ratesTable(samples: readonly Sample[]): string {
  const rows = samples.map(({ scenario, unit, sides }) => {
    const [one, two] = [sides[ONE], sides[TWO]];
    return [
      `${scenario} (${unit})`,
      ...[one, two].map((side) => round(median(side?.rates ?? []))),
      ratio(two?.rates ?? [], one?.rates ?? []),
      percent(spread(two?.rates ?? [])),
      ...[one, two].map((side) => costText(unit, side?.serverCosts ?? [])),
      percentOf(growthOf(sides)),
    ];
  });
  const cpu = [`exit node's CPU, ${ONE}`, TWO, 'growth'];
  return table([['', ONE, TWO, 'two by one', 'spread', ...cpu], ...rows]);
}

/** Cores of the exit node only: load, origin and client are elsewhere on a real one. */
function modelTable(samples: readonly Sample[]): string {
  const rows = samples.map(({ scenario, unit, sides }) => {
    const series = sides[ONE];
    const each = median(series?.serverCosts ?? []);
    const serial = median(series?.mainCosts ?? []) / each;
    const growth = Math.max(0, growthOf(sides));
    const cells = CORES.flatMap((cores) => {
      const speedup = speedupOf(serial, cores);
      return [`${round(speedup, 1)}x`, round(speedup / each / (1 + growth) ** Math.log2(cores))];
    });
    return [`${scenario} (${unit})`, percentOf(serial, 2), round(1 / each), ...cells];
  });
  const titles = CORES.flatMap((cores) => [`${cores} cores`, 'at most']);
  return (
    table([['model', 'serial part', 'one core', ...titles], ...rows]) +
    'model: one by (serial + parallel by cores); at most: with the growth above at each doubling\n'
  );
}

/** Amdahl's law. */
export function speedupOf(serial: number, cores: number): number {
  return 1 / (serial + (1 - serial) / cores);
}

/** How much more CPU a unit takes with two shards. */
function growthOf(sides: Sample['sides']): number {
  return median(sides[TWO]?.serverCosts ?? []) / median(sides[ONE]?.serverCosts ?? []) - 1;
}

function percentOf(part: number, digits = 0): string {
  return Number.isFinite(part) ? `${round(part * 100, digits)} %` : '-';
}
