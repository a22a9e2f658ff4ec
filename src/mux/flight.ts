// How much may be under way to the peer, by what the line was seen to deliver. Numbers only.
//
//   DATA PING DATA --> | peer | --> PONG: when the PING was there, PONG: its answer
//   LOOSE --times--> RISING <--nothing waited, something did--> HOLDING <--interval--> EMPTYING
//
// LOOSE: a peer that tells no times is left alone. RISING: more with each delivery, as TCP's own
// start, for as long as receivers' windows alone hold it back. HOLDING: rate x way, and what may
// wait (line-queue.ts), at the line's rate: answers come in heaps where they wait for the other
// direction. EMPTYING: nothing is sent until the line is empty, which shows what no wait is.
// Invariant: but for that, FLIGHT_BYTES_MIN may be under way; whoever may not send is paced, or has
// a mark open whose answer lets it. Must not know: links, streams. After BBR and LEDBAT.

import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, KIB, MIB } from '../wire/limits.ts';
import { LineEstimate } from './line-estimate.ts';
import { isTime, LineMarks, type Mark } from './line-marks.ts';
import { LineQueue } from './line-queue.ts';

/** Before anything is known: twice what TCP begins with (RFC 6928). */
export const FLIGHT_BYTES_START = 32 * KIB;
/** Always: two of the smallest frames. */
export const FLIGHT_BYTES_MIN = 2 * FRAME_BYTES_MIN;
/** Beyond all credit that one link's receivers give. */
export const FLIGHT_BYTES_MAX = 1024 * MIB;
/** Below this share of what may wait, nothing waits. */
const IDLE_SHARE = 0.25;
/** If it stays so for this long, the line is better than was thought: a queue that was let run
 * empty is there again sooner. */
const IDLE_MS = 400;
/** What each delivered byte adds while RISING. */
const GROWTH = 2;
/** HOLDING, so often some is let go, this much faster than the rate to find a line that is better,
 * and at most so much at once. Guesses: against a timer's cost, and against what an echo waits. */
export const PACE_MS = 10;
const PACE_GAIN = 1.25;
const BURST_MS = 30;
/** Marks in what may be under way, and where it is not used up; */
const MARKS_PER_FLIGHT = 8;
const MARKS_PER_FLIGHT_AT_EASE = 2;
/** but, at the line's rate, no more than some 200 a second. */
const MARK_INTERVAL_MS = 5;
/** How long one frame may take (design). */
const FRAME_MS = 5;
/** What is this small goes even if no more may, up to so much together: keys that are pressed. */
export const SMALL_PIECE_BYTES = KIB;
export const SMALL_BYTES_MAX = FRAME_BYTES_MIN;
/** A full line is let run empty this often, or more seldom where that takes 1/40 of the time. It is
 * so by the clock on the wall, that links which share a line, in whatever thread, do it together:
 * one alone would find the others' queue. */
export const INTERVAL_MS = 10_000;
const EMPTY_SHARE = 40;

export const FLIGHT = { LOOSE: 0, RISING: 1, HOLDING: 2, EMPTYING: 3 } as const;

export class Flight {
  /** The longest frame, as others wait behind it. */
  frameBytesMax = FRAME_BYTES_MAX;
  /** All that was sent, and how much of that may be. */
  #sentBytes = 0;
  #limitBytes = Number.POSITIVE_INFINITY;
  /** Here the next mark is due. */
  #dueBytes = Number.POSITIVE_INFINITY;
  #dueFromBytes = 0;
  #state: number = FLIGHT.LOOSE;
  #capBytes = FLIGHT_BYTES_START;
  #deliveredBytes = 0;
  /** HOLDING: so much of it may be sent by now, if the line has room. */
  #pacedBytes = 0;
  #pacedMs = 0;
  #markedBytes = 0;
  #markedMs = Number.NEGATIVE_INFINITY;
  readonly #marks = new LineMarks();
  readonly #line = new LineEstimate();
  readonly #queue = new LineQueue();
  /** What the peer told last of its clock, for the answer that follows. */
  #time = Number.NaN;
  /** A round ends with the answer to this mark. What this one and the last have seen: */
  #lastMark = 0;
  #isUsedUp = false;
  #wasUsedUp = false;
  /** The rounds since then were used up, and nothing waited. */
  #idleFromMs = 0;
  readonly #wallMsAtZero: number;
  #interval = 0;
  /** EMPTYING: the last mark before the line is empty, -1 if it is not sent. Later: the last mark
   * that may have found it empty, -1 if that was answered. */
  #emptyMark = -1;
  /** Marks from then on count, and the least lag of theirs. */
  #emptyingMs = Number.POSITIVE_INFINITY;
  #emptyLag = Number.POSITIVE_INFINITY;
  /** The best rate since. */
  #bestBytesPerMs = 0;

