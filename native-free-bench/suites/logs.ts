// The suite of logs: what is left of an exit node's rate when it logs each request, to a sink that
// takes the lines or to one that does not, against /dev/null; and what it has without such a log.
//
// Invariant: the exit nodes differ in nothing but their logs, and lines that were lost show which
// sinks failed, and that the others took theirs: a run in which they do not is no measurement. Must
// not know: how a sink fails.

import { closeSync } from 'node:fs';
import { freePort } from '../harness/children.ts';
import { measureRequests } from '../harness/load.ts';
import { FAILING_SINKS, openSink, type Sink, TAKING_SINKS } from '../harness/log-sinks.ts';
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

const [YARDSTICK] = TAKING_SINKS;
const NO_LOG = 'no such log';
/** What the design asks for, of the rate with /dev/null. */
const WANTED = 0.8;
/** Of what a sink that fails loses: a busy machine may be late with a reader, or with a disk. */
const TAKING_LOST_MAX = 0.01;
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
  nodes.push({ ...(await startNode(options, origins, YARDSTICK, [])), name: NO_LOG });
  for (const sink of [...TAKING_SINKS, ...FAILING_SINKS]) {
    nodes.push(await startNode(options, origins, sink, LOGS_ALL));
  }
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
  serverArgs: readonly string[],
): Promise<Tunnel> {
  const log = openSink(sink, children);
  try {
    const ports = { control: await freePort(), http: await freePort() };
    const site = { origins, shards, entry, ports, log, serverArgs };
    return { ...(await startTunnel(children, site)), name: sink };
  } finally {
    closeSync(log);
  }
}

/** Throws where a sink is not what its name says. */
function refuseUnfailed(lost: Lost): void {
  const lostBy = (sink: Sink): number => lost[sink] ?? 0;
  const takenMax = Math.max(...TAKING_SINKS.map(lostBy));
  const failedMin = Math.min(...FAILING_SINKS.map(lostBy));
  if (failedMin > 0 && takenMax <= failedMin * TAKING_LOST_MAX) return;
  throw new Error(`lines lost, by where they went: ${JSON.stringify(lost)}`);
}

function report({ scenario, unit, sides }: Sample, lost: Lost): string {
  const whole = sides[YARDSTICK]?.rates ?? [];
  const rows = Object.entries(sides).map(([name, { rates, serverCosts }]) => {
    return [
      name,
      `${round(median(rates))} ${unit}`,
      percent(spread(rates)),
      ratio(rates, whole),
      percent(spread(ratiosOf(rates, whole))),
      costText(unit, serverCosts),
      round(lost[name] ?? Number.NaN),
    ];
  });
  const titles = [`${scenario}, its log to`, 'rate', 'spread', `of ${YARDSTICK}`, 'its spread'];
  return (
    table([[...titles, "exit node's CPU", 'lines lost'], ...rows]) +
    `wanted: ${WANTED} of the rate with ${YARDSTICK}\n`
  );
}
