// A line with a rate and a length, in virtual time, and a sender before it that always has more, or
// asks and waits for answers.
//
// Owns the clock and what is under way. Invariant: order is kept in each direction, and a line
// carries one byte at a time. Must not know: how a flight decides.

import { FLIGHT, Flight, PACE_MS } from '../../src/mux/flight.ts';
import { timeValue } from '../../src/mux/line-marks.ts';

const KEEPALIVE_MS = 10_000;
const MARK_BYTES = 14;
const HEADER_BYTES = 26;
const PIECE_BYTES = 65_536;
/** The peer's clock shows something else, and goes a little faster. */
const PEER_CLOCK_MS = 0x3fff_f000;
const CLOCK_DRIFT = 100e-6;

interface Event {
  readonly atMs: number;
  run(): void;
}

export class VirtualTime {
  nowMs = 0;
  readonly #events: Event[] = [];

  at(atMs: number, run: () => void): void {
    let low = 0;
    let high = this.#events.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#events[middle] as Event).atMs <= atMs) low = middle + 1;
      else high = middle;
    }
    this.#events.splice(low, 0, { atMs, run });
  }

  run(untilMs: number): void {
    for (;;) {
      const first = this.#events[0];
      if (first === undefined || first.atMs > untilMs) break;
      this.#events.shift();
      this.nowMs = Math.max(this.nowMs, first.atMs);
      first.run();
    }
    this.nowMs = untilMs;
  }
}

/** One direction: what is sent leaves at `bytesPerMs`, and is there `delayMs` later. */
export class SlowLine {
  bytesPerMs: number;
  delayMs: number;
  /** Nothing arrives before this: the peer stands still. */
  stillUntilMs = 0;
  /** What is there waits for the next multiple of this: a line that delivers in bursts. 0: none. */
  burstMs = 0;
  readonly #time: VirtualTime;
  #freeAtMs = 0;
  #lastMs = 0;

  constructor(time: VirtualTime, bytesPerMs: number, delayMs: number) {
    this.#time = time;
    this.bytesPerMs = bytesPerMs;
    this.delayMs = delayMs;
  }

  /** How long what is sent now waits for the line. */
  get waitMs(): number {
    return Math.max(0, this.#freeAtMs - this.#time.nowMs);
  }

  send(bytes: number, arrive: () => void): void {
    this.#freeAtMs = Math.max(this.#time.nowMs, this.#freeAtMs) + bytes / this.bytesPerMs;
    const thereMs = this.#freeAtMs + this.delayMs;
    const burstMs = this.burstMs === 0 ? thereMs : Math.ceil(thereMs / this.burstMs) * this.burstMs;
    this.#lastMs = Math.max(burstMs, this.#lastMs);
    this.#time.at(this.#lastMs, () => this.#arrive(arrive));
  }

  #arrive(arrive: () => void): void {
    if (this.#time.nowMs >= this.stillUntilMs) arrive();
    else this.#time.at(this.stillUntilMs, () => this.#arrive(arrive));
  }
}

export interface SenderOptions {
  readonly time: VirtualTime;
  readonly out: SlowLine;
  /** Its answers come this way. */
  readonly back: SlowLine;
  readonly wallMsAtZero?: number;
  /** Of receivers, together; no end when left out. */
  readonly windowBytes?: number;
}

/** Bulk without an end, until it converses. */
export class BulkSender {
  readonly flight: Flight;
  deliveredBytes = 0;
  /** For how long it had something to send and sent nothing, at most, since it conversed. */
  stillMsMax = 0;
  marks = 0;
  readonly #options: SenderOptions;
  readonly #windowBytes: number;
  #creditBytes: number;
  #state: 'idle' | 'sending' = 'idle';
  #isTimed = false;
  /** What it has to send, of requests of so many bytes; bulk is one without an end. */
  #requestBytes = Number.POSITIVE_INFINITY;
  #leftBytes = Number.POSITIVE_INFINITY;
  #unansweredBytes = 0;
  #thinkMs = 0;
  #sentMs = 0;

