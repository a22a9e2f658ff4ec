// What one round of load found: answers, bytes and failures, second by second, and latencies.
//
// Invariant: nothing counts before `begin`, which is the end of the warm-up, nor after `finish`; a
// failure is counted by its reason, of which there are at most REASONS_MAX; what is out at the end
// counts as long as it has waited, and has failed if that is far longer than others took. Must not
// know: what makes the load.

import type { Histogram } from 'hdr-histogram-js';
import { type Latency, latencyOf, newHistogram, recordMs } from '../harness/histogram.ts';

/** Kinds of failure told apart; a guess: more than one target has. */
const REASONS_MAX = 16;
const OTHER_REASON = 'other';
/** What is out at the end for less has not failed: a round ends in the midst of a load. */
const HUNG_MS_MIN = 1_000;
/** So many times what all but one of 1,000 took; a guess. */
const HUNG_FACTOR = 10;
/** Of bulk, where nothing says how long a pause may be: half of the round, and at most this. */
const QUIET_MS_MAX = 10_000;
/** Where the curve of latencies is read, in percent. */
const CURVE = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.5, 99.9, 99.99, 99.999];

export interface Round {
  readonly seconds: number;
  readonly answers: number;
  readonly answersPerSecond: number;
  readonly bytesPerSecond: number;
  /** By reason. */
  readonly failures: Readonly<Record<string, number>>;
  /** Of each whole second: answers, and bytes. */
  readonly answersBySecond: readonly number[];
  readonly bytesBySecond: readonly number[];
  /** Absent where nothing is answered: bulk. */
  readonly latency?: Latency;
  /** Percentile and microseconds, as far as there are answers enough for it. */
  readonly curve: readonly (readonly [percent: number, us: number])[];
}

export class Tally {
  readonly #histogram: Histogram = newHistogram();
  #state: 'warm-up' | 'counting' | 'finished' = 'warm-up';
  #startMs = 0;
  /** Known from the first one that is out at the end, since these come into the histogram. */
  #hungMs: number | undefined;
  #answers = 0;
  #bytes = 0;
  #failures = new Map<string, number>();
  #answersBySecond: number[] = [];
  #bytesBySecond: number[] = [];

  begin(): void {
    this.#state = 'counting';
    this.#startMs = performance.now();
  }

  /** Of a message that was due, or sent, at `fromMs`. */
  answered(fromMs: number): void {
    if (this.#state !== 'counting') return;
    const nowMs = performance.now();
    this.#answers += 1;
    this.#add(this.#answersBySecond, nowMs, 1);
    recordMs(this.#histogram, nowMs - fromMs);
  }

  /** As `answered`, where another generator has taken the time. */
  answeredIn(ms: number): void {
    this.answered(performance.now() - ms);
  }

  /** Due, and not sent when the round is over: it counts as long as it has waited. */
  waits(fromMs: number): void {
    this.#hungMs ??= this.#hungAfterMs();
    if (this.#state === 'counting') recordMs(this.#histogram, performance.now() - fromMs);
  }

  /** Sent, and no answer yet when the round is over; `fromMs` is when it was due, or sent. */
  out(fromMs: number, sentMs: number): void {
    this.waits(fromMs);
    const hungMs = this.#hungMs ?? HUNG_MS_MIN;
    if (performance.now() - sentMs > hungMs) this.failed('no answer when it ended');
  }

  /** Of a bulk connection that is open when the round is over: when its last bytes moved. */
  lastMoved(atMs: number): void {
    const nowMs = performance.now();
    const quietMs = Math.min(QUIET_MS_MAX, (nowMs - this.#startMs) / 2);
    if (nowMs - atMs > Math.max(HUNG_MS_MIN, quietMs)) this.failed('no bytes when it ended');
  }

  moved(bytes: number): void {
    if (this.#state !== 'counting') return;
    this.#bytes += bytes;
    this.#add(this.#bytesBySecond, performance.now(), bytes);
  }

  failed(reason: string): void {
    if (this.#state !== 'counting') return;
    const isKnown = this.#failures.has(reason) || this.#failures.size < REASONS_MAX;
    const key = isKnown ? reason : OTHER_REASON;
    this.#failures.set(key, (this.#failures.get(key) ?? 0) + 1);
  }

  /** What there is so far, for whoever watches. */
  look(): { answers: number; bytes: number; failures: number; seconds: number; p99Us: number } {
    const failures = [...this.#failures.values()].reduce((sum, count) => sum + count, 0);
    return {
      ...{ answers: this.#answers, bytes: this.#bytes, failures },
      seconds: (performance.now() - this.#startMs) / 1000,
      p99Us: this.#histogram.getValueAtPercentile(99),
    };
  }

  finish(): Round {
    const seconds = (performance.now() - this.#startMs) / 1000;
    this.#state = 'finished';
    const total = this.#histogram.totalCount;
    const whole = (counts: readonly number[]): number[] =>
      Array.from({ length: Math.floor(seconds) }, (_, at) => counts[at] ?? 0);
    return {
      seconds,
      answers: this.#answers,
      answersPerSecond: this.#answers / seconds,
      bytesPerSecond: this.#bytes / seconds,
      failures: Object.fromEntries(this.#failures),
      answersBySecond: whole(this.#answersBySecond),
      bytesBySecond: whole(this.#bytesBySecond),
      ...(total === 0 ? {} : { latency: latencyOf(this.#histogram) }),
      curve: CURVE.filter((percent) => total > 0 && total * (1 - percent / 100) >= 1).map(
        (percent) => [percent, this.#histogram.getValueAtPercentile(percent)],
      ),
    };
  }

  #hungAfterMs(): number {
    const p999Us = this.#histogram.getValueAtPercentile(99.9);
    return Math.max(HUNG_MS_MIN, (HUNG_FACTOR * p999Us) / 1000);
  }

  #add(counts: number[], nowMs: number, count: number): void {
    const second = Math.floor((nowMs - this.#startMs) / 1000);
    counts[second] = (counts[second] ?? 0) + count;
  }
}
