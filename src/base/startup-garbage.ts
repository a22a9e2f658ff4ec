// One full collection when a thread has started, so that it rests at what it needs.
//
// Loading the program leaves some 10 MB of garbage in each thread. V8 would keep it until traffic
// makes it collect, and an idle process for ever. Node offers no way to ask for a collection but
// the flag that a program is started with; set later, it holds for contexts made from then on.
//
// Invariant: at worst nothing is collected. Must not know: what was started, or when.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** A thread starts once, whatever starts in it later. */
let isCollected = false;

/**
 * Takes 10 to 30 ms of this thread: before traffic, or not at all; once. The flag is the process's
 * and stays set: another thread may be between the two lines.
 */
export function collectStartupGarbage(): void {
  if (isCollected) return;
  isCollected = true;
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('globalThis.gc');
  // `last-resort` also gives the pages back that would be kept for the next allocations.
  if (typeof collect === 'function') {
    collect({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  }
}
