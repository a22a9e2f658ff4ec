// Goal: from elsewhere the dashboard shows nothing without a token; what it sends is bounded, the
// same for all, and ends with the right to see it. Method: a node in this process, and requests as
// a proxy passes them on; the pages themselves are tested in a browser (e2e/dashboard.test.ts).

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Snapshot } from '../../src/control/snapshot.ts';
import { undoAfter } from '../support/cleanup.ts';
import { LOOPBACK, TOKEN } from '../support/configs.ts';
import { eventually, within } from '../support/deadline.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { connectTo, get, startHttp } from '../support/upstream.ts';

const WAIT_MS = 10_000;
/** As a proxy of this machine passes a request of somebody else on. */
const ELSEWHERE = { 'x-forwarded-for': '192.0.2.9' };

interface Wanted {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

function open(node: LocalNode, wanted: Wanted): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    const { path: target, method = 'GET', headers = {}, body } = wanted;
    const at = { host: LOOPBACK, port: node.adminPort, path: target, method };
    const request = http.request({ ...at, headers: { ...ELSEWHERE, ...headers }, agent: false });
    request.once('response', resolve).once('error', reject).end(body);
  });
}

async function ask(node: LocalNode, wanted: Wanted): Promise<Answer> {
  const response = await open(node, wanted);
  let body = '';
  response.setEncoding('utf8').on('data', (text: string) => {
    body += text;
  });
  await within(WAIT_MS, `an answer for ${wanted.path}`, once(response, 'end'));
  return { status: response.statusCode ?? 0, headers: response.headers, body };
}

function login(node: LocalNode, token: string, scheme?: 'http' | 'https'): Promise<Answer> {
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    ...(scheme === undefined ? {} : { origin: `${scheme}://${LOOPBACK}:${node.adminPort}` }),
  };
  const body = new URLSearchParams({ token }).toString();
  return ask(node, { path: '/login', method: 'POST', headers, body });
}

function cookieOf({ headers }: Answer): string {
  return headers['set-cookie']?.[0]?.split(';')[0] ?? '';
}

/** The snapshots of a viewer, as they come. */
async function watch(
  t: TestContext,
  node: LocalNode,
  headers: Readonly<Record<string, string>>,
): Promise<{ readonly snapshots: Snapshot[]; readonly response: http.IncomingMessage }> {
  const response = await open(node, { path: '/api/events', headers });
  undoAfter(t, () => {
    response.destroy();
  });
  assert.equal(response.statusCode, 200);
  const snapshots: Snapshot[] = [];
  let text = '';
  response.on('error', () => {});
  response.setEncoding('utf8').on('data', (piece: string) => {
    text += piece;
    const events = text.split('\n\n');
    text = events.pop() ?? '';
    for (const event of events) {
      if (event.startsWith('data: ')) snapshots.push(JSON.parse(event.slice(6)) as Snapshot);
    }
  });
  return { snapshots, response };
}

test('without a token there is the login and nothing else', async (t) => {
  const node = await startNode(t, { complains: true });
  const first = await ask(node, { path: '/' });
  assert.deepEqual([first.status, first.headers.location, first.body], [303, '/login', '']);
  assert.equal((await ask(node, { path: '/api/events' })).status, 401);
  assert.equal((await ask(node, { path: '/metrics' })).status, 401, 'this machine is not who asks');
  assert.equal((await ask(node, { path: '/assets/../../package.json' })).status, 404);
  for (const [target, method] of [
    ...(['/', '/assets/app.js', '/api/events'] as const).map((one) => [one, 'POST'] as const),
    ...(['/login', '/logout'] as const).map((one) => [one, 'DELETE'] as const),
    ['/logout', 'GET'] as const,
  ]) {
    assert.equal((await ask(node, { path: target, method })).status, 405, `${method} ${target}`);
  }
  const page = await ask(node, { path: '/login' });
  assert.equal(page.status, 200);
  const policy = String(page.headers['content-security-policy']);
  assert.match(policy, /default-src 'none'; script-src 'self'; style-src 'self'/u);
  assert.match(policy, /frame-ancestors 'none'/u);
  assert.doesNotMatch(policy, /unsafe|\*/u);
  assert.equal(page.headers['x-content-type-options'], 'nosniff');
  const file = await ask(node, { path: '/assets/app.js' });
  const etag = String(file.headers.etag);
  const again = await ask(node, { path: '/assets/app.js', headers: { 'if-none-match': etag } });
  assert.deepEqual([file.status, again.status, again.body], [200, 304, '']);
});

test('a login with a good token opens a session; others say why not and echo nothing', async (t) => {
  const node = await startNode(t, { complains: true });
  const wrong = await login(node, '<b>no</b>');
  assert.equal(wrong.status, 401);
  assert.match(wrong.body, /role="alert"/u);
  assert.doesNotMatch(wrong.body, /<b>/u);
  assert.equal(wrong.headers['set-cookie'], undefined);
  for (const token of ['', TOKEN.slice(0, -1), `${TOKEN}x`]) {
    assert.equal((await login(node, token)).status, 401, `token of ${token.length}`);
  }
  assert.equal((await login(node, 'x'.repeat(64 * 1024))).status, 413);
  const good = await login(node, TOKEN);
  assert.deepEqual([good.status, good.headers.location], [303, '/']);
  const cookie = cookieOf(good);
  assert.equal((await ask(node, { path: '/', headers: { cookie } })).status, 200);
  const foreign = { cookie, origin: 'https://evil.example' };
  assert.equal(
    (await ask(node, { path: '/logout', method: 'POST', headers: foreign })).status,
    403,
  );
  await ask(node, { path: '/logout', method: 'POST', headers: { cookie } });
  assert.equal((await ask(node, { path: '/', headers: { cookie } })).status, 303);
});

