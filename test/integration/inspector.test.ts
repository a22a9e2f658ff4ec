// Goal: an inspected request is shown as it was, without its secrets, and can be sent again with
// them; nothing is kept that was not asked for. Method: a node and a client in this process, whose
// upstream tells what it got; two shards, so that lists are put together.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import type { InspectedDetail, InspectedRequest } from '../../src/bridge/inspected.ts';
import { undoAfter } from '../support/cleanup.ts';
import { type Flags, LOOPBACK, TOKEN } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { RawVisitor } from '../support/raw-visitor.ts';
import { sendRaw, startHttp } from '../support/upstream.ts';

const HOST = 'seen.example.com';
const OTHER = 'unseen.example.com';
const WAIT_MS = 10_000;

interface Got {
  readonly url: string;
  readonly authorization: string | undefined;
  readonly body: string;
  readonly visitor: string;
}

interface Scene {
  readonly node: LocalNode;
  readonly got: Got[];
}

async function scene(t: TestContext, flags: Flags, options = '', config = {}): Promise<Scene> {
  const got: Got[] = [];
  const site = await startHttp(t, (request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      const { authorization, 'x-forwarded-for': visitor } = request.headers;
      got.push({ url: request.url ?? '', authorization, body, visitor: String(visitor) });
      if (request.url === '/cut') {
        response.writeHead(200, { 'content-length': 100 });
        // Later: a reset may overtake what was written just before.
        response.write('half', () => setTimeout(() => response.socket?.resetAndDestroy(), 200));
      } else if (request.url === '/reset') response.socket?.resetAndDestroy();
      else {
        response.setHeader('set-cookie', 'sid=hidden-cookie; Path=/');
        if (request.url === '/chunked') response.write('one ');
        response.end(`answer to ${request.method}`);
      }
    });
  });
  const own = { shards: '2', ...flags };
  const node = await startNode(t, { flags: own, config, complains: true });
  const upstream = [HOST, OTHER].map((host) => `${host}=http://${LOOPBACK}:${site}${options}`);
  await startLocalClient(t, node, { flags: { upstream }, complains: true });
  return { node, got };
}

interface Sent {
  readonly fields?: readonly string[];
  readonly body?: string;
  readonly host?: string;
}

function send({ node }: Scene, request: string, sent: Sent = {}): Promise<string> {
  const { fields = [], body = '', host = HOST } = sent;
  const lines = [`${request} HTTP/1.1`, `Host: ${host}`, 'Connection: close', ...fields, '', body];
  return sendRaw(node.httpPort, Buffer.from(lines.join('\r\n')));
}

async function api<T>({ node }: Scene, path: string, method = 'GET'): Promise<[number, T]> {
  const answer = await fetch(`http://${LOOPBACK}:${node.adminPort}${path}`, {
    method,
    headers: { connection: 'close' },
  });
  return [answer.status, (await answer.json()) as T];
}

interface List {
  readonly isOn: boolean;
  readonly tunnels: readonly string[];
  readonly requests: readonly InspectedRequest[];
}

/** The newest, once it has ended. */
async function newest(on: Scene): Promise<InspectedDetail> {
  let id = '';
  await eventually(WAIT_MS, 'the request has ended', async () => {
    const [, { requests }] = await api<List>(on, '/api/requests?limit=1');
    assert.ok(requests[0] !== undefined && requests[0].durationMs !== null);
    id = requests[0].id;
  });
  const [status, detail] = await api<InspectedDetail>(on, `/api/requests/${id}`);
  assert.equal(status, 200);
  return detail;
}

function fieldOf(fields: InspectedDetail['requestFields'], name: string): string | undefined {
  return fields.find(([one]) => one.toLowerCase() === name)?.[1];
}

test('off, nothing is kept and the list says so', async (t) => {
  const on = await scene(t, {});
  await send(on, 'GET /');
  const [status, list] = await api<List>(on, '/api/requests');
  assert.deepEqual([status, list], [200, { isOn: false, tunnels: [], requests: [] }]);
  assert.equal((await api(on, '/api/requests/0-1'))[0], 404);
});

