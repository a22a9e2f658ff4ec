// Goal: the log of an exit node that is told to end has a line for each request that it still
// answers, and what it says as it ends. Method: visitors whose answers come after SIGTERM, all at
// once and right before the end, and a second SIGTERM; the log is a file, or a pipe that is read.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { Agent, get, type ServerResponse } from 'node:http';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { scratchFolder } from '../support/programs.ts';
import { startSinkServer } from '../support/sink-server.ts';
import { startClient } from '../support/tunnel.ts';
import { startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
/** Some 25 KB of lines a shard: more than a pipe takes whole, less than it has room for. */
const VISITORS = 200;

interface Log {
  readonly descriptor: number;
  /** All of it, once its writer has gone. */
  read(): Promise<string>;
}

const KINDS = ['file', 'pipe that is read'] as const;

function openLog(t: TestContext, kind: (typeof KINDS)[number]): Log {
  const folder = scratchFolder(t);
  return kind === 'file' ? openFile(folder) : openPipe(t, folder);
}

function openFile(folder: string): Log {
  const file = path.join(folder, 'log');
  return { descriptor: openSync(file, 'a'), read: async () => readFileSync(file, 'utf8') };
}

function openPipe(t: TestContext, folder: string): Log {
  const [fifo, file] = [path.join(folder, 'fifo'), path.join(folder, 'log')];
  execFileSync('mkfifo', [fifo]);
  const copy = openSync(file, 'a');
  const reader = spawn('cat', [fifo], { stdio: ['ignore', copy, 'inherit'] });
  closeSync(copy);
  undoAfter(t, () => {
    reader.kill('SIGKILL');
  });
  const ended = once(reader, 'exit');
  return {
    descriptor: openSync(fifo, 'w'),
    async read() {
      await within(5000, 'the reader has all', ended);
      return readFileSync(file, 'utf8');
    },
  };
}

async function statusOf(port: number, agent: Agent): Promise<number | undefined> {
  const headers = { host: 'a.test' };
  return new Promise((resolve, reject) => {
    get({ host: LOOPBACK, port, headers, agent }, (response) => {
      response.resume().once('end', () => resolve(response.statusCode));
    }).once('error', reject);
  });
}

for (const kind of KINDS) {
  test(`a drained exit node has said all, to a ${kind}`, async (t) => {
    const log = openLog(t, kind);
    const server = await startSinkServer(t, {
      stderr: log.descriptor,
      args: ['--log-format', 'json'],
      onStart: () => closeSync(log.descriptor),
    });
    const held: ServerResponse[] = [];
    const upstream = await startHttp(t, (_request, response) => held.push(response));
    await startClient(t, server, { args: ['--upstream', `a.test=http://${LOOPBACK}:${upstream}`] });
    const agent = new Agent({ maxSockets: VISITORS });
    const answers = Array.from({ length: VISITORS }, () => statusOf(server.httpPort, agent));
    await eventually(20_000, 'all wait', async () => assert.equal(held.length, VISITORS));
    const ended = once(server.child, 'exit');
    server.child.kill('SIGTERM');
    await eventually(5000, 'it drains', async () => {
      const ready = await fetch(`http://${LOOPBACK}:${server.adminPort}/readyz`);
      assert.equal(ready.status, 503);
    });
    for (const response of held) response.end('page');
    const statuses = await within(20_000, 'all are answered', Promise.all(answers));
    assert.deepEqual(new Set(statuses), new Set([200]));
    const [code] = await within(20_000, 'it ends', ended);
    assert.equal(code, 0);
    const lines = (await log.read()).trim().split('\n');
    const requests = lines.filter((line) => line.includes('"msg":"request"'));
    assert.equal(requests.length, VISITORS);
    for (const line of lines) assert.ok(typeof JSON.parse(line) === 'object');
  });
}

for (const kind of KINDS) {
  test(`an exit node that is ended at once says so, to a ${kind}`, async (t) => {
    const log = openLog(t, kind);
    const server = await startSinkServer(t, {
      stderr: log.descriptor,
      args: ['--log-format', 'json', '--drain-delay', '20s'],
      onStart: () => closeSync(log.descriptor),
    });
    const ended = once(server.child, 'exit');
    server.child.kill('SIGTERM');
    await eventually(5000, 'it drains', async () => {
      const ready = await fetch(`http://${LOOPBACK}:${server.adminPort}/readyz`);
      assert.equal(ready.status, 503);
    });
    server.child.kill('SIGTERM');
    await within(10_000, 'it ends', ended);
    assert.match(await log.read(), /"msg":"ending at once"\}\n/u);
  });
}
