// What a line does, by the answers to marks: how much it delivers, and how long things wait for it.
//
//   our clock   sent ------------------------------------> answer     trip
//   the peer's       \--- lag: way there, and wait --> time           only changes of a lag count
//
// Invariant: one slow round changes nothing, ROUNDS of them are believed; a rate is measured over a
// whole trip at least, over the time in which it was sent and that in which it arrived, so that
// answers that come in a heap say nothing wrong; what waits on the way back is no wait. Must not
// know: what may be sent. Time and counts are arguments. The rate is BBR's (draft-ietf-ccwg-bbr),
// the wait LEDBAT's (RFC 6817).

import { isTime, lagMs, type Mark } from './line-marks.ts';

/** The best of so many rounds is the rate. Guess: BBR has ten; two are one stall of the peer. */
const ROUNDS = 4;
/** Weight of a new sample of the way. */
const SMOOTHING = 1 / 8;

export class LineEstimate {
  /** The best of the last rounds; 0: unknown. */
  bytesPerMs = 0;
  /** There and back, but for what waits there; 0: unknown. */
  wayMs = 0;
  readonly #rounds = new Float64Array(ROUNDS);
  #round = 0;
  #answeredBytes = 0;
  #answeredSentMs = 0;
  #answeredMs = 0;
  #answeredTime = Number.NaN;
  /** The first lag, from which all others are counted; NaN: none yet. */
  #zeroMs = Number.NaN;
  /** The least lags of this interval and the one before. */
  #leastMs = Number.POSITIVE_INFINITY;
  #olderLeastMs = Number.POSITIVE_INFINITY;

  /** A mark is sent; `isFirst`: no other is open. */
  note(mark: Mark, isFirst: boolean): void {
    if (isFirst) {
      // The line had nothing to do meanwhile.
      this.#answeredBytes = mark.sentBytes;
      this.#answeredSentMs = mark.sentMs;
      this.#answeredMs = mark.sentMs;
      this.#answeredTime = Number.NaN;
    }
    mark.fromBytes = this.#answeredBytes;
    mark.fromSentMs = this.#answeredSentMs;
    mark.fromMs = this.#answeredMs;
    mark.fromTime = this.#answeredTime;
  }

  /** A mark is answered. `time`: when it was there, as the peer says; NaN if it does not. */
  deliver(mark: Mark, time: number, nowMs: number): void {
    this.#answeredBytes = mark.sentBytes;
    this.#answeredSentMs = mark.sentMs;
    this.#answeredMs = nowMs;
    this.#answeredTime = time;
    const isTold = isTime(time) && isTime(mark.fromTime);
    const thereMs = isTold ? lagMs(time, mark.fromTime, 0) : 0;
    const elapsedMs = Math.max(nowMs - mark.fromMs, mark.sentMs - mark.fromSentMs, thereMs);
    const bytes = mark.sentBytes - mark.fromBytes;
    if (bytes > 0 && elapsedMs > 0) this.restore(bytes / elapsedMs);
  }

  /** The rate is so much at least. */
  restore(bytesPerMs: number): void {
    const best = this.#rounds[this.#round] as number;
    this.#rounds[this.#round] = Math.max(best, bytesPerMs);
    this.bytesPerMs = Math.max(this.bytesPerMs, bytesPerMs);
  }

  /** A round in which the line had enough to do is over. One that measured nothing goes on: the
   * answer to a mark that left while no other was open tells no rate. */
  endRound(): void {
    if (this.#rounds[this.#round] === 0) return;
    this.#round = (this.#round + 1) % ROUNDS;
    this.#rounds[this.#round] = 0;
    this.bytesPerMs = Math.max(...this.#rounds);
  }

  /** How much longer than the least an answered mark was on its way to the peer. `time`: when it
   * was there, as the peer says; NaN if it says nothing. */
  lag(mark: Mark, time: number): number {
    if (!isTime(time)) return Number.NaN;
    if (Number.isNaN(this.#zeroMs)) this.#zeroMs = lagMs(time, mark.sentMs, 0);
    return lagMs(time, mark.sentMs, this.#zeroMs);
  }

  /** How long something waited for the line that was under way for `lag`, back after `tripMs`. */
  wait(lag: number, tripMs: number): number {
    if (lag < this.#leastMs) this.#leastMs = lag;
    const waitMs = lag - this.leastLag;
    const wayMs = Math.max(0, tripMs - waitMs);
    this.wayMs = this.wayMs === 0 ? wayMs : this.wayMs + (wayMs - this.wayMs) * SMOOTHING;
    return waitMs;
  }

  get leastLag(): number {
    return Math.min(this.#leastMs, this.#olderLeastMs);
  }

  /** Clocks drift, and ways change: what was least before the last interval is forgotten. */
  forget(): void {
    this.#olderLeastMs = this.#leastMs;
    this.#leastMs = Number.POSITIVE_INFINITY;
  }

  /** Nothing waited for the line when a mark had this lag. */
  setLeast(lag: number): void {
    this.#leastMs = lag;
    this.#olderLeastMs = lag;
  }
}
