// Bounds on waiting for real processes and sockets.
//
// `within` puts a deadline on an event. `eventually` asks again and again, for states of another
// process that no event announces (a metric, a readiness answer). Invariant: both end in bounded
// time, with a message that says what was waited for. Must not know: what is waited for.

import { setTimeout as wait } from 'node:timers/promises';

/** Pause between two questions. Guess: short against any deadline, long against one request. */
const ASK_AGAIN_MS = 50;

export async function within<T>(ms: number, what: string, event: Promise<T>): Promise<T> {
  const stop = new AbortController();
  const late = wait(ms, undefined, { signal: stop.signal }).then(() => {
    throw new Error(`not within ${ms} ms: ${what}`);
  });
  try {
    return await Promise.race([event, late]);
  } finally {
    late.catch(() => {
      // Aborted: the event came first.
    });
    stop.abort();
  }
}

/** Asks until `ask` resolves, and gives its answer; throws its last failure after `ms`. */
export async function eventually<T>(ms: number, what: string, ask: () => Promise<T>): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (performance.now() >= end) {
        throw new Error(`not within ${ms} ms: ${what}`, { cause: error });
      }
    }
    await wait(ASK_AGAIN_MS);
  }
}
