// The suite of rates: bulk each way, echoes and HTTP requests, on the tunnel, on no tunnel and on
// two plain relays, and with `--peers` on every other tunnel that is there.
//
// Invariant: every scenario of every side goes to the same origin from the same generator.

import { directSide, startOrigins, startRelays } from '../harness/plain.ts';
import { residentBytes } from '../harness/process-cost.ts';
import { rateScenarios } from '../harness/rate-scenarios.ts';
import { rateTable } from '../harness/rate-table.ts';
import { failuresIn, measureRounds, type Sample } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import {
  type Sampled,
  type SuiteOptions,
  type SuiteResult,
  startSides,
  versionsOf,
} from '../harness/suite.ts';
import { costText, median, ratio, round, table } from '../harness/table.ts';
import { startTunnel } from '../harness/tunnel.ts';

/** Sides that are no peers. */
const PLAIN = ['tunnel', 'direct', 'relays'];

export async function measureRates(options: SuiteOptions): Promise<SuiteResult> {
  const { samples, sides, left } = await sampleRates(options);
  const [tunnel] = sides as [Side];
  const hasPeers = sides.some(({ name }) => !PLAIN.includes(name));
  return {
    text: [rateTable(samples), ...(hasPeers ? peerTables(samples, sides) : [])]
      .concat(residentLine(tunnel))
      .join('\n'),
    samples,
    versions: versionsOf(sides),
    left,
  };
}

/** The side with one shard at each end, beside one that has more. */
export const ONE_SHARD = 'one shard';

export interface RatesSetup {
  /** At each end, with a side of one shard beside; else the exit node has what the options say. */
  readonly shardsEach?: number;
}

/** The scenarios of these names; the options choose when there are none. */
export async function sampleRates(
  options: SuiteOptions,
  names?: readonly string[],
  { shardsEach }: RatesSetup = {},
): Promise<Sampled<Sample>> {
  const { children, rounds, isAlone, entry, tell } = options;
  const origins = await startOrigins(children);
  const shards = shardsEach ?? options.shards;
  const args = shardsEach === undefined ? {} : { clientArgs: [`--shards=${shardsEach}`] };
  const { tunnel, peers, left } = await startSides({ ...options, shards }, { origins }, args);
  const plain = isAlone ? [] : [directSide(origins), await startRelays(children, origins)];
  const sides: Side[] = [tunnel, ...plain, ...peers];
  if (shardsEach !== undefined && shardsEach > 1) {
    const one = await startTunnel(children, { origins, entry, shards: 1 });
    sides.push({ ...one, name: ONE_SHARD });
  }
  const scenarios = rateScenarios(options, names);
  const samples = await measureRounds({ scenarios, sides, rounds, tell });
  return { samples, sides, left: [...left, ...failuresIn(samples)] };
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
