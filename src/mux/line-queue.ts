// How long things may wait for a line, by its rate, its way and its pauses.
//
//   slow line   100 ms: some frames, and the timer's portions
//   fast line     5 ms and half of its way, or what bridges its pauses
//
// A line is full as long as something waits for it; what waits more only makes others wait. But one
// that stands still between bursts, as radio does, delivers less each round if less is under way
// than a pause takes. Shares of the way are for pauses of the answers, which look like our own.
// Invariant: what pauses add has an end in time, and in bytes: where a processor is the line, it
// delivers in heaps because heaps wait for it. Must not know: what may be sent. Cf. BBR's
// extra_acked (draft-ietf-ccwg-bbr).

import { KIB, MIB } from '../wire/limits.ts';

/** On a slow line (design: an echo beside bulk, 100 to 300 ms). */
export const QUEUE_MS = 100;
/** On a fast one: marks, and what they tell, come every 5 ms. */
export const QUEUE_MS_MIN = 5;
/** In between, so much: a slow line is one on which this takes longer than QUEUE_MS. */
export const QUEUE_BYTES = 128 * KIB;
/** Of the way, on a fast line; and more on all, for answers that come in heaps. Guesses. */
const FAST_SHARE = 0.5;
export const QUEUE_SHARE = 0.25;
export const QUEUE_MORE_MS_MAX = 100;
/** More than a pause takes, so that what is under way can grow; some radio waits for 150 ms, and no
 * router keeps more than this. */
const PAUSE_SHARE = 1.25;
export const PAUSE_MS_MAX = 200;
export const PAUSE_BYTES_MAX = 8 * MIB;
/** The longest pause of so many rounds counts. Guess: pauses come irregularly, and rounds without
 * one between them. */
export const ROUNDS = 8;

export class LineQueue {
  /** The longest wait in this round. */
  waitMsMax = 0;
  /** When the last mark was there: none yet, which is no pause. */
  #thereMs = Number.POSITIVE_INFINITY;
  readonly #pausesMs = new Float64Array(ROUNDS);
  #round = 0;
  #pauseMs = 0;

  /** A mark was there at `thereMs`, by the peer's clock, and had waited so long. `isBulk`: enough
   * was under way before it that this was for the line. */
  note(thereMs: number, waitMs: number, isBulk: boolean): void {
    // Nothing came since the one before, though this one could have.
    const pauseMs = Math.min(waitMs, thereMs - this.#thereMs);
    this.#thereMs = thereMs;
    if (!isBulk) return;
    this.waitMsMax = Math.max(this.waitMsMax, waitMs);
    const roundMs = this.#pausesMs[this.#round] as number;
    this.#pausesMs[this.#round] = Math.max(roundMs, pauseMs);
    this.#pauseMs = Math.max(this.#pauseMs, pauseMs);
  }

  /** `isFull`: in the round that is over the line had enough to do; others say nothing of it. */
  startRound(isFull: boolean): void {
    this.waitMsMax = 0;
    if (!isFull) return;
    this.#round = (this.#round + 1) % ROUNDS;
    this.#pausesMs[this.#round] = 0;
    this.#pauseMs = Math.max(...this.#pausesMs);
  }

  /** How long something may wait. `bytesPerMs` is 0 as long as it is unknown. */
  msMax(bytesPerMs: number, wayMs: number): number {
    const moreMs = Math.min(QUEUE_MORE_MS_MAX, QUEUE_SHARE * wayMs);
    if (bytesPerMs === 0) return QUEUE_MS + moreMs;
    const fastMs = Math.max(QUEUE_MS_MIN + FAST_SHARE * wayMs, QUEUE_BYTES / bytesPerMs);
    const pauseMsMax = Math.min(PAUSE_MS_MAX, PAUSE_BYTES_MAX / bytesPerMs);
    const pauseMs = Math.min(pauseMsMax, PAUSE_SHARE * this.#pauseMs);
    return Math.max(Math.min(QUEUE_MS, fastMs), pauseMs) + moreMs;
  }
}
