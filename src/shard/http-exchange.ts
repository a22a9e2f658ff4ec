// One request and its response at a time, between a visitor and a stream.
//
//   free --begin--> sending --body sent--> waiting --head--> answering --body--> free
//                      \--head--> early (answered before the body was sent) --/
//
// Invariant: until the response's head is written a failure becomes an error answer, after that
// it cuts the visitor: a broken response never looks whole. What follows a complete response
// never reaches the visitor. Must not know: how requests are read from the visitor's socket.

import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import { BodyReader } from '../http/body-reader.ts';
import { PUSH } from '../http/head-parser.ts';
import { type ConnectionWord, writeResponseHead } from '../http/head-writer.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { ResponseParser } from '../http/response-head.ts';
import type { StreamSink } from '../mux/stream.ts';
import type { ExchangeOwner } from './exchange-owner.ts';
import { ExchangeRecord } from './exchange-record.ts';
import type { HttpContext } from './http-context.ts';
import { HttpUpstream } from './http-upstream.ts';
import { JOINED_BYTES_MAX, RequestSending } from './request-sending.ts';
import { ResponseHeads } from './response-heads.ts';
import type { VisitorInfo } from './router.ts';
import { isSafe, keepRequest, type SentRequest } from './sent-request.ts';
import { type Stickiness, stickinessOf } from './stickiness.ts';

const EMPTY = Buffer.alloc(0);
/** Below the keep-alive time of most servers: Node's 5 s, checked about every second. */
const UPSTREAM_IDLE_MS = 3500;
/**
 * The same before a request that is not repeated when its upstream closes on it: below the shortest
 * default that is known, gunicorn's 2 s, with room for the way to the client.
 */
const UNSAFE_IDLE_MS = 1000;
/** Counted for a request whose visitor left before the answer; nginx's number, sent to nobody. */
const LEFT_STATUS = 499;

export type ExchangeState = 'free' | 'sending' | 'waiting' | 'early' | 'answering';

export class HttpExchange implements StreamSink {
  readonly #context: HttpContext;
  readonly #owner: ExchangeOwner;
  readonly #upstream: HttpUpstream;
  readonly #request: RequestSending;
  readonly #heads: ResponseHeads;
  readonly #responseBody = new BodyReader();
  readonly #record: ExchangeRecord;
  #state: ExchangeState = 'free';
  #minor = 1;
  #wantsKeepAlive = false;
  #keepsVisitor = false;
  #keepsUpstream = false;
  #status = 0;
  #sent: SentRequest | undefined;
  /** How the visitor of the request comes back to the same client. */
  #sticky: Stickiness | undefined;
  /** What came from the upstream and is being read. */
  #piece: Buffer | undefined;
  /** Of the piece at hand, what somebody else owns now. */
  #passedBytes = 0;

  constructor(context: HttpContext, owner: ExchangeOwner, visitor: VisitorInfo) {
    this.#context = context;
    this.#owner = owner;
    this.#upstream = new HttpUpstream(context, owner, visitor, this);
    this.#request = new RequestSending(context, owner, this.#upstream);
    this.#heads = new ResponseHeads(context, owner.outlet);
    this.#record = new ExchangeRecord(context, owner);
  }

  get state(): ExchangeState {
    return this.#state;
  }

  /** Has the visitor left so many whole answers that it should be asked no further? */
  get owesMany(): boolean {
    return this.#upstream.owesMany;
  }

  /** Does the visitor still owe a part of the request's body? */
  get wantsBody(): boolean {
    return this.#state === 'sending' || this.#state === 'early';
  }

  /** Has some of the request moved on toward its upstream since this was asked last? */
  hasMoved(): boolean {
    return this.#upstream.hasMoved();
  }

  get tunnel(): string | undefined {
    return this.#record.tunnel;
  }

  get method(): string {
    return this.#record.method;
  }

  /** Of the last request, for the access log. */
  get visitor(): string {
    return this.#record.visitor;
  }

  /** When the last request was counted, which is when it was done with. */
  get countedMs(): number {
    return this.#record.countedMs;
  }

  /** A request has come, which may lead nowhere; no head when it could not be read. */
  arrive(head: RequestParser | undefined, tunnel: string | undefined, nowMs: number): void {
    this.#status = 0;
    this.#request.clear();
    this.#responseBody.begin('none', 0, 'raw');
    this.#record.arrive(head, tunnel, nowMs);
  }

  /** Counts the request, answered with `status` and so much of a body, or broken off for `code`. */
  count(status: number, bytesOut: number, code: ErrorCode = 'SLW_NONE'): void {
    this.#record.count(status, code, this.#request.bodyBytes, bytesOut);
  }

