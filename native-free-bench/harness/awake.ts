// Keeps every core from going to sleep while the bench measures (`--awake`).
//
// In a virtual machine a core that has nothing to do is given back to the host, and to wake it is
// an exit that the waker pays for, tens of microseconds each. What then counts is how often a
// program pauses, and on what machine, not what its work costs. So one loop runs on each core,
// of the class SCHED_IDLE (sched(7)): it has a core only while nobody else wants it.
//
// Owns those loops. Invariant: they end with the bench, also when that is killed: each looks now
// and then whether its parent is still there. Must not know: what is measured.

import { readFileSync } from 'node:fs';
import { type Child, type Children, findProgram } from './children.ts';

/** Turns between two looks for the parent: some 50 ms of a core. Guess. */
const TURNS = 100_000;
/** The fourth field is the parent (proc(5)); a look for its id alone might find another process. */
const IS_OURS = 'read -r id name state parent rest < /proc/$$/stat && [ "$parent" = "$1" ]';
const LOOP = `while ${IS_OURS}; do i=0; while [ $i -lt ${TURNS} ]; do i=$((i+1)); done; done`;
/** A loop that cannot start has said so by then. Guess. */
const START_MS = 200;

/** Rejects with what is missing, and what to do, where it cannot be done. */
export async function keepCoresAwake(children: Children): Promise<readonly Child[]> {
  const [chrt, taskset] = [findProgram('chrt', '/usr/bin'), findProgram('taskset', '/usr/bin')];
  if (chrt === undefined || taskset === undefined) {
    throw new Error('--awake needs chrt and taskset: install util-linux');
  }
  const loops = allowedCores().map((core) =>
    children.run(chrt, [
      ...['--idle', '0', taskset, '--cpu-list', String(core)],
      ...['sh', '-c', LOOP, 'awake', String(process.pid)],
    ]),
  );
  await new Promise((resolve) => setTimeout(resolve, START_MS));
  const over = loops.find((loop) => loop.isOver());
  if (over !== undefined) throw new Error(`--awake: ${over.output().trim()}`);
  return loops;
}

/** The cores that this process, and so what it starts, may use; `0-1,4` is three (proc(5)). */
export function allowedCores(status = readFileSync('/proc/self/status', 'utf8')): number[] {
  const list = /^Cpus_allowed_list:\s*(\S+)$/m.exec(status)?.[1] ?? '0';
  return list.split(',').flatMap((range) => {
    const [from = 0, to = from] = range.split('-').map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}
