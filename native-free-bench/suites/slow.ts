// The suite of slow readers: 50 visitors that ask for bulk and do not read, beside 8 that do.
//
// Invariant: the 8 are measured alone and beside the 50 on the same processes, one right after the
// other, and the server's growth is from before the 50 came to when they stand still.

import { measurePacedEchoes } from '../harness/latency.ts';
import { measureDownload, open, pause, WANT } from '../harness/load.ts';
import { startOrigins } from '../harness/plain.ts';
import { residentBytes } from '../harness/process-cost.ts';
import { untilCompiled } from '../harness/rounds.ts';
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
  // As in harness/rounds.ts, the round before the first one only warms up.
  for (let round = rounds > 1 ? 0 : 1; round <= rounds; round += 1) {
    for (const side of round % 2 === 0 ? sides.toReversed() : sides) {
      tell(`round ${round} of ${rounds}: slow readers: ${side.name}`);
      const sample = samples.get(side.name);
      if (round === 0) {
        await untilCompiled(async () => {
          await measureOne(side, newSample(side.name), options);
          return true;
        });
      } else if (sample !== undefined) await measureOne(side, sample, options);
    }
  }
  tunnel.check?.();
  return { samples: [...samples.values()], sides, left };
}

async function measureOne(
  side: Side,
  sample: SlowSample,
  { ms, isSmoke }: SuiteOptions,
): Promise<void> {
  const target = { port: side.ports.raw ?? 0 };
  const fast = (): Promise<number> => measureDownload({ target, connections: FAST, ms });
  const echoes = async (): Promise<number> => {
    const load = { target, connections: FAST, ms, perSecond: ECHOES_PER_SECOND };
    return (await measurePacedEchoes(load)).p99Us;
  };
  sample.alone.push(await fast());
  sample.aloneP99Us.push(await echoes());
  const before = memoryOf(side);
  const slow = await open({ target, connections: SLOW }, WANT.DOWNLOAD);
  for (const socket of slow) socket.on('error', () => undefined).pause();
  await pause(isSmoke ? 1 : FILL_MS);
  sample.besideP99Us.push(await echoes());
  const after = memoryOf(side);
  sample.serverGrowthBytes.push(after.server - before.server);
  sample.clientGrowthBytes.push(after.client - before.client);
  sample.beside.push(await fast());
  for (const socket of slow) socket.resetAndDestroy();
}

function memoryOf({ pids }: Side): { server: number; client: number } {
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
