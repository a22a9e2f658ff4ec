// Histograms of latencies in microseconds, three digits each, in plain JavaScript.
//
// Invariant: what is longer than the histogram holds counts as its longest, and is never left out;
// of nothing there is no latency, not one of 0.
// Must not know: what took that long.

import { build, type Histogram } from 'hdr-histogram-js';

const MICROSECONDS = 1000;
/** Twenty minutes: longer than any run. */
const LATENCY_MAX_US = 1_200_000_000;

export interface Latency {
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  readonly count: number;
}

export function newHistogram(): Histogram {
  return build({ highestTrackableValue: LATENCY_MAX_US, numberOfSignificantValueDigits: 3 });
}

export function recordMs(histogram: Histogram, ms: number): void {
  const us = Math.round(ms * MICROSECONDS);
  histogram.recordValue(Math.min(LATENCY_MAX_US, Math.max(1, us)));
}

export function latencyOf(histogram: Histogram): Latency {
  const isEmpty = histogram.totalCount === 0;
  const at = (part: number): number =>
    isEmpty ? Number.NaN : histogram.getValueAtPercentile(part);
  return {
    p50Us: at(50),
    p99Us: at(99),
    p999Us: at(99.9),
    maxUs: isEmpty ? Number.NaN : histogram.maxValue,
    count: histogram.totalCount,
  };
}
