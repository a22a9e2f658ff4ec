// The demonstration that a newcomer runs first, in its mode that checks itself.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { ENTRY, environment } from '../support/tunnel.ts';

test('demo --check tunnels its own page, shows the status table and says how to stop', async (t) => {
  const env = environment();
  delete env.SLUICEWAY_TOKEN;
  const args = [ENTRY, 'demo', '--check'];
  const run = await runProgram(t, { command: process.execPath, args, env });
  assert.equal(run.code, 0, `${run.stdout}\n${run.stderr}`);
  assert.match(run.stdout, /http:\/\/demo\.localhost:\d+/u);
  assert.match(run.stdout, /^Client ID +Remote Address +Connected +Upstreams$/mu);
  assert.match(run.stdout, /^ {2}watch {2}http:\/\/127\.0\.0\.1:\d+$/mu);
  assert.match(run.stdout, /Ctrl-C/u);
});

test('a demo whose terminal is closed leaves nothing running', async (t) => {
  const args = [ENTRY, 'demo'];
  const demo = startProcess(t, {
    ...{ name: 'demo', command: process.execPath, args, env: environment() },
  });
  await demo.line('it is up', (line) => line.includes('Ctrl-C'), 60_000);
  const task = `/proc/${demo.pid}/task/${demo.pid}`;
  const started = readFileSync(`${task}/children`, 'utf8').trim().split(' ').map(Number);
  assert.equal(started.length, 2, 'a server and a client');
  undoAfter(t, () => {
    for (const pid of started.filter(isThere)) process.kill(pid, 'SIGKILL');
  });
  const { code, signal } = await demo.stop('SIGHUP');
  assert.deepEqual(
    { code, signal, left: started.filter(isThere) },
    { code: 0, signal: null, left: [] },
  );
});

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}
