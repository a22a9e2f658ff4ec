// `sluiceway status --local` with real processes: no server, no token, the client's own words; and
// exit code 1 when there is no client.

import assert from 'node:assert/strict';
import path from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { eventually } from '../support/deadline.ts';
import { type Output, runProgram } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, startClient, startServer } from '../support/tunnel.ts';
import { startHttp } from '../support/upstream.ts';

test('status --local shows the client, and says when there is none', async (t) => {
  const folder = path.join(scratchFolder(t), 'run');
  const env = environment({ SLUICEWAY_STATUS_DIR: folder });
  delete env.SLUICEWAY_TOKEN;
  const ask = (...more: readonly string[]): Promise<Output> => {
    const args = [ENTRY, 'status', '--local', ...more];
    return runProgram(t, { command: process.execPath, args, env, ms: 20_000 });
  };
  const none = await ask();
  assert.equal(none.code, 1);
  assert.match(none.stderr, /no client of this user runs here/u);
  const server = await startServer(t);
  const site = await startHttp(t, (_request, response) => response.end());
  const upstream = `shop.example.com=http://127.0.0.1:${site}`;
  const local = ['--local', '0:nats.default.svc:4222'];
  const args = [...local, '--upstream', upstream, '--id', 'shop-1', '--status-dir', folder];
  await startClient(t, server, { args });
  await eventually(20_000, 'the client answers', async () => {
    const shown = await ask();
    assert.equal(shown.code, 0, shown.stderr);
    assert.match(shown.stdout, /^Client shop-1, process \d+, version \d/u);
    assert.match(shown.stdout, /connected +2 /u);
    assert.match(shown.stdout, new RegExp(`^${upstream.replaceAll('.', '\\.')} +up `, 'mu'));
    assert.match(shown.stdout, /^127\.0\.0\.1:\d+ +nats\.default\.svc:4222$/mu);
  });
  const [status] = JSON.parse((await ask('--json')).stdout);
  assert.equal(status.clientID, 'shop-1');
});
