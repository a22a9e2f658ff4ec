// A page for Prometheus whose rows are read when it is asked for.
//
// Invariant: a page is of one reading, which is made once for all of its rows; nothing is kept
// between two pages, so nothing is counted twice. Must not know: what is read. With
// operator/metrics.ts the only file that knows prom-client, so that it is loaded late.

import { type Metric, Registry } from 'prom-client';

export interface Value {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName?: string;
}

type Kind = 'gauge' | 'counter' | 'histogram' | 'summary';

export interface Row<Reading> {
  readonly name: string;
  readonly kind: Kind;
  readonly help: string;
  readonly read: (reading: Reading) => Value[];
}

export interface Page {
  readonly contentType: string;
  readonly text: string;
}

export class MetricsPage<Reading> {
  readonly #registry = new Registry();
  /** Of this page: to make one for each of its rows would hold the thread up. */
  #reading: Reading | undefined;

  constructor(rows: readonly Row<Reading>[], look: () => Reading) {
    const read = (): Reading => {
      this.#reading ??= look();
      return this.#reading;
    };
    for (const { name, kind, help, read: readRow } of rows) {
      const get = (): object => ({
        name,
        help,
        type: kind,
        aggregator: 'sum',
        values: readRow(read()),
      });
      // Sampled, not kept: prom-client asks a metric for its values and prints them.
      this.#registry.registerMetric({ name, get } as unknown as Metric);
    }
  }

  async render(): Promise<Page> {
    this.#reading = undefined;
    const text = this.#registry.metrics();
    // All rows have read by now, and nobody looks at it until the next page.
    this.#reading = undefined;
    return { contentType: this.#registry.contentType, text: await text };
  }
}
