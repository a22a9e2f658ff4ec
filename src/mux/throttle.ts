// How many bytes a second the streams of a tunnel may move in one direction, and whose turn it is.
//
//   stream has bytes --none free--> waiting, in turn --timer: refilled--> served a share, goes on
//
// Invariant: nothing is dropped; who waits is served before a newcomer, in turn and a bounded share
// at a time; one timer, only while somebody waits; a clock that goes back costs nobody more than
// the time it went. Must not know: frames, tunnels' names, or what a stream does with its share.

import type { Clock, Timer } from '../base/clock.ts';
import { Roster, type Seat } from '../base/roster.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import { QUANTUM_BYTES } from './scheduler.ts';

/** Between two rounds of those who wait. Guess: short against what a person notices, long against
 * a timer's cost (some 10 us). */
const ROUND_MS = 25;
/** A window holds a quarter of a second at full rate. Guess: no usual way is longer. */
const WINDOWS_PER_SECOND = 4;
/** Least share in a round, so that a slow tunnel sends some whole packets and not crumbs. Guess. */
const SHARE_BYTES_MIN = 1024;

/** One that waits in turn. */
export interface ThrottleWaiter {
  /** The throttle's, while it waits. */
  seat: Seat<ThrottleWaiter> | undefined;
  /** Takes up to `bytes`; returns how many. May wait again. */
  serve(bytes: number): number;
}

export class Throttle {
  /** How often somebody began to wait. */
  waitsCount = 0;
  readonly #clock: Clock;
  #bytesPerSecond: number;
  /** Bytes. Below zero: moved before it was known how much it would be. */
  readonly #bucket: TokenBucket;
  readonly #waiting = new Roster<ThrottleWaiter>();
  #timer: Timer | undefined;

