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

/**
 * Silence from doubt to death, and no less than four round trips: TCP has sent a ping again five
 * times by then (RFC 6298: after 0.2, 0.6, 1.4, 3 and 6.2 s), and what waits before it on a slow
 * line is answered by credit. Guess.
 */
const DOUBT_MS = 10_000;
const DOUBT_ROUND_TRIPS = 4;

/** Values of our own are below those of marks. */
const PINGS_MASK = 0x7fff_ffff;

export const TICK = { NOTHING: 0, PING: 1, DEAD: 2 } as const;

export class Keepalive {
  /** Smoothed round trip in milliseconds, 0 before the first pong. */
  roundTripMs = 0;
  readonly #options: KeepaliveOptions;
  #heardMs: number;
  #heardBytes = 0;
  /** Since when the peer is in doubt; undefined: it is not. */
  #doubtedMs: number | undefined;
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
    this.#hear(nowMs, receivedBytes);
    // Timers come before sockets: only what was silent then, too, has been read since.
    const silentMs = this.#tickedMs - this.#heardMs;
    const doubtedMs = this.#tickedMs - (this.#doubtedMs ?? this.#tickedMs);
    this.#tickedMs = nowMs;
    if (silentMs >= this.#options.deadAfterMs) return TICK.DEAD;
    if (doubtedMs >= Math.max(DOUBT_MS, DOUBT_ROUND_TRIPS * this.roundTripMs)) return TICK.DEAD;
    return nowMs >= this.#pingMs ? TICK.PING : TICK.NOTHING;
  }

  /** Something says that the peer may be gone; true: ask it, as no ping is under way. */
  doubt(nowMs: number, receivedBytes: number): boolean {
    this.#hear(nowMs, receivedBytes);
    this.#doubtedMs ??= nowMs;
    return this.#sentMs < 0;
  }

  #hear(nowMs: number, receivedBytes: number): void {
    if (receivedBytes === this.#heardBytes) return;
    this.#heardBytes = receivedBytes;
    this.#heardMs = nowMs;
    this.#doubtedMs = undefined;
  }

  /** Has nothing come since it was doubted? */
  isDoubted(receivedBytes: number): boolean {
    return this.#doubtedMs !== undefined && receivedBytes === this.#heardBytes;
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
