// Goal: several clients on a tunnel share its visitors as they declare; a visitor comes back to its
// client; a client whose upstream cannot be reached costs no visitor a request, as long as another
// has one. Method: a node with two shards and clients in this process, upstreams that say who
// they are.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { TestContext } from 'node:test';
import { test } from 'node:test';
import { sleep } from '../../src/base/clock.ts';
import { createRouteClient } from '../../src/shard/affinity.ts';
import { cookieName } from '../../src/shard/stickiness.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import {
  type LocalNode,
  startLocalClient,
  startNode,
  untilCovered,
} from '../support/local-tunnel.ts';
import { connectTo, get, sendRaw, startHttp, startTcp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const WAIT_MS = 15_000;

interface Site {
  readonly node: LocalNode;
  /** Upstreams by name, with how many requests each has had. */
  readonly counts: Record<string, number>;
}

interface ClientSpec {
  readonly flags?: Readonly<Record<string, string>>;
  /** Nobody listens behind it. */
  readonly isDead?: boolean;
}

async function startSite(
  t: TestContext,
  clients: Readonly<Record<string, ClientSpec>>,
  nodeFlags: Readonly<Record<string, string>> = {},
): Promise<Site> {
  const node = await startNode(t, { flags: { shards: '2', ...nodeFlags } });
  const counts: Record<string, number> = {};
  for (const [name, { flags = {}, isDead = false }] of Object.entries(clients)) {
    counts[name] = 0;
    const live = await startHttp(t, (request, response) => {
      counts[name] = (counts[name] ?? 0) + 1;
      const pieces: Buffer[] = [];
      request.on('data', (piece: Buffer) => pieces.push(piece));
      request.on('end', () => response.end(`${name}:${Buffer.concat(pieces).toString()}`));
    });
    const port = isDead ? await freePort() : live;
    await startLocalClient(t, node, {
      flags: { id: name, upstream: `${HOST}=http://127.0.0.1:${port}`, ...flags },
    });
    await untilCovered(node, HOST, 2, name);
  }
  return { node, counts };
}

const ask = async (
  t: TestContext,
  { node }: Site,
  headers: Readonly<Record<string, string>> = {},
) => get(t, { port: node.httpPort, host: HOST, headers });

test('a cookie brings a visitor back to its client, until that has gone', async (t) => {
  const affinity = { flags: { affinity: 'cookie' } };
  const site = await startSite(t, { a: affinity, b: affinity, c: affinity });
  const seen = new Set<string>();
  for (let visitor = 0; visitor < 12; visitor += 1) {
    const first = await ask(t, site);
    const [line = ''] = first.headers['set-cookie'] ?? [];
    assert.match(line, /^slw_[0-9a-f]{8}=[\w-]{16}; Path=\/; HttpOnly; SameSite=Lax$/u);
    const cookie = line.split(';', 1)[0] ?? '';
    seen.add(first.body);
    for (let visit = 0; visit < 5; visit += 1) {
      const next = await ask(t, site, { cookie: `a=b; ${cookie}; c=d` });
      assert.equal(next.body, first.body);
      assert.equal(next.headers['set-cookie'], undefined);
    }
  }
  assert.ok(seen.size > 1, 'all visitors got the same client');
  const stale = await ask(t, site, { cookie: 'slw_00000000=x; slw_=y' });
  assert.equal(stale.headers['set-cookie']?.length, 1);
});

test('by address every visit is to one client', async (t) => {
  const affinity = { flags: { affinity: 'ip' } };
  const site = await startSite(t, { a: affinity, b: affinity, c: affinity });
  const first = await ask(t, site);
  for (let visit = 0; visit < 20; visit += 1) {
    const next = await ask(t, site);
    assert.equal(next.body, first.body);
    assert.equal(next.headers['set-cookie'], undefined);
  }
});

test('by address behind a trusted proxy, request by request on one connection', async (t) => {
  const affinity = { flags: { affinity: 'ip' } };
  const node = await startSiteBehindProxy(t, { a: affinity, b: affinity });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  undoAfter(t, () => agent.destroy());
  const ask = (visitor: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const headers = { host: HOST, 'x-forwarded-for': visitor };
      http
        .get({ host: '127.0.0.1', port: node.httpPort, agent, headers }, (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (piece: string) => {
            body += piece;
          });
          response.on('end', () => resolve(body));
        })
        .on('error', reject);
    });
  const visitors = Array.from({ length: 16 }, (_, index) => `203.0.113.${index + 1}`);
  const own = new Map<string, string>();
  for (const visitor of visitors) own.set(visitor, await ask(visitor));
  assert.equal(new Set(own.values()).size, 2, 'both clients serve');
  for (const visitor of visitors.toReversed()) assert.equal(await ask(visitor), own.get(visitor));
});

async function startSiteBehindProxy(
  t: TestContext,
  clients: Readonly<Record<string, ClientSpec>>,
): Promise<LocalNode> {
  return (await startSite(t, clients, { 'trusted-proxies': '127.0.0.0/8' })).node;
}