  /** Has a second's worth saved up at the start, and never more. */
  constructor(bytesPerSecond: number, clock: Clock) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#bucket = new TokenBucket(bytesPerSecond, clock.nowMs(), burstOf(bytesPerSecond));
  }

  /** From now on, for those who wait too; nothing is saved up by the change. */
  setRate(bytesPerSecond: number): void {
    if (bytesPerSecond === this.#bytesPerSecond) return;
    this.#bytesPerSecond = bytesPerSecond;
    this.#bucket.setRate(bytesPerSecond, this.#clock.nowMs(), burstOf(bytesPerSecond));
  }

  /** What one stream's window may grow to: the rate, over the longest round trip that it is for. */
  get windowBytesMax(): number {
    return Math.ceil(this.#bytesPerSecond / WINDOWS_PER_SECOND);
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** What may be moved now by one that has not waited. */
  get freeBytes(): number {
    if (this.#waiting.size > 0) return 0;
    return Math.max(0, Math.floor(this.#bucket.fill(this.#clock.nowMs())));
  }

  spend(bytes: number): void {
    this.#bucket.spend(bytes);
  }

  /** Was moved without having waited: those who come after pay for it, up to a second's worth. */
  charge(bytes: number): void {
    const { burst, tokens } = this.#bucket;
    this.#bucket.spend(Math.min(bytes, burst + tokens));
  }

  /** A share that was not used. */
  refund(bytes: number): void {
    this.#bucket.add(bytes);
  }

  /** Lists `waiter` last, unless it waits already. */
  wait(waiter: ThrottleWaiter): void {
    if (waiter.seat !== undefined) return;
    waiter.seat = this.#waiting.enter(waiter);
    this.waitsCount += 1;
    this.#timer ??= this.#clock.after(ROUND_MS, () => this.#serveRound());
  }

  leave(waiter: ThrottleWaiter): void {
    stand(waiter);
    if (this.#waiting.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #serveRound(): void {
    this.#timer = undefined;
    const bucket = this.#bucket;
    const freeBytes = bucket.fill(this.#clock.nowMs());
    const equal = Math.floor(freeBytes / Math.max(1, this.#waiting.size));
    const shareBytes = Math.min(QUANTUM_BYTES, Math.max(SHARE_BYTES_MIN, equal));
    while (bucket.tokens >= SHARE_BYTES_MIN) {
      const waiter = this.#waiting.first;
      if (waiter === undefined) break;
      stand(waiter);
      const bytes = Math.min(shareBytes, Math.floor(bucket.tokens));
      bucket.spend(bytes);
      this.refund(bytes - waiter.serve(bytes));
    }
    if (this.#waiting.size === 0) return;
    this.#timer ??= this.#clock.after(ROUND_MS, () => this.#serveRound());
  }
}

/** Leaves its seat, if it has one. */
function stand(waiter: ThrottleWaiter): void {
  waiter.seat?.leave();
  waiter.seat = undefined;
}

function burstOf(bytesPerSecond: number): number {
  return Math.max(bytesPerSecond, SHARE_BYTES_MIN);
}

/** A stream that sends under a throttle, and under those of `next` as well. */
export class SendLane implements ThrottleWaiter {
  seat: Seat<ThrottleWaiter> | undefined;
  readonly #throttle: Throttle;
  readonly #goOn: () => void;
  readonly #next: SendLane | undefined;
  #shareBytes = 0;

  /** `goOn` is called with a share in hand; what is left of it stays for later. */
  constructor(throttle: Throttle, goOn: () => void, next?: SendLane) {
    this.#throttle = throttle;
    this.#goOn = goOn;
    this.#next = next;
  }

  /** The share in hand, of all throttles. */
  get shareBytes(): number {
    if (this.#next === undefined) return this.#shareBytes;
    return Math.min(this.#shareBytes, this.#next.shareBytes);
  }

  spend(bytes: number): void {
    this.#shareBytes -= bytes;
    this.#next?.spend(bytes);
  }

  /** Takes a share for `wantedBytes` without waiting, whole or none: a rate that trickles in while
   * it is used up would leave in crumbs. True: there is a share in hand. */
  claim(wantedBytes: number): boolean {
    return this.#claimOwn(wantedBytes) && this.#next?.claim(wantedBytes) !== false;
  }

  /** False: nothing may be sent now, and `goOn` will be called. */
  admits(wantedBytes: number): boolean {
    if (this.#claimOwn(wantedBytes)) return this.#next?.admits(wantedBytes) !== false;
    this.#throttle.wait(this);
    return false;
  }

  #claimOwn(wantedBytes: number): boolean {
    if (this.#shareBytes > 0) return true;
    const bytes = Math.min(wantedBytes, QUANTUM_BYTES);
    if (this.#throttle.freeBytes < bytes) return false;
    this.#throttle.spend(bytes);
    this.#shareBytes = bytes;
    return true;
  }

  serve(bytes: number): number {
    this.#shareBytes += bytes;
    this.#goOn();
    return bytes;
  }

  close(): void {
    this.#throttle.leave(this);
    this.#throttle.refund(this.#shareBytes);
    this.#shareBytes = 0;
    this.#next?.close();
  }
}

/** A stream whose peer sends under a throttle, and under those of `next` as well: credit for what
 * was taken is given later. */
export class CreditLane implements ThrottleWaiter {
  seat: Seat<ThrottleWaiter> | undefined;
  readonly #throttle: Throttle;
  readonly #onPaid: (bytes: number) => void;
  readonly #next: CreditLane | undefined;
  #owedBytes = 0;

  constructor(throttle: Throttle, onPaid: (bytes: number) => void, next?: CreditLane) {
    this.#throttle = throttle;
    this.#onPaid = onPaid;
    this.#next = next;
  }

  /** Bytes have passed; `onPaid` is called, now or later, once the throttle has room for them. */
  owe(bytes: number): void {
    if (this.#owedBytes === 0 && this.#throttle.freeBytes >= bytes) {
      this.#throttle.spend(bytes);
      this.#pay(bytes);
      return;
    }
    this.#owedBytes += bytes;
    this.#throttle.wait(this);
  }

  serve(bytes: number): number {
    const paid = Math.min(bytes, this.#owedBytes);
    this.#owedBytes -= paid;
    if (this.#owedBytes > 0) this.#throttle.wait(this);
    this.#pay(paid);
    return paid;
  }

  /** `passedBytes`: what has not come here yet, as it waited for another throttle. */
  close(passedBytes = 0): void {
    const owedBytes = this.#owedBytes + passedBytes;
    this.#owedBytes = 0;
    this.#throttle.leave(this);
    this.#throttle.charge(owedBytes);
    this.#next?.close(owedBytes);
  }

  #pay(bytes: number): void {
    if (this.#next === undefined) this.#onPaid(bytes);
    else this.#next.owe(bytes);
  }
}
