// What is known of the exit node now: the totals of all shards, and what control counts itself.
//
// Invariant: a look never waits longer for a shard than the deadline; then its last sample counts.
// Must not know: who looks, or how what is read is sent.

import { endsWithin, systemClock } from '../base/clock.ts';
import { droppedLogLines } from '../base/log.ts';
import type { Bridge } from '../bridge/calls.ts';
import type { ExitControlMethods, ExitShardMethods } from '../bridge/exit-messages.ts';
import { SampleBook, type Totals } from '../bridge/sample-book.ts';
import type { LoopWatch, ShardSample } from '../bridge/shard-sample.ts';
import type { ServerConfig } from '../config/config.ts';
import type { Status } from './answers.ts';
import type { ControlCounts, Metrics } from './metrics.ts';
import type { Registry } from './registry.ts';
import { describeStatus } from './status.ts';

/** A scrape waits no longer for a shard; then its last sample counts. */
const SAMPLE_TIMEOUT_MS = 1000;
/** An answer that comes later counts with the next, for so long. Guess. */
const LATE_MS_MAX = 60_000;

export interface ReadingsOptions {
  readonly bridges: () => Iterable<readonly [number, Bridge<ExitControlMethods, ExitShardMethods>]>;
  readonly registry: Registry;
  readonly config: () => ServerConfig;
  readonly version: string;
  /** What is not of the registry. */
  readonly counts: () => Omit<
    ControlCounts,
    'clients' | 'tunnelClients' | 'links' | 'connects' | 'logDropped' | 'version'
  >;
}

/** One look at everything. */
export interface Reading {
  readonly totals: Totals;
  readonly counts: ControlCounts;
  readonly status: Status;
}

export class Readings {
  readonly #options: ReadingsOptions;
  readonly #samples = new SampleBook();
  /** Its code is loaded by the first scrape: many exit nodes never have one. */
  #metrics: Metrics | undefined;
  readonly #startedMs = systemClock.wallMs();

  constructor(options: ReadingsOptions) {
    this.#options = options;
  }

  /** A shard dies, and has said what it had counted. */
  keepLast(shard: number, sample: ShardSample): void {
    this.#samples.set(shard, sample, 'none');
  }

  /** A shard is gone: its counts stay. */
  retire(shard: number): void {
    this.#samples.retire(shard);
  }

  /** The page for Prometheus. */
  async metrics(): Promise<{ readonly contentType: string; readonly text: string }> {
    const [page] = await Promise.all([this.#openPage(), this.#sample('scrape')]);
    return page.render();
  }

  async #openPage(): Promise<Metrics> {
    const { Metrics } = await import('./metrics.ts');
    this.#metrics ??= new Metrics(this.#samples, () => this.#counts());
    return this.#metrics;
  }

  async status(): Promise<Status> {
    await this.#sample('none');
    return this.#describe(this.#samples.totals());
  }

  async look(): Promise<Reading> {
    await this.#sample('look');
    const totals = this.#samples.totals();
    return { totals, counts: this.#counts(), status: this.#describe(totals) };
  }

  async #sample(loop: LoopWatch): Promise<void> {
    const calls = [...this.#options.bridges()].map(async ([shard, bridge]) => {
      let isLate = false;
      const taken = bridge.call('sample', { loop }, LATE_MS_MAX).then((sample) => {
        if (isLate) this.#samples.setLate(shard, sample, loop);
        else this.#samples.set(shard, sample, loop);
      });
      isLate = !(await endsWithin(taken, SAMPLE_TIMEOUT_MS));
    });
    await Promise.allSettled(calls);
  }

  #describe(totals: Totals): Status {
    const { registry, version } = this.#options;
    const config = this.#options.config();
    return describeStatus({ registry, totals, config, version, startedMs: this.#startedMs });
  }

  #counts(): ControlCounts {
    const { registry, version } = this.#options;
    return {
      clients: registry.clientsCount,
      tunnelClients: registry.tunnelClients(),
      links: registry.linksCount,
      connects: registry.connects,
      logDropped: droppedLogLines(),
      version,
      ...this.#options.counts(),
    };
  }
}
