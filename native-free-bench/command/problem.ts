// What keeps a run from being a success: failures, silence, or a rate that was not reached.
//
// Invariant: one rule for a target and for each side of a tunnel of our own; each round is judged,
// since a median hides one that is silent. Must not know: how load is made, where it is shown.

import { round as rounded } from '../harness/table.ts';
import { failuresOf, type SelfReport, type TargetReport } from './report.ts';
import type { Round } from './tally.ts';

/** Below this share of the rate that was asked for, latencies are those of an overload. */
const RATE_REACHED = 0.98;
/** Messages that the edges of a round may cut off, which is much of a short one; a guess. */
const EDGE_MESSAGES = 5;

type Failures = Readonly<Record<string, number>>;

export function countOf(failures: Failures): number {
  return Object.values(failures).reduce((sum, each) => sum + each, 0);
}

/** Undefined where nothing failed. */
export function failureText(failures: Failures): string | undefined {
  const count = countOf(failures);
  if (count === 0) return undefined;
  const reasons = Object.entries(failures).map(([reason, each]) => `${rounded(each)} × ${reason}`);
  return `${rounded(count)} failed: ${reasons.join(', ')}`;
}

export function targetProblem(report: TargetReport): string | undefined {
  const { failures, rounds, options, load } = report;
  const failed = failureText(failures);
  if (failed !== undefined) return failed;
  const isBulk = load === 'download' || load === 'upload';
  if (isBulk) return silence(rounds.map(({ bytesPerSecond }) => bytesPerSecond));
  return slowness(rounds, options);
}

export function selfProblem(report: SelfReport): string | undefined {
  const { samples, latencies, options, failure: ended } = report;
  const unmeasured = samples.flatMap(({ scenario, sides }) =>
    Object.entries(sides).flatMap(([side, { failure, rates }]) => {
      const problem = failure ?? silence(rates);
      return problem === undefined ? [] : [`${scenario}: ${side}: ${problem}`];
    }),
  );
  const paced = latencies.flatMap(({ side, rounds }) => {
    const problem = failureText(failuresOf(rounds)) ?? slowness(rounds, options);
    return problem === undefined ? [] : [`paced requests: ${side}: ${problem}`];
  });
  const all = [...(ended === undefined ? [] : [ended]), ...unmeasured, ...paced];
  return all.length === 0 ? undefined : all.join('; ');
}

/** The first round below the rate, or without an answer. */
function slowness(
  rounds: readonly Round[],
  { perSecond, durationMs }: TargetReport['options'],
): string | undefined {
  const rates = rounds.map(({ answersPerSecond }) => answersPerSecond);
  const silent = silence(rates);
  if (silent !== undefined) return silent;
  const seconds = durationMs / 1000;
  const mayMiss = Math.max(EDGE_MESSAGES, perSecond * seconds * (1 - RATE_REACHED));
  const at = rates.findIndex((rate) => (perSecond - rate) * seconds > mayMiss);
  if (at === -1) return undefined;
  const reached = `${rounded(rates[at] ?? 0)} of ${rounded(perSecond)} a second`;
  return `the rate was not reached: ${reached} in round ${at + 1}`;
}

function silence(rates: readonly number[]): string | undefined {
  const at = rates.indexOf(0);
  return at === -1 ? undefined : `nothing came back while round ${at + 1} was counted`;
}
