// Goal: a folder is an upstream like any other: pages, ranges and listings through the tunnel, with
// its health checked and its visitors let in by the tunnel's own options; nobody else reaches it,
// and nothing of it is left. Method: a node and a client in this process, and the socket between.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { startClient } from '../../src/client/client.ts';
import { clientConfig } from '../support/configs.ts';
import { seededNoise } from '../support/digest.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { get } from '../support/upstream.ts';

const HOST = 'site.example.com';
const NOISE = seededNoise(11, 5_000_000);

test('a folder through a tunnel, behind a login, with a health check', async (t) => {
  const folder = scratchFolder(t);
  writeFileSync(path.join(folder, 'noise.bin'), NOISE);
  mkdirSync(path.join(folder, 'sub'));
  writeFileSync(path.join(folder, 'sub', '.hidden'), 'x');
  const node = await startNode(t);
  const login = 'basic-auth=ann:secret';
  const client = await startLocalClient(t, node, {
    flags: {
      upstream: [
        `${HOST}=fileserver:${folder};health-check=http:/;${login}`,
        `open.example.com=fileserver:${folder};hidden=true`,
        `closed.example.com=fileserver:${folder};listing=false`,
      ],
    },
  });
  assert.ok(client.tunnelLines.includes(`http://${HOST} -> fileserver:${folder}`));
  const port = node.httpPort;
  assert.equal((await get(t, { port, host: HOST })).status, 401);
  const authorization = `Basic ${Buffer.from('ann:secret').toString('base64')}`;
  const headers = { authorization };
  const listing = await get(t, { port, host: HOST, headers });
  assert.ok(listing.body.includes('./noise.bin') && listing.body.includes('./sub/'));
  const whole = await get(t, { port, host: HOST, path: '/noise.bin', headers });
  assert.ok(whole.body === NOISE.toString('latin1'), 'other bytes than those of the file');
  const range = { ...headers, range: 'bytes=4999990-' };
  const part = await get(t, { port, host: HOST, path: '/noise.bin', headers: range });
  assert.deepEqual([part.status, part.body.length], [206, 10]);
  const again = { ...headers, 'if-none-match': String(whole.headers.etag) };
  const same = await get(t, { port, host: HOST, path: '/noise.bin', headers: again });
  assert.equal(same.status, 304);
  const opened = await get(t, { port, host: 'open.example.com', path: '/sub/' });
  assert.ok(opened.body.includes('.hidden'));
  assert.equal((await get(t, { port, host: HOST, path: '/sub/.hidden', headers })).status, 404);
  assert.equal((await get(t, { port, host: 'closed.example.com' })).status, 404);

  const sockets = client.log.all('folder served').map(({ socket }) => String(socket));
  const place = path.dirname(sockets[0] ?? '');
  assert.equal(statSync(place).mode & 0o777, 0o700);
  assert.deepEqual(
    readdirSync(place).map((name) => path.join(place, name)),
    sockets,
    'a socket for each way a folder is served',
  );
  // Nobody but this user can reach it: not even to see whether it is there.
  if (process.getuid?.() === 0) {
    assert.throws(() => execFileSync('ls', [place], { uid: 65_534, stdio: 'ignore' }));
  }
  client.client.stop();
  await client.ended();
  assert.ok(!existsSync(place), 'the sockets were left');
});

test('what is no folder ends the start, and names the tunnel', async (t) => {
  const folder = scratchFolder(t);
  const file = path.join(folder, 'file');
  writeFileSync(file, 'x');
  for (const [given, wrong] of [
    [file, 'is a file; give the folder it is in'],
    [path.join(folder, 'nothing'), 'does not exist'],
  ] as const) {
    const config = clientConfig({
      url: 'ws://127.0.0.1:1',
      upstream: `${HOST}=fileserver:${given}`,
    });
    const starting = startClient(config, { log: SILENT_LOG, version: '0', onEvent: () => {} });
    await assert.rejects(starting, {
      code: 'SLW_CONFIG_INVALID',
      problems: [`--upstream ${HOST}: ${given} ${wrong}`],
    });
  }
});

test('a folder that has gone is withdrawn by its health check', async (t) => {
  const folder = path.join(scratchFolder(t), 'site');
  mkdirSync(folder);
  const node = await startNode(t);
  const client = await startLocalClient(t, node, {
    flags: {
      upstream: `${HOST}=fileserver:${folder};health-check=http:/`,
      ...{ 'health-check-interval': '100ms', 'health-check-fall': '1' },
    },
    complains: true,
  });
  execFileSync('rmdir', [folder]);
  await client.log.line('upstream is not well, withdrawn');
  await node.untilMetric(`sluiceway_tunnel_clients{tunnel="${HOST}"}`, (count) => count === 0);
});
