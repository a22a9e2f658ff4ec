// `npm run bench`: the tunnel beside no tunnel, plain relays and other tunnels, interleaved.
//
// Prints tables and keeps the raw figures in results/ and, the last run's, in report.json. Absolute
// rates drift between machines and hours; the ratios inside one run hold. `--smoke` runs every
// scenario for a moment, as the tests do. Ends with 1 when something asked for did not hold, with 2
// when it was not understood.

import { mkdirSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type BenchArguments, readArguments } from './arguments.ts';
import { keepCoresAwake } from './harness/awake.ts';
import { Children, NO_ADDONS } from './harness/children.ts';
import { describeEnvironment, loopbackHint } from './harness/environment.ts';
import { enterNetwork } from './harness/own-network.ts';
import { ROOT } from './harness/place.ts';
import { NothingChosen, type Suite, type SuiteResult } from './harness/suite.ts';
import { measureDistance } from './suites/distance.ts';
import { measureFairness } from './suites/fairness.ts';
import { measureForward } from './suites/forward.ts';
import { measureGoals } from './suites/goals.ts';
import { measureHttp } from './suites/http.ts';
import { measureLatency } from './suites/latency.ts';
import { measureLines } from './suites/lines.ts';
import { measureLogs } from './suites/logs.ts';
import { measureMemory } from './suites/memory.ts';
import { measureMesh } from './suites/mesh.ts';
import { measureRates } from './suites/rates.ts';
import { measureReconnect } from './suites/reconnect.ts';
import { measureScaling } from './suites/scaling.ts';
import { measureSlow } from './suites/slow.ts';
import { measureTls } from './suites/tls.ts';

const SUITES: Readonly<Record<string, Suite>> = {
  rates: measureRates,
  http: measureHttp,
  latency: measureLatency,
  memory: measureMemory,
  distance: measureDistance,
  slow: measureSlow,
  fairness: measureFairness,
  tls: measureTls,
  forward: measureForward,
  lines: measureLines,
  logs: measureLogs,
  reconnect: measureReconnect,
  mesh: measureMesh,
  scaling: measureScaling,
  goals: measureGoals,
  // It has our own code in this process, and with it what would load an add-on.
  check: async (options) => {
    Object.assign(process.env, NO_ADDONS);
    return (await import('./suites/check.ts')).measureCheck(options);
  },
};

const { suite, options } = understand();
// Before it runs, as the checkout may change meanwhile.
const environment = describeEnvironment();
const children = new Children();
// An end that runs what belongs to one: programs that were started would go on.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => process.exit(128 + os.constants.signals[signal]));
}
let result: SuiteResult;
try {
  if (options.isAwake) await keepCoresAwake(children).catch(refuse);
  result = await suite({ ...options, children, tell }).catch(refuseNothing);
  tell('');
  process.stdout.write(result.text);
  if (options.isAwake) process.stdout.write('no core went to sleep meanwhile (--awake)\n');
  process.stdout.write(loopbackHint(environment));
  if (options.congestion !== undefined) process.stdout.write(`TCP was ${options.congestion}\n`);
  for (const line of result.left) process.stdout.write(`left out: ${line}\n`);
  // The guard has a file of its own, and runs far too often to keep each.
  if (!options.isSmoke && options.suite !== 'check') keep(result);
} finally {
  children.stop();
}
process.exit(result.hasMissed === true && !options.isSmoke ? 1 : 0);

function understand(): { suite: Suite; options: BenchArguments } {
  try {
    const options = readArguments(process.argv.slice(2));
    const suite = SUITES[options.suite];
    if (suite === undefined) {
      throw new Error(`no suite ${options.suite}: ${Object.keys(SUITES).join(', ')}`);
    }
    if (options.congestion !== undefined) enterNetwork(options.congestion);
    return { suite, options };
  } catch (error) {
    return refuse(error);
  }
}

function refuse(error: unknown): never {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exit(2);
}

function refuseNothing(error: unknown): never {
  if (error instanceof NothingChosen) refuse(error);
  throw error;
}

function tell(progress: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${progress}`);
}

function keep({ samples, versions, left }: SuiteResult): void {
  const folder = path.join(import.meta.dirname, 'results');
  mkdirSync(folder, { recursive: true });
  const { commit, ...where } = environment;
  // What is measured elsewhere has a commit of its own, which is not known here.
  const isOwn = path.resolve(options.entry).startsWith(ROOT + path.sep);
  const from = { ...where, ...(isOwn && { commit }), args: process.argv.slice(2), versions };
  const name = `${options.suite}-${from.date.replace(/[:.]/g, '-')}.json`;
  const text = `${JSON.stringify({ environment: from, left, samples }, undefined, 2)}\n`;
  writeFileSync(path.join(folder, name), text);
  writeFileSync(path.join(import.meta.dirname, 'report.json'), text);
  process.stdout.write(`raw figures: native-free-bench/results/${name}\n`);
}
