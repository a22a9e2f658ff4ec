// Is the peer alive, and how far away is it?
//
// Invariant: any byte from the peer counts as life, so that a busy link is never declared dead for
// a late pong, nor one whose bytes lie unread because this process stood still: who is silent at
// one tick is judged at the next; at most one ping is unanswered. Driven by `tick`, which the
// session's owner calls about once a second. Must not know: frames or links; it answers with what
// to do.

export interface KeepaliveOptions {
  readonly pingIntervalMs: number;
  readonly deadAfterMs: number;
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

/** Pings spread by this share around the interval, so that many links do not ping in step. */
const SPREAD = 0.2;
/** Weight of a new sample in the smoothed round trip (RFC 6298: 1/8). */
const SMOOTHING = 1 / 8;

/** Values of our own are below those of marks. */
const PINGS_MASK = 0x7fff_ffff;

export const TICK = { NOTHING: 0, PING: 1, DEAD: 2 } as const;

export class Keepalive {
  /** Smoothed round trip in milliseconds, 0 before the first pong. */
  roundTripMs = 0;
  readonly #options: KeepaliveOptions;
  #heardMs: number;
  #heardBytes = 0;
  #tickedMs: number;
  #pingMs: number;
  #sentMs = -1;
  #value = 0;
  #pings = 0;

  constructor(options: KeepaliveOptions, nowMs: number) {
    this.#options = options;
    this.#heardMs = nowMs;
    this.#tickedMs = nowMs;
    this.#pingMs = nowMs;
  }

  /** What to do now, one of TICK. `receivedBytes` is the link's running count. */
  tick(nowMs: number, receivedBytes: number): number {
    if (receivedBytes !== this.#heardBytes) {
      this.#heardBytes = receivedBytes;
      this.#heardMs = nowMs;
    }
    // Timers come before sockets: only what was silent then, too, has been read since.
    const silentMs = this.#tickedMs - this.#heardMs;
    this.#tickedMs = nowMs;
    if (silentMs >= this.#options.deadAfterMs) return TICK.DEAD;
    return nowMs >= this.#pingMs ? TICK.PING : TICK.NOTHING;
  }

  /** The value for a ping that is sent now: `mark` where that is one, which measures more. */
  ping(nowMs: number, mark = 0): number {
    const { pingIntervalMs, random } = this.#options;
    this.#pingMs = nowMs + pingIntervalMs * (1 - SPREAD + 2 * SPREAD * random());
    this.#pings = (this.#pings + 1) & PINGS_MASK;
    this.#value = mark === 0 ? this.#pings : mark;
    this.#sentMs = nowMs;
    return this.#value;
  }

  /** A pong came. One that answers no ping of ours is ignored. */
  pong(value: number, nowMs: number): void {
    if (this.#sentMs < 0 || value !== this.#value) return;
    const sampleMs = Math.max(0, nowMs - this.#sentMs);
    this.#sentMs = -1;
    this.roundTripMs =
      this.roundTripMs === 0
        ? sampleMs
        : this.roundTripMs + (sampleMs - this.roundTripMs) * SMOOTHING;
  }
}
