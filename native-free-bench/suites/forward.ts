// The suite of local forwards: a local port of the client against a TCP port of the exit node.
//
// Invariant: both lead to the same origin over the same link, of the same two processes; only who
// opens the stream differs. Must not know: how either is configured.

import { measureDownload, measureEchoes, measureUpload } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { type LoadRow, loadScenarios, measureRounds, type Sample } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import { type SuiteOptions, type SuiteResult, versionsOf } from '../harness/suite.ts';
import { median, percent, ratio, round, spread, table } from '../harness/table.ts';
import { startTunnel } from '../harness/tunnel.ts';

const [TUNNEL, FORWARD] = ['TCP tunnel', 'local forward'] as const;
/** Of a TCP tunnel (issue: local forwards). */
const WANTED = 0.9;

const ROWS: readonly LoadRow[] = [
  ['download, 1', 'MB/s', measureDownload, 1],
  ['download, 8', 'MB/s', measureDownload, 8],
  ['upload, 1', 'MB/s', measureUpload, 1],
  ['upload, 8', 'MB/s', measureUpload, 8],
  ['echo of 64 B, 64', '/s', measureEchoes, 64],
];

export async function measureForward(options: SuiteOptions): Promise<SuiteResult> {
  const { children, rounds, tell, shards, entry, only, ms } = options;
  const origins = await startOrigins(children);
  const both = await startTunnel(children, { origins, shards, entry, forwards: true });
  const { local = 0 } = both.ports;
  const sides: Side[] = [
    { ...both, name: TUNNEL },
    { ...both, name: FORWARD, ports: { raw: local } },
  ];
  const scenarios = loadScenarios(ROWS, { only, ms });
  const samples = await measureRounds({ scenarios, sides, rounds, tell });
  return { text: forwardTable(samples), samples, versions: versionsOf(sides), left: [] };
}

function forwardTable(samples: readonly Sample[]): string {
  const rows = samples.map(({ scenario, unit, sides }) => {
    const [tunnel, forward] = [TUNNEL, FORWARD].map((name) => sides[name]?.rates ?? []);
    return [
      `${scenario} (${unit})`,
      ...[tunnel, forward].map((rates) => round(median(rates ?? []))),
      ratio(forward ?? [], tunnel ?? []),
      percent(spread(forward ?? [])),
    ];
  });
  const titles = ['', TUNNEL, FORWARD, 'of the tunnel', 'spread'];
  return `${table([titles, ...rows])}wanted: ${WANTED} of the tunnel\n`;
}
