// A load that runs: what it goes to, and how it is stopped.
//
// Invariant: a load that was stopped has no socket and no timer left, and has told before what was
// out when counting ended. Must not know: which load.

import type { BenchLoad } from '../../src/cli/bench-request.ts';

export interface TargetLoad {
  readonly url: URL;
  readonly load: BenchLoad;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly ca?: string;
  readonly connections: number;
  /** Over all connections; 0: as fast as they are answered. */
  readonly perSecond: number;
}

export interface Running {
  /** Counting ends now: tells what is still out, before `stop`, which may cut it. */
  tellOut(): void;
  stop(): Promise<void>;
}
