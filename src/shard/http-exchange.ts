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
import {
  type ConnectionWord,
  type RequestGains,
  writeRequestHead,
  writeResponseHead,
} from '../http/head-writer.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { ResponseParser } from '../http/response-head.ts';
import type { StreamSink } from '../mux/stream.ts';
import type { AccessNote } from './access-log.ts';
import type { ExchangeOwner } from './exchange-owner.ts';
import type { HttpContext, InFlight } from './http-context.ts';
import { HttpUpstream } from './http-upstream.ts';
import type { VisitorInfo } from './router.ts';
import { isUnseen, keepRequest, mayRepeat, type SentRequest } from './sent-request.ts';
import { type Stickiness, stickinessOf } from './stickiness.ts';
import type { Trace } from './trace.ts';

/** Body bytes that are copied behind their head, to leave in one write (design: from 4 KiB not). */
const JOINED_BYTES_MAX = 4096;
/** Interim responses before the final one (design, section 4.2). */
const INTERIMS_MAX = 16;
const EMPTY = Buffer.alloc(0);
/** Below the shortest keep-alive time of common servers: Node's 5 s, checked about every second. */
const UPSTREAM_IDLE_MS = 3500;
/** Counted for a request whose visitor left before the answer; nginx's number, sent to nobody. */
const LEFT_STATUS = 499;

export type ExchangeState = 'free' | 'sending' | 'waiting' | 'early' | 'answering';

type Writable<T> = { -readonly [K in keyof T]: T[K] };

export class HttpExchange implements StreamSink {
  readonly #context: HttpContext;
  readonly #owner: ExchangeOwner;
  readonly #upstream: HttpUpstream;
  readonly #requestBody = new BodyReader();
  readonly #responseBody = new BodyReader();
  /** One object for all requests of the connection. */
  readonly #gains: Writable<RequestGains>;
  #state: ExchangeState = 'free';
  #tunnel: string | undefined;
  #method = '';
  #startMs = 0;
  /** When the last request was counted, which is when it was done with. */
  countedMs = 0;
  #response: ResponseParser | undefined;
  #minor = 1;
  #wantsKeepAlive = false;
  #wantsUpgrade = false;
  #keepsVisitor = false;
  #keepsUpstream = false;
  #status = 0;
  #interimsCount = 0;
  #sent: SentRequest | undefined;
  /** How the visitor of the request comes back to the same client. */
  #sticky: Stickiness | undefined;
  /** What came from the upstream and is being read. */
  #piece: Buffer | undefined;
  /** Of the piece at hand, what somebody else owns now. */
  #passedBytes = 0;
  #inFlight: InFlight | undefined;
  /** Of the request at hand, while the access log is on, and while its tunnel is inspected. */
  #note: AccessNote | undefined;
  #trace: Trace | undefined;

  constructor(context: HttpContext, owner: ExchangeOwner, visitor: VisitorInfo) {
    this.#context = context;
    this.#owner = owner;
    this.#upstream = new HttpUpstream(context, visitor, this);
    this.#gains = { forwarding: owner.forwarding, edits: undefined, login: undefined };
  }

  get state(): ExchangeState {
    return this.#state;
  }

  /** Does the visitor still owe a part of the request's body? */
  get wantsBody(): boolean {
    return this.#state === 'sending' || this.#state === 'early';
  }

  get tunnel(): string | undefined {
    return this.#tunnel;
  }

  get method(): string {
    return this.#method;
  }

  /** A request has come, which may lead nowhere; no head when it could not be read. */
  arrive(head: RequestParser | undefined, tunnel: string | undefined, nowMs: number): void {
    this.#tunnel = tunnel;
    this.#method = head?.method ?? '';
    this.#startMs = nowMs;
    this.#status = 0;
    this.#requestBody.begin('none', 0, 'raw');
    this.#responseBody.begin('none', 0, 'raw');
    this.#note = this.#context.access?.note(this.#owner.forwarding.origin, head);
    this.#trace = this.#context.inspector?.arrive(this.#owner, head, tunnel);
  }

