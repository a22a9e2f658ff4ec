// How much memory this process and others of a take-over have together.
//
// Invariant: what both share, such as Node's own code, counts once; another process that is gone,
// or cannot be looked into, counts nothing. Must not know: limits, or which of the two this is.

import { readFileSync } from 'node:fs';

/** Raises when the system cannot say. `others`: who is undefined is not there. */
export function residentBytes(...others: readonly (number | undefined)[]): number {
  const pids = others.filter((pid) => pid !== undefined);
  return pids.reduce((sum, pid) => sum + ownBytes(pid), process.memoryUsage.rss());
}

/** What a process has for itself alone, as Linux says. */
function ownBytes(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^RssAnon:\s+(\d+) kB$/mu.exec(status)?.[1] ?? 0) * 1024;
  } catch {
    // It has gone, or there is no /proc: what is known is this process.
    return 0;
  }
}
