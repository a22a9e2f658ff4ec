// How long clients should take to come back when they have all lost this server.
//
// Invariant: pure; about CLIENTS_PER_SECOND come back in a second, whatever their number, until the
// longest spread is reached; a power of two, so that it tells a client little of how many others
// there are, and holds for as many as may join. Must not know: clients, or what they do with it.

/** What a small machine greets beside its visitors, with room for those who try twice. Measured in
 * test/integration/reconnect.test.ts. */
const CLIENTS_PER_SECOND = 40;
/** Longer than this nobody shall wait (contract: a back-off ends at 30 s). */
const SPREAD_MS_MAX = 30_000;
/** Below, clients need not be told: they take half a second by themselves. */
const SPREAD_MS_MIN = 500;

/** In milliseconds; 0 for few clients. */
export function spreadOf(clients: number): number {
  const roundedUp = 2 ** Math.ceil(Math.log2(Math.max(1, clients)));
  const spreadMs = Math.ceil((roundedUp * 1000) / CLIENTS_PER_SECOND);
  return spreadMs < SPREAD_MS_MIN ? 0 : Math.min(SPREAD_MS_MAX, spreadMs);
}