test('a request is shown with what came of it, and without secrets', async (t) => {
  const on = await scene(t, { inspect: HOST });
  const fields = ['Authorization: Bearer hidden-token'];
  await send(on, 'GET /a?token=hidden-query&b=1', { fields });
  await send(on, 'GET /', { host: OTHER });
  const detail = await newest(on);
  assert.deepEqual(
    [detail.tunnel, detail.method, detail.target, detail.status, detail.code, detail.visitor],
    [HOST, 'GET', '/a?token=•••&b=1', 200, 'SLW_NONE', LOOPBACK],
  );
  assert.equal(fieldOf(detail.requestFields, 'authorization'), 'Bearer •••');
  assert.equal(fieldOf(detail.responseFields, 'set-cookie'), 'sid=•••; Path=/');
  assert.deepEqual([detail.requestBody, detail.responseBody], [null, null]);
  assert.equal(detail.bytesOut, 'answer to GET'.length);
  assert.ok((detail.firstByteMs ?? 0) > 0 && (detail.durationMs ?? 0) >= (detail.firstByteMs ?? 0));
  const [, all] = await api<List>(on, '/api/requests');
  assert.equal(all.requests.length, 1, 'the other tunnel is not inspected');
  assert.doesNotMatch(JSON.stringify([all, detail]), /hidden/u);
});

test('a replay sends the real values and the body, and is noted itself', async (t) => {
  const on = await scene(t, { inspect: '*', 'inspect-body-max': '1KiB' });
  await send(on, 'POST /chunked', {
    fields: ['Authorization: Basic aGk=', 'Transfer-Encoding: chunked'],
    body: '5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n',
  });
  const first = await newest(on);
  assert.deepEqual(first.requestBody, { text: 'hello world', bytes: 11, isWhole: true });
  assert.equal(first.responseBody?.text, 'one answer to POST');
  const path = `/api/requests/${first.id}/replay`;
  assert.equal((await api(on, path))[0], 405);
  const [status, { id }] = await api<{ id: string }>(on, path, 'POST');
  assert.equal(status, 200);
  assert.deepEqual(on.got[1], on.got[0], 'the upstream got the same once more');
  assert.deepEqual([on.got[1]?.authorization, on.got[1]?.body], ['Basic aGk=', 'hello world']);
  const [, again] = await api<InspectedDetail>(on, `/api/requests/${id}`);
  assert.deepEqual(
    [again.replayOf, again.status, again.responseBody?.text, again.requestBody?.text],
    [first.id, 200, 'one answer to POST', 'hello world'],
  );
  await send(on, 'PUT /length', { fields: ['Content-Length: 3'], body: 'abc' });
  const put = await newest(on);
  await api(on, `/api/requests/${put.id}/replay`, 'POST');
  assert.deepEqual(on.got.at(-1)?.body, 'abc');
});

test('a replay behind a login shows the upstream no more than its visitor did', async (t) => {
  const on = await scene(t, { inspect: '*' }, ';basic-auth=ann:one');
  const ann = `Authorization: Basic ${Buffer.from('ann:one').toString('base64')}`;
  await send(on, 'GET /', { fields: [ann, 'X-Auth-Request-User: root'] });
  const [status] = await api(on, `/api/requests/${(await newest(on)).id}/replay`, 'POST');
  assert.equal(status, 200);
  assert.deepEqual(
    on.got.map(({ authorization }) => authorization),
    [undefined, undefined],
  );
});

for (const [option, status] of [
  ['basic-auth=ann:one', 401],
  ['allow-ips=192.0.2.0/24', 403],
] as const) {
  test(`a replay brings the upstream nothing that ${option} kept from it`, async (t) => {
    const on = await scene(t, { inspect: '*', 'inspect-body-max': '1KiB' }, `;${option}`);
    for (const fields of [[], ['Content-Length: 0']]) {
      await send(on, 'POST /wipe', { fields });
      const refused = await newest(on);
      assert.equal(refused.status, status);
      const path = `/api/requests/${refused.id}/replay`;
      const answer = await api<{ problem: string }>(on, path, 'POST');
      assert.deepEqual(answer, [409, { problem: refused.replayProblem }]);
      assert.match(refused.replayProblem, /not let in/u);
    }
    assert.deepEqual(on.got, []);
  });
}

