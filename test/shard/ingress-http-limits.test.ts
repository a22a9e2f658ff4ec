// The HTTP ingress on real sockets: limits, bodies that are too large, own pages, the access log.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { networkSet } from '../../src/base/network-set.ts';
import { AccessLog } from '../../src/shard/access-log.ts';
import { Pages } from '../../src/shard/http-page.ts';
import { LinkDoor } from '../../src/shard/link-door.ts';
import { RequestGate } from '../../src/shard/request-gate.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  type Edge,
  type EdgeOptions,
  LIMITS,
  type Peer,
  startEdge,
  turns,
  type Upstream,
} from '../support/http-edge.ts';
import { LogLines } from '../support/log-lines.ts';

const HEAD_END = /\r\n\r\n$/;
const GET = 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const NO_RATES = {
  requestsPerSecondMax: 0,
  addressRequestsPerSecondMax: 0,
  tunnelRequestsPerSecondMax: 0,
};

interface Scene {
  readonly edge: Edge;
  readonly upstream: Upstream;
  readonly visitor: Peer;
}

async function scene(t: TestContext, options: EdgeOptions): Promise<Scene> {
  const edge = await startEdge(t, options);
  const upstream = await edge.upstream('a.example');
  return { edge, upstream, visitor: await edge.visit() };
}

function post(fields: string, body = ''): string {
  return `POST / HTTP/1.1\r\nHost: a.example\r\n${fields}\r\n\r\n${body}`;
}

function chunk(bytes: number): string {
  return `${bytes.toString(16)}\r\n${'x'.repeat(bytes)}\r\n`;
}

const MAX = { ingress: { requestBodyBytesMax: 10_000 } };

test('answers 413 to a body that is announced as too long, before an upstream hears of it', async (t) => {
  const { edge, upstream, visitor } = await scene(t, MAX);
  visitor.send(post('Content-Length: 10001\r\nExpect: 100-continue'));
  const page = await visitor.readEnd();
  assert.match(page, /^HTTP\/1\.1 413 Content Too Large\r\n[\s\S]*\r\nConnection: close\r\n/);
  assert.equal(upstream.peers.length, 0);
  assert.deepEqual(edge.limited, ['request-body']);
  assert.deepEqual(edge.metered, [{ tunnel: 'a.example', method: 'POST', status: 413 }]);
});

test('a body of just the allowed size passes, in chunks too, whatever its framing takes', async (t) => {
  const { upstream, visitor } = await scene(t, MAX);
  const bodies = [
    post('Content-Length: 10000', 'x'.repeat(10_000)),
    post('Transfer-Encoding: chunked', `${chunk(1).repeat(10_000)}0\r\n\r\n`),
  ];
  let peer: Peer | undefined;
  for (const body of bodies) {
    visitor.send(body);
    peer ??= await upstream.next();
    await peer.until('the body', () => /x(?:\r\n0\r\n\r\n)?$/.test(peer?.text ?? ''));
    peer.text = '';
    peer.send(OK);
    await visitor.read('ok');
  }
});

test('answers 413 to a chunked body that becomes too long, and its upstream sees a cut', async (t) => {
  const whole = `${chunk(10_001)}0\r\n\r\n`;
  for (const pieces of [[whole], [chunk(9_999), chunk(2), '0\r\n\r\n']]) {
    const { upstream, visitor } = await scene(t, MAX);
    visitor.send(post('Transfer-Encoding: chunked'));
    const peer = await upstream.next();
    await peer.read(HEAD_END);
    for (const piece of pieces) {
      visitor.send(piece);
      await turns();
    }
    assert.equal((await visitor.readEnd()).slice(9, 12), '413');
    await peer.readEnd();
    assert.equal(peer.ending, 'cut');
    assert.doesNotMatch(peer.text, /0\r\n\r\n$/, 'the upstream saw a whole body');
  }
});

test('a small chunked body that came with its head is refused unseen', async (t) => {
  const { upstream, visitor } = await scene(t, { ingress: { requestBodyBytesMax: 10 } });
  visitor.send(post('Transfer-Encoding: chunked', `${chunk(11)}0\r\n\r\n`));
  assert.equal((await visitor.readEnd()).slice(9, 12), '413');
  await turns();
  for (const peer of upstream.peers) assert.equal(peer.text, '');
});

