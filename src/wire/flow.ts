// Credit: how many bytes a sender may still send, and when its receiver allows more. Numbers only.
//
//   window = available (the sender's) + held (received, not yet taken)
//            + unpaid (taken, held back by a throttle) + taken (not yet granted)
//
// Invariant: that sum holds after every step, so credit is neither lost nor made. Every change
// goes through a checked add or subtract. A window grows towards rate x round trip while the
// session has room, and falls back to its first size when the session is short of memory; credit
// once granted stands. Must not know: frames, streams' states, sockets; time is an argument.
// The idea of growing by the time that one window takes: rust-yamux, QUIC.

import { assert } from '../base/assert.ts';
import { WireError } from '../base/errors.ts';
import { memoryPressure, PRESSURE } from '../base/memory-pressure.ts';
import {
  CREDIT_FAR_MS,
  CREDIT_GRANT_BYTES_FAR,
  CREDIT_GRANT_SHARE,
  CREDIT_GRANT_SHARE_FAR,
  CREDIT_INITIAL,
  CREDIT_MAX,
  type SessionLimits,
} from './limits.ts';

/** Growth looks at a round trip no shorter than this: below it the event loop's turns dominate
 * (measured on loopback: pings of 0.1 ms idle, 2 ms under load). */
const ROUND_TRIP_MS_MIN = 2;
/** One stream's growth while all of growth's memory is free: so that one alone reaches the default
 * `window-max` in the default memory. */
const GROWTH_SHARE = 4;
/** Memory in use from which it is short: above what growth may hold, as those who stand still on
 * it must not make windows small for those who move. Guess. */
const SHORT_SHARE = 0.75;
/** What a session may hold while the process has no memory left: credit that was granted stands,
 * and those who take nothing pay, before the kernel ends all of them. Guess. */
const PRESSED_SHARE = 1 / 8;
/** A window that is used up within this many round trips is too small. */
const GROWTH_ROUND_TRIPS = 4;

/** Credit is given back when so much of a window was taken: a compromise of frames and reach. */
export function grantBytesMin(windowBytes: number, roundTripMs: number): number {
  const quarter = windowBytes / CREDIT_GRANT_SHARE;
  if (roundTripMs < CREDIT_FAR_MS) return quarter;
  const least = Math.max(windowBytes / CREDIT_GRANT_SHARE_FAR, CREDIT_GRANT_BYTES_FAR);
  return Math.min(quarter, least);
}

/** What all streams of a session hold together. */
export class SessionMemory {
  readonly limits: SessionLimits;
  /** Payload bytes received and not yet taken. */
  heldBytes = 0;
  /** Sum of all growth beyond the initial windows. */
  grownBytes = 0;

  constructor(limits: SessionLimits) {
    this.limits = limits;
  }

  get isFull(): boolean {
    const { memoryBytes } = this.limits;
    const isPressed = memoryPressure.level === PRESSURE.FULL;
    return this.heldBytes > (isPressed ? memoryBytes * PRESSED_SHARE : memoryBytes);
  }

  /** No window grows, those that have grown give it back, and new ones are small. */
  get isShort(): boolean {
    if (memoryPressure.level >= PRESSURE.HIGH) return true;
    return this.heldBytes > this.limits.memoryBytes * SHORT_SHARE;
  }

  /**
   * How far a stream's window may grow that has grown by `ownBytes`: a share of what others leave,
   * and a smaller share the less that is. Growth has half of the memory, so that it never takes
   * what first windows need; and as the share is of the rest, those who stand still on grown
   * windows leave some to those who come (after the dynamic thresholds of Choudhury and Hahne,
   * 1998): 50 of them a sixth of it, where a constant share left an eighteenth (decision 0052).
   */
  growthBytesMax(ownBytes: number): number {
    const growthBytes = this.limits.memoryBytes / 2;
    const freeBytes = Math.max(0, growthBytes - (this.grownBytes - ownBytes));
    return ((freeBytes / growthBytes) * freeBytes) / GROWTH_SHARE;
  }

  /** Window of a stream that starts now: small once memory is short. */
  initialWindowBytes(): number {
    const { windowInitialBytes } = this.limits;
    return this.isShort ? Math.min(CREDIT_INITIAL, windowInitialBytes) : windowInitialBytes;
  }
}

/** The receiver's side of one stream. */
export class ReceiveWindow {
  /** Growth ends here, if not before: who throttles a stream wants no more ahead of its turn. */
  growthBytesMax = CREDIT_MAX;
  readonly #memory: SessionMemory;
  #startBytes: number;
  #windowBytes: number;
  #availableBytes: number;
  #heldBytes = 0;
  #takenBytes = 0;
  #unpaidBytes = 0;
  #epochMs = 0;
  #epochBytes = 0;

  constructor(memory: SessionMemory, windowBytes: number) {
    this.#memory = memory;
    this.#startBytes = windowBytes;
    this.#windowBytes = windowBytes;
    this.#availableBytes = windowBytes;
  }

  get windowBytes(): number {
    return this.#windowBytes;
  }

