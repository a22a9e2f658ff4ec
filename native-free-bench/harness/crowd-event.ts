// What the crowd of clients tells, and where its tunnels are.
//
// Apart from crowd.ts, which loads the program itself. Must not know: dialling.

export interface CrowdEvent {
  readonly client: number;
  readonly isUp: boolean;
  /** Since the epoch, with fractions. */
  readonly atMs: number;
}

/** The host that a client of the crowd serves. */
export function crowdHost(client: number): string {
  return `c${client}.bench.example`;
}
