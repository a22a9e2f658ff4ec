// Rounds: every scenario on every side, one right after the other, and the next round the other way
// round, so that a machine that grows slower meets all alike.
//
// Invariant: a side that fails a scenario has no figure there but a reason, and our own failing
// ends the run. Must not know: what is measured.

import type { Meter } from './load.ts';
import { cpuSeconds } from './process-cost.ts';
import { allPids, type Side } from './side.ts';

export interface Scenario {
  readonly name: string;
  readonly unit: string;
  /** The rate on a side; undefined when the side has nothing of the kind. */
  readonly measure: (side: Side, meter: Meter) => Promise<number> | undefined;
}

/** What one side did in one scenario, a figure for each round. */
export interface Series {
  readonly rates: number[];
  /** CPU seconds for one of the scenario's units, of all the side's processes. */
  readonly costs: number[];
  failure?: string;
}

export interface Sample {
  readonly scenario: string;
  readonly unit: string;
  readonly sides: Readonly<Record<string, Series>>;
}

export interface RoundsOptions {
  readonly scenarios: readonly Scenario[];
  readonly sides: readonly Side[];
  readonly rounds: number;
  readonly tell: (progress: string) => void;
}

export async function measureRounds(options: RoundsOptions): Promise<Sample[]> {
  const { scenarios, sides, rounds, tell } = options;
  const samples = scenarios.map(({ name, unit }) => ({
    scenario: name,
    unit,
    sides: Object.fromEntries(
      sides.map((side): [string, Series] => [side.name, { rates: [], costs: [] }]),
    ),
  }));
  for (let round = 0; round < rounds; round += 1) {
    for (const [index, scenario] of scenarios.entries()) {
      for (const side of round % 2 === 0 ? sides : sides.toReversed()) {
        tell(`round ${round + 1} of ${rounds}: ${scenario.name}: ${side.name}`);
        const series = samples[index]?.sides[side.name];
        if (series !== undefined) await measureOne(scenario, side, series);
      }
    }
  }
  for (const side of sides) side.check?.();
  return samples;
}

async function measureOne(scenario: Scenario, side: Side, series: Series): Promise<void> {
  const pids = allPids(side);
  let atStart = { cpu: 0, ms: 0 };
  let cpu = 0;
  let ms = 0;
  const meter = {
    begin: () => {
      atStart = { cpu: cpuSeconds(pids), ms: performance.now() };
    },
    end: () => {
      cpu = cpuSeconds(pids) - atStart.cpu;
      ms = performance.now() - atStart.ms;
    },
  };
  try {
    const rate = await scenario.measure(side, meter);
    if (rate === undefined) return;
    series.rates.push(rate);
    if (pids.length > 0) series.costs.push(cpu / ((rate * ms) / 1000));
  } catch (error) {
    if (side.check !== undefined) throw error;
    series.failure = error instanceof Error ? error.message : String(error);
  }
}
