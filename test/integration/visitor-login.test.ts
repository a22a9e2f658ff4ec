// Goal: a tunnel with a login serves who has it and nobody else, by HTTP and WebSocket; the
// upstream never sees what opened it; who guesses is slowed down, and who was let in before
// is not. Method: a node and clients in this process.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { get, sendRaw, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const TOKEN = 'a-token-of-32-letters-0123456789';
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

async function startSite(t: TestContext, suffix: string, more: Record<string, string> = {}) {
  const node = await startNode(t, { flags: { shards: '1' } });
  const seen: (string | undefined)[] = [];
  const site = await startHttp(t, (request, response) => {
    seen.push(request.headers.authorization);
    response.end('inside');
  });
  const upstream = [
    `${HOST}=http://127.0.0.1:${site}${suffix}`,
    `open.example.com=http://127.0.0.1:${site}`,
  ];
  await startLocalClient(t, node, { flags: { upstream, ...more } });
  return { node, seen, site };
}

async function ask(t: TestContext, node: LocalNode, authorization?: string, host = HOST) {
  const headers = authorization === undefined ? {} : { authorization };
  return get(t, { port: node.httpPort, host, headers });
}

test('Basic: 401 with a challenge, then the page, and nothing of it for the upstream', async (t) => {
  const { node, seen } = await startSite(t, ';basic-auth=ann:one;basic-auth="bob:t;w,o"');
  const first = await ask(t, node);
  assert.equal(first.status, 401);
  assert.equal(first.headers['www-authenticate'], 'Basic realm="sluiceway", charset="UTF-8"');
  assert.equal((await ask(t, node, basic('ann:two'))).status, 401);
  for (const pair of ['ann:one', 'bob:t;w,o']) {
    assert.equal((await ask(t, node, basic(pair))).body, 'inside');
  }
  assert.deepEqual(seen, [undefined, undefined]);
  // Another tunnel of the same client has no login, and keeps what its visitors send.
  const open = await ask(t, node, basic('x:y'), 'open.example.com');
  assert.equal(open.body, 'inside');
  assert.equal(seen.at(-1), basic('x:y'));
});

test('Bearer: tokens of a file, for a WebSocket too', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens');
  writeFileSync(file, `# of the team\n\n${TOKEN}\n`);
  const { node } = await startSite(t, `;bearer-token-file=${file}`);
  const first = await ask(t, node);
  assert.deepEqual(
    [first.status, first.headers['www-authenticate']],
    [401, 'Bearer realm="sluiceway"'],
  );
  assert.equal((await ask(t, node, `Bearer ${TOKEN}`)).body, 'inside');
  const upgrade = [
    ...['GET / HTTP/1.1', `Host: ${HOST}`, 'Connection: Upgrade', 'Upgrade: websocket'],
    ...['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', '', ''],
  ].join('\r\n');
  assert.match(await sendRaw(node.httpPort, Buffer.from(upgrade)), /^HTTP\/1\.1 401 /u);
});

test('a client-wide login holds where a tunnel names none, and a field may be added anew', async (t) => {
  const { node, seen } = await startSite(
    t,
    ';basic-auth=ann:one;request-header-add="Authorization: Bearer for-the-upstream"',
    { 'basic-auth': 'all:of-them' },
  );
  assert.equal((await ask(t, node, basic('all:of-them'))).status, 401);
  assert.equal((await ask(t, node, basic('ann:one'))).status, 200);
  assert.equal(seen.at(-1), 'Bearer for-the-upstream');
  assert.equal((await ask(t, node, undefined, 'open.example.com')).status, 401);
  assert.equal((await ask(t, node, basic('all:of-them'), 'open.example.com')).status, 200);
});

test('of two clients the one that asks for a login is heeded', async (t) => {
  const { node, site, seen } = await startSite(t, ';basic-auth=ann:one');
  await startLocalClient(t, node, { flags: { upstream: `${HOST}=http://127.0.0.1:${site}` } });
  for (let visit = 0; visit < 6; visit += 1) assert.equal((await ask(t, node)).status, 401);
  for (let visit = 0; visit < 6; visit += 1) {
    assert.equal((await ask(t, node, basic('ann:one'))).status, 200);
  }
  assert.deepEqual(new Set(seen), new Set([undefined]), 'what opens is for neither of them');
});

test('who guesses is told to wait after ten, and who was let in before still is', async (t) => {
  const { node } = await startSite(t, ';basic-auth=ann:one');
  assert.equal((await ask(t, node, basic('ann:one'))).status, 200);
  const statuses: number[] = [];
  for (let guess = 0; guess < 14; guess += 1) {
    statuses.push((await ask(t, node, basic(`ann:${guess}`))).status);
  }
  assert.deepEqual(statuses.slice(0, 10), new Array(10).fill(401));
  assert.ok(statuses.slice(10).includes(429), String(statuses));
  assert.equal((await ask(t, node, basic('ann:one'))).status, 200);
  assert.equal((await ask(t, node)).status, 401, 'without a guess');
});
