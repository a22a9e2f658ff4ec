// Ports of tunnels while one process takes over from another, which may have them still: who wants
// one waits a moment for it, as it is the other's to close.
//
// Invariant: the wait is bounded for each port, whoever asks and however often, and well below what
// a registration may take; without a take-over, and a while after one, nobody waits, as a port is
// then another program's. Must not know: how ports are opened, or which process this is.

import { type Clock, sleep } from '../base/clock.ts';
import { isTaken } from './ports.ts';

/** Half of what a call may take. Longer than clients of one take-over need to come. */
const WAIT_MS_MAX = 5000;
const AGAIN_MS = 50;
/** Once the other process closes them, as visitors are refused until one is open again. Measured:
 * a try that fails costs 0.04 ms. */
const SOON_AGAIN_MS = 5;

export interface TakenPortsOptions {
  /** Opens a port on every shard. Rejects with a SluicewayError. */
  readonly open: (name: string) => Promise<void>;
  /** Is a take-over under way? */
  readonly isUnderWay: () => boolean;
  readonly clock: Clock;
}

export class TakenPorts {
  readonly #options: TakenPortsOptions;
  /** Since when ports that were taken are waited for; no more than there are ports. */
  readonly #sinceMs = new Map<string, number>();
  /** Since when the other process closes its ports. */
  #closingMs = Number.NEGATIVE_INFINITY;

  constructor(options: TakenPortsOptions) {
    this.#options = options;
  }

  /** The other process was told that it is not needed any more: it closes what it has, shard by
   * shard, each when it comes to it. */
  expectClosing(): void {
    this.#closingMs = this.#options.clock.nowMs();
  }

  async open(name: string): Promise<void> {
    const { open, isUnderWay } = this.#options;
    // Asked before: when it ends meanwhile, the port is about to be free.
    const waits = isUnderWay() || this.#isClosing;
    // What was waited for in an earlier one is over.
    if (!waits) this.#sinceMs.clear();
    for (;;) {
      try {
        await open(name);
        this.#sinceMs.delete(name);
        return;
      } catch (error) {
        if (!waits || !isTaken(error) || this.#waitedMs(name) >= WAIT_MS_MAX) throw error;
      }
      await sleep(this.#isClosing ? SOON_AGAIN_MS : AGAIN_MS);
    }
  }

  get #isClosing(): boolean {
    return this.#options.clock.nowMs() - this.#closingMs < WAIT_MS_MAX;
  }

  #waitedMs(name: string): number {
    const nowMs = this.#options.clock.nowMs();
    const sinceMs = this.#sinceMs.get(name) ?? nowMs;
    this.#sinceMs.set(name, sinceMs);
    return nowMs - sinceMs;
  }
}
