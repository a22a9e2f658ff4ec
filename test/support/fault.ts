// A fault of the server's first shard that comes when a test says so, and once: by the clock it may
// come before that which it is to break, on a busy machine.
//
// Invariant: nothing strikes before `strike`. Must not know: what breaks.

import { writeFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { scratchFolder } from './programs.ts';

export interface FaultOnCue {
  /** For the server that is to break. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  strike(): void;
}

export function faultOnCue(t: TestContext, kind: 'shard-throw' | 'shard-block'): FaultOnCue {
  const file = path.join(scratchFolder(t), 'cue');
  return {
    args: ['--allow-faults'],
    env: { SLUICEWAY_FAULT: `${kind}:${file}` },
    strike: () => writeFileSync(file, ''),
  };
}
