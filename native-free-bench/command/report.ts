// What report.json holds, for a target and for a tunnel of our own.
//
// Invariant: `version` rises when a field changes its meaning; fields may be added. No value of a
// header and of a query is in it: they may be secrets. Must not know: how it is shown.

import type { BenchLoad } from '../../src/cli/bench-request.ts';
import { describeEnvironment, type Environment } from '../harness/environment.ts';
import type { Latency } from '../harness/histogram.ts';
import { packageVersion } from '../harness/place.ts';
import type { Sample } from '../harness/rounds.ts';
import { median, spread } from '../harness/table.ts';
import type { Round } from './tally.ts';

export const REPORT_VERSION = 1;

interface ReportHead {
  readonly sluicewayBench: typeof REPORT_VERSION;
  readonly program: string;
  readonly environment: Environment;
  readonly options: {
    readonly durationMs: number;
    readonly warmUpMs: number;
    readonly rounds: number;
    readonly connections?: number;
    /** 0: as fast as they are answered. */
    readonly perSecond: number;
  };
}

/** Medians over rounds, and half the range by the median. */
export interface Summary {
  readonly answersPerSecond: number;
  readonly bytesPerSecond: number;
  readonly spread: number;
  readonly latency?: Latency;
}

export interface TargetReport extends ReportHead {
  readonly kind: 'target';
  readonly url: string;
  readonly load: BenchLoad;
  readonly headerNames: readonly string[];
  readonly summary: Summary;
  readonly failures: Readonly<Record<string, number>>;
  readonly rounds: readonly Round[];
}

/** Requests at a fixed rate on one side of our own. */
export interface SideLatency {
  readonly side: string;
  readonly rounds: readonly Round[];
  readonly summary: Summary;
}

export interface SelfReport extends ReportHead {
  readonly kind: 'self';
  readonly shards: number;
  /** What ended the run before its time; the figures are those that there were by then. */
  readonly failure?: string;
  readonly samples: readonly Sample[];
  readonly latencies: readonly SideLatency[];
}

export type BenchReport = TargetReport | SelfReport;

export function headOf(options: ReportHead['options']): ReportHead {
  const { durationMs, warmUpMs, rounds, connections, perSecond } = options;
  return {
    sluicewayBench: REPORT_VERSION,
    program: packageVersion(),
    environment: describeEnvironment(),
    options: {
      ...{ durationMs, warmUpMs, rounds, perSecond },
      ...(connections === undefined ? {} : { connections }),
    },
  };
}

export function summaryOf(rounds: readonly Round[]): Summary {
  const of = (pick: (round: Round) => number): number[] => rounds.map(pick);
  const answers = of(({ answersPerSecond }) => answersPerSecond);
  const bytes = of(({ bytesPerSecond }) => bytesPerSecond);
  const latencies = rounds.flatMap(({ latency }) => (latency === undefined ? [] : [latency]));
  const isBulk = answers.every((rate) => rate === 0);
  const part = (pick: (latency: Latency) => number): number => median(latencies.map(pick));
  const rates = isBulk ? bytes : answers;
  return {
    answersPerSecond: median(answers),
    bytesPerSecond: median(bytes),
    spread: median(rates) === 0 ? 0 : spread(rates),
    ...(latencies.length === 0
      ? {}
      : {
          latency: {
            p50Us: part(({ p50Us }) => p50Us),
            p99Us: part(({ p99Us }) => p99Us),
            p999Us: part(({ p999Us }) => p999Us),
            maxUs: Math.max(...latencies.map(({ maxUs }) => maxUs)),
            count: latencies.reduce((sum, { count }) => sum + count, 0),
          },
        }),
  };
}

/** Sums by reason. */
export function failuresOf(rounds: readonly Round[]): Record<string, number> {
  const sums = new Map<string, number>();
  for (const { failures } of rounds) {
    for (const [reason, count] of Object.entries(failures)) {
      sums.set(reason, (sums.get(reason) ?? 0) + count);
    }
  }
  return Object.fromEntries(sums);
}

/** Without what may be a secret. */
export function shownUrl(url: URL): string {
  const path = url.protocol === 'tcp:' ? '' : url.pathname;
  return `${url.protocol}//${url.host}${path}${url.search === '' ? '' : '?…'}`;
}
