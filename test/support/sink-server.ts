// An exit node as a process whose log goes where a test says: a descriptor, or a pipe.
//
// Invariant: it has ended when the test has; it is ready when it is given. Must not know: what
// becomes of the log.

import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import process from 'node:process';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';
import { eventually } from './deadline.ts';
import { freePort } from './free-port.ts';
import { ENTRY, type TestServer, TOKEN } from './tunnel.ts';

const LOOPBACK = '127.0.0.1';

export interface SinkServer extends Omit<TestServer, 'process'> {
  readonly child: ChildProcess;
}

export interface SinkServerOptions {
  readonly stderr: number | 'pipe';
  readonly args: readonly string[];
  /** Told at once: before it has written anything. */
  readonly onStart?: (child: ChildProcess) => void;
}

export async function startSinkServer(
  t: TestContext,
  { stderr, args, onStart }: SinkServerOptions,
): Promise<SinkServer> {
  const [controlPort, httpPort, adminPort] = [await freePort(), await freePort(), await freePort()];
  const child = spawn(
    process.execPath,
    [
      ...[ENTRY, 'server', '--access-log', '--control-addr', `${LOOPBACK}:${controlPort}`],
      ...['--http-addr', `${LOOPBACK}:${httpPort}`, '--admin-addr', `${LOOPBACK}:${adminPort}`],
      ...['--shards', '2', '--drain-delay', '0s', ...args],
    ],
    {
      stdio: ['ignore', 'ignore', stderr],
      env: { PATH: process.env.PATH, SLUICEWAY_TOKEN: TOKEN },
    },
  );
  onStart?.(child);
  undoAfter(t, () => {
    child.kill('SIGKILL');
  });
  await eventually(30_000, 'ready', async () => {
    const answer = await fetch(`http://${LOOPBACK}:${adminPort}/readyz`);
    assert.equal(await answer.text(), 'ok\n');
  });
  return { child, controlPort, httpPort, adminPort };
}

/** Lines that it counts as dropped. */
export async function droppedLines({ adminPort }: SinkServer): Promise<number> {
  const page = await (await fetch(`http://${LOOPBACK}:${adminPort}/metrics`)).text();
  return Number(/^sluiceway_log_dropped_total (\d+)$/mu.exec(page)?.[1]);
}
