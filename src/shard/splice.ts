// Joins two streams of two sessions: one from the mesh, one on a client's link.
//
//   visitor's shard ==mesh==> [ inner end | outer end ] ==link==> client
//
// Invariant: bytes of one stream are consumed when the other has sent them, so credit on one side
// is backed by credit on the other; FIN and RST pass each way as they are. Must not know: who
// opened either stream, or what flows.

import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';

/** One side: the sink of `stream`, which passes everything to the other side's stream. */
export class SpliceEnd implements StreamSink {
  stream: Stream | undefined;
  other: SpliceEnd | undefined;
  /** Bytes of our stream that wait in the other's queue. */
  #waitingBytes = 0;

  onOpened(): void {
    this.other?.stream?.accept();
  }

  onData(piece: Buffer): void {
    const bytes = piece.length;
    const next = this.other?.stream;
    if (next === undefined) readPool.release(piece, bytes);
    if (next?.write(piece) === true) this.stream?.consumed(bytes);
    else this.#waitingBytes += bytes;
  }

  onFin(): void {
    this.other?.stream?.end();
  }

  onReset(code: ErrorCode): void {
    this.other?.stream?.reset(code);
  }

  onWritable(): void {
    this.other?.settle();
  }

  /** The other stream has sent everything: what waited there is consumed. */
  settle(): void {
    const bytes = this.#waitingBytes;
    this.#waitingBytes = 0;
    this.stream?.consumed(bytes);
  }
}

/** Two ends that know each other; give each its stream, and be its sink. */
export function createSplice(): { readonly inner: SpliceEnd; readonly outer: SpliceEnd } {
  const inner = new SpliceEnd();
  const outer = new SpliceEnd();
  inner.other = outer;
  outer.other = inner;
  return { inner, outer };
}
