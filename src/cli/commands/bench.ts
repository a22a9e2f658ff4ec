// `sluiceway bench`: load on a running tunnel, or on one of our own, and a report of it.
//
// Invariant: the load generator and its packages are loaded here and nowhere else, so that nobody
// else pays for them; whatever was started ends with this process, also at a signal. Must not
// know: how load is made or shown.

import { existsSync } from 'node:fs';
import { ConfigError } from '../../base/errors.ts';
import { loggable } from '../../base/loggable.ts';
import {
  type BenchFlags,
  type BenchRefusal,
  type RunBench,
  readBenchRequest,
} from '../bench-request.ts';
import { EXIT } from '../exit-codes.ts';
import { answer, complain, exitAnswered } from '../output.ts';

/** In a checkout the sources lie beside src; the package has them compiled in dist/bench. */
const PLACE = import.meta.filename.endsWith('.js')
  ? '../../bench/command/bench.js'
  : '../../../native-free-bench/command/bench.ts';
/** Of a terminal that does not say, or says 0. */
const COLUMNS = 80;

export async function runBenchCommand(flags: BenchFlags): Promise<never> {
  const request = readBenchRequest(flags);
  endAtSignals();
  const runBench = await loadBench();
  const outcome = await runBench(request, { tell });
  tell('');
  if ('refusal' in outcome) return refuse(outcome);
  answer(flags.json === true ? `${JSON.stringify(outcome.report)}\n` : outcome.text);
  if (outcome.problem !== undefined) complain(outcome.problem);
  return exitAnswered(outcome.problem === undefined ? EXIT.ok : EXIT.failure);
}

/** An image may have been made without it, to be smaller. */
async function loadBench(): Promise<RunBench> {
  const place = new URL(PLACE, import.meta.url);
  if (!existsSync(place)) {
    complain('this installation was made without the bench; run it from the npm package');
    process.exit(EXIT.failure);
  }
  return ((await import(place.href)) as { readonly runBench: RunBench }).runBench;
}

function refuse({ refusal, reason }: BenchRefusal): never {
  if (refusal === 'usage') throw new ConfigError([reason]);
  complain(reason);
  process.exit(refusal === 'timeout' ? EXIT.timeout : EXIT.failure);
}

/** Without this a signal would leave the server and the client that were started. */
function endAtSignals(): void {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      tell('');
      complain(`ended by ${signal}: no report was written`);
      process.exit(EXIT.failure);
    });
  }
}

/** A line in place of the last one; nothing where nobody watches. */
function tell(progress: string): void {
  const { isTTY, columns } = process.stderr;
  if (!isTTY) return;
  const line = loggable(progress).slice(0, (columns || COLUMNS) - 1);
  process.stderr.write(`\r\u001b[K${line}`);
}
