// The suite of slow readers: 50 visitors that ask for bulk and do not read, beside 8 that do.
//
// Invariant: the 8 are measured alone and beside the 50 on the same processes, one right after the
// other. Growth is from before the 50 came for the first time to when they stand still: memory that
// a process took for them once it may keep, and would not grow by it again.

import { measurePacedEchoes } from '../harness/latency.ts';
import { measureDownload, open, pause, WANT } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { residentBytes } from '../harness/process-cost.ts';
import { failureOf, untilCompiled } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import {
  type Sampled,
  type SuiteOptions,
  type SuiteResult,
  startSides,
  versionsOf,
} from '../harness/suite.ts';
import { median, ratio, round, table } from '../harness/table.ts';

export const SLOW = 50;
const FAST = 8;
const ECHOES_PER_SECOND = 400;
/** Time for the 50 to fill every buffer on their way and stand still; a guess. */
const FILL_MS = 3_000;

export interface SlowSample {
  readonly side: string;
  readonly alone: number[];
  readonly beside: number[];
  readonly aloneP99Us: number[];
  readonly besideP99Us: number[];
  readonly serverGrowthBytes: number[];
  readonly clientGrowthBytes: number[];
}

interface Memory {
  readonly server: number;
  readonly client: number;
}

export async function measureSlow(options: SuiteOptions): Promise<SuiteResult> {
  const { samples, sides, left } = await sampleSlow(options);
  return { text: report(samples), samples, versions: versionsOf(sides), left };
}

export async function sampleSlow(options: SuiteOptions): Promise<Sampled<SlowSample>> {
  const { children, rounds, tell } = options;
  const origins = await startOrigins(children);
  const { tunnel, peers, left } = await startSides(options, { origins });
  const sides = [tunnel, ...peers];
  const samples = new Map(sides.map(({ name }) => [name, newSample(name)]));
  const before = new Map<string, Memory>();
  // As in harness/rounds.ts, the round before the first one only warms up; without the 50.
  const lost = new Map<string, string>();
  for (let round = rounds > 1 ? 0 : 1; round <= rounds; round += 1) {
    for (const side of round % 2 === 0 ? sides.toReversed() : sides) {
      const sample = samples.get(side.name);
      if (sample === undefined) continue;
      tell(`round ${round} of ${rounds}: slow readers: ${side.name}`);
      const failure = await failureOf(side, async () => {
        if (round === 0) {
          const unused = newSample(side.name);
          await untilCompiled(() => measureAlone(side, unused, options).then(() => true));
          return;
        }
        await measureAlone(side, sample, options);
        const memory = before.get(side.name) ?? memoryOf(side);
        before.set(side.name, memory);
        await measureBeside(side, sample, { ...options, before: memory });
      });
      if (failure === undefined) continue;
      lost.set(side.name, `${side.name}: ${failure}`);
      samples.delete(side.name);
    }
  }
  tunnel.check?.();
  return { samples: [...samples.values()], sides, left: [...left, ...lost.values()] };
}

/** The 8 alone. */
async function measureAlone(side: Side, sample: SlowSample, { ms }: SuiteOptions): Promise<void> {
  const target = { port: side.ports.raw ?? 0 };
  sample.alone.push(await measureDownload({ target, connections: FAST, ms }));
  sample.aloneP99Us.push(await echoP99Us(side, ms));
}

/** The 8 once more, beside the 50. */
async function measureBeside(
  side: Side,
  sample: SlowSample,
  { ms, isSmoke, before }: SuiteOptions & { before: Memory },
): Promise<void> {
  const target = { port: side.ports.raw ?? 0 };
  const slow = await open({ target, connections: SLOW }, WANT.DOWNLOAD);
  for (const socket of slow) socket.on('error', () => undefined).pause();
  try {
    await pause(isSmoke ? 1 : FILL_MS);
    sample.besideP99Us.push(await echoP99Us(side, ms));
    const after = memoryOf(side);
    sample.serverGrowthBytes.push(after.server - before.server);
    sample.clientGrowthBytes.push(after.client - before.client);
    // What the 50 hold up is the answer that is asked for.
    const load = { target, connections: FAST, ms, mayStandStill: true };
    sample.beside.push(await measureDownload(load));
  } finally {
    for (const socket of slow) socket.resetAndDestroy();
  }
}

async function echoP99Us(side: Side, ms: number): Promise<number> {
  const target = { port: side.ports.raw ?? 0 };
  const load = { target, connections: FAST, ms, perSecond: ECHOES_PER_SECOND };
  return (await measurePacedEchoes(load)).p99Us;
}

function memoryOf({ pids }: Side): Memory {
  return { server: residentBytes(pids.server), client: residentBytes(pids.client) };
}

function newSample(side: string): SlowSample {
  const empty = { alone: [], beside: [], aloneP99Us: [], besideP99Us: [] };
  return { side, ...empty, serverGrowthBytes: [], clientGrowthBytes: [] };
}

function report(samples: readonly SlowSample[]): string {
  return table([
    [
      ...[`${FAST} beside ${SLOW} slow`, 'alone', 'beside', 'kept'],
      ...['p99 alone', 'p99 beside', 'times', 'server grows', 'client grows'],
    ],
    ...samples.map((sample) => [
      sample.side,
      `${round(median(sample.alone))} MB/s`,
      `${round(median(sample.beside))} MB/s`,
      ratio(sample.beside, sample.alone),
      `${round(median(sample.aloneP99Us))} µs`,
      `${round(median(sample.besideP99Us))} µs`,
      ratio(sample.besideP99Us, sample.aloneP99Us),
      `${round(median(sample.serverGrowthBytes) / 1e6)} MB`,
      `${round(median(sample.clientGrowthBytes) / 1e6)} MB`,
    ]),
  ]);
}
