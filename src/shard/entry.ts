// The door to a shard's thread: where it is loaded from, and what piscina runs in it.
//
// Invariant: the one place that builds the worker's URL, with the extension of this very file, as
// compilation rewrites imports but not URLs. No top-level await: piscina tries `require` first and
// would hide the error. Must not know: what a shard does.

import type { ShardTask } from '../bridge/shard-task.ts';

/** File that piscina loads; `.ts` from a checkout, `.js` once compiled. */
export const shardUrl: string = new URL(import.meta.url).href;

/** One task that ends when the shard is told to stop; a throw in it ends the thread. */
export default async function run(task: ShardTask): Promise<void> {
  // As in cli/main.ts: each thread has a part of its own in Node's reports.
  process.report.excludeEnv = true;
  if (task.role === 'exit') {
    const { runExitShard } = await import('./exit-shard.ts');
    return runExitShard(task);
  }
  const { runClientShard } = await import('./client-shard.ts');
  return runClientShard(task);
}