  constructor(options: SenderOptions) {
    this.#options = options;
    this.flight = new Flight(options.wallMsAtZero ?? 0);
    this.#windowBytes = options.windowBytes ?? Number.POSITIVE_INFINITY;
    this.#creditBytes = this.#windowBytes;
    this.#keepAlive();
  }

  /** Sends from now on, once the peer has answered. */
  start(): void {
    this.#state = 'sending';
    this.#pump();
  }

  /** From now on a request at a time, the next `thinkMs` after the answer. */
  converse(requestBytes: number, thinkMs: number): void {
    this.#requestBytes = requestBytes;
    this.#thinkMs = thinkMs;
    this.#leftBytes = 0;
    this.stillMsMax = 0;
    this.#ask();
  }

  /** Also while it has not sent again. */
  get stillMs(): number {
    return this.#leftBytes > 0 ? this.#nowMs - this.#sentMs : 0;
  }

  #ask(): void {
    if (this.#leftBytes > 0 || this.#unansweredBytes > 0) return;
    this.#leftBytes = this.#requestBytes;
    this.#sentMs = this.#nowMs;
    this.#pump();
  }

  #answer(): void {
    const { time, back } = this.#options;
    back.send(MARK_BYTES, () => time.at(this.#nowMs + this.#thinkMs, () => this.#ask()));
  }

  get #nowMs(): number {
    return this.#options.time.nowMs;
  }

  /** As a session does. */
  #keepAlive(): void {
    this.#ping(this.flight.mark(this.#nowMs));
    this.#options.time.at(this.#nowMs + KEEPALIVE_MS, () => this.#keepAlive());
  }

  #pump(): void {
    if (this.#state === 'idle' || this.flight.state === FLIGHT.LOOSE) return;
    while (this.#creditBytes > 0 && this.#leftBytes > 0) {
      const pieceBytes = Math.min(PIECE_BYTES, this.#creditBytes, this.#leftBytes);
      const bytes = Math.min(pieceBytes, this.flight.roomBytes(pieceBytes));
      if (bytes === 0) break;
      this.#send(bytes);
    }
    if (this.#leftBytes === 0 || !this.flight.isPaced || this.#isTimed) return;
    this.#isTimed = true;
    this.#options.time.at(this.#nowMs + PACE_MS, () => {
      this.#isTimed = false;
      this.#ping(this.flight.pace(this.#nowMs));
      this.#pump();
    });
  }

  #send(bytes: number): void {
    const { out, back } = this.#options;
    this.#creditBytes -= bytes;
    this.#leftBytes -= bytes;
    this.#unansweredBytes += bytes;
    this.stillMsMax = Math.max(this.stillMsMax, this.#nowMs - this.#sentMs);
    this.#sentMs = this.#nowMs;
    out.send(bytes + HEADER_BYTES, () => {
      this.deliveredBytes += bytes;
      this.#unansweredBytes -= bytes;
      if (this.#requestBytes < Number.POSITIVE_INFINITY) this.#answer();
      if (this.#windowBytes === Number.POSITIVE_INFINITY) return;
      back.send(MARK_BYTES, () => {
        this.#creditBytes += bytes;
        this.#pump();
      });
    });
    if (this.flight.send(bytes)) this.#ping(this.flight.mark(this.#nowMs));
  }

  #ping(value: number): void {
    if (value === 0) return;
    const { out, back } = this.#options;
    this.marks += 1;
    out.send(MARK_BYTES, () => {
      const time = timeValue(this.#nowMs * (1 + CLOCK_DRIFT) + PEER_CLOCK_MS);
      back.send(2 * MARK_BYTES, () => {
        this.flight.answer(time, this.#nowMs);
        this.#ping(this.flight.answer(value, this.#nowMs));
        this.#pump();
      });
    });
  }
}
