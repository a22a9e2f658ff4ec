// TCP keep-alive, for connections that last.
//
// Four options of the socket, and a timer of the kernel to arm and to take down: 6 % of the CPU
// time of a connection for one request (docs/decisions/0039). Nobody gains by it before the first
// probe, which is a minute after the last byte, whenever it was asked for.
//
// Invariant: a connection that has lasted KEEP_ALIVE_AFTER_MS has it at the next sweep. Must not
// know: who sweeps, or what flows.

import type { Socket } from 'node:net';

/** Most connections are over by then. Guess, a fraction of the time to the first probe. */
export const KEEP_ALIVE_AFTER_MS = 5_000;
/** First probe on an idle connection (design, section 4.1). */
const FIRST_PROBE_MS = 60_000;

export class KeepAlive {
  readonly #socket: Socket;
  #dueMs: number;

  constructor(socket: Socket, nowMs: number) {
    this.#socket = socket;
    this.#dueMs = nowMs + KEEP_ALIVE_AFTER_MS;
  }

  /** About once a second. A socket that is no TCP one is left as it is. */
  sweep(nowMs: number): void {
    if (nowMs < this.#dueMs) return;
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#socket.setKeepAlive(true, FIRST_PROBE_MS);
  }
}
