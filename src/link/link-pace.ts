// How much may wait for a link, and how long a frame may be: what the link sends in a moment, as it
// was seen to while something waited for it. Numbers only.
//
//   waiting  |----------- bytes taken / time ----------|   a sample of the rate
//            begin                                   sample
//
// Before a line of 1 Mbit/s, 1 MiB would hold up a key that somebody presses for eight seconds. A
// peer that stood still for a moment looks like one; what is taken at once opens the limits again.
//
// Invariant: both limits lie between their least and their most. Must not know: sockets; time and
// counts are arguments.

import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, KIB, MIB } from '../wire/limits.ts';

/** Bytes queued for a link at most, over all streams (design: about 100 ms of a fast link). */
export const QUEUED_BYTES_MAX = MIB;
/** And at least: a batch, and as much that waits for the kernel, of which it tells (0032). */
export const QUEUED_BYTES_MIN = 128 * KIB;
/** How long what is queued may take. */
const QUEUED_MS = 100;
/** How long one frame may take (design). */
const FRAME_MS = 5;
/** Samples of less time say more of the event loop than of the line. */
const SAMPLE_MS_MIN = 20;
/** And of fewer bytes, when nothing waits behind them. Guess: a record of TLS. */
const SAMPLE_BYTES_MIN = 16 * KIB;

export class LinkPace {
  queuedBytesMax = QUEUED_BYTES_MAX;
  frameBytesMax = FRAME_BYTES_MAX;
  /** When the sample under way began, and what had been taken by then; NaN: nothing waits. */
  #sinceMs = Number.NaN;
  #sinceBytes = 0;
  /** 0: never seen. */
  #bytesPerMs = 0;
  /** Taken without a wait that counts, since the rate was last changed. */
  #quickBytes = 0;

  /** Something waits, `takenBytes` of all that was ever written having been taken. Idempotent. */
  begin(nowMs: number, takenBytes: number): void {
    if (!Number.isNaN(this.#sinceMs)) return;
    this.#sinceMs = nowMs;
    this.#sinceBytes = takenBytes;
  }

  /** Some of what waited was taken, or all of it. Without a `begin` nothing happens. */
  sample(nowMs: number, takenBytes: number, isWaiting: boolean): void {
    const elapsedMs = nowMs - this.#sinceMs;
    const bytes = takenBytes - this.#sinceBytes;
    // What was little and is gone was held up by the event loop: TLS is done with it a turn later.
    const isOfLine = isWaiting || bytes >= SAMPLE_BYTES_MIN;
    if (elapsedMs >= SAMPLE_MS_MIN && isOfLine) {
      const before = this.#bytesPerMs;
      this.#setRate(before === 0 ? bytes / elapsedMs : (before + bytes / elapsedMs) / 2);
      this.#sinceMs = nowMs;
      this.#sinceBytes = takenBytes;
    } else if (!isWaiting && elapsedMs >= 0) this.pass(bytes);
    if (!isWaiting) this.#sinceMs = Number.NaN;
  }

  /** `bytes` were taken at once, so that the line is faster than was thought. */
  pass(bytes: number): void {
    if (this.frameBytesMax === FRAME_BYTES_MAX && this.queuedBytesMax === QUEUED_BYTES_MAX) return;
    this.#quickBytes += bytes;
    if (this.#quickBytes >= QUEUED_BYTES_MAX) this.#setRate(2 * Math.max(1, this.#bytesPerMs));
  }

  #setRate(bytesPerMs: number): void {
    this.#bytesPerMs = bytesPerMs;
    this.#quickBytes = 0;
    const moment = (ms: number, least: number, most: number): number =>
      Math.min(most, Math.max(least, Math.floor(this.#bytesPerMs * ms)));
    this.queuedBytesMax = moment(QUEUED_MS, QUEUED_BYTES_MIN, QUEUED_BYTES_MAX);
    this.frameBytesMax = moment(FRAME_MS, FRAME_BYTES_MIN, FRAME_BYTES_MAX);
  }
}
