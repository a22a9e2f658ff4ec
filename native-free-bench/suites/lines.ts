// The suite of lines: many connections that carry little each, as visitors far away do.
//
// Invariant: every side is given the same pieces at the same time, so that its CPU time is what
// differs; a side that did not carry them all shows it by its rate. Must not know: how a side is
// started.

import {
  measureLinesDown,
  measureLinesUp,
  type Pace,
  PIECES,
  SEGMENTS,
} from '../harness/line-load.ts';
import { type LoadOptions, MB } from '../harness/load.ts';
import { startOrigins, startRelays } from '../harness/plain.ts';
import {
  failuresIn,
  type LoadRow,
  loadScenarios,
  measureRounds,
  type Sample,
} from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import { type SuiteOptions, type SuiteResult, startSides, versionsOf } from '../harness/suite.ts';
import { costText, median, percent, ratio, round, spread, table } from '../harness/table.ts';

const LINES = 30;

type Measure = (options: LoadOptions, pace: Pace) => Promise<number>;

const ROWS = [
  row('download in pieces of 8 KiB', measureLinesDown, PIECES),
  row('upload in pieces of 8 KiB', measureLinesUp, PIECES),
  row('download in segments of 1,400 B', measureLinesDown, SEGMENTS),
  row('upload in segments of 1,400 B', measureLinesUp, SEGMENTS),
];

function row(name: string, measure: Measure, pace: Pace): { pace: Pace; row: LoadRow } {
  return { pace, row: [name, 'MB/s', (options) => measure(options, pace), LINES] };
}

export async function measureLines(options: SuiteOptions): Promise<SuiteResult> {
  const { children, rounds, tell, isAlone, only, ms } = options;
  const origins = await startOrigins(children);
  const { tunnel, peers, left } = await startSides(options, { origins });
  const plain = isAlone ? [] : [await startRelays(children, origins)];
  const sides: Side[] = [tunnel, ...plain, ...peers];
  const scenarios = loadScenarios(
    ROWS.map((each) => each.row),
    { only, ms },
  );
  const samples = await measureRounds({ scenarios, sides, rounds, tell });
  tunnel.check?.();
  const text = [
    linesTable(samples, sides),
    ...(sides.length > 1 ? [byOthers(samples, sides)] : []),
  ];
  return {
    text: text.join('\n'),
    samples,
    versions: versionsOf(sides),
    left: [...left, ...failuresIn(samples)],
  };
}

/** What was to be carried, and what each side took for a GB of it. */
function linesTable(samples: readonly Sample[], sides: readonly Side[]): string {
  const rows = samples.map(({ scenario, unit, sides: figures }) => {
    const { pieceBytes = 0, everyMs = 0 } =
      ROWS.find(({ row: [name] }) => name === scenario)?.pace ?? {};
    const tunnel = figures.tunnel ?? { rates: [], costs: [] };
    return [
      scenario,
      `${round((LINES * pieceBytes * 1000) / everyMs / MB)} MB/s`,
      `${round(median(tunnel.rates))} MB/s`,
      ...sides.map(({ name }) => costText(unit, figures[name]?.costs ?? [])),
      percent(spread(tunnel.costs)),
    ];
  });
  const titles = [`${LINES} lines`, 'due', 'carried', ...sides.map(({ name }) => name), 'spread'];
  return table([titles, ...rows]);
}

/** CPU time of the tunnel by that of each other side: below 1, ours takes less. */
function byOthers(samples: readonly Sample[], sides: readonly Side[]): string {
  const others = sides.filter(({ name }) => name !== 'tunnel');
  const rows = samples.map(({ scenario, sides: figures }) => [
    scenario,
    ...others.map(({ name }) => ratio(figures.tunnel?.costs ?? [], figures[name]?.costs ?? [])),
  ]);
  return table([['CPU by', ...others.map(({ name }) => name)], ...rows]);
}
