// How much of our code runs, counted by V8: the same on every machine and under any load.
//
// Invariant: each call of a function below `src/` counts, and each time that a block of one is
// entered. Optimised code does not count, nor blocks of what was compiled between two sessions: so
// this process is not to optimise any more, and has one session, to its end. Must not know: what
// runs. What native code does by itself, such as moving an array's items, is not seen.

import { Session } from 'node:inspector/promises';
import { setFlagsFromString } from 'node:v8';
import { ROOT } from '../tidy/tree.ts';

let counting: Promise<Session> | undefined;

/** Functions and blocks that were entered below `src/` while `run` ran. */
export async function countWork(run: () => void): Promise<number> {
  counting ??= startCounting();
  const session = await counting;
  // Each look begins anew.
  await session.post('Profiler.takePreciseCoverage');
  run();
  const { result } = await session.post('Profiler.takePreciseCoverage');
  return result
    .filter(({ url }) => url.startsWith(`file://${ROOT}/src/`))
    .flatMap(({ functions }) => functions.flatMap(({ ranges }) => ranges))
    .reduce((sum, { count }) => sum + count, 0);
}

async function startCounting(): Promise<Session> {
  for (const flag of ['--no-opt', '--no-maglev', '--no-sparkplug']) setFlagsFromString(flag);
  const session = new Session();
  session.connect();
  await session.post('Profiler.enable');
  await session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  return session;
}