test('what the exit node answers itself is no request of the tunnel, its secrets least', async (t) => {
  const providers = join(scratchFolder(t), 'providers.yaml');
  const entry = '{name: none, issuer: "http://127.0.0.1:1", client-id: a}';
  writeFileSync(providers, `providers:\n  - ${entry}\n`);
  const on = await scene(t, { inspect: '*' }, '', { loginProviders: providers });
  const answer = await send(on, 'GET /.well-known/sluiceway/callback?code=c&state=s');
  assert.match(answer, /^HTTP\/1.1 [45]/u);
  await send(on, 'GET /seen');
  await newest(on);
  const [, { requests }] = await api<List>(on, '/api/requests');
  assert.deepEqual(
    requests.map(({ target }) => target),
    ['/seen'],
  );
});

test('a body that was not kept whole is not sent again', async (t) => {
  const on = await scene(t, { inspect: HOST, 'inspect-body-max': '4' });
  await send(on, 'POST /', { fields: ['Content-Length: 10'], body: '0123456789' });
  const detail = await newest(on);
  assert.deepEqual(detail.requestBody, { text: '0123', bytes: 4, isWhole: false });
  const [status, { problem }] = await api<{ problem: string }>(
    on,
    `/api/requests/${detail.id}/replay`,
    'POST',
  );
  assert.equal(status, 409);
  assert.match(problem, /inspect-body-max/u);
  assert.equal(on.got.length, 1);
});

test('failures say why, and a replay of one fails by itself', async (t) => {
  const on = await scene(t, { inspect: HOST });
  await send(on, 'GET /reset');
  const reset = await newest(on);
  assert.deepEqual([reset.status, reset.code], [502, 'SLW_STREAM_RESET']);
  await send(on, 'GET /cut');
  const cut = await newest(on);
  assert.deepEqual([cut.status, cut.code, cut.bytesOut], [200, 'SLW_STREAM_RESET', 4]);
  const [status, { id }] = await api<{ id: string }>(on, `/api/requests/${cut.id}/replay`, 'POST');
  assert.equal(status, 200);
  const [, again] = await api<InspectedDetail>(on, `/api/requests/${id}`);
  assert.deepEqual([again.status, again.code, again.replayOf], [200, 'SLW_STREAM_RESET', cut.id]);
});

test('a visitor that leaves is told from one that had its answer, and a body cut short is not sent', async (t) => {
  const on = await scene(t, { inspect: HOST, 'inspect-body-max': '1KiB', shards: '1' });
  const visitor = await RawVisitor.connect(on.node.httpPort);
  undoAfter(t, () => visitor.destroy());
  visitor.send(Buffer.from(`POST / HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 10\r\n\r\nhalf`));
  await eventually(WAIT_MS, 'it has begun', async () => {
    assert.equal((await api<List>(on, '/api/requests'))[1].requests.length, 1);
  });
  visitor.reset();
  const left = await newest(on);
  assert.deepEqual([left.status, left.code], [499, 'SLW_STREAM_CANCELLED']);
  assert.match(left.replayProblem, /not kept whole/u);
  for (const [fields, body] of [
    [['Content-Length: 0'], ''],
    [['Transfer-Encoding: chunked'], '0\r\n\r\n'],
  ] as const) {
    await send(on, 'POST /', { fields, body });
    const empty = await newest(on);
    assert.equal(empty.replayProblem, '', fields[0]);
    assert.equal((await api(on, `/api/requests/${empty.id}/replay`, 'POST'))[0], 200);
    assert.equal((await newest(on)).status, 200);
  }
});

