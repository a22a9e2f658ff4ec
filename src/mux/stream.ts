// One stream of a session: its state, its credit both ways, and what waits to be sent.
//
// Invariant: what is sent never exceeds the granted credit; credit is granted when the sink says
// that bytes were taken, not when they arrive; the state changes only through `transition`. After
// the end nothing is sent, and the sink is told one thing at most: that its session has no memory
// for what it holds. Must not know: links, sockets, HTTP.

import { assert } from '../base/assert.ts';
import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import type { Seat } from '../base/roster.ts';
import { ReceiveWindow, SendCredit, type SessionMemory } from '../wire/flow.ts';
import {
  canSend,
  EVENT,
  hasSentFin,
  REFUSED,
  STREAM,
  type StreamEvent,
  type StreamState,
  transition,
} from '../wire/stream-state.ts';
import { FIN_MARK, SendQueue } from './send-queue.ts';
import { CreditLane, SendLane, type Throttle } from './throttle.ts';

/** Who consumes a stream: a socket, an HTTP exchange, or another stream. */
export interface StreamSink {
  /** The peer accepted the stream: its upstream is reached. */
  onOpened(): void;
  /** A piece of payload, owned by the sink; it calls `stream.consumed` once the bytes are taken. */
  onData(piece: Buffer): void;
  /** No more data will come. The other direction stays open. */
  onFin(): void;
  /** The stream is gone, both directions, and not cleanly. The last call. */
  onReset(code: ErrorCode): void;
  /** After `write` returned false: everything has been sent. */
  onWritable(): void;
}

/** Stands in until the owner has set one. */
export const UNSET_SINK: StreamSink = {
  onOpened: unset,
  onData: unset,
  onFin: unset,
  onReset() {
    // The owner gave the stream up before it had a use for it: nobody is to be told.
  },
  onWritable: unset,
};

/** Sends what streams have, in turn. */
export interface StreamSender {
  /** Sends as much of `piece` as credit and link allow; returns how much. */
  sendNow(stream: Stream, piece: Buffer): number;
  /** Lists the stream for a turn, if it has something that may be sent. */
  schedule(stream: Stream): void;
}

/** What a stream asks of its session. */
export interface StreamCarrier {
  /** Answers OPEN and widens the stream's window to its full size. */
  sendOpened(stream: Stream): void;
  sendReset(stream: Stream, code: ErrorCode): void;
  /** What is under way to the stream is dropped. */
  stopReceiving(stream: Stream): void;
  grant(stream: Stream, bytes: number): void;
  /** Its sink moves on. */
  touch(stream: Stream): void;
  /** Of what was taken under a throttle, so much may be granted now. */
  grantPaid(stream: Stream, bytes: number): void;
  /** No new streams are opened beside this one. */
  readonly isLeaving: boolean;
  /** The stream has ended, and bytes are held yet. */
  hold(stream: Stream): void;
  /** The stream has ended and holds nothing: forget it. */
  release(stream: Stream): void;
}

/** Counts for status, metrics and balancing, shared by the streams of one tunnel and link. */
export interface StreamMeter {
  streams: number;
  bytesIn: number;
  bytesOut: number;
  /** How streams ended, by code; absent where nobody asks. */
  readonly results?: Map<ErrorCode, number>;
}

export interface StreamOptions {
  readonly id: number;
  readonly carrier: StreamCarrier;
  readonly sender: StreamSender;
  readonly state: StreamState;
  readonly memory: SessionMemory;
  readonly windowBytes: number;
  readonly creditBytes: number;
  readonly sink: StreamSink;
  readonly nowMs: number;
}

export class Stream {
  readonly id: number;
  readonly window: ReceiveWindow;
  readonly credit: SendCredit;
  sink: StreamSink;
  /** Counted into while the stream lives. */
  readonly meters: StreamMeter[] = [];
  /** When the stream was opened, then when its sink last took something. */
  progressMs: number;
  /** How it ended: SLW_NONE for cleanly. */
  endCode: ErrorCode = 'SLW_NONE';
  /** The scheduler's list. */
  next: Stream | undefined;
  isListed = false;
  /** The table's, of ours that were not answered yet. */
  openingSeat: Seat<Stream> | undefined;
  /** Set while the tunnel's throttles hold for it. */
  sendLane: SendLane | undefined;
  creditLane: CreditLane | undefined;
  readonly #carrier: StreamCarrier;
  readonly #sender: StreamSender;
  readonly #queue = new SendQueue();
  #state: StreamState;
  /** Did the sink hold on to some of it when the peer reset it? */
  #isKept = false;