test('cuts a body that becomes too long when the response has begun', async (t) => {
  const { upstream, visitor } = await scene(t, MAX);
  visitor.send(post('Transfer-Encoding: chunked', chunk(10)));
  const peer = await upstream.next();
  await peer.read(/x\r\n$/);
  peer.send('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nearly');
  await visitor.read('early');
  visitor.send(chunk(10_000));
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
});

test('answers 429 to requests beyond a rate, and serves again a second later', async (t) => {
  const limited: string[] = [];
  const rates = { ...NO_RATES, addressRequestsPerSecondMax: 2 };
  const gate = new RequestGate(rates, (limit) => limited.push(limit));
  const { edge, upstream, visitor } = await scene(t, { ingress: { gate } });
  const serve = async (on: Peer, peer: Peer | undefined): Promise<Peer> => {
    on.send(GET);
    const found = peer ?? (await upstream.next());
    await found.read(HEAD_END);
    found.send(OK);
    await on.read('ok');
    return found;
  };
  const peer = await serve(visitor, undefined);
  await serve(visitor, peer);
  visitor.send(GET);
  const page = await visitor.readEnd();
  assert.match(page, /^HTTP\/1\.1 429 Too Many Requests\r\n[\s\S]*\r\nRetry-After: 1\r\n/);
  assert.deepEqual(limited, ['requests-per-second-per-ip']);
  assert.equal(peer.text, '', 'the upstream heard of it');
  edge.pass(1000);
  assert.equal(gate.size, 0, 'nobody is remembered');
  await serve(await edge.visit(), undefined);
});

test('requests for unknown hosts count against a rate too', async (t) => {
  const gate = new RequestGate({ ...NO_RATES, requestsPerSecondMax: 1 }, () => {});
  const { edge, visitor } = await scene(t, { ingress: { gate } });
  visitor.send('GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n');
  assert.equal((await visitor.readEnd()).slice(9, 12), '404');
  const second = await edge.visit();
  second.send(GET);
  assert.equal((await second.readEnd()).slice(9, 12), '429');
});

test('tells an address with too many connections, and lets it in again when one has gone', async (t) => {
  const ledger = new VisitorLedger({ visitorConnectionsMax: 100, connectionsPerAddressMax: 2 });
  const { edge, upstream, visitor } = await scene(t, { ingress: { ledger } });
  const second = await edge.visit();
  await turns();
  const third = await edge.visit();
  assert.match(await third.readEnd(), /^HTTP\/1\.1 429 [\s\S]*\r\nRetry-After: 1\r\n/);
  third.socket.end();
  second.socket.resetAndDestroy();
  while (ledger.count > 1) await turns(1);
  const fourth = await edge.visit();
  fourth.send(GET);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(OK);
  await fourth.read('ok');
  fourth.socket.destroy();
  visitor.socket.destroy();
  while (ledger.count > 0) await turns(1);
  assert.equal(ledger.addressesCount, 0);
});

test('counts each refused visitor once, also where links come in on the same port', async (t) => {
  const onLink = (): void => assert.fail('nobody is a link');
  const door = new LinkDoor({
    ...{ schemes: ['http'], clock: new FakeClock(), limits: LIMITS, onLink },
    ...{ upgradeTimeoutMs: 10_000, connectionsMax: 10 },
  });
  for (const more of [{}, { door }]) {
    const limited: string[] = [];
    const limits = { visitorConnectionsMax: 1, connectionsPerAddressMax: 0 };
    const ledger = new VisitorLedger(limits, (limit) => limited.push(limit));
    const { edge, upstream, visitor } = await scene(t, { ingress: { ledger, ...more } });
    visitor.send(GET);
    await (await upstream.next()).read(HEAD_END);
    assert.deepEqual(limited, []);
    for (const count of [1, 2]) {
      const refused = await edge.visit();
      assert.match(await refused.readEnd(), /^HTTP\/1\.1 503 /);
      assert.deepEqual(limited, Array(count).fill('visitor-connections'));
    }
    visitor.socket.resetAndDestroy();
  }
});