  get availableBytes(): number {
    return this.#availableBytes;
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** Widens the window before the stream is answered: the acceptor's grant in OPENED. */
  extend(bytes: number): void {
    this.#startBytes += bytes;
    this.#windowBytes += bytes;
    this.#availableBytes += bytes;
  }

  /** Accounts for a frame that was announced. Raises WireError when it is over the credit. */
  receive(bytes: number): void {
    if (bytes > this.#availableBytes) {
      const over = bytes - this.#availableBytes;
      throw new WireError('SLW_WIRE_WINDOW_EXCEEDED', `${over} bytes over the credit`);
    }
    this.#availableBytes -= bytes;
    this.#heldBytes += bytes;
    this.#memory.heldBytes += bytes;
  }

  /** Bytes have left: returns the credit to grant now, 0 for none yet. */
  take(bytes: number, nowMs: number, roundTripMs: number): number {
    this.#letGo(bytes);
    return this.#credit(bytes, nowMs, roundTripMs);
  }

  /** Bytes have left, and are granted again only once a throttle has let `pay` be called. */
  free(bytes: number): void {
    this.#letGo(bytes);
    this.#unpaidBytes += bytes;
  }

  /** Of what was freed, so much may be granted: returns the credit to grant now, 0 for none yet. */
  pay(bytes: number, nowMs: number, roundTripMs: number): number {
    assert(bytes <= this.#unpaidBytes, 'more bytes paid than freed');
    this.#unpaidBytes -= bytes;
    return this.#credit(bytes, nowMs, roundTripMs);
  }

  #letGo(bytes: number): void {
    assert(bytes <= this.#heldBytes, 'more bytes taken than held');
    this.#heldBytes -= bytes;
    this.#memory.heldBytes -= bytes;
  }

  #credit(bytes: number, nowMs: number, roundTripMs: number): number {
    this.#takenBytes += bytes;
    this.#epochBytes += bytes;
    if (this.#takenBytes < grantBytesMin(this.#windowBytes, roundTripMs)) return 0;
    const change = this.#memory.isShort
      ? -this.#surplusBytes()
      : this.#growthBytes(nowMs, roundTripMs);
    const grant = this.#takenBytes + change;
    this.#windowBytes += change;
    this.#memory.grownBytes += change;
    this.#takenBytes = 0;
    this.#availableBytes += grant;
    this.#assertConserved();
    return grant;
  }

  /** The stream ended: of what it holds `bytes` are still to be taken, the rest never will be. */
  keep(bytes: number): void {
    const lostBytes = this.#heldBytes - bytes;
    this.#letGo(lostBytes);
    this.#takenBytes += lostBytes;
  }

  /** The stream ended: what it held and what it had grown is free again. */
  release(): void {
    this.#memory.heldBytes -= this.#heldBytes;
    this.#memory.grownBytes -= this.#windowBytes - this.#startBytes;
    this.#takenBytes += this.#heldBytes + this.#unpaidBytes;
    this.#heldBytes = 0;
    this.#unpaidBytes = 0;
    this.#windowBytes = this.#startBytes;
    assert(this.#memory.heldBytes >= 0, 'session memory below zero');
  }

  /** Growth that can be given back now, by granting less than was taken. */
  #surplusBytes(): number {
    return Math.min(this.#windowBytes - this.#startBytes, this.#takenBytes);
  }

  #growthBytes(nowMs: number, roundTripMs: number): number {
    if (this.#epochBytes < this.#windowBytes) return 0;
    const elapsedMs = nowMs - this.#epochMs;
    this.#epochMs = nowMs;
    this.#epochBytes = 0;
    if (elapsedMs > GROWTH_ROUND_TRIPS * Math.max(roundTripMs, ROUND_TRIP_MS_MIN)) return 0;
    const windowMaxBytes = Math.min(this.#memory.limits.windowMaxBytes, this.growthBytesMax);
    const grownBytes = this.#windowBytes - this.#startBytes;
    const room = Math.min(
      windowMaxBytes - this.#windowBytes,
      this.#memory.growthBytesMax(grownBytes) - grownBytes,
    );
    return Math.max(0, Math.floor(Math.min(this.#windowBytes, room)));
  }

  #assertConserved(): void {
    const grantedBytes = this.#availableBytes + this.#heldBytes + this.#unpaidBytes;
    assert(grantedBytes + this.#takenBytes === this.#windowBytes, 'credit is conserved');
  }
}

/** The sender's side of one stream. */
export class SendCredit {
  #availableBytes: number;

  constructor(initialBytes: number) {
    this.#availableBytes = initialBytes;
  }

  get availableBytes(): number {
    return this.#availableBytes;
  }

  spend(bytes: number): void {
    assert(bytes <= this.#availableBytes, 'never send more than the granted credit');
    assert(Number.isInteger(bytes), 'bytes are sent whole');
    this.#availableBytes -= bytes;
  }

  /** Raises WireError for no credit at all and for credit beyond CREDIT_MAX. */
  grant(bytes: number): void {
    if (bytes === 0 || this.#availableBytes + bytes > CREDIT_MAX) {
      throw new WireError('SLW_WIRE_CREDIT_INVALID', `credit of ${bytes} bytes`);
    }
    this.#availableBytes += bytes;
  }
}
