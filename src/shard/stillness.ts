// How long an exchange has stood still whose visitor could have left without our seeing it.
//
//   FIN read, or reading paused --nothing moves for so long--> overdue
//                               \--something moves----------> still anew
//
// Behind a FIN nothing is read any more, so that libuv does not watch the socket and never tells of
// the reset that the next probe draws: who closed everything looks as who closed one direction.
//
// Invariant: whatever the visitor's kernel takes, or the upstream's client, between two sweeps is a
// move, however little. Costs nothing a piece. Must not know: requests, or who is cut.

import type { SocketOutlet } from './socket-outlet.ts';

/** As for who takes nothing (uptake.ts): as long as a slow upstream may think. Guess. */
export const STILL_MS_MAX = 5 * 60_000;

export class Stillness {
  readonly #outlet: SocketOutlet;
  /** As the last sweep saw them. */
  #takenBytes: number;
  #movedMs: number;

  /** Begins when the visitor can first not be seen. */
  constructor(outlet: SocketOutlet, nowMs: number) {
    this.#outlet = outlet;
    this.#takenBytes = outlet.takenBytes;
    this.#movedMs = nowMs;
  }

  /** About once a second. `hasMoved`: some of the request has, toward its upstream. */
  isOverdue(nowMs: number, hasMoved: boolean, limitMs: number): boolean {
    const { takenBytes } = this.#outlet;
    if (hasMoved || takenBytes !== this.#takenBytes) {
      this.#takenBytes = takenBytes;
      this.#movedMs = nowMs;
    }
    return nowMs - this.#movedMs >= Math.min(limitMs, STILL_MS_MAX);
  }
}
