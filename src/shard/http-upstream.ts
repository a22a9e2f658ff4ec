// The one stream that a visitor connection keeps toward an upstream, for one exchange or many.
//
// Invariant: it leads to the tunnel of the request at hand, along a route that was there when the
// request began; credit is granted for what the visitor's socket has taken, never for more than was
// received; a stream that is given up gets no more calls. Must not know: HTTP.

import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { HeaderEdits } from '../http/header-edits.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { HttpContext } from './http-context.ts';
import { SILENT_SINK } from './http-farewell.ts';
import type { OpenWish, VisitorInfo, Way } from './router.ts';

export class HttpUpstream {
  readonly #context: HttpContext;
  readonly #visitor: VisitorInfo;
  readonly #sink: StreamSink;
  #stream: Stream | undefined;
  #tunnel = '';
  #way: Way | undefined;
  #requestsCount = 0;
  /** Received and not yet granted again. */
  #heldBytes = 0;
  /** As `hasMoved` last saw them. */
  #queuedBytes = 0;
  #creditBytes = Number.POSITIVE_INFINITY;

  constructor(context: HttpContext, visitor: VisitorInfo, sink: StreamSink) {
    this.#context = context;
    this.#visitor = visitor;
    this.#sink = sink;
  }

  /** Has the stream carried a request before this one? */
  get isReused(): boolean {
    return this.#requestsCount > 1;
  }

  /** The header rules of the route that the last stream took. */
  get edits(): HeaderEdits | undefined {
    return this.#way?.edits;
  }

  /** What calls the client of the last stream, for a visitor to come back to it. */
  get mark(): string {
    return this.#way?.client.mark ?? '';
  }

  /** The same once more, by another client when that of the last stream could not reach it. */
  acquireAgain(
    tunnel: string,
    key: string | undefined,
    isElsewhere: boolean,
  ): ErrorCode | undefined {
    this.part();
    return this.#open(tunnel, { key, except: isElsewhere ? this.#way?.client : undefined });
  }

  /**
   * Makes ready for one more request to `tunnel`, of the visitor with `key`; a code when there is
   * no way to it.
   */
  acquire(tunnel: string, key: string | undefined): ErrorCode | undefined {
    const { clock } = this.#context;
    const isUsable = this.#tunnel === tunnel && this.#mayStay(key);
    // A token with no room left: another's client may have some.
    if (isUsable && this.#way?.budget?.nextRequest(clock.nowMs()) === undefined) {
      this.#requestsCount += 1;
      return undefined;
    }
    this.part();
    return this.#open(tunnel, { key });
  }

  /** Is the stream good for one more request, of the visitor with `key`? */
  #mayStay(key: string | undefined): boolean {
    if (this.#stream?.isLeaving !== false || this.#way === undefined) return false;
    return this.#context.router.mayStay(this.#tunnel, this.#way, key);
  }

  #open(tunnel: string, wish: OpenWish): ErrorCode | undefined {
    const { router, clock } = this.#context;
    const requestMs = clock.nowMs();
    const opened = router.openStream(tunnel, this.#visitor, this.#sink, { ...wish, requestMs });
    if (typeof opened === 'string') return opened;
    this.#stream = opened.stream;
    this.#way = opened.way;
    this.#tunnel = tunnel;
    this.#requestsCount = 1;
    this.#creditBytes = Number.POSITIVE_INFINITY;
    return undefined;
  }

  /**
   * Has the client taken some of what was written, since this was asked last? Bytes leave the queue
   * for the credit that there is, and then more credit tells that they were taken.
   */
  hasMoved(): boolean {
    const queuedBytes = this.#stream?.queuedBytes ?? 0;
    const creditBytes = this.#stream?.credit.availableBytes ?? 0;
    const hasMoved = queuedBytes < this.#queuedBytes || creditBytes > this.#creditBytes;
    this.#queuedBytes = queuedBytes;
    this.#creditBytes = creditBytes;
    return hasMoved;
  }

  /** False: taken, but wait for onWritable. */
  write(piece: Buffer): boolean {
    if (this.#stream !== undefined) return this.#stream.write(piece);
    readPool.release(piece, piece.length);
    return true;
  }

  received(bytes: number): void {
    this.#heldBytes += bytes;
  }

  /** Grants what is no longer in the visitor's socket, where `queuedBytes` wait. */
  settle(queuedBytes: number): void {
    const bytes = this.#heldBytes - queuedBytes;
    if (bytes <= 0) return;
    this.#heldBytes -= bytes;
    this.#stream?.consumed(bytes);
  }

  /** Between two requests: a stream that takes no more of them would only hold its link up. */
  partIfUseless(): void {
    if (this.#stream !== undefined && !this.#mayStay(undefined)) this.part();
  }

  /** Lets an idle stream go, with a FIN. */
  part(): void {
    const stream = this.#take();
    if (stream === undefined) return;
    this.#context.farewells.part(stream, this.#context.clock.nowMs());
  }

  /** The upstream has sent its FIN: the stream ends with ours. */
  end(): void {
    const stream = this.#take();
    if (stream === undefined) return;
    stream.sink = SILENT_SINK;
    stream.end();
  }

  reset(code: ErrorCode): void {
    const stream = this.#take();
    if (stream === undefined) return;
    stream.sink = SILENT_SINK;
    stream.reset(code);
  }

  /** The stream is gone by itself. */
  forget(): void {
    this.#stream = undefined;
    this.#heldBytes = 0;
  }

  /** Hands the stream over, with everything granted but the last `keptBytes`. */
  release(keptBytes: number): Stream | undefined {
    this.settle(keptBytes);
    const stream = this.#stream;
    this.forget();
    return stream;
  }

  #take(): Stream | undefined {
    this.settle(0);
    const stream = this.#stream;
    this.forget();
    return stream;
  }
}