test('weights share visitors out', async (t) => {
  const site = await startSite(t, { a: { flags: { weight: '3' } }, b: {} });
  const held: http.ClientRequest[] = [];
  undoAfter(t, () => {
    for (const request of held) request.destroy();
  });
  // Kept open, so that streams count.
  for (let visitor = 0; visitor < 80; visitor += 1) {
    const agent = new http.Agent({ keepAlive: true });
    const request = http.get({
      ...{ host: '127.0.0.1', port: site.node.httpPort, agent },
      headers: { host: HOST },
    });
    held.push(request);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    response.resume();
    await once(response, 'end');
  }
  const share = (site.counts.a ?? 0) / 80;
  assert.ok(share > 0.65 && share < 0.85, `a has ${share}`);
});

test('a client whose upstream is down costs no request, whatever its method', async (t) => {
  const site = await startSite(t, { dead: { isDead: true }, live: {} });
  for (let visit = 0; visit < 20; visit += 1) {
    const { status, body } = await ask(t, site);
    assert.deepEqual([status, body], [200, 'live:']);
  }
  // What was sent of a body goes to the other client as well, in however many reads it came.
  for (const bytes of [0, 10, 4000, 30_000]) {
    for (let visit = 0; visit < 6; visit += 1) {
      const body = 'x'.repeat(bytes);
      const head = `POST / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n`;
      const answer = await sendRaw(
        site.node.httpPort,
        Buffer.from(`${head}Content-Length: ${bytes}\r\n\r\n${body}`),
      );
      const [first = ''] = answer.split('\r\n', 1);
      assert.equal(first, 'HTTP/1.1 200 OK', `${bytes} bytes`);
      assert.ok(answer.endsWith(`live:${body}`), 'the body is whole');
    }
  }
  // One attempt each: no request was served twice.
  assert.equal(site.counts.live, 20 + 6 * 4);
});

test('a client whose upstream is down costs nobody whose body comes late', async (t) => {
  const site = await startSite(t, { dead: { isDead: true }, live: {} });
  for (let visit = 0; visit < 24; visit += 1) {
    assert.equal(await postLate(t, site, 'late'), 'HTTP/1.1 200 OK');
  }
  assert.equal(site.counts.live, 24);
});

test('of four clients three whose upstreams are down cost no request', async (t) => {
  const dead = { isDead: true };
  const site = await startSite(t, { one: dead, two: dead, three: dead, live: {} });
  for (let visit = 0; visit < 8; visit += 1) {
    assert.equal(await postLate(t, site, 'late'), 'HTTP/1.1 200 OK');
  }
  assert.equal(site.counts.live, 8);
});

test('a cookie of a client whose upstream is down costs no request, and each shard one dial', async (t) => {
  const affinity = { affinity: 'cookie' };
  const site = await startSite(t, {
    dead: { flags: affinity, isDead: true },
    live: { flags: affinity },
  });
  const meter = { streams: 0, bytesIn: 0, bytesOut: 0 };
  // A visitor keeps it from when the client was well.
  const cookie = `Cookie: ${cookieName(HOST)}=${createRouteClient('dead', meter).mark}\r\n`;
  for (let visit = 0; visit < 24; visit += 1) {
    assert.equal(await postLate(t, site, 'late', cookie), 'HTTP/1.1 200 OK');
  }
  assert.equal(site.counts.live, 24);
  const refused = 'result="SLW_STREAM_REFUSED"';
  const dials = await site.node.metric(`sluiceway_streams_total{tunnel="${HOST}",${refused}}`);
  assert.ok(dials >= 1, 'the cookie led to the dead one');
  assert.ok(dials <= 2, `${dials} of 24 requests went there`);
});

/** The first line of the answer to a POST whose body comes when its head is on its way. */
async function postLate(
  t: TestContext,
  { node }: Site,
  body: string,
  fields = '',
): Promise<string> {
  const socket = await connectTo(t, node.httpPort);
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  const ended = once(socket, 'end');
  const head = `POST / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n${fields}`;
  socket.write(`${head}Content-Length: ${body.length}\r\n\r\n`);
  await sleep(20);
  socket.write(body);
  await within(WAIT_MS, 'the answer', ended);
  socket.end();
  return Buffer.concat(pieces).toString().split('\r\n', 1)[0] ?? '';
}

test('with two dead clients a visitor is told', async (t) => {
  const site = await startSite(t, { one: { isDead: true }, two: { isDead: true } });
  const { status } = await ask(t, site);
  assert.equal(status, 502);
});

test('a TCP visitor who has said nothing is served by the other client', async (t) => {
  const node = await startNode(t, { flags: { shards: '2' } });
  const greeter = await startTcp(t, (socket) => socket.end('hello'));
  const port = await freePort();
  const nobody = await freePort();
  for (const [id, upstream] of [
    ['dead', nobody],
    ['live', greeter],
  ] as const) {
    await startLocalClient(t, node, { flags: { id, tcp: `${port}=127.0.0.1:${upstream}` } });
    await untilCovered(node, `tcp:${port}`, 2, id);
  }
  for (let visit = 0; visit < 20; visit += 1) {
    const socket = await connectTo(t, port);
    const pieces: Buffer[] = [];
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    await within(WAIT_MS, 'the end', new Promise((resolve) => socket.once('end', resolve)));
    assert.equal(Buffer.concat(pieces).toString(), 'hello');
  }
});
