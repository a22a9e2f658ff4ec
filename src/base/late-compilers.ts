// V8's optimizing compilers, which wait until there is work that is worth them.
//
// What they cost in memory never comes back: 9 MB of Node's code that nothing else touches, and as
// much again that their threads have once allocated. Loading the program is heat enough to start
// them, and so are a thousand visitors who then say nothing; a process that rests gains by neither.
// V8 optimizes no function that was called less often than a threshold says. It is read whenever
// that is decided, so it can be set at any time, and holds for all threads; `--no-opt` and its like
// are read when a thread is made, too, and a thread made meanwhile would be without for ever.
//
// Invariant: once released they stay released, and whatever works is released soon; loops that run
// long are optimized meanwhile as ever. At worst, in a V8 that knows no such threshold, nothing is
// held. Must not know: what works.

import { setFlagsFromString } from 'node:v8';
import type { Clock } from './clock.ts';

/** V8's own; cli/main.ts sets it to what is never reached, before anything is loaded. */
const USUAL_THRESHOLD = '--minimum-invocations-before-optimization=2';
const LOOK_MS = 500;
/** Less than this share of a core is what ticks and heartbeats take. Guess. */
const BUSY_SHARE = 0.1;
/** CPU time after which compiled code is worth its memory: some 2,000 connections. Guess. */
const WORKED_MS = 1000;

export function releaseCompilers(): void {
  setFlagsFromString(USUAL_THRESHOLD);
}

/** Of all threads, in microseconds. */
type ReadCpu = () => { readonly user: number; readonly system: number };

/** Releases them when the process has worked; `releaseThem` is for tests. */
export function releaseOnceWorked(
  clock: Clock,
  readCpu: ReadCpu = () => process.cpuUsage(),
  releaseThem: () => void = releaseCompilers,
): void {
  let workedMs = 0;
  let before = { atMs: clock.nowMs(), cpuMs: cpuMs(readCpu) };
  const look = (): void => {
    const now = { atMs: clock.nowMs(), cpuMs: cpuMs(readCpu) };
    const usedMs = now.cpuMs - before.cpuMs;
    if (usedMs >= (now.atMs - before.atMs) * BUSY_SHARE) workedMs += usedMs;
    before = now;
    if (workedMs >= WORKED_MS) releaseThem();
    else clock.after(LOOK_MS, look);
  };
  clock.after(LOOK_MS, look);
}

function cpuMs(readCpu: ReadCpu): number {
  const { user, system } = readCpu();
  return (user + system) / 1000;
}
