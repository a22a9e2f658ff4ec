// Goal: whoever reads the log, or does not, all visitors are served, what is lost is counted, the
// log is not tried again and again, and the server ends as it should. Method: a fixed number of
// requests to an exit node that logs each to a sink that fails or stalls, whose writes strace
// counts, and as many to one that logs to /dev/null. Rates are told, not judged: those are for the
// suite `logs` of native-free-bench.

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
import { attachStrace } from '../support/strace.ts';
import { startClient } from '../support/tunnel.ts';
import { startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const CONNECTIONS = 8;
/** Some 4 MB of log: twice what two shards keep for a sink that stalls. */
const REQUESTS = 16_000;
/** For all of them; it takes some seconds. A loop that blocks never ends. */
const ALL_MS = 120_000;

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

/** Each is answered. Gives requests a second. */
async function visit({ httpPort }: SinkServer): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const startMs = performance.now();
  let left = REQUESTS;
  const one = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const options = { host: LOOPBACK, port: httpPort, headers: { host: 'a.test' }, agent };
      get(options, (response) => {
        assert.equal(response.statusCode, 200);
        response.resume().once('end', resolve);
      }).once('error', reject);
    });
  const loop = async (): Promise<void> => {
    for (; left > 0; ) {
      left -= 1;
      await one();
    }
  };
  const all = Promise.all(Array.from({ length: CONNECTIONS }, loop));
  await within(ALL_MS, `${REQUESTS} answers`, all);
  agent.destroy();
  return REQUESTS / ((performance.now() - startMs) / 1000);
}

/** Control, and two shards: each tries a sink that stalls no sooner than this, but for its first
 * tries, which come after 1, 2, 4 ... ms (base/line-sink.ts). */
const THREADS = 3;
const RETRY_MS = 100;
const FIRST_TRIES = 8;

/** Writes that fail, but those of sockets, which take what they can. */
const FAILED_WRITES = ['-y', '--seccomp-bpf', '-e', 'trace=write,writev', '-e', 'status=failed'];

function isOfLog(line: string): boolean {
  return /writev?\(\d+<(?!TCP|UDP|UNIX|socket)/u.test(line);
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
  test(`${name} costs no visitor an answer`, async (t) => {
    const usual = await startNode(t, open(t, '/dev/null', 'w'));
    const stuck = await startNode(t, sink(t));
    const strace = await attachStrace(t, stuck.child.pid as number, FAILED_WRITES);
    if (strace === undefined) return;
    const startMs = performance.now();
    const [usualRate, stuckRate] = [await visit(usual), await visit(stuck)];
    await strace.stop();
    // However slow the machine is: a timer is never early.
    const triesMax = THREADS * ((performance.now() - startMs) / RETRY_MS + FIRST_TRIES);
    const writes = strace.stderr.filter(isOfLog);
    const retries = writes.filter((line) => line.includes('EAGAIN')).length;
    const failed = writes.length - retries;
    const dropped = await droppedLines(stuck);
    t.diagnostic(`${stuckRate.toFixed(0)} requests/s; with /dev/null ${usualRate.toFixed(0)}`);
    t.diagnostic(`${failed} writes failed, ${retries} had no room, ${dropped} lines were lost`);
    assert.equal(stuck.child.exitCode, null, 'it goes on');
    assert.equal(await droppedLines(usual), 0);
    assert.ok(dropped > 0, 'what is lost is counted');
    assert.ok(failed <= dropped, 'a write that fails costs its lines');
    assert.ok(writes.length <= triesMax, `${writes.length} tries, not ${triesMax}: they wait`);
    const ended = once(stuck.child, 'exit');
    stuck.child.kill('SIGTERM');
    const [code] = await within(20_000, 'it drains and ends', ended);
    assert.equal(code, 0);
  });
}
