// Rounds: every scenario on every side, one right after the other, and the next round the other way
// round, so that a machine that grows slower meets all alike. The first one only warms up, and
// takes its time.
//
// Invariant: a side that fails a scenario has no figure there but a reason, and our own failing
// ends the run; what was found until then stays with whoever gave the samples. Must not know: what
// is measured.

import type { LoadOptions, Meter } from './load.ts';
import { cpuSeconds, mainThreadSeconds } from './process-cost.ts';
import { allPids, type Side } from './side.ts';

export interface Scenario {
  readonly name: string;
  readonly unit: string;
  /** The rate on a side; undefined when the side has nothing of the kind. */
  readonly measure: (side: Side, meter: Meter) => Promise<number> | undefined;
}

/**
 * Load of one scenario on one side in the round that does not count. Measured: a new connection
 * costs 182 µs of CPU in the third second of such a load on two busy cores, 124 in the sixth and
 * 107 in the ninth; with two shards, each of which compiles for itself, 168, 171 and 150 (0048).
 */
const COMPILING_MS = 10_000;

/** What one side did in one scenario, a figure for each round. */
export interface Series {
  readonly rates: number[];
  /** CPU seconds for one of the scenario's units, of all the side's processes. */
  readonly costs: number[];
  /** Of these, what the server's processes took, and of that what their main threads did. */
  readonly serverCosts: number[];
  readonly mainCosts: number[];
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
  /** Of `newSamples`, filled round by round, for whoever wants what there is when it fails. */
  readonly samples?: Sample[];
}

/** What is counted, on a side's raw port. */
export type Load = (options: LoadOptions) => Promise<number>;

export type LoadRow = readonly [name: string, unit: string, load: Load, connections: number];

/** Scenarios that put a load on the raw port of each side. */
export function loadScenarios(
  rows: readonly LoadRow[],
  { only, ms }: { readonly only: string; readonly ms: number },
): Scenario[] {
  return rows
    .filter(([name]) => name.includes(only))
    .map(([name, unit, load, connections]) => ({
      name,
      unit,
      measure: ({ ports: { raw }, dial }, meter) =>
        raw === undefined
          ? undefined
          : load({ target: { port: raw, ...(dial && { dial }) }, connections, ms, meter }),
    }));
}

/** Without a figure yet, for each scenario on each side. */
export function newSamples({ scenarios, sides }: Pick<RoundsOptions, 'scenarios' | 'sides'>) {
  return scenarios.map(
    ({ name, unit }): Sample => ({
      scenario: name,
      unit,
      sides: Object.fromEntries(sides.map((side): [string, Series] => [side.name, newSeries()])),
    }),
  );
}

export async function measureRounds(options: RoundsOptions): Promise<Sample[]> {
  const { scenarios, sides, rounds, tell, samples = newSamples(options) } = options;
  // What runs for days is compiled; a round that does not count brings all to that, generator and
  // origin too. One round alone is a look, and has none.
  for (let round = rounds > 1 ? 0 : 1; round <= rounds; round += 1) {
    for (const [index, scenario] of scenarios.entries()) {
      for (const side of round % 2 === 0 ? sides.toReversed() : sides) {
        tell(`round ${round} of ${rounds}: ${scenario.name}: ${side.name}`);
        const series = samples[index]?.sides[side.name];
        if (round === 0) await warmUp(scenario, side);
        else if (series !== undefined) await measureOne(scenario, side, series);
      }
    }
  }
  for (const side of sides) side.check?.();
  return samples;
}

async function warmUp(scenario: Scenario, side: Side): Promise<void> {
  const series = newSeries();
  await untilCompiled(async () => {
    await measureOne(scenario, side, series);
    return series.failure === undefined && series.rates.length > 0;
  });
}

/** Puts a load on for as long as programs compile, or until `run` says that there is none. */
export async function untilCompiled(run: () => Promise<boolean>): Promise<void> {
  const endMs = performance.now() + COMPILING_MS;
  while ((await run()) && performance.now() < endMs);
}

function newSeries(): Series {
  return { rates: [], costs: [], serverCosts: [], mainCosts: [] };
}

/** Why a side could not do what was asked of it; our own failing is an error. */
export async function failureOf(
  side: Side,
  measure: () => Promise<void>,
): Promise<string | undefined> {
  try {
    await measure();
    return undefined;
  } catch (error) {
    if (side.check !== undefined) throw error;
    return error instanceof Error ? error.message : String(error);
  }
}

/** What a side could not do, as lines of what is left out. */
export function failuresIn(samples: readonly Sample[]): string[] {
  return samples.flatMap(({ scenario, sides }) =>
    Object.entries(sides).flatMap(([name, { failure }]) =>
      failure === undefined ? [] : [`${name}: ${scenario}: ${failure}`],
    ),
  );
}

async function measureOne(scenario: Scenario, side: Side, series: Series): Promise<void> {
  if (series.failure !== undefined) return;
  const pids = allPids(side);
  const look = () => ({
    server: cpuSeconds(side.pids.server),
    client: cpuSeconds(side.pids.client),
    main: mainThreadSeconds(side.pids.server),
    ms: performance.now(),
  });
  let from = look();
  let to = from;
  const meter = {
    begin: () => {
      from = look();
    },
    end: () => {
      to = look();
    },
  };
  try {
    const rate = await scenario.measure(side, meter);
    if (rate === undefined) return;
    series.rates.push(rate);
    const units = (rate * (to.ms - from.ms)) / 1000;
    if (pids.length === 0) return;
    const server = to.server - from.server;
    series.costs.push((server + to.client - from.client) / units);
    series.serverCosts.push(server / units);
    series.mainCosts.push((to.main - from.main) / units);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    if (side.check === undefined) fail(series, reason);
    else throw new Error(`${scenario.name}: ${side.name}: ${reason}`, { cause: error });
  }
}

/** Figures of other rounds would be taken for those of rounds that it has not. */
function fail(series: Series, reason: string): void {
  series.failure = reason;
  for (const figures of [series.rates, series.costs, series.serverCosts, series.mainCosts]) {
    figures.splice(0);
  }
}
