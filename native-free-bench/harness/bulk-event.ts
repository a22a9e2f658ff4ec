// What a process that reads bulk tells.
//
// Apart from bulk.ts, which begins to read when it is loaded. Must not know: who asks.

/** Since the connections were opened, as of `atMs` since the epoch, with fractions. */
export interface BulkCount {
  readonly atMs: number;
  /** Of each connection. */
  readonly bytes: readonly number[];
  /** Connections that have ended, which none should. */
  readonly lost: number;
}
