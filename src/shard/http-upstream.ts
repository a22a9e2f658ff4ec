// The one stream that a visitor connection keeps toward an upstream, for one exchange or many.
//
// Invariant: it leads to the tunnel of the request at hand, along a route that was there when the
// request began; credit is granted for what the visitor's socket has taken, never for more than was
// received. What a stream that was let go has brought stays on its account until then, too; of
// several the oldest is settled first. Must not know: HTTP.

import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { HeaderEdits } from '../http/header-edits.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { ExchangeOwner, Released } from './exchange-owner.ts';
import { GivenUp } from './given-up.ts';
import type { HttpContext } from './http-context.ts';
import { Farewell } from './http-farewell.ts';
import type { OpenWish } from './route-choice.ts';
import type { Way } from './route-table.ts';
import type { VisitorInfo } from './router.ts';
import type { SocketOutlet } from './socket-outlet.ts';

/** Streams that were let go, of which some waits for the visitor: each costs what a stream does,
 * however little that is. Guess: more than anybody pipelines who reads. */
const OWED_STREAMS_MAX = 16;

/** What it needs of each. */
type Context = Pick<HttpContext, 'router' | 'clock' | 'farewells'>;
type Owner = Pick<ExchangeOwner, 'onMemoryShort'> & {
  readonly outlet: Pick<SocketOutlet, 'queuedBytes'>;
};

export class HttpUpstream {
  readonly #context: Context;
  readonly #owner: Owner;
  readonly #visitor: VisitorInfo;
  readonly #sink: StreamSink;
  #stream: Stream | undefined;
  #tunnel = '';
  #way: Way | undefined;
  #requestsCount = 0;
  /** Who has given up the request at hand, unseen. */
  #givenUp: GivenUp | undefined;
  /** Received and not yet granted again. */
  #heldBytes = 0;
  /** Streams that were let go before the visitor had taken all of them, oldest first. */
  #owed: Farewell[] | undefined;
  /** What they hold together. */
  #owedBytes = 0;
  /** As `hasMoved` last saw them. */
  #queuedBytes = 0;
  #creditBytes = Number.POSITIVE_INFINITY;

  constructor(context: Context, owner: Owner, visitor: VisitorInfo, sink: StreamSink) {
    this.#context = context;
    this.#owner = owner;
    this.#visitor = visitor;
    this.#sink = sink;
  }

  /** Have so many been let go untaken that no further one should be opened for the visitor? */
  get owesMany(): boolean {
    return this.#owed !== undefined && this.#owed.length >= OWED_STREAMS_MAX;
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

  /**
   * The same once more. When the last stream was given up unseen, for `code`: by a client that did
   * not do so for this request, or where a link was gone by another of its client. Else by any.
   */
  acquireAgain(
    tunnel: string,
    key: string | undefined,
    code: ErrorCode | undefined,
  ): ErrorCode | undefined {
    this.part();
    const way = this.#way;
    if (code === undefined || way === undefined) return this.#open(tunnel, { key });
    this.#givenUp ??= new GivenUp();
    const others = this.#givenUp.next(way, code);
    return others === undefined ? 'SLW_STREAM_NO_LINK' : this.#open(tunnel, { ...others, key });
  }

  /**
   * Makes ready for one more request to `tunnel`, of the visitor with `key`; a code when there is
   * no way to it.
   */
  acquire(tunnel: string, key: string | undefined): ErrorCode | undefined {
    const { clock } = this.#context;
    this.#givenUp = undefined;
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
    let bytes = this.#owedBytes + this.#heldBytes - queuedBytes;
    if (bytes <= 0) return;
    if (this.#owedBytes > 0) bytes = this.#settleOwed(bytes);
    if (bytes === 0) this.#stream?.touch();
    else {
      this.#heldBytes -= bytes;
      this.#stream?.consumed(bytes);
    }
  }

  /** Returns how many of the bytes that were taken came by the stream at hand. */
  #settleOwed(bytes: number): number {
    const owed = this.#owed ?? [];
    let left = bytes;
    for (let oldest = owed[0]; left > 0 && oldest !== undefined; oldest = owed[0]) {
      const taken = Math.min(left, oldest.heldBytes);
      left -= taken;
      this.#owedBytes -= taken;
      if (taken === oldest.heldBytes) owed.shift();
      oldest.settle(taken);
    }
    // Whoever takes something in its turn has left none of these.
    for (const later of owed) later.touch();
    return left;
  }

  /** Between two requests: a stream that takes no more of them would only hold its link up. */
  partIfUseless(): void {
    if (this.#stream !== undefined && !this.#mayStay(undefined)) this.part();
  }

  /** Lets an idle stream go, with a FIN. */
  part(): void {
    const farewell = this.#letGo();
    if (farewell === undefined) return;
    this.#context.farewells.part(farewell, this.#context.clock.nowMs());
  }

  /** The upstream has sent its FIN: the stream ends with ours. */
  end(): void {
    this.#letGo()?.end();
  }

  reset(code: ErrorCode): void {
    this.#letGo()?.reset(code);
  }

  /** Nothing had come on the stream for a request, which it was given up with. */
  onGivenUp(code: ErrorCode): void {
    if (this.#way !== undefined) this.#context.router.noteEnd(this.#tunnel, this.#way, code);
  }

  /**
   * The stream was reset. What waits of it for the visitor stays on its session's account. False:
   * some waits, and its session has freed it.
   */
  lose(): boolean {
    this.settle(this.#owner.outlet.queuedBytes);
    const heldBytes = this.#heldBytes;
    const stream = this.#stream;
    this.#forget();
    if (stream === undefined || heldBytes === 0) return true;
    const isKept = stream.keep(heldBytes);
    this.#owe(new Farewell(stream, heldBytes, this.#owner));
    return isKept;
  }

  #forget(): void {
    this.#stream = undefined;
    this.#heldBytes = 0;
  }

  #owe(farewell: Farewell): void {
    if (farewell.heldBytes === 0) return;
    this.#owed ??= [];
    this.#owed.push(farewell);
    this.#context.farewells.hold(farewell);
    this.#owedBytes += farewell.heldBytes;
  }

  /** Hands the stream over, of which the last `restBytes` are in no outlet yet. */
  release(restBytes: number): Released | undefined {
    this.settle(this.#owner.outlet.queuedBytes + restBytes);
    const stream = this.#stream;
    const heldBytes = this.#heldBytes - restBytes;
    this.#forget();
    // A visitor who reads owes nothing, and is not to keep all of this for as long as it stays.
    const owed = this.#owedBytes > 0 ? this : undefined;
    return stream === undefined ? undefined : { stream, before: { heldBytes, owed } };
  }

  #letGo(): Farewell | undefined {
    const stream = this.#stream;
    if (stream === undefined) return undefined;
    // What is not in the outlet by now never will be.
    this.settle(this.#owner.outlet.queuedBytes);
    const farewell = new Farewell(stream, this.#heldBytes, this.#owner);
    this.#owe(farewell);
    this.#forget();
    return farewell;
  }
}
