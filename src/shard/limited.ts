// Which limits refuse or hold back visitors, by name, and how often each has done so.
//
// Invariant: the names are this closed set, those of the options without `-max`, so that a metric
// may carry them. Must not know: how a limit is held.

const LIMITS = [
  'visitor-connections',
  'visitor-connections-per-ip',
  'connections-per-second-per-ip',
  'tunnel-connections',
  'requests-per-second',
  'requests-per-second-per-ip',
  'tunnel-requests-per-second',
  'tunnel-bytes-in-per-second',
  'tunnel-bytes-out-per-second',
  'request-body',
  'memory',
] as const;

export type Limit = (typeof LIMITS)[number];

export class LimitedCounts {
  readonly #counts = new Map<Limit, number>(LIMITS.map((limit) => [limit, 0]));

  add(limit: Limit, times = 1): void {
    this.#counts.set(limit, (this.#counts.get(limit) ?? 0) + times);
  }

  sample(): (readonly [string, number])[] {
    return [...this.#counts];
  }
}
