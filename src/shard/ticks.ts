// The heartbeat of a shard: one timer for every deadline of its links and sockets.
//
// Invariant: ticks never overlap and never pile up; each comes TICK_MS after the last one ended.
// Must not know: what is swept.

import type { Clock, Timer } from '../base/clock.ts';

/** How exact deadlines are (design: heads are checked every 2 s at least). */
const TICK_MS = 1000;

export function startTicks(clock: Clock, onTick: (nowMs: number) => void): { stop(): void } {
  let timer: Timer;
  const tick = (): void => {
    timer = clock.after(TICK_MS, tick);
    onTick(clock.nowMs());
  };
  timer = clock.after(TICK_MS, tick);
  return { stop: () => timer.cancel() };
}
