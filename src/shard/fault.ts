// The contract's test hooks: a shard that throws or runs out of memory on demand.
//
// Invariant: does nothing unless control passed a fault on, which it does only with
// `--allow-faults`; strikes the first shard only. Must not know: how the failure is handled.

import { systemClock } from '../base/clock.ts';
import type { ShardTask } from '../bridge/messages.ts';

export function armFault(fault: ShardTask['fault'], shard: number): void {
  if (fault === undefined || shard !== 0) return;
  systemClock.after(fault.afterMs, () => {
    if (fault.kind === 'shard-throw') throw new Error('fault injected: shard-throw');
    exhaustMemory();
  });
}

function exhaustMemory(): void {
  const held: number[][] = [];
  for (;;) held.push(new Array<number>(1_000_000).fill(held.length));
}