  constructor(options: StreamOptions) {
    this.id = options.id;
    this.#carrier = options.carrier;
    this.#sender = options.sender;
    this.#state = options.state;
    this.window = new ReceiveWindow(options.memory, options.windowBytes);
    this.credit = new SendCredit(options.creditBytes);
    this.sink = options.sink;
    this.progressMs = options.nowMs;
  }

  get state(): StreamState {
    return this.#state;
  }

  /** Its session takes no new streams: who keeps an idle one should let it go. */
  get isLeaving(): boolean {
    return this.#carrier.isLeaving;
  }

  get isEnded(): boolean {
    return this.#state === STREAM.ENDED;
  }

  /** Counts this stream into `meter` until it is released. */
  addMeter(meter: StreamMeter): void {
    meter.streams += 1;
    this.meters.push(meter);
  }

  /** Holds what is sent, and what the peer may send, to rates that other streams share; called
   * again, to further ones as well. */
  throttle(sending: Throttle | undefined, receiving: Throttle | undefined): void {
    const [carrier, sender] = [this.#carrier, this.#sender];
    if (sending !== undefined) {
      this.sendLane = new SendLane(sending, () => sender.schedule(this), this.sendLane);
    }
    if (receiving === undefined) return;
    const { window } = this;
    window.growthBytesMax = Math.min(window.growthBytesMax, receiving.windowBytesMax);
    const onPaid = (bytes: number): void => carrier.grantPaid(this, bytes);
    this.creditLane = new CreditLane(receiving, onPaid, this.creditLane);
  }

  /** Accepts the peer's OPEN. */
  accept(): void {
    assert(this.move(EVENT.SEND_OPENED), 'only an unanswered stream is accepted');
    this.#carrier.sendOpened(this);
    this.#sender.schedule(this);
  }

  /**
   * Sends `piece`, which belongs to the stream from now on. False: it was taken, but some of it
   * waits for credit or for the link; go on after `sink.onWritable`.
   */
  write(piece: Buffer): boolean {
    if (this.isEnded || piece.length === 0) {
      readPool.release(piece, piece.length);
      return true;
    }
    assert(!this.#queue.isEnded, 'nothing is written after end');
    let rest = piece;
    if (this.#queue.isEmpty) {
      this.sendLane?.claim(piece.length);
      const sent = this.#sender.sendNow(this, piece);
      if (sent === piece.length) return true;
      if (sent > 0) rest = piece.subarray(sent);
    }
    this.#queue.add(rest);
    this.#sender.schedule(this);
    // A throttle that had room again by now may have let all of it pass.
    return this.isDrained;
  }

  /** FIN, after everything that was written. */
  end(): void {
    if (hasSentFin(this.#state) || this.#queue.isEnded) return;
    this.#queue.end();
    this.#sender.schedule(this);
  }

  /** Gives the stream up: RST if the peer still has it, and what it held is free. Idempotent. */
  reset(code: ErrorCode): void {
    if (!this.isEnded) this.#carrier.sendReset(this, code);
    this.drop(code);
  }

  /**
   * The same, but that the sink still holds `heldBytes` of what it was given: they stay on the
   * session's account until they are consumed. Idempotent.
   */
  cancel(code: ErrorCode, heldBytes: number): void {
    if (this.isEnded) return;
    this.#carrier.sendReset(this, code);
    this.endCode = code;
    this.move(EVENT.RESET);
    this.#queue.clear();
    this.#carrier.stopReceiving(this);
    this.window.keep(heldBytes);
    this.settle();
  }

  /**
   * Within `sink.onReset`: `heldBytes` wait yet for those who they are for, and stay on the
   * account until they are consumed. False: the session has freed them already, for want of memory
   * or as it has ended.
   */
  keep(heldBytes: number): boolean {
    if (!this.accountsFor(heldBytes)) return false;
    this.#isKept = true;
    this.window.keep(heldBytes);
    return true;
  }

  /** Are `heldBytes` on the session's account? Not when it has ended. */
  accountsFor(heldBytes: number): boolean {
    return heldBytes <= this.window.heldBytes;
  }

  /** Who holds some of it was given something that stood before that: it is not stale. */
  touch(): void {
    if (this.window.heldBytes > 0) this.#carrier.touch(this);
  }

  /** The sink's socket has taken `bytes` of what `onData` gave it. */
  consumed(bytes: number): void {
    if (bytes === 0 || this.window.heldBytes === 0) return;
    this.#carrier.grant(this, bytes);
    this.#releaseWhenEmpty();
  }

  /** For the session: applies an event, or says that it must not happen. */
  move(event: StreamEvent): boolean {
    const next = transition(this.#state, event);
    if (next === REFUSED) return false;
    this.#state = next;
    return true;
  }

  /** For the session: it may have ended, by both FINs or by a reset of ours. */
  settle(): void {
    if (!this.isEnded) return;
    if (this.window.heldBytes > 0) this.#carrier.hold(this);
    else this.#carrier.release(this);
  }

  /** For the session: the peer's reset. What the sink does not keep is free. */
  endByPeer(code: ErrorCode): void {
    const { sink } = this;
    this.endCode = code;
    this.move(EVENT.RESET);
    this.#queue.clear();
    this.#carrier.stopReceiving(this);
    // First, as the sink may open another in its place.
    this.settle();
    sink.onReset(code);
    if (!this.#isKept) this.#carrier.release(this);
  }

  /** For the session: the end without a word to the peer. Idempotent. */
  drop(code: ErrorCode): void {
    // Who had ended well is given up all the same when there is no memory for what it holds.
    if (!this.isEnded || code === 'SLW_STREAM_MEMORY') this.endCode = code;
    this.move(EVENT.RESET);
    this.#queue.clear();
    this.#carrier.release(this);
  }

  /** Written and not sent. */
  get queuedBytes(): number {
    return this.#queue.bytes;
  }

  /** Bytes that may be sent now, whatever the link says. */
  get sendableBytes(): number {
    const { availableBytes } = this.credit;
    if (this.sendLane === undefined) return availableBytes;
    return Math.min(availableBytes, this.sendLane.shareBytes);
  }

  /** For the session: bytes are sent. */
  spend(bytes: number): void {
    this.credit.spend(bytes);
    this.sendLane?.spend(bytes);
  }

  /** For the session: the sink took bytes, and the throttle says when they are granted again. */
  owe(bytes: number, lane: CreditLane): void {
    this.window.free(bytes);
    lane.owe(bytes);
  }

  /** For the scheduler: may it be listed? What its throttle holds back is listed again by that. */
  claimTurn(): boolean {
    if (!this.isSendable) return false;
    const { sendLane, queuedBytes } = this;
    return sendLane === undefined || queuedBytes === 0 || sendLane.admits(queuedBytes);
  }

  /** Is there something that credit and state allow to be sent now? */
  get isSendable(): boolean {
    if (this.#queue.isEmpty || !canSend(this.#state)) return false;
    return this.#queue.isAtEnd || this.credit.availableBytes > 0;
  }

  /** For the scheduler: sends from the queue, at most about `quantumBytes`. True: FIN is due. */
  flush(quantumBytes: number): boolean {
    let budget = quantumBytes;
    while (budget > 0) {
      const head = this.#queue.first();
      if (head === undefined) return false;
      if (head === FIN_MARK) return canSend(this.#state);
      const piece = head.length > budget ? head.subarray(0, budget) : head;
      const sent = this.#sender.sendNow(this, piece);
      if (sent === 0) return false;
      budget -= sent;
      this.#queue.advance(sent);
    }
    return false;
  }

  /** For the scheduler: our FIN was sent. */
  finSent(): void {
    this.#queue.clear();
    assert(this.move(EVENT.SEND_FIN), 'FIN is sent once, by a stream that may send');
  }

  /** For the session, once: what the stream held of what others share is free. */
  free(): void {
    this.window.release();
    this.sendLane?.close();
    this.creditLane?.close();
    for (const meter of this.meters) endMeter(meter, this.endCode);
    this.meters.length = 0;
  }

  get isDrained(): boolean {
    return this.#queue.isEmpty;
  }

  #releaseWhenEmpty(): void {
    if (this.isEnded && this.window.heldBytes === 0) this.#carrier.release(this);
  }
}

function endMeter(meter: StreamMeter, code: ErrorCode): void {
  meter.streams -= 1;
  meter.results?.set(code, (meter.results.get(code) ?? 0) + 1);
}

function unset(): void {
  assert(false, 'a stream is used before its sink is set');
}
