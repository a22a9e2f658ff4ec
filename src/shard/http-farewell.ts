// Streams that a visitor connection has no more use for, until their upstream has gone too.
//
// Invariant: each gets a FIN first, so that an upstream sees its keep-alive connection closed and
// not reset; what still arrives ends it by a reset, and so does a deadline. Must not know: what
// was exchanged before.

import { readPool } from '../base/read-pool.ts';
import { Roster, type Seat } from '../base/roster.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';

/** Guess: an upstream closes an idle connection within a round trip. */
const FAREWELL_MS = 5000;

/** A sink for a stream that was reset: nothing is expected of it. */
export const SILENT_SINK: StreamSink = {
  onOpened: ignore,
  onData: release,
  onFin: ignore,
  onReset: ignore,
  onWritable: ignore,
};

class Farewell implements StreamSink {
  readonly deadlineMs: number;
  readonly #stream: Stream;
  readonly #seat: Seat<Farewell>;

  constructor(stream: Stream, deadlineMs: number, all: Roster<Farewell>) {
    this.deadlineMs = deadlineMs;
    this.#stream = stream;
    this.#seat = all.enter(this);
    stream.sink = this;
    stream.end();
  }

  onData(piece: Buffer): void {
    release(piece);
    this.giveUp();
  }

  onFin(): void {
    this.#seat.leave();
  }

  onReset(): void {
    this.#seat.leave();
  }

  onOpened(): void {
    // It was opened long ago.
  }

  onWritable(): void {
    // Nothing is left to write.
  }

  giveUp(): void {
    this.#seat.leave();
    this.#stream.sink = SILENT_SINK;
    this.#stream.reset('SLW_STREAM_CANCELLED');
  }
}

export class Farewells {
  readonly #all = new Roster<Farewell>();

  get count(): number {
    return this.#all.size;
  }

  /** Ends `stream`, which is idle and belongs to nobody from now on. */
  part(stream: Stream, nowMs: number): void {
    new Farewell(stream, nowMs + FAREWELL_MS, this.#all);
  }

  sweep(nowMs: number): void {
    for (const farewell of this.#all) if (nowMs >= farewell.deadlineMs) farewell.giveUp();
  }
}

function release(piece: Buffer): void {
  readPool.release(piece, piece.length);
}

function ignore(): void {
  // See SILENT_SINK.
}
