// `--awake`: a loop of the lowest class on each core, which ends with the bench and never without.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { allowedCores, keepCoresAwake } from '../../native-free-bench/harness/awake.ts';
import { Children } from '../../native-free-bench/harness/children.ts';
import { eventually } from '../support/deadline.ts';

/** A loop looks for its parent some ten times a second; guess with room for a busy machine. */
const END_MS = 10_000;
/** sched(7). */
const SCHED_IDLE = 5;
/** proc(5): field 41 of the line; the name, which may have spaces, ends with a bracket. */
const POLICY_AT = 41 - 3;

function policyOf(pid: number): number {
  const line = readFileSync(`/proc/${pid}/stat`, 'utf8');
  return Number(line.slice(line.lastIndexOf(')') + 2).split(' ')[POLICY_AT]);
}

function coresOf(pid: number): number[] {
  return allowedCores(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

test('each core that may be used has a loop of the class idle, and none when the bench is over', async () => {
  const children = new Children();
  try {
    const loops = await keepCoresAwake(children);
    assert.deepEqual(
      loops.map(({ pid }) => coresOf(pid)),
      allowedCores().map((core) => [core]),
    );
    for (const { pid } of loops) assert.equal(policyOf(pid), SCHED_IDLE);
    children.stop();
    await eventually(END_MS, 'loops end', async () =>
      assert.ok(loops.every((loop) => loop.isOver())),
    );
  } finally {
    children.stop();
  }
});

test('a bench that is killed leaves no loop', async () => {
  const code = `
    import { keepCoresAwake } from '${new URL('../../native-free-bench/harness/awake.ts', import.meta.url)}';
    import { Children } from '${new URL('../../native-free-bench/harness/children.ts', import.meta.url)}';
    const loops = await keepCoresAwake(new Children());
    console.log(JSON.stringify(loops.map(({ pid }) => pid)));
    setInterval(() => {}, 1000);`;
  const bench = spawn(process.execPath, ['--input-type=module-typescript', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = (await once(bench.stdout, 'data')) as [Buffer];
  const pids = JSON.parse(line.toString()) as number[];
  assert.equal(pids.length, allowedCores().length);
  bench.kill('SIGKILL');
  await eventually(END_MS, 'loops end', async () =>
    assert.ok(!pids.some((pid) => existsSync(`/proc/${pid}`))),
  );
});

for (const [list, cores] of [
  ['0', [0]],
  ['0-1', [0, 1]],
  ['0-1,4', [0, 1, 4]],
  ['2,5-7', [2, 5, 6, 7]],
] as const) {
  test(`the list ${list} is the cores ${cores.join(' ')}`, () => {
    assert.deepEqual(allowedCores(`Name:\tnode\nCpus_allowed_list:\t${list}\n`), cores);
  });
}
