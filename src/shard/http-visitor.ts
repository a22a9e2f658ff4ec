// One visitor connection: reads requests one after another, and closes in a way that the visitor
// can read the last answer.
//
//   idle --first byte--> head --whole--> exchange --answered--> idle, or first unread
//                                  \--login--> asking --told--> lingering
//     any --error, or no keep-alive--> lingering --visitor gone, or deadline--> closed
//     any --takes nothing of what waits, or may have left--> closed, with a cut
//
// Invariant: one request at a time is under way; what a visitor sends ahead waits, and the socket
// is paused for more than HELD_BYTES_MAX of it. One deadline, checked by `sweep`; where it is
// infinite, the visitor is seen, or its uptake or stillness is overdue. Must not know: how a
// request is carried, or what other connections do.

import type { Socket } from 'node:net';
import { assert } from '../base/assert.ts';
import { ERRORS, type ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { Seat } from '../base/roster.ts';
import { Forwarding, type Scheme } from '../http/forwarding.ts';
import { PUSH } from '../http/head-parser.ts';
import type { LoginGain } from '../http/head-writer.ts';
import type { RequestParser } from '../http/request-head.ts';
import { type ReadSink, SocketReads } from '../link/socket-reads.ts';
import type { Stream } from '../mux/stream.ts';
import type { ExchangeOwner, Released } from './exchange-owner.ts';
import { HttpAdmission } from './http-admission.ts';
import type { HttpContext } from './http-context.ts';
import { HttpExchange } from './http-exchange.ts';
import type { FrontAnswer } from './http-front.ts';
import { KeepAlive } from './keep-alive.ts';
import type { LoginAnswer } from './login-answers.ts';
import type { VisitorInfo } from './router.ts';
import { SocketOutlet } from './socket-outlet.ts';
import { type Before, cutSocket } from './socket-relay.ts';
import { STILL_MS_MAX, Stillness } from './stillness.ts';
import { Uptake } from './uptake.ts';

/** Unread responses beyond which the next request waits. Guess: one window (256 KiB). */
const UNTAKEN_BYTES_MAX = 256 * 1024;
/**
 * Sent ahead of its turn, and read all the same: behind bytes that are not read neither a FIN nor
 * a reset is seen. Guess: as much as the longest request head. The last read comes on top.
 */
const HELD_BYTES_MAX = 16 * 1024;
/**
 * From our FIN, or what came behind it last, to the visitor's: many read an answer when they have
 * sent all of their body, and a reset would throw away what waits for them (nginx's number).
 */
const LINGER_MS = 5000;
/** The same for who sends on and on (nginx's as well). */
export const LINGER_MS_MAX = 30_000;

/** An idle connection may be used once more for so long after a take-over. Guess. */
const LAST_REQUEST_MS = 5000;

export interface HttpArrival {
  readonly visitor: VisitorInfo;
  readonly scheme: Scheme;
  /** Of the TLS handshake; the Host of every request must be the same. */
  readonly serverName: string | undefined;
}

/** A connection that was switched to raw bytes. */
export interface Switched {
  readonly tunnel: string;
  /** The visitor's address, for the access log. */
  readonly visitor: string;
  readonly stream: Stream;
  readonly before: Before;
  /** What the stream has brought behind the response's head. */
  readonly rest: Buffer;
  /** Reads the visitor's socket. */
  readonly reads: SocketReads;
}

/** What a connection asks of the ingress that accepted it. */
export interface VisitorHome {
  /** The socket is gone, or no longer this connection's. */
  onGone(visitor: HttpVisitor): void;
  /** From now on raw bytes both ways, by whoever takes over the visitor's reads and outlet, and
   * what was read of it before. */
  onSwitched(visitor: HttpVisitor, switched: Switched): ReadSink;
}

type Phase = 'idle' | 'unread' | 'head' | 'exchange' | 'asking' | 'lingering' | 'closed';

export class HttpVisitor implements ExchangeOwner, ReadSink {
  readonly socket: Socket;
  readonly forwarding: Forwarding;
  readonly outlet: SocketOutlet;
  readonly extraFields: Buffer | undefined;
  /** The ingress's. */
  seat: Seat<HttpVisitor> | undefined;
  readonly #context: HttpContext;
  readonly #home: VisitorHome;
  readonly #admission: HttpAdmission;
  readonly #exchange: HttpExchange;
  readonly #reads: SocketReads;
  readonly #keepAlive: KeepAlive;
  readonly #uptake: Uptake;
  /** Of the time in which the visitor of an exchange can have left unseen. */
  #stillness: Stillness | undefined;
  readonly #onEnd = (): void => this.#receiveEnd();
  readonly #onClose = (): void => this.#close();
  #phase: Phase = 'idle';
  #deadlineMs: number;
  /** No deadline of a connection that lingers is later; known when its answer was sent. */
  #lingerUntilMs = 0;
  /** Holds the part of a head that has come. */
  #parser: RequestParser | undefined;
  /** Sent ahead of its turn. */
  #held: Buffer | undefined;

  constructor(context: HttpContext, home: VisitorHome, socket: Socket, arrival: HttpArrival) {
    this.#context = context;
    this.#home = home;
    this.socket = socket;
    this.outlet = new SocketOutlet(socket, () => this.#afterTaken());
    this.extraFields = arrival.scheme === 'https' ? context.secureFields : undefined;
    this.forwarding = new Forwarding({
      address: arrival.visitor.address,
      scheme: arrival.scheme,
      trusted: context.trustOf(arrival.visitor.address),
      localAuthority: localAuthority(socket),
    });
    this.#admission = new HttpAdmission(context, this.forwarding.origin, arrival.serverName);
    this.#exchange = new HttpExchange(context, this, arrival.visitor);
    const nowMs = context.clock.nowMs();
    this.#keepAlive = new KeepAlive(socket, nowMs);
    this.#uptake = new Uptake(this.outlet, nowMs);
    this.#deadlineMs = nowMs + context.limits.headerTimeoutMs;
    socket.on('error', ignoreError);
    socket.on('close', this.#onClose);
    socket.on('end', this.#onEnd);
    this.#reads = new SocketReads(socket, this);
    if (socket.isPaused()) socket.resume();
  }

  get loginGain(): LoginGain | undefined {
    return this.#admission.gain;
  }

  /** Nothing new begins here. A request under way is answered, and the connection then closed. */
  drain(isUnhurried: boolean): void {
    if (this.#phase !== 'idle' && this.#phase !== 'unread') return;
    if (!isUnhurried) this.#linger();
    else if (this.#phase === 'idle') {
      const latestMs = this.#context.clock.nowMs() + LAST_REQUEST_MS;
      this.#deadlineMs = Math.min(this.#deadlineMs, latestMs);
    }
  }

  /** What waits in this process is lost: a FIN behind what the kernel has would hide it. */
  cutUnsent(): void {
    if (this.outlet.queuedBytes > 0) cutSocket(this.socket);
  }

  /** Turns the visitor away with the page for `code`, whatever it asks for. */
  refuse(code: ErrorCode): void {
    this.#exchange.arrive(undefined, undefined, this.#context.clock.nowMs());
    this.onFailed(code);
  }

  sweep(nowMs: number): void {
    this.#keepAlive.sweep(nowMs);
    const hasMoved = this.#phase === 'exchange' && this.#exchange.hasMoved();
    const absence = this.#absence(nowMs, hasMoved);
    if (absence !== undefined) {
      this.#giveUp(absence);
      return;
    }
    if (this.#phase === 'idle') this.#exchange.rest(nowMs);
    // However slow its upstream is: what moves is not overdue.
    else if (hasMoved && !this.#isVisitorsTurn) this.onProgress();
    if (nowMs < this.#deadlineMs) return;
    if (this.#phase === 'idle') this.#linger();
    else if (this.#phase === 'head') this.refuse('SLW_HTTP_HEADER_TIMEOUT');
    else if (this.#phase === 'exchange') this.#exchange.fail(this.#overdue());
    else if (this.#phase === 'lingering') this.socket.destroy();
  }

  /** Why the visitor is taken to be gone. */
  #absence(nowMs: number, hasMoved: boolean): ErrorCode | undefined {
    if (this.#uptake.isOverdue(nowMs)) return 'SLW_STREAM_IDLE';
    if (this.#phase !== 'exchange') return undefined;
    const hasEnded = this.socket.readableEnded;
    if (!hasEnded && !this.#isLeftUnread) {
      this.#stillness = undefined;
      return undefined;
    }
    this.#stillness ??= new Stillness(this.outlet, nowMs);
    const { halfCloseTimeoutMs } = this.#context.limits;
    const limitMs = hasEnded ? halfCloseTimeoutMs : STILL_MS_MAX;
    if (!this.#stillness.isOverdue(nowMs, hasMoved, limitMs)) return undefined;
    return hasEnded ? 'SLW_STREAM_HALF_CLOSED' : 'SLW_STREAM_IDLE';
  }

  /** Is the visitor not read, while an answer is under way? Before one there is a deadline. */
  get #isLeftUnread(): boolean {
    if (!this.socket.isPaused()) return false;
    const { state } = this.#exchange;
    return state === 'early' || (state === 'answering' && this.#held !== undefined);
  }

  /** No page would reach it, and nothing more will come of it. */
  #giveUp(code: ErrorCode): void {
    const { tunnel } = this.#exchange;
    this.#context.log.debug({ code, tunnel }, 'a visitor is given up');
    this.#close(code);
    cutSocket(this.socket);
  }

  /** Is more of the body to come from the visitor before its upstream can go on? */
  get #isVisitorsTurn(): boolean {
    return this.#exchange.wantsBody && !this.socket.isPaused();
  }

  #overdue(): ErrorCode {
    return this.#isVisitorsTurn ? 'SLW_HTTP_BODY_TIMEOUT' : 'SLW_HTTP_RESPONSE_TIMEOUT';
  }

  onRead(chunk: Buffer): void {
    if (this.#phase === 'exchange' && this.#exchange.wantsBody) {
      const offset = this.#exchange.sendBody(chunk, 0);
      this.#afterSending(readPool.own(chunk.subarray(offset)), 0);
      return;
    }
    if (this.#phase === 'lingering') {
      // The visitor has had its last answer, and what it still sends is dropped.
      readPool.release(chunk, chunk.length);
      this.#lingerOn();
      return;
    }
    // What is not a body is short, or is read in parts: no use for memory that is lent.
    const own = readPool.own(chunk);
    if (this.#phase === 'idle' || this.#phase === 'head') this.#read(own);
    else if (this.#phase === 'exchange' || this.#phase === 'unread') this.#hold(own);
  }

  #read(chunk: Buffer): void {
    const parser = this.#parser ?? this.#context.borrowRequestParser();
    const after = parser.push(chunk, 0);
    if (after === PUSH.MORE) {
      this.#parser = parser;
      // An empty line behind a body is no request: an error page would be taken for the next one's.
      if (!parser.isStarted) return;
      // The first request has had its time since the connection was made.
      const isLater = this.#phase === 'idle' && this.#exchange.method !== '';
      if (isLater) this.#setDeadline(this.#context.limits.headerTimeoutMs);
      this.#phase = 'head';
      return;
    }
    this.#parser = undefined;
    if (after === PUSH.REFUSED) this.refuse(parser.error);
    else this.#begin(parser, chunk, after);
    this.#context.returnRequestParser(parser);
  }

  #begin(head: RequestParser, chunk: Buffer, after: number): void {
    this.#phase = 'exchange';
    const nowMs = this.#context.clock.nowMs();
    const admission = this.#admission.judge(head, nowMs);
    const { tunnel } = this.#admission;
    this.#exchange.arrive(head, tunnel, nowMs);
    if (admission === undefined) {
      assert(tunnel !== undefined, 'nobody is let in where there is no tunnel');
      this.#afterSending(chunk, this.#exchange.begin(head, tunnel, chunk, after));
    } else if (typeof admission === 'string') this.onFailed(admission);
    else if (admission instanceof Promise) this.#await(admission);
    else this.#answerOurselves(admission);
  }

  /** What else comes meanwhile is dropped: the connection ends with the answer. */
  #await(answer: Promise<LoginAnswer>): void {
    this.#phase = 'asking';
    this.#deadlineMs = Number.POSITIVE_INFINITY;
    void answer.then((told) => {
      if (this.#phase !== 'asking') return;
      if (typeof told === 'string') this.onFailed(told);
      else this.#answerOurselves(told);
    });
  }

  #answerOurselves({ status, bytes, bodyBytes }: FrontAnswer): void {
    this.#exchange.count(status, bodyBytes);
    this.#linger(bytes);
  }

  /** The exchange took `chunk` up to `offset`; the rest is for a later request. */
  #afterSending(chunk: Buffer, offset: number): void {
    const isServed = this.#phase === 'idle' || this.#phase === 'unread';
    const isOpen = this.#phase === 'exchange' || isServed;
    const isAhead = offset < chunk.length && !this.#exchange.wantsBody;
    if (isOpen && isAhead) this.#hold(chunk.subarray(offset));
    if (this.#phase === 'exchange') this.onProgress();
    // Answered within the call that sent it.
    else if (this.#phase === 'idle') this.#goOn(this.#exchange.countedMs);
  }

  #hold(rest: Buffer): void {
    this.#held = this.#held === undefined ? rest : Buffer.concat([this.#held, rest]);
    if (this.#held.length > HELD_BYTES_MAX) this.socket.pause();
  }

  judgeAgain(head: RequestParser): ErrorCode | undefined {
    return this.#admission.judgeAgain(head);
  }

  onProgress(): void {
    const { bodyIdleTimeoutMs, upstreamResponseTimeoutMs } = this.#context.limits;
    const { state } = this.#exchange;
    // A body that its upstream does not take now cannot go on.
    const isHeldUp = this.#exchange.wantsBody && this.socket.isPaused();
    if (state === 'answering' || (state === 'early' && isHeldUp))
      this.#deadlineMs = Number.POSITIVE_INFINITY;
    else if (state === 'waiting' || isHeldUp) this.#setDeadline(upstreamResponseTimeoutMs);
    else this.#setDeadline(bodyIdleTimeoutMs);
  }

  onWritable(): void {
    this.socket.resume();
    this.onProgress();
  }

  onAnswered(isKeepAlive: boolean): void {
    const isOver = this.socket.readableEnded && this.#held === undefined;
    if (!isKeepAlive || isOver || this.#context.state === 'draining') {
      this.#linger();
      return;
    }
    if (this.#isBehind) {
      // Nothing more is asked for it until it does.
      this.#phase = 'unread';
      this.#deadlineMs = Number.POSITIVE_INFINITY;
      this.socket.pause();
      return;
    }
    this.#goOn(this.#exchange.countedMs);
  }

  /** Ready for the next request, which may have come already. */
  #goOn(nowMs: number): void {
    this.#phase = 'idle';
    const { limits, state } = this.#context;
    this.#deadlineMs = nowMs + (state === 'draining' ? LAST_REQUEST_MS : limits.keepAliveTimeoutMs);
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    // First, so that what is read now can pause it again.
    this.socket.resume();
    this.#read(held);
    // Its end may have come while it was held, and is not told again.
    if (this.socket.readableEnded) this.#receiveEnd();
  }

  /** Does it ask, and leave what it was answered? */
  get #isBehind(): boolean {
    return this.outlet.queuedBytes > UNTAKEN_BYTES_MAX || this.#exchange.owesMany;
  }

  #afterTaken(): void {
    this.#exchange.settle();
    if (this.#phase !== 'unread' || this.#isBehind) return;
    this.socket.resume();
    this.#goOn(this.#context.clock.nowMs());
  }

  onFailed(code: ErrorCode): void {
    const { status } = ERRORS[code];
    const { tunnel, method } = this.#exchange;
    const { pages } = this.#context;
    this.#exchange.count(status, pages.bodyBytes(code, method), code);
    this.#context.log.debug({ code, tunnel, status }, 'request not served');
    this.#linger(pages.pageFor(code, method));
  }

  onMemoryShort(): void {
    this.#giveUp('SLW_STREAM_MEMORY');
  }

  onCut(): void {
    cutSocket(this.socket);
  }

  onSwitched({ stream, before }: Released, rest: Buffer): void {
    const { socket } = this;
    const held = this.#held;
    this.#held = undefined;
    this.#phase = 'closed';
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    this.#home.onGone(this);
    const { tunnel = '', visitor } = this.#exchange;
    const switched = { tunnel, visitor, stream, before, rest, reads: this.#reads };
    const sink = this.#home.onSwitched(this, switched);
    // First, so that what is passed on now can pause it again.
    socket.resume();
    if (held !== undefined) sink.onRead(held);
    if (socket.readableEnded) stream.end();
  }

  #receiveEnd(): void {
    if (this.#phase === 'idle' || this.#phase === 'head') this.#linger();
    // A request cut short. Its response would be of no use to the visitor.
    else if (this.#phase === 'exchange' && this.#exchange.wantsBody) cutSocket(this.socket);
  }

  /** Sends `last` and our FIN, and then waits for the visitor's, so that it can read the answer. */
  #linger(last?: Buffer): void {
    if (this.#phase === 'lingering' || this.#phase === 'closed') return;
    this.#phase = 'lingering';
    this.#dropParser();
    this.#held = undefined;
    this.#exchange.abandon();
    // A slow visitor may take what waits for it in its own time, as any response.
    this.#deadlineMs = Number.POSITIVE_INFINITY;
    const onSent = (): void => {
      this.#lingerUntilMs = this.#context.clock.nowMs() + LINGER_MS_MAX;
      this.#lingerOn();
    };
    this.outlet.end(last, onSent);
    this.socket.resume();
  }

  #lingerOn(): void {
    // Not before the answer was sent.
    if (this.#lingerUntilMs === 0) return;
    this.#setDeadline(LINGER_MS);
    this.#deadlineMs = Math.min(this.#deadlineMs, this.#lingerUntilMs);
  }

  #close(code?: ErrorCode): void {
    if (this.#phase === 'closed') return;
    this.#phase = 'closed';
    this.#dropParser();
    this.#held = undefined;
    this.#exchange.close(code);
    this.#home.onGone(this);
  }

  #dropParser(): void {
    if (this.#parser !== undefined) this.#context.returnRequestParser(this.#parser);
    this.#parser = undefined;
  }

  #setDeadline(delayMs: number): void {
    this.#deadlineMs = this.#context.clock.nowMs() + delayMs;
  }
}

/** What a visitor that names no host has asked for: the address that it reached. */
function localAuthority(socket: Socket): string {
  const { localAddress = 'localhost', localPort } = socket;
  const host = localAddress.includes(':') ? `[${localAddress}]` : localAddress;
  return localPort === undefined ? host : `${host}:${localPort}`;
}

function ignoreError(): void {
  // 'close' follows, and says all that there is to do.
}
