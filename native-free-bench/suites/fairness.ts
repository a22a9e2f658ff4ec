// The suite of fairness: small echoes beside downloads that take all there is, and how these share.
//
// Invariant: the echoes are measured alone and beside the downloads on the same processes, one
// right after the other, at a rate far below what any side can do; the downloads are read by a
// process of its own. A side that fails has no figure but a reason, and our own failing ends the
// run.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import type { BulkCount } from '../harness/bulk-event.ts';
import type { Children } from '../harness/children.ts';
import type { Latency } from '../harness/histogram.ts';
import { measurePacedEchoes } from '../harness/latency.ts';
import { firstOf, MB, pause, warmUpMs } from '../harness/load.ts';
import { directSide, startOrigins, startRelays } from '../harness/plain.ts';
import { failureOf, untilCompiled } from '../harness/rounds.ts';
import type { Side } from '../harness/side.ts';
import { type SuiteOptions, type SuiteResult, startSides, versionsOf } from '../harness/suite.ts';
import { median, ratio, round, table } from '../harness/table.ts';

const DOWNLOADS = 8;
const ECHO_CONNECTIONS = 8;
const ECHOES_PER_SECOND = 400;

export interface FairnessSample {
  readonly side: string;
  readonly alone: Latency[];
  readonly beside: Latency[];
  /** MB/s of all downloads. */
  readonly rates: number[];
  /** The least of the downloads, by their mean: 1 where all have the same. */
  readonly leastShares: number[];
}

export async function measureFairness(options: SuiteOptions): Promise<SuiteResult> {
  const { children, rounds, tell, isAlone } = options;
  const origins = await startOrigins(children);
  const { tunnel, peers, left } = await startSides(options, { origins });
  const plain = isAlone ? [] : [directSide(origins), await startRelays(children, origins)];
  const sides: Side[] = [tunnel, ...plain, ...peers];
  const samples = new Map(sides.map(({ name }) => [name, newSample(name)]));
  const lost: string[] = [];
  // As in harness/rounds.ts, the round before the first one only warms up.
  for (let round = rounds > 1 ? 0 : 1; round <= rounds; round += 1) {
    for (const side of round % 2 === 0 ? sides.toReversed() : sides) {
      const sample = samples.get(side.name);
      if (sample === undefined) continue;
      tell(`round ${round} of ${rounds}: echoes beside downloads: ${side.name}`);
      const failure = await failureOf(side, async () => {
        if (round > 0) await measureSide(side, sample, options);
        else await warmUp(side, options);
      });
      if (failure === undefined) continue;
      lost.push(`${side.name}: ${failure}`);
      samples.delete(side.name);
    }
  }
  tunnel.check?.();
  const found = [...samples.values()];
  return {
    text: report(found),
    samples: found,
    versions: versionsOf(sides),
    left: [...left, ...lost],
  };
}

function warmUp(side: Side, options: SuiteOptions): Promise<void> {
  const unused = newSample(side.name);
  return untilCompiled(() => measureSide(side, unused, options).then(() => true));
}

async function measureSide(
  { ports: { raw = 0 } }: Side,
  sample: FairnessSample,
  { children, ms }: SuiteOptions,
): Promise<void> {
  const load = { target: { port: raw }, connections: ECHO_CONNECTIONS, ms };
  sample.alone.push(await measurePacedEchoes({ ...load, perSecond: ECHOES_PER_SECOND }));
  const downloads = await Downloads.start(children, raw);
  try {
    await pause(warmUpMs(ms));
    const from = await downloads.count();
    sample.beside.push(await measurePacedEchoes({ ...load, perSecond: ECHOES_PER_SECOND }));
    const to = await downloads.count();
    const moved = to.bytes.map((bytes, index) => bytes - (from.bytes[index] ?? 0));
    const all = moved.reduce((sum, bytes) => sum + bytes, 0);
    sample.rates.push(all / MB / ((to.atMs - from.atMs) / 1000));
    sample.leastShares.push((Math.min(...moved) * DOWNLOADS) / all);
  } finally {
    downloads.stop();
  }
}

/** Of harness/bulk.ts. */
class Downloads {
  readonly #process: ChildProcess;

  private constructor(process: ChildProcess) {
    this.#process = process;
  }

  static async start(children: Children, port: number): Promise<Downloads> {
    const downloads = new Downloads(children.forkFile('bulk.ts', [port, DOWNLOADS]));
    await downloads.#next();
    return downloads;
  }

  count(): Promise<BulkCount> {
    const counted = this.#next();
    this.#process.send('count');
    return counted;
  }

  stop(): void {
    this.#process.kill('SIGKILL');
  }

  async #next(): Promise<BulkCount> {
    const message = once(this.#process, 'message');
    const [count] = (await firstOf(message, 'what reads downloads said nothing')) as [BulkCount];
    if (count.lost > 0) throw new Error(`${count.lost} of ${DOWNLOADS} downloads were lost`);
    return count;
  }
}

function newSample(side: string): FairnessSample {
  return { side, alone: [], beside: [], rates: [], leastShares: [] };
}

function report(samples: readonly FairnessSample[]): string {
  const p99 = (latencies: readonly Latency[]): number[] => latencies.map(({ p99Us }) => p99Us);
  const ours = samples.find(({ side }) => side === 'tunnel')?.beside ?? [];
  return table([
    [
      ...[`echoes beside ${DOWNLOADS} downloads`, 'p50 alone', 'p99 alone'],
      ...['p50 beside', 'p99 beside', 'tunnel by it, p99', 'downloads', `least of ${DOWNLOADS}`],
    ],
    ...samples.map(({ side, alone, beside, rates, leastShares }) => [
      side,
      us(alone.map(({ p50Us }) => p50Us)),
      us(p99(alone)),
      us(beside.map(({ p50Us }) => p50Us)),
      us(p99(beside)),
      ratio(p99(ours), p99(beside)),
      `${round(median(rates))} MB/s`,
      median(leastShares).toFixed(2),
    ]),
  ]);
}

function us(figures: readonly number[]): string {
  return `${round(median(figures))} µs`;
}
