// What `sluiceway bench` runs: one of two sorts of measurement, and its report.
//
// Invariant: where the report cannot be written is known before any load is made, and where it
// cannot be any more, what was found is told all the same; no native add-on is in this process when
// it ends. Must not know: flags, exit codes, the terminal.

import type { BenchOutcome, RunBench } from '../../src/cli/bench-request.ts';
import { nativeAddons } from '../harness/process-cost.ts';
import { canWrite, writeReport } from './files.ts';
import { measureSelf } from './self.ts';
import { measureTarget } from './target.ts';

export const runBench: RunBench = async (request, screen) => {
  const obstacle = canWrite(request.folder);
  if (obstacle !== undefined) return { refusal: 'usage', reason: obstacle };
  const { target } = request;
  const found =
    target === undefined
      ? await measureSelf(request, screen)
      : await measureTarget({ ...request, ...target }, screen);
  if ('refusal' in found) return found;
  const { report, text } = found;
  const addons = nativeAddons(process.pid);
  const problems = [
    ...(addons.length === 0 ? [] : [`a native add-on is loaded: ${addons.join(', ')}`]),
    ...('problem' in found ? [found.problem] : []),
  ];
  let files = '';
  try {
    files = `\nreport: ${writeReport(request.folder, report).join(', ')}\n`;
  } catch (error) {
    // Such as of a disk that has become full: minutes of measuring were for nothing otherwise.
    problems.push(`the report cannot be written: ${(error as Error).message}`);
  }
  const outcome: BenchOutcome = { report, text: text + files };
  return problems.length === 0 ? outcome : { ...outcome, problem: problems.join('\n') };
};