  /** Sends the request on, with what `chunk` has of its body. Returns the offset after that. */
  begin(head: RequestParser, tunnel: string, chunk: Buffer, offset: number): number {
    this.#record.begin(tunnel);
    this.#minor = head.minor;
    this.#wantsKeepAlive = head.isKeepAlive;
    this.#heads.begin(head);
    this.#request.begin(head);
    const { outcome } = this.#request;
    this.#state = outcome === 'whole' ? 'waiting' : 'sending';
    if (outcome === 'too-large') {
      this.#refuseBody();
      return offset;
    }
    const { origin } = this.#owner.forwarding;
    this.#sticky = stickinessOf(this.#context.router, tunnel, head, origin);
    if (this.#isUpstreamStale(head)) this.#upstream.part();
    const failure = this.#upstream.acquire(tunnel, this.#sticky?.key);
    if (failure !== undefined) {
      this.#fail(failure);
      return offset;
    }
    this.#dropSent();
    const read = { chunk, offset, kept: this.#context.keptBodies };
    this.#sent = keepRequest(head, read, this.#upstream.isReused);
    return this.#sendHead(head, chunk, offset);
  }

  /** May the upstream just be closing what is kept? No sweep has looked while the head came. */
  #isUpstreamStale(head: RequestParser): boolean {
    const { idleMs } = this.#record;
    return idleMs >= UPSTREAM_IDLE_MS || (idleMs >= UNSAFE_IDLE_MS && !isSafe(head));
  }

  #sendHead(head: RequestParser, chunk: Buffer, offset: number): number {
    const next = this.#request.sendHead(head, chunk, offset, this.#record.trace);
    this.#afterSending();
    return next;
  }

  /** Sends what `chunk` has of the request's body, and owns it. Returns the offset after it. */
  sendBody(chunk: Buffer, offset: number): number {
    if (this.#sent?.keep(chunk, offset) === false) this.#dropSent();
    const next = this.#request.sendBody(chunk, offset, this.#record.trace);
    this.#afterSending();
    return next;
  }

  #afterSending(): void {
    const { outcome, goesOn } = this.#request;
    if (outcome === 'too-large') this.#refuseBody();
    else if (outcome === 'bad') this.fail('SLW_HTTP_BAD_REQUEST');
    else if (outcome === 'whole') this.#onSent();
    // After the body's end nobody would resume the socket.
    if (!goesOn && this.wantsBody) this.#owner.socket.pause();
  }

  #onSent(): void {
    if (this.#state === 'sending') this.#state = 'waiting';
    else if (this.#state === 'early') this.#state = 'answering';
    // TLS hands on what it has decrypted also after a pause, and the end of the body with it.
    const { socket } = this.#owner;
    if (socket.isPaused()) socket.resume();
  }

  #refuseBody(): void {
    this.#context.meter.onLimited('request-body');
    this.fail('SLW_HTTP_BODY_TOO_LARGE');
  }

