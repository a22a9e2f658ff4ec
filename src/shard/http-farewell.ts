// Streams that a visitor connection has no more use for: until their upstream has gone too, and
// until the visitor has taken what they brought.
//
//   part --FIN--> upstream's FIN awaited --it comes--> over --visitor has taken all--> released
//   end, reset ---------------------------------------/
//
// Invariant: an idle stream gets a FIN first, so that an upstream sees its keep-alive connection
// closed and not reset; what still arrives ends it by a reset, and so does a deadline. What waits
// for the visitor stays on the account of its session, which can have it back: by a cut of the
// visitor; when the session has ended, on that of the shard (orphaned-bytes.ts). Must not know:
// what was exchanged before.

import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import { Roster, type Seat } from '../base/roster.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { type Holding, OrphanedBytes } from './orphaned-bytes.ts';

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

/** Whoever still holds some of what a stream has brought. */
export interface Holder {
  /** The stream's session has no memory for it any more. */
  onMemoryShort(): void;
}

export class Farewell implements StreamSink, Holding {
  /** Of what it brought, so much waits for the visitor. */
  heldBytes: number;
  deadlineMs = Number.POSITIVE_INFINITY;
  readonly holder: Holder;
  readonly #stream: Stream;
  #seat: Seat<Farewell> | undefined;
  #heldSeat: Seat<Farewell> | undefined;
  /** As of the last sweep. */
  #seenBytes = Number.POSITIVE_INFINITY;

  constructor(stream: Stream, heldBytes: number, holder: Holder) {
    this.heldBytes = heldBytes;
    this.#stream = stream;
    this.holder = holder;
    stream.sink = this;
  }

  /** Ends an idle stream; it is one of `all` until its upstream has gone. */
  part(all: Roster<Farewell>, deadlineMs: number): void {
    this.deadlineMs = deadlineMs;
    this.#seat = all.enter(this);
    this.#stream.end();
  }

  /** Ends a stream whose upstream has sent its FIN. */
  end(): void {
    this.#stream.end();
  }

  reset(code: ErrorCode): void {
    this.#seat?.leave();
    this.#stream.cancel(code, this.heldBytes);
  }

  /** Some of it waits for the visitor: it is one of `all` while that is so. */
  hold(all: Roster<Farewell>): void {
    this.#heldSeat = all.enter(this);
  }

  /** What waits and is on no session's account. */
  get orphanedBytes(): number {
    return this.#stream.accountsFor(this.heldBytes) ? 0 : this.heldBytes;
  }

  /** Has the visitor taken some of it since this was asked last? */
  hasMoved(): boolean {
    const hasMoved = this.heldBytes < this.#seenBytes;
    this.#seenBytes = this.heldBytes;
    return hasMoved;
  }

  /** There is no room for what waits. */
  giveBack(): void {
    this.holder.onMemoryShort();
  }

  /** The visitor has taken so much of it. */
  settle(bytes: number): void {
    this.heldBytes -= bytes;
    if (this.heldBytes === 0) this.#heldSeat?.leave();
    this.#stream.consumed(bytes);
  }

  /** The visitor takes what stands before it. */
  touch(): void {
    this.#stream.touch();
  }

  onData(piece: Buffer): void {
    release(piece);
    this.reset('SLW_STREAM_CANCELLED');
  }

  onFin(): void {
    this.#seat?.leave();
  }

  /** The visitor gets all that it was to have, unless that itself is what there is no room for. */
  onReset(code: ErrorCode): void {
    this.#seat?.leave();
    if (this.heldBytes === 0 || this.#stream.keep(this.heldBytes)) return;
    if (code === 'SLW_STREAM_MEMORY') this.giveBack();
  }

  onOpened(): void {
    // It was opened long ago.
  }

  onWritable(): void {
    // Nothing is left to write.
  }
}

export class Farewells {
  readonly #all = new Roster<Farewell>();
  /** Of those, and of such as have ended, the ones of which some waits for the visitor. */
  readonly #held = new Roster<Farewell>();
  /** Swept with those here. */
  readonly orphans: OrphanedBytes;

  constructor(orphanedBytesMax?: number) {
    this.orphans = new OrphanedBytes(orphanedBytesMax);
    this.orphans.watch(this.#held);
  }

  get count(): number {
    return this.#all.size;
  }

  get heldCount(): number {
    return this.#held.size;
  }

  /** Ends the stream of `farewell`, which is idle. */
  part(farewell: Farewell, nowMs: number): void {
    farewell.part(this.#all, nowMs + FAREWELL_MS);
  }

  sweep(nowMs: number): void {
    for (const farewell of this.#all) {
      if (nowMs >= farewell.deadlineMs) farewell.reset('SLW_STREAM_CANCELLED');
    }
    this.orphans.sweep();
  }

  /** `farewell` has something that waits for its visitor. */
  hold(farewell: Farewell): void {
    farewell.hold(this.#held);
  }
}

function release(piece: Buffer): void {
  readPool.release(piece, piece.length);
}

function ignore(): void {
  // See SILENT_SINK.
}
