// The suite of check: is anything slower than it was? Micro-benchmarks by a fixed loop, and the
// tunnel by two plain relays, each against the ratio that was stored.
//
// Invariant: only ratios inside this run are compared with stored ones; what seems to have fallen
// is measured once more, and counts as fallen only when it is so again, since a machine that
// stumbles does so once. Must not know: what a change was.

import { Bench } from 'tinybench';
import { differences, readBaseline, storeBaseline } from '../harness/baseline.ts';
import { createMicros, createYardstick, type Micro } from '../harness/micro.ts';
import { startOrigins, startRelays } from '../harness/plain.ts';
import { rateScenarios } from '../harness/rate-scenarios.ts';
import { measureRounds } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import { NothingChosen, type SuiteOptions, type SuiteResult } from '../harness/suite.ts';
import { median, percent, round, spread, table } from '../harness/table.ts';
import { startTunnel } from '../harness/tunnel.ts';

const MACROS = ['download, 8', 'echo of 64 B, 64', 'HTTP by host, 64'];
const MICRO_MS = 120;
const MICRO_ROUNDS = 7;
const MACRO_ROUNDS = 5;
const MACRO_MS = 600;

/** Ratios by name, one for each round. */
type Ratios = Map<string, number[]>;

interface Verdict {
  readonly name: string;
  readonly now: readonly number[];
  readonly stored: number;
  readonly hasFallen: boolean;
}

export async function measureCheck(options: SuiteOptions): Promise<SuiteResult> {
  const sides = await startBoth(options);
  const all = await measureAll(options, sides);
  sides.tunnel.check?.();
  const found = new Map([...all].map(([name, ratios]) => [name, median(ratios)]));
  if (options.doesStore) {
    const file = storeBaseline(Object.fromEntries(found));
    return {
      text: `${storedTable(all)}stored: ${file}\n`,
      samples: [...all],
      versions: {},
      left: [],
    };
  }
  const baseline = readBaseline();
  const chosen = Object.entries(baseline.ratios).filter(([name]) => name.includes(options.only));
  let verdicts = judge(all, Object.fromEntries(chosen), options.factor);
  if (verdicts.length === 0) throw new NothingChosen(`--only: nothing is named '${options.only}'`);
  const suspects = verdicts.filter(({ hasFallen }) => hasFallen).map(({ name }) => name);
  if (suspects.length > 0) {
    const again = await measureAll(options, sides, suspects);
    verdicts = verdicts.map((verdict) => confirmed(verdict, again, options.factor));
  }
  return {
    text: report(verdicts, options.factor, suspects),
    samples: verdicts,
    versions: {},
    left: differences(baseline),
    hasMissed: verdicts.some(({ hasFallen }) => hasFallen),
  };
}

interface Both {
  readonly tunnel: Side;
  readonly relays: Side;
}

async function startBoth({ children, entry, shards }: SuiteOptions): Promise<Both> {
  const origins = await startOrigins(children);
  return {
    tunnel: await startTunnel(children, { origins, entry, shards }),
    relays: await startRelays(children, origins),
  };
}

async function measureAll(
  options: SuiteOptions,
  sides: Both,
  names?: readonly string[],
): Promise<Ratios> {
  const isWanted = (name: string): boolean => names?.includes(name) ?? name.includes(options.only);
  const micros = createMicros().filter(({ name }) => isWanted(name));
  const macros = MACROS.filter(isWanted);
  return new Map([
    ...(await measureMicros(options, micros)),
    ...(await measureMacros(options, sides, macros)),
  ]);
}

/** By the yardstick, which runs right before and right after each. */
async function measureMicros(options: SuiteOptions, micros: readonly Micro[]): Promise<Ratios> {
  const ratios: Ratios = new Map(micros.map(({ name }) => [name, []]));
  const yardstick = createYardstick();
  const rounds = options.isSmoke ? 1 : MICRO_ROUNDS;
  const ms = options.isSmoke ? 1 : MICRO_MS;
  for (let index = 0; index < rounds; index += 1) {
    for (const micro of micros) {
      options.tell(`round ${index + 1} of ${rounds}: ${micro.name}`);
      const before = await timeOf(yardstick, ms / 2);
      const time = await timeOf(micro, ms);
      const after = await timeOf(yardstick, ms / 2);
      ratios.get(micro.name)?.push((before + after) / 2 / time);
    }
  }
  return ratios;
}

/** Milliseconds of the median call. */
async function timeOf({ name, run }: Micro, ms: number): Promise<number> {
  const bench = new Bench({ time: ms, warmupTime: ms / 4, throws: true });
  bench.add(name, run);
  await bench.run();
  const result = bench.tasks[0]?.result;
  if (result === undefined || !('latency' in result)) throw new Error(`${name} was not measured`);
  return result.latency.p50;
}

async function measureMacros(
  options: SuiteOptions,
  { tunnel, relays }: Both,
  names: readonly string[],
): Promise<Ratios> {
  const ms = options.isSmoke ? options.ms : MACRO_MS;
  const samples = await measureRounds({
    scenarios: rateScenarios({ only: '', isWide: false, ms }, names),
    sides: [tunnel, relays],
    rounds: options.isSmoke ? 1 : MACRO_ROUNDS,
    tell: options.tell,
  });
  return new Map(
    samples.map(({ scenario, sides }) => {
      const yard = sides.relays?.rates ?? [];
      const ours = sides.tunnel?.rates ?? [];
      return [scenario, ours.map((rate, at) => rate / (yard[at] ?? Number.NaN))];
    }),
  );
}

/**
 * What nothing is stored for has fallen too, and what is stored and was not measured: a guard that
 * knows nothing, or looks at nothing, would hold for ever.
 */
export function judge(
  all: Ratios,
  stored: Readonly<Record<string, number>>,
  factor: number,
): Verdict[] {
  return [...new Set([...all.keys(), ...Object.keys(stored)])].map((name) => {
    const now = all.get(name) ?? [];
    const wanted = stored[name] ?? Number.NaN;
    return { name, now, stored: wanted, hasFallen: !(median(now) >= wanted * factor) };
  });
}

function confirmed(verdict: Verdict, again: Ratios, factor: number): Verdict {
  const now = again.get(verdict.name);
  if (now === undefined) return verdict;
  return { ...verdict, now, hasFallen: !(median(now) >= verdict.stored * factor) };
}

function report(verdicts: readonly Verdict[], factor: number, suspects: readonly string[]): string {
  const rows = verdicts.map(({ name, now, stored, hasFallen }) => [
    name,
    round(median(now), 3),
    round(stored, 3),
    round(median(now) / stored, 2),
    percent(spread(now)),
    hasFallen ? 'FALLEN' : suspects.includes(name) ? 'held, at the second look' : 'held',
  ]);
  const fallen = verdicts.filter(({ hasFallen }) => hasFallen).length;
  return (
    table([['ratio', 'now', 'stored', 'now by stored', 'spread', ''], ...rows]) +
    `wanted: at least ${factor} of what is stored; ${fallen} fallen\n`
  );
}

function storedTable(all: Ratios): string {
  const rows = [...all].map(([name, now]) => [name, round(median(now), 3), percent(spread(now))]);
  return table([['ratio', 'now', 'spread'], ...rows]);
}
