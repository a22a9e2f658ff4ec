// What keeps a run from being a success: failures, silence, or a rate that was not reached.
//
// Invariant: one rule for a target and for each side of a tunnel of our own. Must not know: how
// load is made, where it is shown.

import { round as rounded } from '../harness/table.ts';
import { failuresOf, type SelfReport, type Summary, type TargetReport } from './report.ts';

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
  const { failures, summary, options, load } = report;
  const failed = failureText(failures);
  if (failed !== undefined) return failed;
  const isBulk = load === 'download' || load === 'upload';
  return isBulk ? silence(summary.bytesPerSecond) : slowness(summary, options);
}

export function selfProblem({ samples, latencies, options }: SelfReport): string | undefined {
  const unmeasured = samples.flatMap(({ scenario, sides }) =>
    Object.entries(sides).flatMap(([side, { failure }]) =>
      failure === undefined ? [] : [`${scenario}: ${side}: ${failure}`],
    ),
  );
  const paced = latencies.flatMap(({ side, rounds, summary }) => {
    const problem = failureText(failuresOf(rounds)) ?? slowness(summary, options);
    return problem === undefined ? [] : [`paced requests: ${side}: ${problem}`];
  });
  const all = [...unmeasured, ...paced];
  return all.length === 0 ? undefined : all.join('; ');
}

function slowness(
  { answersPerSecond }: Summary,
  { perSecond, durationMs }: TargetReport['options'],
): string | undefined {
  const silent = silence(answersPerSecond);
  if (silent !== undefined) return silent;
  const seconds = durationMs / 1000;
  const mayMiss = Math.max(EDGE_MESSAGES, perSecond * seconds * (1 - RATE_REACHED));
  if ((perSecond - answersPerSecond) * seconds <= mayMiss) return undefined;
  const reached = rounded(answersPerSecond);
  return `the rate was not reached: ${reached} of ${rounded(perSecond)} a second`;
}

function silence(rate: number): string | undefined {
  return rate === 0 ? 'nothing came back while it was counted' : undefined;
}
