// The suite of logs: what is left of an exit node's rate when its log, a line for each request,
// goes to a full device, a pipe that nobody reads, or a pipe that is closed, against /dev/null.
//
// Invariant: the exit nodes differ in nothing but their sinks, and lines that were lost show that a
// sink failed, and that the yardstick took its own: a run in which they do not is no measurement.
// Must not know: how a sink fails.

import { closeSync } from 'node:fs';
import { freePort } from '../harness/children.ts';
import { measureRequests } from '../harness/load.ts';
import { openSink, SINKS, type Sink } from '../harness/log-sinks.ts';
import { startOrigins } from '../harness/plain.ts';
import { type LoadRow, loadScenarios, measureRounds, type Sample } from '../harness/rounds.ts';
import { HOST, type Origins } from '../harness/side.ts';
import {
  NothingChosen,
  type SuiteOptions,
  type SuiteResult,
  versionsOf,
} from '../harness/suite.ts';
import {
  costText,
  median,
  percent,
  ratio,
  ratiosOf,
  round,
  spread,
  table,
} from '../harness/table.ts';
import { scrape, startTunnel, type Tunnel } from '../harness/tunnel.ts';

const [YARDSTICK] = SINKS;
/** What the design asks for, of the rate with /dev/null. */
const WANTED = 0.8;
/** Of what a sink that fails loses: the pool's threads, which write, come late now and then. */
const YARDSTICK_LOST_MAX = 0.01;
const LOGS_ALL = ['--log-level=debug', '--access-log'];

const ROWS: readonly LoadRow[] = [
  ['HTTP by host, 64', '/s', (options) => measureRequests(options, HOST), 64],
];

type Lost = Readonly<Record<string, number>>;

export async function measureLogs(options: SuiteOptions): Promise<SuiteResult> {
  const { children, rounds, tell, only, isSmoke } = options;
  const scenarios = loadScenarios(ROWS, options);
  if (scenarios.length === 0) throw new NothingChosen(`--only: nothing is named '${only}'`);
  const origins = await startOrigins(children);
  const nodes: Tunnel[] = [];
  for (const sink of SINKS) nodes.push(await startNode(options, origins, sink));
  const sides = nodes.map((node) => ({ ...node, ports: { raw: node.ports.byHost ?? 0 } }));
  const samples = await measureRounds({ scenarios, sides, rounds, tell });
  const lost: Record<string, number> = {};
  for (const node of nodes) lost[node.name] = await scrape(node, 'sluiceway_log_dropped_total');
  // A moment fills no pipe and what is kept for it.
  if (!isSmoke) refuseUnfailed(lost);
  const text = samples.map((sample) => report(sample, lost)).join('\n');
  const figures = samples.map((sample) => ({ ...sample, lostLines: lost }));
  return { text, samples: figures, versions: versionsOf(sides), left: [] };
}

async function startNode(
  { children, shards, entry }: SuiteOptions,
  origins: Origins,
  sink: Sink,
): Promise<Tunnel> {
  const log = openSink(sink, children.folder());
  try {
    const ports = { control: await freePort(), http: await freePort() };
    const site = { origins, shards, entry, ports, log, serverArgs: LOGS_ALL };
    return { ...(await startTunnel(children, site)), name: sink };
  } finally {
    closeSync(log);
  }
}

/** Throws where a sink is not what its name says. */
function refuseUnfailed(lost: Lost): void {
  const ownMin = (lost[YARDSTICK] ?? 0) / YARDSTICK_LOST_MAX;
  for (const sink of SINKS.slice(1)) {
    const lines = lost[sink] ?? 0;
    if (lines > 0 && lines >= ownMin) continue;
    throw new Error(`lines lost: ${lines} with ${sink}, ${lost[YARDSTICK]} with ${YARDSTICK}`);
  }
}

function report({ scenario, unit, sides }: Sample, lost: Lost): string {
  const whole = sides[YARDSTICK]?.rates ?? [];
  const rows = SINKS.map((sink) => {
    const { rates, serverCosts } = sides[sink] ?? { rates: [], serverCosts: [] };
    return [
      sink,
      `${round(median(rates))} ${unit}`,
      percent(spread(rates)),
      ratio(rates, whole),
      percent(spread(ratiosOf(rates, whole))),
      costText(unit, serverCosts),
      round(lost[sink] ?? Number.NaN),
    ];
  });
  const titles = [`${scenario}, its log to`, 'rate', 'spread', `of ${YARDSTICK}`, 'its spread'];
  return (
    table([[...titles, "exit node's CPU", 'lines lost'], ...rows]) +
    `wanted: ${WANTED} of the rate with ${YARDSTICK}\n`
  );
}