  /** `wallMsAtZero`: what the wall's clock showed when `nowMs` was 0. */
  constructor(wallMsAtZero: number) {
    this.#wallMsAtZero = wallMsAtZero;
  }

  get state(): number {
    return this.#state;
  }

  get capBytes(): number {
    return this.#capBytes;
  }

  get underWayBytes(): number {
    return this.#sentBytes - this.#deliveredBytes;
  }

  get isFull(): boolean {
    return this.#sentBytes >= this.#limitBytes;
  }

  /** Full for now, though not of what is under way: `pace` is due in PACE_MS. */
  get isPaced(): boolean {
    if (this.#state !== FLIGHT.HOLDING || !this.isFull) return false;
    return this.underWayBytes < this.#capBytes;
  }

  /** How long a frame of `pieceBytes` may be now: 0 is none. Never crumbs. */
  roomBytes(pieceBytes: number): number {
    const roomBytes = this.#limitBytes - this.#sentBytes;
    if (roomBytes > 0) return Math.min(this.frameBytesMax, Math.max(roomBytes, FRAME_BYTES_MIN));
    return pieceBytes <= SMALL_PIECE_BYTES && -roomBytes < SMALL_BYTES_MAX ? pieceBytes : 0;
  }

  /** A frame is sent. True: `mark` is due. */
  send(bytes: number): boolean {
    this.#sentBytes += bytes;
    return this.#sentBytes >= this.#dueBytes;
  }

  /** The value of a PING to send now; 0: none. */
  mark(nowMs: number): number {
    if (this.isFull) this.#isUsedUp = true;
    const isSoon = this.#isAtEase && nowMs - this.#markedMs < MARK_INTERVAL_MS;
    const value = isSoon ? 0 : this.#place(nowMs);
    this.#dueFromBytes = this.#sentBytes;
    this.#setDue();
    return value;
  }

  /** A PONG came. The value of a PING to send now; 0: none. */
  answer(pong: number, nowMs: number): number {
    if (isTime(pong)) {
      this.#time = pong;
      return 0;
    }
    const mark = this.#marks.answer(pong);
    if (mark === undefined) return 0;
    const gainedBytes = mark.sentBytes - this.#deliveredBytes;
    this.#deliveredBytes = mark.sentBytes;
    this.#line.deliver(mark, this.#time, nowMs);
    const lag = this.#line.lag(mark, this.#time);
    this.#time = Number.NaN;
    if (Number.isNaN(lag)) {
      this.#move(FLIGHT.LOOSE, nowMs);
      return 0;
    }
    if (this.#state === FLIGHT.LOOSE) this.#move(FLIGHT.RISING, nowMs);
    this.#measure(mark, lag, nowMs);
    if (this.#state === FLIGHT.RISING) this.#rise(gainedBytes, nowMs);
    if (this.#marks.answeredCount > this.#lastMark) this.#endRound(nowMs);
    this.#watchInterval(nowMs);
    return this.#settle(nowMs);
  }

  /** The value of a PING to send now; 0: none. */
  pace(nowMs: number): number {
    return this.isPaced ? this.#settle(nowMs) : 0;
  }

  /** Rising, and not used up: little is to be found out. */
  get #isAtEase(): boolean {
    return this.#state === FLIGHT.RISING && !this.#isUsedUp && !this.#wasUsedUp;
  }

  get #queueMsMax(): number {
    return this.#queue.msMax(this.#line.bytesPerMs, this.#line.wayMs);
  }

  /** Full, with a part under way that no open mark would clear. */
  get #isStuck(): boolean {
    return this.isFull && this.#sentBytes - this.#markedBytes >= FRAME_BYTES_MIN;
  }

  #measure(mark: Mark, lag: number, nowMs: number): void {
    if (mark.sentMs >= this.#emptyingMs) this.#measureEmpty(lag, nowMs);
    const waitMs = this.#line.wait(lag, nowMs - mark.sentMs);
    // What had next to nothing of ours before it did not wait for us.
    this.#queue.note(mark.sentMs + lag, waitMs, mark.underWayBytes >= FLIGHT_BYTES_MIN);
  }

  #measureEmpty(lag: number, nowMs: number): void {
    this.#emptyLag = Math.min(this.#emptyLag, lag);
    if (this.#state === FLIGHT.EMPTYING || this.#marks.answeredCount <= this.#emptyMark) return;
    // If the way became longer, too little was under way, and the rate fell by that alone.
    const longerMs = this.#emptyLag - this.#line.leastLag;
    if (longerMs > this.#queueMsMax / 2) this.#line.restore(this.#bestBytesPerMs);
    this.#line.setLeast(this.#emptyLag);
    this.#bestBytesPerMs = 0;
    this.#emptyMark = -1;
    this.#emptyingMs = Number.POSITIVE_INFINITY;
    this.#idleFromMs = nowMs;
    this.#startRound(false);
  }

  #rise(gainedBytes: number, nowMs: number): void {
    if (this.#queue.waitMsMax > this.#queueMsMax) {
      if (this.#line.bytesPerMs > 0) this.#move(FLIGHT.HOLDING, nowMs);
    } else if (this.#isUsedUp) {
      this.#capBytes = Math.min(FLIGHT_BYTES_MAX, this.#capBytes + GROWTH * gainedBytes);
    }
  }

  #endRound(nowMs: number): void {
    // A line that is let run empty shows neither what it can do nor that nothing waits.
    if (this.#emptyingMs < Number.POSITIVE_INFINITY) return;
    const { waitMsMax } = this.#queue;
    const isIdle = this.#isUsedUp && waitMsMax < IDLE_SHARE * this.#queueMsMax;
    if (!isIdle) this.#idleFromMs = nowMs;
    else if (this.#state === FLIGHT.HOLDING && nowMs - this.#idleFromMs > IDLE_MS) {
      this.#move(FLIGHT.RISING, nowMs);
    }
    this.#bestBytesPerMs = Math.max(this.#bestBytesPerMs, this.#line.bytesPerMs);
    const isFull = this.#isUsedUp || waitMsMax > this.#queueMsMax;
    if (isFull) this.#line.endRound();
    this.#startRound(isFull);
  }

  /** `wasFull`: in the one before the line had enough to do. */
  #startRound(wasFull: boolean): void {
    this.#lastMark = this.#marks.sentCount;
    this.#wasUsedUp = this.#isUsedUp;
    this.#isUsedUp = false;
    this.#queue.startRound(wasFull);
  }

  #watchInterval(nowMs: number): void {
    const interval = this.#intervalAt(nowMs);
    const passed = interval - this.#interval;
    this.#interval = interval;
    if (passed === 0 || this.#state === FLIGHT.EMPTYING) return;
    if (this.#state === FLIGHT.RISING || !(this.#isUsedUp || this.#wasUsedUp)) {
      if (passed > 1) this.#line.forget();
      this.#line.forget();
      return;
    }
    const every = Math.max(1, Math.ceil((EMPTY_SHARE * this.#line.wayMs) / INTERVAL_MS));
    if (interval % every !== 0) return;
    this.#move(FLIGHT.EMPTYING, nowMs);
  }

  #intervalAt(nowMs: number): number {
    return Math.floor((nowMs + this.#wallMsAtZero) / INTERVAL_MS);
  }

  #move(state: number, nowMs: number): void {
    this.#state = state;
    if (state === FLIGHT.RISING) this.#interval = this.#intervalAt(nowMs);
    if (state === FLIGHT.HOLDING) {
      this.#pacedBytes = this.#sentBytes;
      this.#pacedMs = nowMs;
    }
    if (state === FLIGHT.EMPTYING) {
      this.#limitBytes = this.#sentBytes;
      this.#emptyMark = -1;
      this.#emptyingMs = nowMs;
      this.#emptyLag = Number.POSITIVE_INFINITY;
    }
    if (state === FLIGHT.LOOSE) {
      this.frameBytesMax = FRAME_BYTES_MAX;
      this.#limitBytes = Number.POSITIVE_INFINITY;
      this.#dueBytes = Number.POSITIVE_INFINITY;
    }
  }

  /** What follows for what may be sent. */
  #settle(nowMs: number): number {
    // While it empties, a mark with each answer: of those that leave between the end of the queue
    // and the answer that tells of it, some find the line empty even where others share it.
    const isEmptying = this.#state === FLIGHT.EMPTYING;
    if (isEmptying) this.#empty(nowMs);
    this.#setLimit(nowMs);
    if (this.isFull) this.#isUsedUp = true;
    const value = isEmptying || this.#isStuck ? this.#place(nowMs) : 0;
    this.#setDue();
    return value;
  }

  #empty(nowMs: number): void {
    const { sentCount, answeredCount } = this.#marks;
    const isEmpty = this.#emptyMark >= 0 && answeredCount > this.#emptyMark;
    if (isEmpty) this.#move(FLIGHT.HOLDING, nowMs);
    // The next, of which there is always one: an answer made room.
    if (isEmpty || this.#emptyMark < 0) this.#emptyMark = sentCount;
  }

  #setLimit(nowMs: number): void {
    if (this.#state === FLIGHT.EMPTYING) return;
    if (this.#state === FLIGHT.RISING) {
      this.#limitBytes = this.#deliveredBytes + this.#capBytes;
      return;
    }
    const { bytesPerMs, wayMs } = this.#line;
    const flightMs = wayMs + this.#queueMsMax;
    const capBytes = Math.floor(bytesPerMs * flightMs);
    this.#capBytes = Math.min(FLIGHT_BYTES_MAX, Math.max(FLIGHT_BYTES_MIN, capBytes));
    // By the cap, which is never less than FLIGHT_BYTES_MIN, and not by the rate, which whoever
    // answers may make next to none.
    const paceBytesPerMs = (PACE_GAIN * this.#capBytes) / flightMs;
    const newBytes = paceBytesPerMs * (nowMs - this.#pacedMs);
    const burstBytes = Math.max(FRAME_BYTES_MIN, BURST_MS * bytesPerMs);
    this.#pacedBytes = Math.min(this.#pacedBytes + newBytes, this.#sentBytes + burstBytes);
    this.#pacedMs = nowMs;
    // Whole ones: of a part the credit would be spent, and no byte sent.
    const pacedBytes = Math.floor(this.#pacedBytes);
    this.#limitBytes = Math.min(this.#deliveredBytes + this.#capBytes, pacedBytes);
  }

  #place(nowMs: number): number {
    const isFirst = this.#marks.openCount === 0;
    const mark = this.#marks.open();
    if (mark === undefined) return 0;
    mark.sentMs = nowMs;
    mark.sentBytes = this.#sentBytes;
    mark.underWayBytes = this.underWayBytes;
    this.#line.note(mark, isFirst);
    this.#markedBytes = this.#sentBytes;
    this.#markedMs = nowMs;
    return this.#marks.newestValue;
  }

  /** Where the next mark is due, and how long a frame may be, which is not to hide it. */
  #setDue(): void {
    if (this.#state === FLIGHT.LOOSE) return;
    const { bytesPerMs } = this.#line;
    const marks = this.#isAtEase ? MARKS_PER_FLIGHT_AT_EASE : MARKS_PER_FLIGHT;
    const shareBytes = Math.max(this.#capBytes / marks, FRAME_BYTES_MIN);
    const stepBytes = Math.max(shareBytes, MARK_INTERVAL_MS * bytesPerMs);
    this.#dueBytes = Math.max(this.#markedBytes, this.#dueFromBytes) + stepBytes;
    if (this.isFull) this.#dueBytes = this.#sentBytes + stepBytes;
    else this.#dueBytes = Math.min(this.#limitBytes, this.#dueBytes);
    const momentBytes = Math.max(FRAME_BYTES_MIN, FRAME_MS * bytesPerMs);
    const frameBytes =
      this.#state === FLIGHT.RISING ? Math.max(shareBytes, momentBytes) : momentBytes;
    this.frameBytesMax = Math.min(FRAME_BYTES_MAX, Math.floor(frameBytes));
  }
}
