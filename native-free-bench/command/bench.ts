// What `sluiceway bench` runs: one of two sorts of measurement, and its report.
//
// Invariant: where the report cannot be written is known before any load is made; no native add-on
// is in this process when it ends. Must not know: flags, exit codes, the terminal.

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
  const files = writeReport(request.folder, report);
  const native =
    addons.length === 0 ? undefined : `a native add-on is loaded: ${addons.join(', ')}`;
  const reason = native ?? ('problem' in found ? found.problem : undefined);
  const outcome: BenchOutcome = { report, text: `${text}\nreport: ${files.join(', ')}\n` };
  return reason === undefined ? outcome : { ...outcome, problem: reason };
};
