// The operator's own Prometheus page.
//
// Invariant: label values are words of ours, never names of objects. Must not know: who asks.

import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { Plan } from './actions.ts';
import type { WatchedKind } from './inventory.ts';
import { QUEUES, type Queue } from './reconciler.ts';

const BUCKETS_SECONDS = [0.005, 0.02, 0.1, 0.5, 2, 10, 60];
const PREFIX = 'sluiceway_operator_';

/** What is read when somebody asks. */
export interface OperatorReadings {
  readonly isLeading: boolean;
  readonly depth: (queue: Queue) => number;
  readonly count: (kind: WatchedKind) => number;
  /** Tunnels by the reason of their condition Ready. */
  readonly tunnels: () => ReadonlyMap<string, number>;
  readonly version: string;
}

const KINDS: readonly WatchedKind[] = [
  'Service',
  'ExternalService',
  'Tunnel',
  'ExitNode',
  'Deployment',
];

export class OperatorMetrics {
  readonly #page = new Registry();
  readonly #reconciles: Counter<'kind' | 'result'>;
  readonly #durations: Histogram<'kind'>;
  readonly #breaks: Counter<'kind'>;

  constructor(readings: () => OperatorReadings) {
    const registers = [this.#page];
    this.#reconciles = new Counter({
      ...{ registers, name: `${PREFIX}reconciles_total`, labelNames: ['kind', 'result'] as const },
      help: 'How often objects were looked at, by what follows.',
    });
    this.#durations = new Histogram({
      ...{ registers, name: `${PREFIX}reconcile_seconds`, labelNames: ['kind'] as const },
      help: 'Time to look at an object and do what it needs.',
      buckets: BUCKETS_SECONDS,
    });
    this.#breaks = new Counter({
      ...{ registers, name: `${PREFIX}watch_breaks_total`, labelNames: ['kind'] as const },
      help: 'Watches that ended with an error, by kind.',
    });
    this.#gauge('leading', 'Is 1 while this operator leads.', [], (gauge) =>
      gauge.set(readings().isLeading ? 1 : 0),
    );
    this.#gauge('queue_depth', 'Objects that wait to be looked at.', ['kind'], (gauge) => {
      for (const kind of QUEUES) gauge.set({ kind }, readings().depth(kind));
    });
    this.#gauge('objects', 'Objects that are watched.', ['kind'], (gauge) => {
      for (const kind of KINDS) gauge.set({ kind }, readings().count(kind));
    });
    this.#gauge('tunnels', 'Tunnels by the reason of Ready.', ['reason'], (gauge) => {
      gauge.reset();
      for (const [reason, count] of readings().tunnels()) gauge.set({ reason }, count);
    });
    this.#gauge('build_info', 'Always 1.', ['version', 'node'], (gauge) =>
      gauge.set({ version: readings().version, node: process.version }, 1),
    );
  }

  /** As a scrape gets it. */
  async page(): Promise<{ readonly contentType: string; readonly text: string }> {
    return { contentType: this.#page.contentType, text: await this.#page.metrics() };
  }

  onReconciled(kind: Queue, result: Plan['next'] | 'error', ms: number): void {
    this.#reconciles.inc({ kind, result });
    this.#durations.observe({ kind }, ms / 1000);
  }

  onBroken(kind: WatchedKind): void {
    this.#breaks.inc({ kind });
  }

  #gauge<L extends string>(
    name: string,
    help: string,
    labelNames: readonly L[],
    read: (gauge: Gauge<L>) => void,
  ): void {
    const gauge: Gauge<L> = new Gauge<L>({
      ...{ registers: [this.#page], name: `${PREFIX}${name}`, help, labelNames: [...labelNames] },
      collect: () => read(gauge),
    });
  }
}
