// The rates that a tunnel is asked for: bulk each way, echoes, requests and new connections.
//
// Invariant: every scenario of every side goes to the same origin from the same generator. Must not
// know: which sides there are.

import {
  type LoadOptions,
  measureByAutocannon,
  measureConnects,
  measureDownload,
  measureEchoes,
  measureRequests,
  measureUpload,
} from './load.ts';
import type { Scenario } from './rounds.ts';
import { HOST, type Kind } from './side.ts';

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

/** Those of `names`; without names, those whose name contains `only`. */
export function rateScenarios(
  { only, isWide, ms }: { only: string; isWide: boolean; ms: number },
  names?: readonly string[],
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
