// Goal: a program of a kubeconfig that does not end is killed in time, and its failure is told.
// Method: shells that hang, in every way, under a short deadline.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { createRunProgram } from '../../src/cli/credential-program.ts';
import { eventually, within } from '../support/deadline.ts';
import { scratchFolder } from '../support/programs.ts';

const WAIT_MS = 10_000;
/** Long enough for a shell to start. */
const LATE_MS = 1000;

const shell = (script: string, env: Readonly<Record<string, string>> = {}) => ({
  ...{ command: 'sh', args: ['-c', script], env },
});

/** Runs a script that writes its process id into $PID_FILE; waits until that process has gone. */
async function runLate(t: TestContext, script: string): Promise<unknown> {
  const file = path.join(scratchFolder(t), 'pid');
  const running = createRunProgram(LATE_MS)(shell(script, { PID_FILE: file }));
  const failure = await within(
    WAIT_MS,
    'its end',
    running.then(
      () => 'done',
      (error: Error) => error.message,
    ),
  );
  const pid = Number(readFileSync(file, 'utf8'));
  await eventually(WAIT_MS, 'it is gone', async () => assert.throws(() => process.kill(pid, 0)));
  return failure;
}

test('a program that does not end is killed', async (t) => {
  const scripts = [
    'echo $$ > $PID_FILE; exec sleep 600',
    'echo $$ > $PID_FILE; trap "" TERM; while :; do sleep 1; done',
    // What it has started itself holds its output for longer.
    'echo $$ > $PID_FILE; sleep 20 & exec sleep 600',
  ];
  const ends = await Promise.all(scripts.map((script) => runLate(t, script)));
  assert.deepEqual(ends, scripts.fill('did not end within 1 s, and was killed'));
});

test('and one that prints without end', async () => {
  const run = createRunProgram(WAIT_MS);
  await assert.rejects(run(shell('exec cat /dev/zero')), { message: /^prints without end/u });
});

test('a program gets its variables and no input, and gives what it prints', async () => {
  const run = createRunProgram(WAIT_MS);
  assert.equal(await run(shell('cat; printf %s "$GREETING"', { GREETING: 'hello' })), 'hello');
});

test('a failure says how it ended, and what the program complained of', async () => {
  const run = createRunProgram(WAIT_MS);
  await assert.rejects(run(shell('echo secret; echo "log in\nagain" >&2; exit 3')), {
    message: 'ended with 3: log in again',
  });
  const none = { command: 'no-such-program', args: [], env: {} };
  await assert.rejects(run(none), { message: 'cannot be started: ENOENT' });
});
