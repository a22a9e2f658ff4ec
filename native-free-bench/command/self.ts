// A server, a client and a service of our own, and the rates of the tunnel between them.
//
// Invariant: the tunnel, two plain relays and no tunnel take turns with the same service behind, so
// that their ratios hold; whatever was started is ended, however this ends; what was measured
// before a failure is in the report. Must not know: files, exit codes.

import type { BenchRefusal, BenchRequest, BenchScreen } from '../../src/cli/bench-request.ts';
import { Children } from '../harness/children.ts';
import { loopbackHint } from '../harness/environment.ts';
import { ENTRY } from '../harness/place.ts';
import { directSide, startOrigins, startRelays } from '../harness/plain.ts';
import { rateScenarios } from '../harness/rate-scenarios.ts';
import { rateTable } from '../harness/rate-table.ts';
import { measureRounds, newSamples, type Sample } from '../harness/rounds.ts';
import { HOST, type Side } from '../harness/side.ts';
import { inMs, round as rounded, table } from '../harness/table.ts';
import { startTunnel } from '../harness/tunnel.ts';
import { countOf, selfProblem } from './problem.ts';
import { failuresOf, headOf, type SelfReport, summaryOf } from './report.ts';
import type { Round } from './tally.ts';
import { measureRound } from './target.ts';

/** Of the rates of `npm run bench`, those that tell the most for their time. */
const SCENARIOS = [
  ...['download, 1', 'download, 8', 'upload, 8', 'echo of 64 B, 64', 'HTTP keep-alive, 64'],
  ...['HTTP by host, 64', 'HTTP by host, new connection each, 64'],
];

/** Of the generator, at its rate; a guess. */
const COMPILE_MS = 500;

interface Found {
  readonly report: SelfReport;
  readonly text: string;
  readonly problem?: string;
}

export async function measureSelf(
  request: BenchRequest,
  screen: BenchScreen,
): Promise<Found | BenchRefusal> {
  if (process.platform !== 'linux') {
    const reason = 'without --url, CPU time is read from /proc: only on Linux; give --url';
    return { refusal: 'usage', reason };
  }
  const children = new Children();
  try {
    screen.tell('starting a server, a client and a service');
    const sides = await startSides(children, request.shards);
    return await measureSides(request, sides, screen);
  } catch (error) {
    // A child that did not start: its last words are in the message.
    return { refusal: 'failure', reason: messageOf(error) };
  } finally {
    children.stop();
  }
}

async function startSides(children: Children, shards: number): Promise<Side[]> {
  const origins = await startOrigins(children);
  const tunnel = await startTunnel(children, { origins, shards, entry: ENTRY });
  return [tunnel, await startRelays(children, origins), directSide(origins)];
}

/** Of all that was measured until the tunnel failed, if it did. */
async function measureSides(
  request: BenchRequest,
  sides: readonly Side[],
  screen: BenchScreen,
): Promise<Found> {
  const { rounds, durationMs, warmUpMs, perSecond, shards, connections } = request;
  const scenarios = rateScenarios({ only: '', isWide: false, ms: durationMs }, SCENARIOS);
  const samples = newSamples({ scenarios, sides });
  const paced: Paced[] = sides.map((side) => ({ side, rounds: [] }));
  const failure = await failureOf(async () => {
    await measureRounds({ scenarios, sides, rounds, tell: screen.tell, samples });
    await measurePaced(request, paced, screen);
    for (const side of sides) side.check?.();
  });
  const report: SelfReport = {
    ...headOf({ durationMs, warmUpMs, rounds, perSecond, connections }),
    ...{ kind: 'self', shards },
    ...(failure === undefined ? {} : { failure }),
    samples: samples.filter(hasFigures),
    latencies: paced
      .filter((each) => each.rounds.length > 0)
      .map((each) => ({
        ...{ side: each.side.name, rounds: each.rounds, summary: summaryOf(each.rounds) },
      })),
  };
  const problem = selfProblem(report);
  return { report, text: describe(report), ...(problem === undefined ? {} : { problem }) };
}

async function failureOf(measure: () => Promise<void>): Promise<string | undefined> {
  try {
    await measure();
    return undefined;
  } catch (error) {
    return messageOf(error);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function hasFigures({ sides }: Sample): boolean {
  return Object.values(sides).some(({ rates, failure }) => rates.length > 0 || failure);
}

interface Paced {
  readonly side: Side;
  readonly rounds: Round[];
}

/** Requests at a fixed rate, far below what any side can do: delay, not saturation. */
async function measurePaced(
  request: BenchRequest,
  paced: readonly Paced[],
  screen: BenchScreen,
): Promise<void> {
  const load = ({ ports }: Side) => {
    const url = new URL(`http://127.0.0.1:${ports.byHost ?? ports.http}/`);
    return { ...request, url, load: 'http', headers: [['Host', HOST]] } as const;
  };
  // The first side would pay for what Node has not compiled yet of the generator.
  for (const { side } of paced) {
    await measureRound({ ...load(side), warmUpMs: 0, durationMs: COMPILE_MS }, screen.tell);
  }
  for (let index = 0; index < request.rounds; index += 1) {
    const order = index % 2 === 0 ? paced : paced.toReversed();
    for (const { side, rounds } of order) {
      const where = `round ${index + 1} of ${request.rounds}: paced requests: ${side.name}`;
      rounds.push(await measureRound(load(side), (text) => screen.tell(`${where}: ${text}`)));
    }
  }
}

function describe({ environment, samples, latencies, options }: SelfReport): string {
  const paced = table([
    [
      `${rounded(options.perSecond)} requests/s`,
      'reached',
      'failed',
      'p50',
      'p99',
      'p99.9',
      'worst',
    ],
    ...latencies.map(({ side, rounds, summary: { answersPerSecond, latency } }) => [
      side === 'direct' ? 'none' : side,
      `${rounded(answersPerSecond)} /s`,
      rounded(countOf(failuresOf(rounds))),
      ...(latency === undefined
        ? []
        : [latency.p50Us, latency.p99Us, latency.p999Us, latency.maxUs].map(inMs)),
    ]),
  ]);
  const parts = [
    samples.length > 0 ? rateTable(samples) : '',
    latencies.length > 0 ? paced : '',
    loopbackHint(environment),
  ];
  return parts.filter((part) => part !== '').join('\n');
}
