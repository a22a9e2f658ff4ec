// Joins two streams of two sessions: one from the mesh, one on a client's link.
//
//   visitor's shard ==mesh==> [ inner end | outer end ] ==link==> client
//
//   open --FIN--> ended --RST, link lost, while the other still sends what came--> parting
//
// What waits behind a FIN is on the account of its session, and then of the shard.
//
// Invariant: bytes of one stream are consumed when the other has sent them, so credit on one side
// is backed by credit on the other; FIN and RST pass each way, no RST before what came ahead of it
// with its FIN, and that waits for a bounded time. Must not know: who opened either stream, or what
// flows.

import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { Roster, Seat } from '../base/roster.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { Holding } from './orphaned-bytes.ts';

/** One side: the sink of `stream`, which passes everything to the other side's stream. */
export class SpliceEnd implements StreamSink, Holding {
  stream: Stream | undefined;
  other: SpliceEnd | undefined;
  readonly #partings: Roster<SpliceEnd>;
  /** What our stream has said; `parting`: it was reset, and the other sends the rest of that. */
  #state: 'open' | 'ended' | 'parting' = 'open';
  #seat: Seat<SpliceEnd> | undefined;
  #endCode: ErrorCode = 'SLW_NONE';
  /** Of the rest, as of the last sweep. */
  #seenBytes = -1;
  #movedMs = 0;
  /** Bytes of our stream that wait in the other's queue. */
  #waitingBytes = 0;
  /** In the other's queue, as `hasMoved` last saw it; below zero: it was not asked yet. */
  #queuedBytes = -1;

  constructor(partings: Roster<SpliceEnd>) {
    this.#partings = partings;
  }

  onOpened(): void {
    const next = this.other?.stream;
    // Whoever opened it has said all, and gone.
    if (next?.isEnded === false) next.accept();
  }

  onData(piece: Buffer): void {
    const bytes = piece.length;
    const next = this.other?.stream;
    // Nobody takes it, so there is no credit for more.
    if (next === undefined || next.isEnded) readPool.release(piece, bytes);
    else if (next.write(piece)) this.stream?.consumed(bytes);
    else this.#waitingBytes += bytes;
  }

  onFin(): void {
    this.#state = 'ended';
    if (this.#waitingBytes > 0) this.#seat = this.#partings.enter(this);
    this.other?.stream?.end();
  }

  onReset(code: ErrorCode): void {
    const next = this.other?.stream;
    this.other?.onOtherGone();
    this.#seat?.leave();
    if (next === undefined || next.isDrained || !this.#mayFinish(code)) {
      next?.reset(code);
      return;
    }
    this.#state = 'parting';
    this.#endCode = code;
    this.#seat = this.#partings.enter(this);
  }

  /** Is what waits all that was said? It stays on its account. Our own want of memory is for it. */
  #mayFinish(code: ErrorCode): boolean {
    if (this.#state !== 'ended') return false;
    const isKept = this.#waitingBytes > 0 && this.stream?.keep(this.#waitingBytes) === true;
    return isKept || code !== 'SLW_STREAM_MEMORY';
  }

  onWritable(): void {
    this.other?.settle();
  }

  /** The other stream has sent everything: what waited there is consumed. */
  settle(): void {
    const bytes = this.#waitingBytes;
    this.#waitingBytes = 0;
    this.stream?.consumed(bytes);
    if (this.#state === 'parting') this.#part(this.#endCode);
    else this.#seat?.leave();
  }

  /** Was this end parting, there is nobody to whom it might say the rest. */
  onOtherGone(): void {
    this.#seat?.leave();
  }

  /** About once a second, of those that part: nobody else may ask when the rest will be taken. */
  sweep(nowMs: number, timeoutMs: number): void {
    if (this.#state !== 'parting') return;
    const bytes = this.other?.stream?.queuedBytes ?? 0;
    if (bytes !== this.#seenBytes) {
      this.#seenBytes = bytes;
      this.#movedMs = nowMs;
    } else if (nowMs - this.#movedMs >= timeoutMs) this.#part('SLW_STREAM_HALF_CLOSED');
  }

  /** What waits, and is on no session's account as ours has ended. */
  get orphanedBytes(): number {
    const bytes = this.#waitingBytes;
    return this.stream?.accountsFor(bytes) === true ? 0 : bytes;
  }

  get holder(): this {
    return this;
  }

  hasMoved(): boolean {
    const queuedBytes = this.other?.stream?.queuedBytes ?? 0;
    const hasMoved = this.#queuedBytes < 0 || queuedBytes < this.#queuedBytes;
    this.#queuedBytes = queuedBytes;
    return hasMoved;
  }

  giveBack(): void {
    this.#part('SLW_STREAM_MEMORY');
  }

  /** Nothing more of it: the other stream ends, also for what comes the other way. */
  #part(code: ErrorCode): void {
    this.#seat?.leave();
    this.#waitingBytes = 0;
    this.other?.stream?.reset(code);
    // What it kept is nobody's any more.
    this.stream?.reset(code);
  }
}

/** Two ends that know each other; give each its stream, and be its sink. In `partings` is who is
 * to be swept. */
export function createSplice(partings: Roster<SpliceEnd>): {
  readonly inner: SpliceEnd;
  readonly outer: SpliceEnd;
} {
  const inner = new SpliceEnd(partings);
  const outer = new SpliceEnd(partings);
  inner.other = outer;
  outer.other = inner;
  return { inner, outer };
}