test('a session of a page over https is for https alone', async (t) => {
  const node = await startNode(t);
  const [plain, secure] = [await login(node, TOKEN, 'http'), await login(node, TOKEN, 'https')];
  const name = `sluiceway_session_${node.adminPort}`;
  assert.match(plain.headers['set-cookie']?.[0] ?? '', new RegExp(`^${name}=.*SameSite=Strict$`));
  const [field = ''] = secure.headers['set-cookie'] ?? [];
  assert.match(field, new RegExp(`^__Host-${name}=.*; Secure$`));
  const cookie = cookieOf(secure);
  for (const good of [cookie, cookieOf(plain)]) {
    assert.equal((await ask(node, { path: '/', headers: { cookie: good } })).status, 200);
  }
  const out = await ask(node, { path: '/logout', method: 'POST', headers: { cookie } });
  assert.equal(out.headers['set-cookie']?.length, 2);
  assert.equal((await ask(node, { path: '/', headers: { cookie } })).status, 303);
});

test('who guesses is held off, and who has the token is not', async (t) => {
  const node = await startNode(t, { complains: true });
  const statuses: number[] = [];
  for (let count = 0; count < 12; count += 1) statuses.push((await login(node, 'guess')).status);
  assert.deepEqual([statuses[0], statuses.at(-1)], [401, 429]);
  assert.equal((await login(node, TOKEN)).status, 303);
});

test('a scoped token may not look; a session ends with its token', async (t) => {
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const hash = (digest: string): string => `    hashes: ["sha256:${digest}"]\n`;
  // SHA-256 of `looker` and of `scoped`.
  const looker = `  - name: looker\n    admin: true\n${hash(await digestOf('looker'))}`;
  const scoped = `  - name: scoped\n    hosts: ["*"]\n${hash(await digestOf('scoped'))}`;
  writeFileSync(file, `tokens:\n${looker}${scoped}`);
  const node = await startNode(t, { config: { tokensFile: file }, complains: true });
  assert.equal((await login(node, 'scoped')).status, 403);
  const cookie = cookieOf(await login(node, 'looker'));
  const { snapshots, response } = await watch(t, node, { cookie });
  await eventually(WAIT_MS, 'a snapshot', async () => assert.ok(snapshots.length > 0));
  const ended = once(response, 'end');
  writeFileSync(file, `tokens:\n${scoped}`);
  await within(WAIT_MS, 'the feed ends', ended);
  assert.equal((await ask(node, { path: '/', headers: { cookie } })).status, 303);
});

async function digestOf(secret: string): Promise<string> {
  const digest = await crypto.subtle.digest('SHA-256', Buffer.from(secret));
  return Buffer.from(digest).toString('hex');
}

test('a snapshot a second, the same for all, with what visitors did', async (t) => {
  const node = await startNode(t);
  const site = await startHttp(t, (_request, response) => response.end('x'.repeat(1000)));
  const host = 'site.example.com';
  await startLocalClient(t, node, {
    flags: { upstream: `${host}=http://${LOOPBACK}:${site}`, id: 'viewed' },
  });
  const authorization = `Bearer ${TOKEN}`;
  const first = await watch(t, node, { authorization });
  const second = await watch(t, node, { authorization });
  for (let count = 0; count < 20; count += 1) await get(t, { port: node.httpPort, host });
  const seen = (snapshot: Snapshot): boolean => (snapshot.requestsPerSecond ?? 0) > 0;
  await eventually(WAIT_MS, 'requests are seen', async () => {
    assert.ok(first.snapshots.some(seen) && second.snapshots.some(seen));
  });
  const busy = first.snapshots.find(seen);
  assert.deepEqual(
    busy?.clients.map(({ clientID, tunnelsCount }) => [clientID, tunnelsCount]),
    [['viewed', 1]],
  );
  assert.equal(busy?.tunnels[0]?.name, host);
  assert.ok((busy?.latencyMs?.p99 ?? 0) > 0);
  const moments = new Set(second.snapshots.map(({ atMs }) => atMs));
  const shared = first.snapshots.filter(({ atMs }) => moments.has(atMs));
  assert.ok(shared.length >= second.snapshots.length - 1, 'made once for both');
});

test('33 viewers are one too many', async (t) => {
  const node = await startNode(t, { flags: { shards: '1' } });
  const headers = { authorization: `Bearer ${TOKEN}` };
  const viewers = [];
  for (let count = 0; count < 32; count += 1) viewers.push(await watch(t, node, headers));
  const refused = await ask(node, { path: '/api/events', headers });
  assert.deepEqual([refused.status, refused.headers['retry-after']], [503, '10']);
  viewers[0]?.response.destroy();
  await eventually(WAIT_MS, 'there is a place again', async () => {
    const response = await open(node, { path: '/api/events', headers });
    undoAfter(t, () => {
      response.destroy();
    });
    assert.equal(response.statusCode, 200);
  });
});

test('a stop ends those who look', async (t) => {
  const node = await startNode(t);
  const socket = await connectTo(t, node.adminPort);
  const lines = ['GET /api/events HTTP/1.1', 'Host: localhost', '', ''];
  socket.write(lines.join('\r\n'));
  await once(socket, 'data');
  const ended = new Promise((resolve) => socket.once('end', resolve).once('error', resolve));
  socket.resume();
  node.node.stop();
  await within(WAIT_MS, 'the viewer is cut', ended);
});
