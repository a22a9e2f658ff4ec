// Visitors that come one at a time, each on a connection of its own, and whether they were served.
//
// Invariant: a visitor without an answer of 200 within the time given is refused, whatever the
// reason. Must not know: when they come, or what happens to the tunnel meanwhile.

import { request } from 'node:http';
import type { Target } from './load.ts';
import { HOST } from './side.ts';

const TIMEOUT_MS = 5_000;

export interface VisitsResult {
  readonly count: number;
  readonly refused: number;
  readonly p99Ms: number;
}

export class Visits {
  readonly #target: Target;
  readonly #waiting = new Set<Promise<void>>();
  readonly #timesMs: number[] = [];
  #refused = 0;

  /** `host` is the one asked for, unless a visit names another. */
  constructor(target: Target) {
    this.#target = target;
  }

  visit(host: string = this.#target.host ?? HOST): void {
    const startMs = performance.now();
    const done = ask(this.#target.port, host).then((isServed) => {
      this.#timesMs.push(performance.now() - startMs);
      if (!isServed) this.#refused += 1;
      this.#waiting.delete(done);
    });
    this.#waiting.add(done);
  }

  async finish(): Promise<VisitsResult> {
    await Promise.all(this.#waiting);
    const sorted = this.#timesMs.toSorted((left, right) => left - right);
    const p99Ms = sorted[Math.max(0, Math.ceil(sorted.length * 0.99) - 1)] ?? Number.NaN;
    return { count: sorted.length, refused: this.#refused, p99Ms };
  }
}

function ask(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const asked = request({ port, host: '127.0.0.1', headers: { host }, agent: false });
    asked.setTimeout(TIMEOUT_MS, () => asked.destroy());
    asked.on('response', (response) => {
      response.resume();
      response.on('close', () => resolve(response.statusCode === 200 && response.complete));
    });
    asked.on('error', () => resolve(false));
    asked.end();
  });
}
