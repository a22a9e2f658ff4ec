// A clock that moves when the test says so.
//
// Owns pending timers. Invariant: `advance` runs due timers in order of time. Must not know: who
// waits.

import type { Clock, Timer } from '../../src/base/clock.ts';

export class FakeClock implements Clock {
  #nowMs = 1000;
  #timers: { atMs: number; callback: () => void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return 1_700_000_000_000 + this.#nowMs;
  }

  after(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((other) => other !== timer);
      },
    };
  }

  advance(byMs: number): void {
    const endMs = this.#nowMs + byMs;
    for (;;) {
      const due = this.#timers.filter((timer) => timer.atMs <= endMs);
      const first = due.sort((a, b) => a.atMs - b.atMs)[0];
      if (first === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== first);
      this.#nowMs = first.atMs;
      first.callback();
    }
    this.#nowMs = endMs;
  }
}