  /** Ends the exchange: with an error answer while that is possible, with a cut after. */
  fail(code: ErrorCode): void {
    if (this.#state === 'sending' || this.#state === 'waiting') this.#fail(code);
    else if (this.#state !== 'free') this.#cut();
  }

  /** The visitor is gone, or is sent away, as `code` says to the upstream alone. */
  abandon(code: ErrorCode = 'SLW_STREAM_CANCELLED'): void {
    if (this.#state === 'free') this.#upstream.part();
    else this.#upstream.reset(code);
    // Nobody waits any more for the answer of an upstream, or of a login provider.
    if (this.#record.isDue) {
      this.#record.trace?.fail(code);
      this.count(this.#status || LEFT_STATUS, this.#responseBody.dataBytes, code);
    }
    this.#settleState('free');
  }

  /** The visitor's socket is gone, with all that waited in it. */
  close(code?: ErrorCode): void {
    this.#upstream.settle(0);
    this.abandon(code);
  }

  /**
   * Between two requests, about once a second: a stream that is idle for long goes before its
   * upstream closes it, as a request that is on its way by then may not be sent again.
   */
  rest(nowMs: number): void {
    if (this.#state !== 'free') return;
    if (nowMs - this.countedMs >= UPSTREAM_IDLE_MS) this.#upstream.part();
    else this.#upstream.partIfUseless();
  }

  /** The visitor's socket has taken bytes. */
  settle(): void {
    // Of a piece at hand some is neither written nor queued: it is settled when all of it is.
    if (this.#piece === undefined) this.#upstream.settle(this.#owner.outlet.queuedBytes);
  }

  onOpened(): void {
    // The request was sent within the first window and did not wait for this. The upstream has it
    // now, and the answer may take long: what it came in lies in a block of others.
    if (this.#sent?.isRepeatable === false) this.#dropSent();
  }

  onWritable(): void {
    if (this.wantsBody) this.#owner.onWritable();
  }

  onData(piece: Buffer): void {
    this.#upstream.received(piece.length);
    this.#passedBytes = 0;
    this.#piece = piece;
    // An answer that nobody asked for (CVE-2026-48931).
    if (this.#state === 'free') this.#upstream.reset('SLW_STREAM_CANCELLED');
    else if (this.#state === 'early' || this.#state === 'answering') this.#passBody(piece, 0);
    else this.#readHead(piece);
    this.#piece = undefined;
    readPool.release(piece, piece.length - this.#passedBytes);
    this.settle();
  }

  onFin(): void {
    if (this.#state === 'free') {
      this.#upstream.end();
    } else if (this.#state === 'sending' || this.#state === 'waiting') {
      this.#upstream.reset('SLW_STREAM_CANCELLED');
      this.#repeatOrFail('SLW_STREAM_RESET');
    } else if (this.#responseBody.finish()) {
      this.#complete(0, 'ended');
    } else {
      this.#cut();
    }
  }

  onReset(code: ErrorCode): void {
    const isKept = this.#upstream.lose();
    // What it has brought waits for the visitor, be it of an answer before this one. Where the peer
    // is the one that has no memory, that is none of the visitor's.
    if (!isKept && code === 'SLW_STREAM_MEMORY') this.#owner.onMemoryShort();
    else if (this.#state === 'sending' || this.#state === 'waiting') this.#onGivenUp(code);
    else if (this.#state !== 'free') this.#cut();
  }

  #onGivenUp(code: ErrorCode): void {
    this.#upstream.onGivenUp(code);
    this.#repeatOrFail(code);
  }

  #dropSent(): void {
    this.#sent?.drop();
    this.#sent = undefined;
  }

  #readHead(piece: Buffer): void {
    this.#dropSent();
    const offset = this.#heads.push(piece);
    if (offset === PUSH.MORE) return;
    const { parser } = this.#heads;
    if (offset === PUSH.REFUSED) this.#fail('SLW_HTTP_BAD_RESPONSE');
    else if (parser.isSwitch) this.#switch(parser, piece.subarray(offset));
    else this.#answer(parser, piece, offset);
  }

  #switch(parser: ResponseParser, rest: Buffer): void {
    const { slab } = this.#context;
    const { edits } = this.#upstream;
    const extra = this.#sticky?.lineFor(this.#upstream.mark);
    writeResponseHead(parser, { connection: 'upgrade', isDecoded: false, edits, extra }, slab, 0);
    this.#owner.outlet.write(slab.take());
    this.#status = parser.status;
    this.#record.trace?.answered(parser);
    this.count(this.#status, 0);
    const released = this.#upstream.release(rest.length);
    this.#settleState('free');
    if (released === undefined) return;
    this.#passedBytes += rest.length;
    this.#owner.onSwitched(released, rest);
  }

  #answer(parser: ResponseParser, piece: Buffer, offset: number): void {
    const { slab } = this.#context;
    const body = this.#responseBody;
    const isDecoded = parser.isChunked && this.#minor === 0;
    this.#status = parser.status;
    this.#record.trace?.answered(parser);
    this.#keepsUpstream = parser.isKeepAlive;
    this.#keepsVisitor = this.#mayKeepVisitor(parser, isDecoded);
    body.begin(parser.framing, parser.contentLength, isDecoded ? 'decode' : 'raw');
    const left = piece.length - offset;
    const joins = left > 0 && left <= JOINED_BYTES_MAX && !body.isDone;
    writeResponseHead(
      parser,
      {
        ...{ connection: this.#connectionWord(), isDecoded },
        ...{ edits: this.#upstream.edits, extra: this.#extraFields },
      },
      slab,
      joins ? left : 0,
    );
    let next = offset;
    while (joins && !body.isDone && next < piece.length) {
      next = body.step(piece, next);
      slab.append(body.bytes, body.start, body.end);
      this.#record.trace?.received(body);
    }
    // Until the next request nobody else would, and the piece lies in a block of others.
    body.release();
    this.#settleState(this.#state === 'sending' ? 'early' : 'answering');
    this.#owner.onProgress();
    const isLarge = !joins && left > 0 && !body.isDone;
    if (isLarge) this.#owner.outlet.gather(slab.take());
    else this.#owner.outlet.write(slab.take());
    if (body.isBad) this.#cut();
    else if (body.isComplete) this.#complete(piece.length - next, 'open');
    else if (isLarge) this.#passBody(piece, next);
  }

  #mayKeepVisitor(parser: ResponseParser, isDecoded: boolean): boolean {
    const hasEnd = parser.framing !== 'until-close' && !isDecoded;
    const mayStay = this.#wantsKeepAlive && this.#context.keepsVisitors;
    return mayStay && hasEnd && this.#state === 'waiting';
  }

  #connectionWord(): ConnectionWord {
    if (!this.#keepsVisitor) return 'close';
    return this.#minor === 0 ? 'keep-alive' : 'none';
  }

  #passBody(piece: Buffer, offset: number): void {
    const body = this.#responseBody;
    let next = offset;
    while (!body.isDone && next < piece.length) {
      next = body.step(piece, next);
      const { bytes, start, end } = body;
      if (end === start) continue;
      this.#record.trace?.received(body);
      if (bytes === piece) this.#passedBytes += end - start;
      this.#owner.outlet.write(end - start === bytes.length ? bytes : bytes.subarray(start, end));
    }
    body.release();
    if (this.#state === 'early') this.#owner.onProgress();
    if (body.isBad) this.#cut();
    else if (body.isComplete) this.#complete(piece.length - next, 'open');
  }

  /** The response is whole; `restBytes` came after it. The upstream is open or has ended. */
  #complete(restBytes: number, upstream: 'open' | 'ended'): void {
    const isSent = this.#state === 'answering';
    if (!isSent || restBytes > 0) this.#upstream.reset('SLW_STREAM_CANCELLED');
    else if (upstream === 'ended') this.#upstream.end();
    else if (!this.#keepsUpstream) this.#upstream.part();
    this.count(this.#status, this.#responseBody.dataBytes);
    this.#settleState('free');
    this.#owner.onAnswered(this.#keepsVisitor && isSent);
  }

  get #extraFields(): Buffer | undefined {
    const { extraFields } = this.#owner;
    const line = this.#sticky?.lineFor(this.#upstream.mark);
    return line === undefined ? extraFields : Buffer.concat([line, extraFields ?? EMPTY]);
  }

  /** Once more on a new stream, where nothing was lost with the old one. */
  #repeatOrFail(code: ErrorCode): void {
    const sent = this.#sent;
    if (sent?.mayRepeat(code) !== true) {
      this.#fail(code);
      return;
    }
    const head = this.#context.borrowRequestParser();
    // Reads as it did the first time.
    head.push(sent.bytes, sent.base);
    const failure = this.#owner.judgeAgain(head) ?? this.#acquireAgain(code, !sent.isRepeatable);
    if (failure === undefined) this.#sendAgain(head, sent);
    else this.#fail(failure);
    this.#context.returnRequestParser(head);
  }

  #acquireAgain(code: ErrorCode, isElsewhere: boolean): ErrorCode | undefined {
    const { tunnel = '' } = this.#record;
    const gaveUp = isElsewhere ? code : undefined;
    const failure = this.#upstream.acquireAgain(tunnel, this.#sticky?.key, gaveUp);
    // Nobody else serves it: what went wrong is what the last has said.
    return failure !== undefined && isElsewhere ? code : failure;
  }

  #sendAgain(head: RequestParser, sent: SentRequest): void {
    const { trace } = this.#record;
    trace?.sendsAgain();
    // The new stream is as unseen as any, and no more.
    sent.isRepeatable = false;
    this.#request.sendAgain(head, sent, trace);
    this.#afterSending();
    // The one before held the visitor back.
    if (this.#request.goesOn && this.#owner.socket.isPaused()) this.onWritable();
  }

  #fail(code: ErrorCode): void {
    this.#record.trace?.fail(code);
    this.#upstream.reset('SLW_STREAM_CANCELLED');
    this.#settleState('free');
    this.#owner.onFailed(code);
  }

  #cut(): void {
    this.#record.trace?.fail('SLW_STREAM_RESET');
    this.#upstream.reset('SLW_STREAM_CANCELLED');
    this.count(this.#status, this.#responseBody.dataBytes, 'SLW_STREAM_RESET');
    this.#settleState('free');
    this.#owner.onCut();
  }

  /** Enters a state in which no head of this exchange is needed any more. */
  #settleState(state: 'free' | 'early' | 'answering'): void {
    this.#state = state;
    this.#dropSent();
    if (state === 'free') {
      this.#record.settle();
      // Its key is a part of the text of all cookies.
      this.#sticky = undefined;
    }
    this.#heads.release();
  }
}
