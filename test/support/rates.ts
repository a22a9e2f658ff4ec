// How often something happened at most.
//
// Must not know: what.

/** In any second, of moments in order. */
export function mostInASecond(timesMs: readonly number[]): number {
  let most = 0;
  let first = 0;
  for (const [at, ms] of timesMs.entries()) {
    while (ms - (timesMs[first] ?? 0) >= 1000) first += 1;
    most = Math.max(most, at - first + 1);
  }
  return most;
}
