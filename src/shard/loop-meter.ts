// How late a shard's event loop was since that was read last: usually, and at worst.
//
//   begun --20 ms, by a timer of ours--> first interval --20 ms each, by Node--> others --read-->
//   begun anew
//
// Invariant: no interval is left out: Node's histogram records what lies between two of its ticks,
// and so not what stands still before the first one behind a reset. Must not know: who reads.

import { type ELDHistogram, monitorEventLoopDelay } from 'node:perf_hooks';
import { systemClock, type Timer } from '../base/clock.ts';
import type { LoopDelay } from '../bridge/shard-sample.ts';

const RESOLUTION_MS = 20;
const NANOS = 1e9;

export class LoopMeter {
  readonly #histogram: ELDHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  #first: Timer | undefined;
  #firstSeconds = 0;

  constructor() {
    this.#histogram.enable();
    this.#awaitFirst();
  }

  /** Begins anew with it. */
  read(): LoopDelay {
    const histogram = this.#histogram;
    const delay = {
      p50: lateSeconds(histogram.percentile(50)),
      p99: lateSeconds(histogram.percentile(99)),
      max: Math.max(this.#firstSeconds, lateSeconds(histogram.max)),
    };
    histogram.reset();
    this.#awaitFirst();
    return delay;
  }

  close(): void {
    this.#first?.cancel();
    this.#histogram.disable();
  }

  #awaitFirst(): void {
    this.#first?.cancel();
    this.#firstSeconds = 0;
    const dueMs = systemClock.nowMs() + RESOLUTION_MS;
    this.#first = systemClock.after(RESOLUTION_MS, () => {
      this.#firstSeconds = Math.max(0, systemClock.nowMs() - dueMs) / 1000;
    });
  }
}

/** Node measures from one timer to the next; what is beyond its interval is delay. */
function lateSeconds(nanos: number): number {
  return Math.max(0, nanos / NANOS - RESOLUTION_MS / 1000);
}