test('takes one of the rate of an address for each visitor, also where links come in', async (t) => {
  const onLink = (): void => assert.fail('nobody is a link');
  const clock = new FakeClock();
  const door = new LinkDoor({
    ...{ schemes: ['http'], clock, limits: LIMITS, onLink },
    ...{ upgradeTimeoutMs: 10_000, connectionsMax: 10 },
  });
  for (const more of [{}, { door }]) {
    const limited: string[] = [];
    const limits = { visitorConnectionsMax: 100, connectionsPerAddressMax: 0 };
    const ledger = new VisitorLedger({ ...limits, addressConnectionsPerSecondMax: 2 }, (limit) =>
      limited.push(limit),
    );
    const { edge, upstream, visitor } = await scene(t, { ingress: { ledger, ...more } });
    visitor.send(GET);
    await (await upstream.next()).read(HEAD_END);
    const second = await edge.visit();
    second.send(GET);
    await (await upstream.next()).read(HEAD_END);
    assert.deepEqual(limited, []);
    for (const count of [1, 2]) {
      const refused = await edge.visit();
      assert.match(await refused.readEnd(), /^HTTP\/1\.1 429 [\s\S]*\r\nRetry-After: 1\r\n/);
      assert.deepEqual(limited, Array(count).fill('connections-per-second-per-ip'));
    }
    for (const { socket } of [visitor, second]) socket.resetAndDestroy();
  }
});

test("sends the operator's page as it is, to HEAD without its body", async (t) => {
  const text = '<h1>Später €</h1>';
  const pages = new Pages([[404, text]]);
  for (const method of ['GET', 'HEAD', 'POST']) {
    const { edge, visitor } = await scene(t, { ingress: { pages } });
    visitor.send(`${method} /secret HTTP/1.1\r\nHost: secret.example\r\n\r\n`);
    const answer = Buffer.from(await visitor.readEnd(), 'latin1').toString();
    assert.match(answer, /^HTTP\/1\.1 404 Not Found\r\n/);
    assert.match(answer, new RegExp(`\r\nContent-Length: ${Buffer.byteLength(text)}\r\n`));
    assert.equal(answer.split('\r\n\r\n')[1], method === 'HEAD' ? '' : text);
    const other = await edge.visit();
    other.send('bad\r\n\r\n');
    assert.match(await other.readEnd(), /<h1>400 Bad Request<\/h1>/);
  }
});

test('counts a request as being served from its head to the end of its answer', async (t) => {
  const { edge, upstream, visitor } = await scene(t, {});
  visitor.send(GET);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  assert.equal(edge.inFlight.requests, 1);
  peer.send(OK.slice(0, -1));
  await visitor.read('o');
  assert.equal(edge.inFlight.requests, 1);
  peer.send('k');
  await visitor.read('k');
  assert.equal(edge.inFlight.requests, 0);
});

test('logs each request with what it moved, and nothing of its query', async (t) => {
  const lines = new LogLines('access');
  const { edge, upstream, visitor } = await scene(t, {
    ingress: { access: new AccessLog(lines.records) },
  });
  const agent = `x\u009b"${'y'.repeat(300)}`;
  visitor.send(
    `POST /a/"b?token=secret HTTP/1.1\r\nHost: a.example\r\nuser-AGENT: ${agent}\r\n` +
      `Transfer-Encoding: chunked\r\n\r\n${chunk(5)}0\r\n\r\n`,
  );
  const peer = await upstream.next();
  await peer.read(/0\r\n\r\n$/);
  edge.pass(250);
  peer.send('HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n');
  await visitor.read(/0\r\n\r\n$/);
  const served = await lines.line('request', { status: 201 });
  const { time, level, ...fields } = served;
  assert.match(String(time), /^\d{4}-\d\d-\d\dT/);
  assert.equal(level, 'info');
  assert.deepEqual(fields, {
    ...{ component: 'access', msg: 'request', tunnel: 'a.example', visitor: '127.0.0.1' },
    ...{
      method: 'POST',
      path: '/a/"b',
      status: 201,
      code: 'SLW_NONE',
      bytesIn: 5,
      bytesOut: 3,
      durationMs: 250,
    },
    userAgent: `x?"${'y'.repeat(253)}…`,
  });
  visitor.send('bad\r\n\r\n');
  await visitor.readEnd();
  const refused = await lines.line('request', { status: 400 });
  assert.deepEqual([refused.tunnel, refused.method, refused.path], [undefined, '', '']);
  assert.ok(Number(refused.bytesOut) > 0);
  const lost = await edge.visit();
  lost.send(`GET /${'p'.repeat(400)} HTTP/1.1\r\nHost: unknown.example\r\n\r\n`);
  await lost.readEnd();
  const missed = await lines.line('request', { status: 404 });
  assert.equal(missed.path, `/${'p'.repeat(255)}…`);
  assert.doesNotMatch(JSON.stringify(lines.lines), /secret/);
});

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const SWITCH = 'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