  /** Counts the request, answered with `status` and so much of a body. */
  meter(status: number, bytesOut: number): void {
    const { meter, clock, access } = this.#context;
    this.countedMs = clock.nowMs();
    const durationMs = this.countedMs - this.#startMs;
    meter.onRequest(this.#tunnel, this.#method, status, durationMs);
    this.#trace?.end(status, this.#requestBody.dataBytes, bytesOut);
    if (this.#note === undefined) return;
    const [tunnel, method, bytesIn] = [this.#tunnel, this.#method, this.#requestBody.dataBytes];
    access?.onRequest(this.#note, { tunnel, method, status, bytesIn, bytesOut, durationMs });
  }

  /** Sends the request on, with what `chunk` has of its body. Returns the offset after that. */
  begin(head: RequestParser, tunnel: string, chunk: Buffer, offset: number): number {
    this.#tunnel = tunnel;
    this.#minor = head.minor;
    this.#wantsKeepAlive = head.isKeepAlive;
    this.#wantsUpgrade = head.isUpgrade;
    this.#interimsCount = 0;
    this.#requestBody.begin(head.framing, head.contentLength, 'raw');
    this.#state = this.#requestBody.isComplete ? 'waiting' : 'sending';
    this.#inFlight = this.#context.meter.inFlight(tunnel);
    this.#inFlight.requests += 1;
    if (head.contentLength > this.#context.requestBodyBytesMax) {
      this.#refuseBody();
      return offset;
    }
    const { origin } = this.#owner.forwarding;
    this.#sticky = stickinessOf(this.#context.router, tunnel, head, origin);
    const failure = this.#upstream.acquire(tunnel, this.#sticky?.key);
    if (failure !== undefined) {
      this.#fail(failure);
      return offset;
    }
    this.#sent = keepRequest(head, { chunk, offset, isReused: this.#upstream.isReused });
    return this.#sendHead(head, chunk, offset);
  }

  #sendHead(head: RequestParser, chunk: Buffer, offset: number): number {
    const { slab } = this.#context;
    const left = chunk.length - offset;
    const body = this.#requestBody;
    const joins = left > 0 && left <= JOINED_BYTES_MAX && !body.isDone;
    this.#gains.edits = this.#upstream.edits;
    this.#gains.login = this.#owner.loginGain;
    writeRequestHead(head, this.#gains, slab, joins ? left : 0);
    let next = offset;
    while (joins && !body.isDone && next < chunk.length) {
      next = body.step(chunk, next);
      // Filtered trailers lie elsewhere, and are shorter than what was filtered.
      slab.append(body.bytes, body.start, body.end);
      this.#trace?.sent(body);
    }
    body.release();
    const message = slab.take();
    if (body.dataBytes > this.#context.requestBodyBytesMax) {
      this.#refuseBody();
      return chunk.length;
    }
    const goesOn = this.#upstream.write(message);
    if (joins) this.#checkRequest();
    else next = this.sendBody(chunk, next);
    if (!goesOn && this.wantsBody) this.#owner.socket.pause();
    return next;
  }

  /** Sends what `chunk` has of the request's body, and owns it. Returns the offset after it. */
  sendBody(chunk: Buffer, offset: number): number {
    const body = this.#requestBody;
    let next = offset;
    let sentBytes = 0;
    let goesOn = true;
    while (!body.isDone && next < chunk.length) {
      next = body.step(chunk, next);
      if (body.dataBytes > this.#context.requestBodyBytesMax) {
        body.release();
        readPool.release(chunk, chunk.length - offset - sentBytes);
        this.#refuseBody();
        return chunk.length;
      }
      if (body.end === body.start) continue;
      this.#trace?.sent(body);
      if (body.bytes === chunk) sentBytes += body.end - body.start;
      goesOn = this.#upstream.write(body.bytes.subarray(body.start, body.end)) && goesOn;
    }
    body.release();
    readPool.release(chunk, next - offset - sentBytes);
    this.#checkRequest();
    // After the body's end nobody would resume the socket.
    if (!goesOn && this.wantsBody) this.#owner.socket.pause();
    return next;
  }

  /** Before the byte that is too much is sent on, so that no upstream takes the body for whole. */
  #refuseBody(): void {
    this.#context.meter.onLimited('request-body');
    this.fail('SLW_HTTP_BODY_TOO_LARGE');
  }

  #checkRequest(): void {
    const body = this.#requestBody;
    if (body.isBad) this.fail('SLW_HTTP_BAD_REQUEST');
    else if (body.isComplete && this.#state === 'sending') this.#state = 'waiting';
    else if (body.isComplete && this.#state === 'early') this.#state = 'answering';
  }

  /** Ends the exchange: with an error answer while that is possible, with a cut after. */
  fail(code: ErrorCode): void {
    if (this.#state === 'sending' || this.#state === 'waiting') this.#fail(code);
    else if (this.#state !== 'free') this.#cut();
  }

  /** The visitor is gone, or is sent away: nobody is told. */
  abandon(): void {
    if (this.#state === 'free') this.#upstream.part();
    else {
      this.#upstream.reset('SLW_STREAM_CANCELLED');
      this.#trace?.fail('SLW_STREAM_CANCELLED');
      // What an upstream may have seen is counted, whether anybody waited for the answer or not.
      this.meter(this.#status || LEFT_STATUS, this.#responseBody.dataBytes);
    }
    this.#settleState('free');
  }

  /**
   * Between two requests, about once a second: a stream that is idle for long goes before its
   * upstream closes it, as a request that is on its way by then may not be sent again.
   */
  rest(nowMs: number): void {
    if (this.#state !== 'free') return;
    if (nowMs - this.countedMs >= UPSTREAM_IDLE_MS) this.#upstream.part();
    else this.#upstream.partIfLeaving();
  }

  /** The visitor's socket has taken bytes. */
  settle(): void {
    // Of a piece at hand some is neither written nor queued: it is settled when all of it is.
    if (this.#piece === undefined) this.#upstream.settle(this.#owner.outlet.queuedBytes);
  }

  onOpened(): void {
    // The request was sent within the first window and did not wait for this.
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
    this.#upstream.forget();
    if (this.#state === 'sending' || this.#state === 'waiting') this.#repeatOrFail(code);
    else if (this.#state !== 'free') this.#cut();
  }

  #readHead(piece: Buffer): void {
    let offset = 0;
    while (offset < piece.length) {
      const parser = this.#borrowParser();
      offset = parser.push(piece, offset);
      if (offset === PUSH.MORE) return;
      if (offset === PUSH.REFUSED || !this.#mayFollow(parser)) {
        this.#fail('SLW_HTTP_BAD_RESPONSE');
        return;
      }
      if (!parser.isInterim) {
        if (parser.isSwitch) this.#switch(parser, piece.subarray(offset));
        else this.#answer(parser, piece, offset);
        return;
      }
      this.#passInterim(parser);
    }
  }

  #borrowParser(): ResponseParser {
    if (this.#response !== undefined) return this.#response;
    this.#sent = undefined;
    this.#response = this.#context.borrowResponseParser();
    this.#response.prepare(this.#method, this.#wantsUpgrade);
    return this.#response;
  }

  #mayFollow(parser: ResponseParser): boolean {
    if (!parser.isInterim) return true;
    this.#interimsCount += 1;
    return this.#interimsCount <= INTERIMS_MAX;
  }

  /** An HTTP/1.0 visitor would take an interim response for the final one. */
  #passInterim(parser: ResponseParser): void {
    if (this.#minor === 1) {
      const { slab } = this.#context;
      writeResponseHead(parser, { connection: 'none', isDecoded: false }, slab, 0);
      this.#write(slab.take());
    }
    parser.prepare(this.#method, this.#wantsUpgrade);
  }

  #switch(parser: ResponseParser, rest: Buffer): void {
    const { slab } = this.#context;
    const { edits } = this.#upstream;
    const extra = this.#sticky?.lineFor(this.#upstream.mark);
    writeResponseHead(parser, { connection: 'upgrade', isDecoded: false, edits, extra }, slab, 0);
    this.#write(slab.take());
    this.#status = parser.status;
    this.#trace?.answered(parser);
    this.meter(this.#status, 0);
    const stream = this.#upstream.release(rest.length);
    this.#settleState('free');
    if (stream === undefined) return;
    this.#passedBytes += rest.length;
    this.#owner.onSwitched(stream, rest);
  }

  #answer(parser: ResponseParser, piece: Buffer, offset: number): void {
    const { slab } = this.#context;
    const body = this.#responseBody;
    const isDecoded = parser.isChunked && this.#minor === 0;
    this.#status = parser.status;
    this.#trace?.answered(parser);
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
      this.#trace?.received(body);
    }
    this.#settleState(this.#state === 'sending' ? 'early' : 'answering');
    this.#owner.onProgress();
    const isLarge = !joins && left > 0 && !body.isDone;
    if (isLarge) this.#owner.outlet.gather(slab.take());
    else this.#write(slab.take());
    if (body.isBad) this.#cut();
    else if (body.isComplete) this.#complete(piece.length - next, 'open');
    else if (isLarge) this.#passBody(piece, next);
  }

  #mayKeepVisitor(parser: ResponseParser, isDecoded: boolean): boolean {
    const hasEnd = parser.framing !== 'until-close' && !isDecoded;
    const isServing = this.#context.state === 'serving';
    return this.#wantsKeepAlive && hasEnd && isServing && this.#state === 'waiting';
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
      this.#trace?.received(body);
      if (bytes === piece) this.#passedBytes += end - start;
      this.#write(end - start === bytes.length ? bytes : bytes.subarray(start, end));
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
    this.meter(this.#status, this.#responseBody.dataBytes);
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
    this.#sent = undefined;
    const tunnel = this.#tunnel ?? '';
    const isElsewhere = isUnseen(code);
    if (sent === undefined || !mayRepeat(sent, code)) this.#fail(code);
    else {
      const failure = this.#upstream.acquireAgain(tunnel, isElsewhere);
      // Nobody else serves it: what went wrong is what the first has said.
      if (failure !== undefined) this.#fail(isElsewhere ? code : failure);
      else this.#sendAgain(sent);
    }
  }

  #sendAgain({ bytes, base, bodyAt }: SentRequest): void {
    const head = this.#context.borrowRequestParser();
    const after = head.push(bytes, base);
    if (after >= 0) {
      this.#trace?.sendsAgain();
      this.#requestBody.begin(head.framing, head.contentLength, 'raw');
      this.#sendHead(head, bytes, bodyAt);
    }
    this.#context.returnRequestParser(head);
  }

  #fail(code: ErrorCode): void {
    this.#trace?.fail(code);
    this.#upstream.reset('SLW_STREAM_CANCELLED');
    this.#settleState('free');
    this.#owner.onFailed(code);
  }

  #cut(): void {
    this.#trace?.fail('SLW_STREAM_RESET');
    this.#upstream.reset('SLW_STREAM_CANCELLED');
    this.meter(this.#status, this.#responseBody.dataBytes);
    this.#settleState('free');
    this.#owner.onCut();
  }

  /** Enters a state in which no head of this exchange is needed any more. */
  #settleState(state: 'free' | 'early' | 'answering'): void {
    this.#state = state;
    this.#sent = undefined;
    if (state === 'free' && this.#inFlight !== undefined) {
      this.#inFlight.requests -= 1;
      this.#inFlight = undefined;
    }
    if (this.#response !== undefined) this.#context.returnResponseParser(this.#response);
    this.#response = undefined;
  }

  #write(piece: Buffer): void {
    this.#owner.outlet.write(piece);
  }
}
