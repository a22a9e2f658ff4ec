// Connections of which it is not known yet what they want: the first bytes of each, until it is.
//
//   entered --bytes--> its reader --a verdict--> settled
//           --FIN, deadline--> settled: silent     --gone--> settled: closed
//
// Invariant: each is settled once. By then it is no longer here, no listener of ours is left on its
// socket, and nothing was taken from it but what its reader was given. An error is told by the
// close that follows it. Must not know: what the bytes are, what becomes of anybody, or how many
// may wait.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { Roster, type Seat } from '../base/roster.ts';

/** Of one connection. */
export interface FirstReader<Verdict> {
  /** `more`: it cannot be said yet. */
  read(piece: Buffer): Verdict | 'more';
}

/** `silent` ended or was late before there was a verdict. */
export type Settled<Verdict> = Verdict | 'silent' | 'closed';

type OnSettled<Verdict> = (outcome: Settled<Verdict>) => void;

export class WaitingRoom<Verdict> {
  readonly #clock: Clock;
  readonly #timeoutMs: () => number;
  readonly #waiting = new Roster<Waiting<Verdict>>();

  /** `timeoutMs`: for a verdict, as it is when somebody enters; the sweeps add up to a second. */
  constructor(clock: Clock, timeoutMs: () => number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Reads `socket`, which nobody else does; `first` was read before. May settle at once. */
  enter(
    socket: Socket,
    reader: FirstReader<Verdict>,
    onSettled: OnSettled<Verdict>,
    first?: Buffer,
  ): void {
    const deadlineMs = this.#clock.nowMs() + this.#timeoutMs();
    const waiting = new Waiting(socket, reader, onSettled, deadlineMs);
    waiting.seat = this.#waiting.enter(waiting);
    if (first !== undefined) waiting.read(first);
  }

  /** About once a second: deadlines. */
  sweep(nowMs: number): void {
    for (const waiting of this.#waiting) {
      if (nowMs >= waiting.deadlineMs) waiting.settle('silent');
    }
  }
}

class Waiting<Verdict> {
  readonly deadlineMs: number;
  /** The room's. */
  seat: Seat<Waiting<Verdict>> | undefined;
  readonly #socket: Socket;
  readonly #reader: FirstReader<Verdict>;
  readonly #onSettled: OnSettled<Verdict>;
  // Fields, not written in the constructor: V8 makes a function that is assigned to a property in
  // the old generation, and keeps with it all that it refers to (docs/decisions/0038).
  readonly #onData = (piece: Buffer): void => this.read(piece);
  readonly #onEnd = (): void => this.settle('silent');
  readonly #onClose = (): void => this.settle('closed');

  constructor(
    socket: Socket,
    reader: FirstReader<Verdict>,
    onSettled: OnSettled<Verdict>,
    deadlineMs: number,
  ) {
    this.#socket = socket;
    this.#reader = reader;
    this.#onSettled = onSettled;
    this.deadlineMs = deadlineMs;
    socket.on('error', ignoreError);
    socket.on('close', this.#onClose);
    socket.on('end', this.#onEnd);
    socket.on('data', this.#onData);
  }

  read(piece: Buffer): void {
    const verdict = this.#reader.read(piece);
    if (verdict !== 'more') this.settle(verdict);
  }

  settle(outcome: Settled<Verdict>): void {
    const socket = this.#socket;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    socket.off('error', ignoreError);
    this.seat?.leave();
    this.#onSettled(outcome);
  }
}

function ignoreError(): void {
  // 'close' follows, and says all that there is to do.
}
