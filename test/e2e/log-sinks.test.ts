// Goal: whoever reads the log, or does not, visitors are served as fast, what is lost is counted,
// and the server ends as it should. Method: exit nodes that log every request to a sink that fails
// or stalls, measured in turns with one that logs to /dev/null.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { Agent, get } from 'node:http';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { scratchFolder } from '../support/programs.ts';
import { droppedLines, type SinkServer, startSinkServer } from '../support/sink-server.ts';
import { startClient } from '../support/tunnel.ts';
import { startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const CONNECTIONS = 8;
const ROUND_MS = 700;
const ROUNDS = 5;
/** What the design asks for; both sides take turns, and the best round of each counts. */
const SHARE_MIN = 0.8;

async function startNode(t: TestContext, stderr: number | 'pipe'): Promise<SinkServer> {
  const server = await startSinkServer(t, {
    stderr,
    args: ['--log-format', 'json', '--log-level', 'debug'],
    // Whoever read the log is gone before the first line.
    onStart: (child) => child.stderr?.destroy(),
  });
  const port = await startHttp(t, (_request, response) => response.end('page'));
  await startClient(t, server, { args: ['--upstream', `a.test=http://${LOOPBACK}:${port}`] });
  return server;
}

/** Requests a second. */
async function measure({ httpPort }: SinkServer): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const endMs = performance.now() + ROUND_MS;
  let count = 0;
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const options = { host: LOOPBACK, port: httpPort, headers: { host: 'a.test' }, agent };
      get(options, (response) => {
        assert.equal(response.statusCode, 200);
        response.resume().once('end', resolve);
      }).once('error', reject);
    });
  const loop = async (): Promise<void> => {
    for (; performance.now() < endMs; count += 1) await one();
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, loop));
  agent.destroy();
  return count / (ROUND_MS / 1000);
}

type Sink = (t: TestContext) => number | 'pipe';

function open(t: TestContext, file: string, flags: string): number {
  const descriptor = openSync(file, flags);
  undoAfter(t, () => closeSync(descriptor));
  return descriptor;
}

const SINKS: Readonly<Record<string, Sink>> = {
  'a full disk': (t) => open(t, '/dev/full', 'w'),
  'a FIFO that nobody reads': (t) => {
    const fifo = path.join(scratchFolder(t), 'log');
    execFileSync('mkfifo', [fifo]);
    return open(t, fifo, 'r+');
  },
  'a pipe that is closed': () => 'pipe',
};

for (const [name, sink] of Object.entries(SINKS)) {
  test(`${name} costs visitors nothing`, async (t) => {
    const usual = await startNode(t, open(t, '/dev/null', 'w'));
    const stuck = await startNode(t, sink(t));
    let [best, bestStuck] = [0, 0];
    for (let round = 0; round < ROUNDS; round += 1) {
      best = Math.max(best, await measure(usual));
      bestStuck = Math.max(bestStuck, await measure(stuck));
    }
    const share = bestStuck / best;
    t.diagnostic(`${bestStuck.toFixed(0)} of ${best.toFixed(0)} requests/s, ${share.toFixed(2)}`);
    assert.ok(share >= SHARE_MIN, `${share.toFixed(2)} of the usual rate`);
    assert.equal(stuck.child.exitCode, null, 'it goes on');
    assert.equal(await droppedLines(usual), 0);
    assert.ok((await droppedLines(stuck)) > 0, 'what is lost is counted');
    const ended = once(stuck.child, 'exit');
    stuck.child.kill('SIGTERM');
    const [code] = await within(20_000, 'it drains and ends', ended);
    assert.equal(code, 0);
  });
}
