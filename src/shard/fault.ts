// The contract's test hooks: a shard that throws, runs out of memory or stands still on demand.
//
//   armed --so long after the start--> strikes      armed --a file is there--> removed --> strikes
//
// Invariant: does nothing unless control passed a fault on, which it does only with
// `--allow-faults`; strikes the first shard only, and for one file once. Must not know: how the
// failure is handled.

import { rmSync } from 'node:fs';
import { systemClock } from '../base/clock.ts';
import type { ShardTask } from '../bridge/shard-task.ts';

/** Several times the deadline of a scrape. */
const BLOCK_MS = 6000;
/** Between two looks for the file. */
const LOOK_MS = 50;

type Kind = NonNullable<ShardTask['fault']>['kind'];

export function armFault(fault: ShardTask['fault'], shard: number): void {
  if (fault === undefined || shard !== 0) return;
  if ('file' in fault) strikeOnce(fault.kind, fault.file);
  else systemClock.after(fault.afterMs, () => strike(fault.kind));
}

/** When there is the file. The shard that comes after it finds none, and goes on. */
function strikeOnce(kind: Kind, file: string): void {
  systemClock.after(LOOK_MS, () => {
    if (isTaken(file)) strike(kind);
    else strikeOnce(kind, file);
  });
}

function isTaken(file: string): boolean {
  try {
    rmSync(file);
    return true;
  } catch {
    return false;
  }
}

function strike(kind: Kind): void {
  if (kind === 'shard-throw') throw new Error('fault injected: shard-throw');
  if (kind === 'shard-block') block();
  else exhaustMemory();
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
