// Load on a running tunnel, in rounds: is it there, warm up, count, and again.
//
// Invariant: no load is put on what does not answer one request as it should; each round has
// connections of its own. Must not know: files, exit codes.

import type { BenchRefusal, BenchRequest, BenchScreen } from '../../src/cli/bench-request.ts';
import { pause } from '../harness/load.ts';
import { openFilesMax } from '../harness/process-cost.ts';
import { inMs, percent, round as rounded, table } from '../harness/table.ts';
import { isWell, probe, reasonOf, SilentError, startRequests } from './http-load.ts';
import { countOf, targetProblem } from './problem.ts';
import { failuresOf, headOf, shownUrl, summaryOf, type TargetReport } from './report.ts';
import type { TargetLoad } from './running.ts';
import { type Round, Tally } from './tally.ts';
import { probeTcp, startTcp } from './tcp-load.ts';

/** Open files that are not connections of the load; a guess. */
const OTHER_FILES = 100;
const LOOK_MS = 250;

type Request = TargetLoad & Pick<BenchRequest, 'durationMs' | 'warmUpMs' | 'rounds'>;

interface Found {
  readonly report: TargetReport;
  readonly text: string;
  readonly problem?: string;
}

export async function measureTarget(
  request: Request,
  screen: BenchScreen,
): Promise<Found | BenchRefusal> {
  const refusal = tooMany(request) ?? (await notThere(request));
  if (refusal !== undefined) return refusal;
  const rounds: Round[] = [];
  for (let index = 0; index < request.rounds; index += 1) {
    const where = `round ${index + 1} of ${request.rounds}`;
    rounds.push(await measureRound(request, (text) => screen.tell(`${where}: ${text}`)));
  }
  const { connections, durationMs, warmUpMs, perSecond } = request;
  const report: TargetReport = {
    ...headOf({ connections, durationMs, warmUpMs, rounds: request.rounds, perSecond }),
    ...{ kind: 'target', url: shownUrl(request.url), load: request.load },
    headerNames: request.headers.map(([name]) => name),
    summary: summaryOf(rounds),
    failures: failuresOf(rounds),
    rounds,
  };
  const problem = targetProblem(report);
  return { report, text: describe(report), ...(problem === undefined ? {} : { problem }) };
}

/** One warm-up and one count. */
export async function measureRound(
  request: Omit<Request, 'rounds'>,
  tell: (text: string) => void,
): Promise<Round> {
  const tally = new Tally();
  const running =
    request.load === 'http' ? startRequests(request, tally) : startTcp(request, tally);
  tell('warming up');
  await pause(request.warmUpMs);
  tally.begin();
  const endMs = performance.now() + request.durationMs;
  for (let leftMs = request.durationMs; leftMs > 0; leftMs = endMs - performance.now()) {
    await pause(Math.min(LOOK_MS, leftMs));
    tell(progressOf(tally.look(), request));
  }
  running.tellOut();
  // Before the connections end, or those that are cut would count as failures.
  const round = tally.finish();
  await running.stop();
  return round;
}

function progressOf(
  { answers, bytes, failures, seconds, p99Us }: ReturnType<Tally['look']>,
  { load, durationMs }: Pick<Request, 'load' | 'durationMs'>,
): string {
  const isBulk = load === 'download' || load === 'upload';
  const rate = isBulk
    ? `${rounded(bytes / seconds / 1e6)} MB/s`
    : `${rounded(answers / seconds)} /s, p99 ${inMs(p99Us)}`;
  const left = Math.max(0, Math.round(durationMs / 1000 - seconds));
  return `${rate}, ${rounded(failures)} failed, ${left} s left`;
}

function tooMany({ connections }: Request): BenchRefusal | undefined {
  const max = openFilesMax() - OTHER_FILES;
  if (connections <= max) return undefined;
  const way = `raise 'ulimit -n' to ${connections + OTHER_FILES}, or take fewer`;
  return {
    refusal: 'usage',
    reason: `--connections ${connections}: open files allow ${max}; ${way}`,
  };
}

async function notThere(request: Request): Promise<BenchRefusal | undefined> {
  const where = shownUrl(request.url);
  try {
    if (request.load !== 'http') {
      await probeTcp(request);
      return undefined;
    }
    const status = await probe(request);
    if (isWell(status)) return undefined;
    const reason = `${where} answers ${status}: nothing to measure; is the host right (--header)?`;
    return { refusal: 'failure', reason };
  } catch (error) {
    const silent = error instanceof SilentError;
    const hint =
      request.load === 'http' ? '' : `; --tcp-load ${request.load} needs ${NEEDS[request.load]}`;
    const reason = `${where} cannot be loaded: ${reasonOf(error as Error)}${hint}`;
    return { refusal: silent ? 'timeout' : 'failure', reason };
  }
}

/** Of a round without an answer. */
const NO_TIMES = ['-', '-', '-', '-'];

const NEEDS = {
  echo: 'a service that sends back what it gets',
  download: 'a service that sends without being asked',
  upload: 'a service that takes what it gets',
} as const;

function describe({ url, load, rounds, summary, options }: TargetReport): string {
  const isBulk = load === 'download' || load === 'upload';
  const cells = (latency: Round['latency']): string[] =>
    isBulk
      ? []
      : latency === undefined
        ? NO_TIMES
        : [latency.p50Us, latency.p99Us, latency.p999Us, latency.maxUs].map(inMs);
  const speed = (each: { answersPerSecond: number; bytesPerSecond: number }): string[] => [
    ...(isBulk ? [] : [`${rounded(each.answersPerSecond)} /s`]),
    `${rounded(each.bytesPerSecond / 1e6, isBulk ? 0 : 2)} MB/s`,
  ];
  const failed = (each: Round['failures']): string => rounded(countOf(each));
  const titles = isBulk ? ['bytes'] : ['answers', 'bytes', 'p50', 'p99', 'p99.9', 'worst'];
  const rows = rounds.map((each, index) => [
    `round ${index + 1}`,
    ...speed(each),
    ...cells(each.latency),
    failed(each.failures),
  ]);
  const all = ['median', ...speed(summary), ...cells(summary.latency), failed(failuresOf(rounds))];
  const byRate = `, ${rounded(options.perSecond)} a second, timed from when each was due`;
  const pace = options.perSecond > 0 ? byRate : '';
  return [
    `${url}: ${load}, ${rounded(options.connections ?? 0)} connections${pace}\n\n`,
    table([['', ...titles, 'failed'], ...rows, all]),
    `spread ${percent(summary.spread)}; worst is that of all rounds\n`,
  ].join('');
}
