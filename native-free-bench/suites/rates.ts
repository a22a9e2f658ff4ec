// The suite of rates: bulk each way, echoes and HTTP requests, on the tunnel, on no tunnel and on
// two plain relays, and with `--peers` on every other tunnel that is there.
//
// Invariant: every scenario of every side goes to the same origin from the same generator.

import {
  type LoadOptions,
  measureByAutocannon,
  measureConnects,
  measureDownload,
  measureEchoes,
  measureRequests,
  measureUpload,
} from '../harness/load.ts';
import { directSide, startOrigins, startRelays } from '../harness/plain.ts';
import { residentBytes } from '../harness/process-cost.ts';
import { measureRounds, type Sample, type Scenario } from '../harness/rounds.ts';
import { HOST, type Kind, type Side } from '../harness/side.ts';
import {
  type Sampled,
  type SuiteOptions,
  type SuiteResult,
  startSides,
  versionsOf,
} from '../harness/suite.ts';
import { costText, median, percent, ratio, round, spread, table } from '../harness/table.ts';

/** Sides that are no peers. */
const PLAIN = ['tunnel', 'direct', 'relays'];

type Measure = (options: LoadOptions) => Promise<number>;

const requests: Measure = (options) => measureRequests(options, HOST);
const connects: Measure = (options) => measureConnects(options, HOST);
const autocannon: Measure = (options) => measureByAutocannon(options, HOST);

interface Row {
  readonly name: string;
  readonly unit: string;
  readonly kind: Kind;
  readonly connections: number;
  readonly measure: Measure;
  /** Only with `--wide`. */
  readonly isWide: boolean;
}

const ROWS: readonly Row[] = [
  ...rows('download', 'MB/s', 'raw', [measureDownload, 1, 8, -64]),
  ...rows('upload', 'MB/s', 'raw', [measureUpload, 1, 8, -64]),
  ...rows('echo of 64 B', '/s', 'raw', [measureEchoes, -1, 64, -512]),
  ...rows('HTTP keep-alive', '/s', 'http', [requests, -1, 64, -512]),
  ...rows('HTTP by host', '/s', 'byHost', [requests, -1, 64, -512]),
  ...rows('HTTP by host, autocannon', '/s', 'byHost', [autocannon, 64]),
  ...rows('HTTP, new connection each', '/s', 'http', [connects, 64]),
  ...rows('HTTP by host, new connection each', '/s', 'byHost', [connects, 64]),
];

/** Rows of one load with several numbers of connections; a negative one is for `--wide` only. */
function rows(
  ...[name, unit, kind, [measure, ...counts]]: [string, string, Kind, [Measure, ...number[]]]
): Row[] {
  return counts.map((count) => ({
    name: `${name}, ${Math.abs(count)}`,
    ...{ unit, kind, measure },
    connections: Math.abs(count),
    isWide: count < 0,
  }));
}

export async function measureRates(options: SuiteOptions): Promise<SuiteResult> {
  const { samples, sides, left } = await sampleRates(options);
  const [tunnel] = sides as [Side];
  const hasPeers = sides.some(({ name }) => !PLAIN.includes(name));
  return {
    text: [plainTable(samples), ...(hasPeers ? peerTables(samples, sides) : [])]
      .concat(residentLine(tunnel))
      .join('\n'),
    samples,
    versions: versionsOf(sides),
    left,
  };
}

/** The scenarios of these names; the options choose when there are none. */
export async function sampleRates(
  options: SuiteOptions,
  names?: readonly string[],
): Promise<Sampled<Sample>> {
  const { children, rounds, isAlone, tell } = options;
  const origins = await startOrigins(children);
  const { tunnel, peers, left } = await startSides(options, { origins });
  const plain = isAlone ? [] : [directSide(origins), await startRelays(children, origins)];
  const sides = [tunnel, ...plain, ...peers];
  const scenarios = scenariosFor(options, names);
  const samples = await measureRounds({ scenarios, sides, rounds, tell });
  return { samples, sides, left: [...left, ...failures(samples)] };
}

function scenariosFor(
  { only, isWide, ms }: SuiteOptions,
  names: readonly string[] | undefined,
): Scenario[] {
  const isChosen = ({ name, isWide: isExtra }: Row): boolean =>
    names?.includes(name) ?? (name.includes(only) && (isWide || !isExtra));
  return ROWS.filter(isChosen).map(({ name, unit, kind, connections, measure }) => ({
    name,
    unit,
    measure: ({ ports }, meter) => {
      const port = ports[kind];
      return port === undefined ? undefined : measure({ target: { port }, connections, ms, meter });
    },
  }));
}

function plainTable(samples: readonly Sample[]): string {
  const titles = ['scenario', 'tunnel', 'none', 'two relays'];
  return table([
    [...titles, 'of none', 'of relays', 'spread', 'CPU'],
    ...samples.map(({ scenario, unit, sides }) => {
      const [tunnel, direct, relays] = ['tunnel', 'direct', 'relays'].map(
        (name) => sides[name]?.rates ?? [],
      ) as [number[], number[], number[]];
      return [
        scenario,
        ...[tunnel, direct, relays].map((rates) => `${round(median(rates))} ${unit}`),
        ratio(tunnel, direct),
        ratio(tunnel, relays),
        percent(spread(tunnel)),
        costText(unit, sides.tunnel?.costs ?? []),
      ];
    }),
  ]);
}

/** Our rate by each peer's, and the CPU that each needs for the same work. */
function peerTables(samples: readonly Sample[], sides: readonly Side[]): string[] {
  const peers = sides.filter(({ name }) => name !== 'direct').map(({ name }) => name);
  const others = peers.filter((name) => name !== 'tunnel');
  const rates = samples.map(({ scenario, unit, sides: of }) => [
    `${scenario} (${unit})`,
    ...peers.map((name) => round(median(of[name]?.rates ?? []))),
  ]);
  const ratios = samples.map(({ scenario, sides: of }) => [
    scenario,
    ...others.map((name) => ratio(of.tunnel?.rates ?? [], of[name]?.rates ?? [])),
  ]);
  const costs = samples.map(({ scenario, unit, sides: of }) => [
    scenario,
    ...peers.map((name) => costText(unit, of[name]?.costs ?? [])),
  ]);
  return [
    table([['rate', ...peers], ...rates]),
    table([['tunnel by', ...others], ...ratios]),
    table([['CPU', ...peers], ...costs]),
  ];
}

function residentLine({ pids }: Side): string {
  const mb = (of: readonly number[]): string => `${round(residentBytes(of) / 1e6)} MB`;
  return `resident after the load: exit node ${mb(pids.server)}, client ${mb(pids.client)}\n`;
}

function failures(samples: readonly Sample[]): string[] {
  return samples.flatMap(({ scenario, sides }) =>
    Object.entries(sides)
      .filter(([, series]) => series.failure !== undefined)
      .map(([name, { failure = '' }]) => `${name}: ${scenario}: ${failure}`),
  );
}
