// Whether a visitor takes what waits for it.
//
//   something waits --nothing taken for UNTAKEN_MS_MAX--> overdue
//                   \--something taken, or all---------> waits anew
//
// A kernel whose reader has stopped goes on answering the probes of its full window, and Linux then
// keeps the connection for ever: neither TCP keep-alive nor its own deadlines end it.
//
// Invariant: whoever takes anything between two sweeps, as far as its kernel makes room for it, is
// not overdue, however slow. Costs nothing a piece. Must not know: requests, or who is cut.

import type { SocketOutlet } from './socket-outlet.ts';

/** Long enough for a slow line, and for somebody who pauses. Guess; as in `files`. */
export const UNTAKEN_MS_MAX = 5 * 60_000;

export class Uptake {
  readonly #outlet: SocketOutlet;
  /** As the last sweep saw them. */
  #takenBytes = -1;
  /** When something was taken last, or nothing waited. */
  #takenMs: number;

  constructor(outlet: SocketOutlet, nowMs: number) {
    this.#outlet = outlet;
    this.#takenMs = nowMs;
  }

  /** About once a second. */
  isOverdue(nowMs: number): boolean {
    const { queuedBytes, isEnded } = this.#outlet;
    // The end of TLS waits, too, where the last record has just fitted in.
    if (queuedBytes === 0 && !isEnded) {
      this.#takenMs = nowMs;
      return false;
    }
    const { takenBytes } = this.#outlet;
    if (takenBytes !== this.#takenBytes) {
      this.#takenBytes = takenBytes;
      this.#takenMs = nowMs;
    }
    return nowMs - this.#takenMs >= UNTAKEN_MS_MAX;
  }
}
