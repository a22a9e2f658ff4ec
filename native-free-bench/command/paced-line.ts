// When each connection sends its next message: as soon as it can, or at a fixed rate.
//
// Invariant: a connection has one message under way. At a fixed rate, one that waits for the answer
// before it counts from when it was due (no coordinated omission); what was due before the timer of
// this process came counts from when it came, for that is not the target's doing. What is out when
// it is stopped counts with the time it has waited, and a failure drops none that was due
// behind it. Must not know: what a message is.

import type { Tally } from './tally.ts';

/** As often as Node's timers can. */
const TICK_MS = 1;
/** Without a rate a connection that failed waits so long, or a target that is gone would be
 * hammered. */
const RETRY_MS = 100;

export interface PaceOptions {
  readonly connections: number;
  /** Messages a second over all connections; 0: as fast as they are answered. */
  readonly perSecond: number;
  readonly tally: Tally;
  /** Sends one message on connection `index`; exactly one of the two calls must follow. */
  readonly send: (index: number, line: PacedLine) => void;
}

export interface PacedLine {
  answered(): void;
  failed(reason: string): void;
}

/** Runs until it is stopped, which tells what is out; the caller then ends the connections. */
export function startPace(options: PaceOptions): { stop(): void } {
  const { connections, perSecond } = options;
  const everyMs = perSecond === 0 ? 0 : (1000 * connections) / perSecond;
  const startMs = performance.now();
  const lines = Array.from({ length: connections }, (_, index) => {
    const nextMs = startMs + (everyMs * index) / connections;
    return new Line(options, { index, everyMs, nextMs });
  });
  const timer = setInterval(() => {
    for (const line of lines) line.tick(performance.now());
  }, TICK_MS);
  return {
    stop: () => {
      clearInterval(timer);
      for (const line of lines) line.stop();
    },
  };
}

class Line implements PacedLine {
  readonly #options: PaceOptions;
  readonly #index: number;
  readonly #everyMs: number;
  #state: 'idle' | 'busy' | 'stopped' = 'idle';
  /** When the next message is due. */
  #nextMs: number;
  /** When the timer last found it idle: what was due before was late without the target. */
  #wokenMs = 0;
  /** When the one under way was due, or sent. */
  #fromMs = 0;
  #sentMs = 0;

  constructor(
    options: PaceOptions,
    { index, everyMs, nextMs }: { index: number; everyMs: number; nextMs: number },
  ) {
    this.#options = options;
    this.#index = index;
    this.#everyMs = everyMs;
    this.#nextMs = nextMs;
  }

  tick(nowMs: number): void {
    if (this.#state !== 'idle' || this.#nextMs > nowMs) return;
    this.#wokenMs = nowMs;
    this.#send(nowMs);
  }

  answered(): void {
    if (this.#state !== 'busy') return;
    this.#options.tally.answered(this.#fromMs);
    this.#goOn(0);
  }

  failed(reason: string): void {
    if (this.#state !== 'busy') return;
    this.#options.tally.failed(reason);
    this.#goOn(RETRY_MS);
  }

  stop(): void {
    const { tally } = this.#options;
    if (this.#state === 'busy') tally.out(this.#fromMs, this.#sentMs);
    const nowMs = performance.now();
    for (let due = this.#nextMs; this.#everyMs > 0 && due < nowMs; due += this.#everyMs) {
      tally.waits(Math.max(due, this.#wokenMs));
    }
    this.#state = 'stopped';
  }

  /** At a fixed rate that rate is what spares a target that fails; all that is due is sent. */
  #goOn(pauseMs: number): void {
    this.#state = 'idle';
    const nowMs = performance.now();
    if (this.#everyMs === 0) this.#nextMs = nowMs + pauseMs;
    if (this.#nextMs <= nowMs) this.#send(Math.max(this.#nextMs, this.#wokenMs));
  }

  #send(fromMs: number): void {
    this.#state = 'busy';
    this.#fromMs = fromMs;
    this.#sentMs = performance.now();
    if (this.#everyMs > 0) this.#nextMs += this.#everyMs;
    this.#options.send(this.#index, this);
  }
}
