// The suite of latency: a lone echo, and echoes that come at a fixed rate on many connections.
//
// Invariant: sides take turns within a round; a fixed rate is far below what the slowest side can
// do, so what is seen is delay, not saturation. A side that fails has no figure but a reason, and
// our own failing ends the run.

import type { Latency } from '../harness/histogram.ts';
import { measureLoneEchoes, measurePacedEchoes } from '../harness/latency.ts';
import { directSide, startOrigins, startRelays } from '../harness/plain.ts';
import { failureOf, untilCompiled } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import {
  type Sampled,
  type SuiteOptions,
  type SuiteResult,
  startSides,
  versionsOf,
} from '../harness/suite.ts';
import { median, ratio, round, table } from '../harness/table.ts';

/** About a sixth of what the slowest peer does on two cores. */
const PER_SECOND = 3_000;
const CONNECTIONS = 64;

const ROWS = [
  { name: 'lone echo', connections: 1, perSecond: 0 },
  {
    name: `${PER_SECOND} echoes/s, ${CONNECTIONS}`,
    connections: CONNECTIONS,
    perSecond: PER_SECOND,
  },
] as const;

export interface LatencySample {
  readonly scenario: string;
  readonly sides: Readonly<Record<string, Latency[]>>;
  /** Of sides that have no figure. */
  readonly failures: Record<string, string>;
}

export async function measureLatency(options: SuiteOptions): Promise<SuiteResult> {
  const { samples, sides, left } = await sampleLatency(options);
  const text = samples.map((sample) => report(sample, sides)).join('\n');
  return { text, samples, versions: versionsOf(sides), left };
}

export async function sampleLatency(options: SuiteOptions): Promise<Sampled<LatencySample>> {
  const { children, rounds, ms, tell, only } = options;
  const origins = await startOrigins(children);
  const { tunnel, peers, left } = await startSides(options, { origins });
  const sides = [tunnel, directSide(origins), await startRelays(children, origins), ...peers];
  const chosen = ROWS.filter(({ name }) => name.includes(only)).map((row) => ({
    row,
    sample: newSample(row.name, sides),
  }));
  // As in harness/rounds.ts, the round before the first one only warms up.
  for (let round = rounds > 1 ? 0 : 1; round <= rounds; round += 1) {
    for (const { row, sample } of chosen) {
      for (const side of round % 2 === 0 ? sides.toReversed() : sides) {
        const found = sample.sides[side.name] ?? [];
        if (sample.failures[side.name] !== undefined) continue;
        tell(`round ${round} of ${rounds}: ${row.name}: ${side.name}`);
        const failure = await failureOf(side, async () => {
          if (round === 0) await untilCompiled(() => measureRow(row, side, ms).then(() => true));
          else found.push(await measureRow(row, side, ms));
        });
        if (failure === undefined) continue;
        sample.failures[side.name] = failure;
        found.splice(0);
      }
    }
  }
  tunnel.check?.();
  const samples = chosen.map(({ sample }) => sample);
  return { samples, sides, left: [...left, ...samples.flatMap(failuresOf)] };
}

function newSample(scenario: string, sides: readonly Side[]): LatencySample {
  const none = sides.map((side): [string, Latency[]] => [side.name, []]);
  return { scenario, sides: Object.fromEntries(none), failures: {} };
}

function failuresOf({ scenario, failures }: LatencySample): string[] {
  return Object.entries(failures).map(([name, reason]) => `${name}: ${scenario}: ${reason}`);
}

async function measureRow(
  { connections, perSecond }: (typeof ROWS)[number],
  { ports }: Side,
  ms: number,
): Promise<Latency> {
  const load = { target: { port: ports.raw ?? 0 }, connections, ms };
  return perSecond === 0
    ? await measureLoneEchoes(load)
    : await measurePacedEchoes({ ...load, perSecond });
}

function report({ scenario, sides: of }: LatencySample, sides: readonly Side[]): string {
  const ours = (of.tunnel ?? []).map(({ p50Us }) => p50Us);
  return table([
    [scenario, 'p50', 'p99', 'p99.9', 'worst', 'tunnel by it, p50'],
    ...sides.map(({ name }) => {
      const all = of[name] ?? [];
      const us = (pick: (latency: Latency) => number): string =>
        `${round(median(all.map(pick)))} µs`;
      return [
        name,
        us(({ p50Us }) => p50Us),
        us(({ p99Us }) => p99Us),
        us(({ p999Us }) => p999Us),
        us(({ maxUs }) => maxUs),
        ratio(
          ours,
          all.map(({ p50Us }) => p50Us),
        ),
      ];
    }),
  ]);
}
