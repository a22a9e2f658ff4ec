// The demonstration that a newcomer runs first, in its mode that checks itself.

import assert from 'node:assert/strict';
import test from 'node:test';
import { runProgram } from '../support/process.ts';
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