test('a switch to WebSocket is shown, and not repeated; the list of one tunnel is its own', async (t) => {
  const on = await scene(t, { inspect: ['*'], shards: '1' });
  await send(on, 'GET /');
  await send(on, 'GET /', { host: OTHER });
  const fields = ['Upgrade: websocket', 'Sec-WebSocket-Key: x', 'Sec-WebSocket-Version: 13'];
  await sendRaw(
    on.node.httpPort,
    Buffer.from(
      [`GET /ws HTTP/1.1`, `Host: ${HOST}`, 'Connection: Upgrade', ...fields, '', ''].join('\r\n'),
    ),
    { halfClose: true },
  );
  const [, { requests }] = await api<List>(on, `/api/requests?tunnel=${OTHER}`);
  assert.deepEqual(
    requests.map(({ tunnel }) => tunnel),
    [OTHER],
  );
  const [, { requests: all }] = await api<List>(on, '/api/requests');
  const ws = all.find(({ target }) => target === '/ws');
  assert.ok(ws !== undefined);
  const [status] = await api(on, `/api/requests/${ws.id}/replay`, 'POST');
  assert.equal(status, 409);
});

test('a foreign page cannot replay, nor can who has no token', async (t) => {
  const on = await scene(t, { inspect: HOST });
  await send(on, 'GET /');
  const { id } = await newest(on);
  const url = `http://${LOOPBACK}:${on.node.adminPort}/api/requests/${id}/replay`;
  const post = async (headers: Record<string, string>): Promise<number> =>
    (await fetch(url, { method: 'POST', headers: { connection: 'close', ...headers } })).status;
  assert.equal(await post({ origin: 'https://evil.example' }), 403);
  assert.equal(await post({ 'sec-fetch-site': 'cross-site' }), 403);
  assert.equal(await post({ 'x-forwarded-for': '192.0.2.1' }), 401);
  assert.equal(on.got.length, 1);
  assert.equal(
    await post({ 'x-forwarded-for': '192.0.2.1', authorization: `Bearer ${TOKEN}` }),
    200,
  );
  assert.equal(on.got.length, 2);
});

test('an id of a process before is nobody’s, as another request has its number', async (t) => {
  const ids: string[] = [];
  const flags = { inspect: HOST, shards: '1' };
  const before = await scene(t, flags);
  const after = await scene(t, flags);
  for (const on of [before, after]) {
    await send(on, 'POST /', { fields: ['Content-Length: 0'] });
    ids.push((await newest(on)).id);
  }
  assert.deepEqual(
    ids.map((id) => id.replace(/-[0-9a-f]{6}-/u, '-LIFE-')),
    ['0-LIFE-1', '0-LIFE-1'],
  );
  assert.equal((await api(after, `/api/requests/${ids[0]}`))[0], 404);
  assert.equal((await api(after, `/api/requests/${ids[0]}/replay`, 'POST'))[0], 404);
  assert.equal(after.got.length, 1);
});

test('odd questions get an answer that names what is wrong', async (t) => {
  const on = await scene(t, { inspect: HOST });
  await send(on, 'GET /');
  const life = (await newest(on)).id.replace(/-\d+$/u, '');
  for (const query of ['limit=0', 'limit=x', 'limit=1001', `tunnel=${'x'.repeat(600)}`]) {
    const [status, { problem }] = await api<{ problem: string }>(on, `/api/requests?${query}`);
    assert.equal(status, 400, query);
    assert.match(problem, /"(?:limit|tunnel)"/u);
  }
  for (const id of [
    ...['9-a1b2c3-1', '0-a1b2c3-1', 'x', `${life}-1/x`, '-1-a1b2c3-1', `${life}-1e3`],
    ...['0-1', `0${life}-1`, `000${life}-1`],
  ]) {
    assert.equal((await api(on, `/api/requests/${id}`))[0], 404, id);
    assert.ok([404, 405].includes((await api(on, `/api/requests/${id}/replay`, 'POST'))[0]), id);
  }
  assert.equal((await api(on, '/api/requests', 'POST'))[0], 405);
  assert.deepEqual((await api<List>(on, '/api/requests?tunnel=none'))[1].requests, []);
});