test('a WebSocket that is idle for 15 minutes stays, counts as a connection, and is logged', async (t) => {
  const lines = new LogLines('access');
  const ledger = new VisitorLedger({ visitorConnectionsMax: 100, connectionsPerAddressMax: 1 });
  const { edge, upstream, visitor } = await scene(t, {
    ingress: { access: new AccessLog(lines.records), ledger },
  });
  visitor.send(UPGRADE);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(SWITCH);
  await visitor.read(HEAD_END);
  for (let second = 0; second < 15 * 60; second += 1) edge.pass(1000);
  visitor.send('ping');
  await peer.read('ping');
  peer.send('pong!');
  await visitor.read('pong!');
  const second = await edge.visit();
  assert.equal((await second.readEnd()).slice(9, 12), '429');
  visitor.socket.end();
  await peer.readEnd();
  peer.socket.end();
  const { time, level, ...fields } = await lines.line('connection');
  // All there is: nothing of sockets, keys or payload may come with it.
  assert.deepEqual(fields, {
    ...{ component: 'access', msg: 'connection', tunnel: 'a.example', visitor: '127.0.0.1' },
    ...{ bytesIn: 4, bytesOut: 5, durationMs: 900_000, code: 'SLW_NONE' },
  });
  assert.deepEqual([typeof time, level], ['string', 'info']);
  assert.equal((await lines.line('request', { status: 101 })).bytesOut, 0);
});

test('the end of a WebSocket is logged for the visitor that a trusted proxy names', async (t) => {
  const lines = new LogLines('access');
  const { upstream, visitor } = await scene(t, {
    ingress: {
      access: new AccessLog(lines.records),
      trustedProxies: networkSet([{ address: '127.0.0.1', prefixBits: 32 }]),
    },
  });
  const from = (address: string): string => `\r\nX-Forwarded-For: ${address}\r\n\r\n`;
  visitor.send(GET.replace('\r\n\r\n', from('203.0.113.8')));
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(OK);
  await visitor.read('ok');
  visitor.send(UPGRADE.replace('\r\n\r\n', from('203.0.113.9')));
  await peer.read(HEAD_END);
  peer.send(SWITCH);
  await visitor.read(HEAD_END);
  visitor.socket.end();
  await peer.readEnd();
  peer.socket.end();
  assert.equal((await lines.line('connection')).visitor, '203.0.113.9');
  assert.equal((await lines.line('request', { status: 101 })).visitor, '203.0.113.9');
});

test('heads that come one byte a second are all closed by the sweep after the header timeout', async (t) => {
  const edge = await startEdge(t);
  await edge.upstream('a.example');
  const visitors = await Promise.all(Array.from({ length: 50 }, () => edge.visit()));
  while (edge.ingress.connectionsCount < visitors.length) await turns(1);
  for (const visitor of visitors) visitor.send('GET / HTTP/1.1\r\nX: ');
  await turns();
  for (let second = 0; second < LIMITS.headerTimeoutMs / 1000; second += 1) {
    for (const visitor of visitors) if (visitor.ending === 'open') visitor.send('x');
    await turns(2);
    edge.pass(1000);
  }
  for (const visitor of visitors) {
    assert.equal((await visitor.readEnd()).slice(9, 12), '408');
    visitor.socket.end();
  }
});
