// The contract's test hooks: a shard that throws, runs out of memory or stands still on demand.
//
// Invariant: does nothing unless control passed a fault on, which it does only with
// `--allow-faults`; strikes the first shard only. Must not know: how the failure is handled.

import { systemClock } from '../base/clock.ts';
import type { ShardTask } from '../bridge/shard-task.ts';

/** Several times the deadline of a scrape. */
const BLOCK_MS = 6000;

export function armFault(fault: ShardTask['fault'], shard: number): void {
  if (fault === undefined || shard !== 0) return;
  systemClock.after(fault.afterMs, () => {
    if (fault.kind === 'shard-throw') throw new Error('fault injected: shard-throw');
    if (fault.kind === 'shard-block') block();
    else exhaustMemory();
  });
}

/** As an endless loop would, but for its end. */
function block(): void {
  const endMs = systemClock.nowMs() + BLOCK_MS;
  while (systemClock.nowMs() < endMs);
}

function exhaustMemory(): void {
  const held: number[][] = [];
  for (;;) held.push(new Array<number>(1_000_000).fill(held.length));
}
