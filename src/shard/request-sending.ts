// The way of a request into its stream: head and body, as they come from the visitor.
//
//   sendHead: | head | what has come of a short body |   one write
//             | head |, and the body behind it           from JOINED_BYTES_MAX on, uncopied
//   sendBody: each later read
//   sendAgain: the same once more, of what was kept
//
// Invariant: a byte beyond the limit of a body is never sent, so that no upstream takes the body
// for whole; a read is released once, whatever became of it. Must not know: responses, or what
// becomes of the exchange when `outcome` is bad.

import { readPool } from '../base/read-pool.ts';
import { BodyReader } from '../http/body-reader.ts';
import { type RequestGains, writeRequestHead } from '../http/head-writer.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { ExchangeOwner } from './exchange-owner.ts';
import type { HttpContext } from './http-context.ts';
import type { HttpUpstream } from './http-upstream.ts';
import type { SentRequest } from './sent-request.ts';
import type { Trace } from './trace.ts';

/** Body bytes that are copied behind their head, to leave in one write (design: from 4 KiB not). */
export const JOINED_BYTES_MAX = 4096;

/** What it needs of each. */
type Context = Pick<HttpContext, 'slab' | 'requestBodyBytesMax'>;
type Owner = Pick<ExchangeOwner, 'forwarding' | 'loginGain'>;
type Upstream = Pick<HttpUpstream, 'edits' | 'write'>;

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export class RequestSending {
  readonly #context: Context;
  readonly #owner: Owner;
  readonly #upstream: Upstream;
  readonly #body = new BodyReader();
  /** One object for all requests of the connection. */
  readonly #gains: Writable<RequestGains>;
  #isTooLarge = false;
  /** The stream took what was sent last, and more may follow at once. */
  goesOn = true;

  constructor(context: Context, owner: Owner, upstream: Upstream) {
    this.#context = context;
    this.#owner = owner;
    this.#upstream = upstream;
    this.#gains = { forwarding: owner.forwarding, edits: undefined, login: undefined };
  }

  /** What has become of the body so far. */
  get outcome(): 'incomplete' | 'whole' | 'bad' | 'too-large' {
    if (this.#isTooLarge) return 'too-large';
    if (this.#body.isBad) return 'bad';
    return this.#body.isComplete ? 'whole' : 'incomplete';
  }

  /** Of the body, without its framing. */
  get bodyBytes(): number {
    return this.#body.dataBytes;
  }

  /** No body is expected. */
  clear(): void {
    this.#isTooLarge = false;
    this.#body.begin('none', 0, 'raw');
  }

  /** The body of `head` is what comes next. */
  begin(head: RequestParser): void {
    this.#isTooLarge = head.contentLength > this.#context.requestBodyBytesMax;
    this.#body.begin(head.framing, head.contentLength, 'raw');
  }

  /** Sends the head, with what `chunk` has of the body. Returns the offset after that. */
  sendHead(head: RequestParser, chunk: Buffer, offset: number, trace: Trace | undefined): number {
    const { slab } = this.#context;
    const left = chunk.length - offset;
    const body = this.#body;
    const joins = left > 0 && left <= JOINED_BYTES_MAX && !body.isDone;
    this.#gains.edits = this.#upstream.edits;
    this.#gains.login = this.#owner.loginGain;
    writeRequestHead(head, this.#gains, slab, joins ? left : 0);
    let next = offset;
    while (joins && !body.isDone && next < chunk.length) {
      next = body.step(chunk, next);
      // Filtered trailers lie elsewhere, and are shorter than what was filtered.
      slab.append(body.bytes, body.start, body.end);
      trace?.sent(body);
    }
    body.release();
    const message = slab.take();
    if (this.#refuses()) return chunk.length;
    const goesOn = this.#upstream.write(message);
    if (!joins) next = this.sendBody(chunk, next, trace);
    this.goesOn = joins ? goesOn : goesOn && this.goesOn;
    return next;
  }

  /** Sends what `chunk` has of the body, and owns it. Returns the offset after it. */
  sendBody(chunk: Buffer, offset: number, trace: Trace | undefined): number {
    const body = this.#body;
    let next = offset;
    let sentBytes = 0;
    this.goesOn = true;
    while (!body.isDone && next < chunk.length) {
      next = body.step(chunk, next);
      if (this.#refuses()) {
        body.release();
        readPool.release(chunk, chunk.length - offset - sentBytes);
        return chunk.length;
      }
      if (body.end === body.start) continue;
      trace?.sent(body);
      if (body.bytes === chunk) sentBytes += body.end - body.start;
      const takesMore = this.#upstream.write(body.bytes.subarray(body.start, body.end));
      this.goesOn &&= takesMore;
    }
    body.release();
    readPool.release(chunk, next - offset - sentBytes);
    return next;
  }

  /** Sends all of `sent`, whose head is `head`, on another stream. It stays its owner's. */
  sendAgain(head: RequestParser, sent: SentRequest, trace: Trace | undefined): void {
    this.begin(head);
    this.sendHead(head, sent.chunk, sent.bodyAt, trace);
    let { goesOn } = this;
    for (const piece of sent.later) {
      this.sendBody(piece, 0, trace);
      goesOn &&= this.goesOn;
    }
    this.goesOn = goesOn;
  }

  #refuses(): boolean {
    this.#isTooLarge ||= this.#body.dataBytes > this.#context.requestBodyBytesMax;
    return this.#isTooLarge;
  }
}
