// Runs test/cli/lifecycle-program.ts, whose one argument chooses what happens to it.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { describe, type TestContext, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('./lifecycle-program.ts', import.meta.url));

const EARLY = ['SIGHUP', 'SIGUSR2'] as const;

interface Outcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the program and sends the next signal each time it says that it is ready for one. */
function runWith(t: TestContext, what: string, signals: NodeJS.Signals[] = []): Promise<Outcome> {
  const child = spawn(process.execPath, [PROGRAM, what], { stdio: ['ignore', 'pipe', 'pipe'] });
  t.after(() => child.kill('SIGKILL'));
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (piece) => {
    stdout += piece;
    const signal = String(piece).includes('ready') ? signals.shift() : undefined;
    if (signal !== undefined) child.kill(signal);
  });
  child.stderr.on('data', (piece) => {
    stderr += piece;
    const signal = /nothing to reload|no debugger/.test(String(piece))
      ? signals.shift()
      : undefined;
    if (signal !== undefined) child.kill(signal);
  });
  return new Promise((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
}

describe('a long-running command', { concurrency: 2 }, () => {
  test('drains on the first signal and ends with the code it gives', async (t) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) {
      const { code, stdout, stderr } = await runWith(t, 'drains', [signal]);
      assert.equal(code, 0, stderr);
      assert.equal(stdout, 'ready\ndrain\n');
      assert.match(stderr, new RegExp(`"component":"test","signal":"${signal}","msg":"draining`));
    }
  });

  test('ends at once on the second', async (t) => {
    const { code, stdout } = await runWith(t, 'drains-for-ever', ['SIGTERM', 'SIGINT']);
    assert.equal(stdout, 'ready\ndrain\nready\nstop\n');
    assert.equal(code, 1);
  });

  test('ends on the second even when it does not stop', async (t) => {
    const { code, stdout } = await runWith(t, 'stops-never', ['SIGTERM', 'SIGTERM']);
    assert.equal(stdout, 'ready\ndrain\nready\n');
    assert.equal(code, 1);
  });

  test('goes on after SIGHUP, and says that there is nothing to reload', async (t) => {
    const { code, stdout } = await runWith(t, 'drains', ['SIGHUP', 'SIGTERM']);
    assert.equal(stdout, 'ready\ndrain\n');
    assert.equal(code, 0);
  });

  test('opens no debugger at SIGUSR1, and goes on', async (t) => {
    const { code, stdout, stderr } = await runWith(t, 'drains', ['SIGUSR1', 'SIGTERM']);
    assert.equal(stdout, 'ready\ndrain\n');
    assert.equal(code, 0);
    assert.match(stderr, /"msg":"SIGUSR1: no debugger is opened"/);
    assert.doesNotMatch(stderr, /Debugger listening/);
  });

  test('is not ended by SIGHUP and SIGUSR2 while it starts, and reloads once it has', async (t) => {
    const child = spawn(process.execPath, [PROGRAM, 'starts-slowly']);
    t.after(() => child.kill('SIGKILL'));
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (piece) => {
      stdout += piece;
      if (stdout === 'starting\n') for (const one of EARLY) child.kill(one);
      if (stdout.endsWith('ready\n')) child.kill('SIGTERM');
    });
    child.stderr.on('data', (piece) => {
      stderr += piece;
      // Both have come: the start may go on.
      if (/SIGHUP: read again when/.test(stderr) && /SIGUSR2: nobody/.test(stderr))
        child.stdin.end();
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    assert.equal(code, 0, stderr);
    assert.equal(stdout, 'starting\nreload\nready\ndrain\n');
  });

  test('ends after what nobody caught even when it does not stop, or drains', async (t) => {
    const stuck = await runWith(t, 'throws-and-stops-never');
    assert.equal(stuck.code, 1);
    const drained = await runWith(t, 'throws-in-drain', ['SIGTERM']);
    assert.equal(drained.stdout, 'ready\ndrain\nstop\n');
    assert.equal(drained.code, 1);
  });

  test('ends with the code and the message it closed with', async (t) => {
    const { code, stderr } = await runWith(t, 'refused');
    assert.equal(code, 3);
    assert.match(stderr, /^sluiceway: the server refused the token$/m);
  });

  test('ends with the code of the error it could not start for', async (t) => {
    const listen = await runWith(t, 'cannot-listen');
    assert.equal(listen.code, 1);
    assert.equal(listen.stderr, 'sluiceway: port 80 is in use\n');
    const broken = await runWith(t, 'cannot-start');
    assert.equal(broken.code, 1);
    assert.equal(broken.stderr, 'sluiceway: internal error: surprise\n');
  });

  test('logs what nobody caught, stops what runs, and ends with a failure', async (t) => {
    for (const [what, text] of [
      ['throws', 'uncaught exception'],
      ['rejects', 'unhandled rejection'],
    ] as const) {
      const { code, stdout, stderr } = await runWith(t, what);
      // Left to the kernel, connections would end as if all had been said.
      assert.equal(stdout, 'stop\n');
      assert.equal(code, 1);
      assert.match(stderr, new RegExp(`^sluiceway: ${text}: surprise$`, 'm'));
      assert.match(stderr, new RegExp(`"level":"fatal".*surprise.*"msg":"${text}"`));
    }
  });
});
