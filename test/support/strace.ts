// The system calls of a process that runs, as strace tells them.
//
// Invariant: it is attached when it is given, and let go when the test has ended, whatever became
// of the process. Must not know: which calls, and what becomes of them.

import type { TestContext } from 'node:test';
import { startProcess, type TestProcess } from './process.ts';
import { requirePrograms, skipOrFail } from './programs.ts';

/** Its lines are on standard error. None: the test is skipped, or has failed where none may be. */
export async function attachStrace(
  t: TestContext,
  pid: number,
  args: readonly string[],
): Promise<TestProcess | undefined> {
  const programs = requirePrograms(t, ['strace']);
  if (programs === undefined) return undefined;
  const strace = startProcess(t, {
    name: 'strace',
    command: programs.strace,
    args: ['-f', '-p', String(pid), ...args],
    endSignal: 'SIGINT',
  });
  const began = await strace.line('attached', (line) => /attached|not permitted/u.test(line));
  if (!/not permitted/u.test(began)) return strace;
  await strace.expectEnd();
  skipOrFail(t, `strace: ${began}`);
  return undefined;
}
