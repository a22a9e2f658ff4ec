// The HTTP ingress on real sockets: refusals, deadlines, limits, drain and upgraded connections.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { memoryPressure, PRESSURE } from '../../src/base/memory-pressure.ts';
import { AccessLog } from '../../src/shard/access-log.ts';
import { type AskControl, LoginAnswers } from '../../src/shard/login-answers.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import {
  type Edge,
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
const UPGRADE =
  'GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const SWITCH = 'HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

function statusOf(answer: string): number {
  return Number(answer.slice(9, 12));
}

/** A visitor who has had an answer, and whose connection is kept. */
async function startKept(t: TestContext) {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(GET);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(OK);
  await visitor.read('ok');
  return { edge, upstream, visitor, peer };
}

test('refuses with a constant page that reflects nothing, and closes', async (t) => {
  const edge = await startEdge(t);
  await edge.upstream('a.example');
  const cases: readonly (readonly [string, number])[] = [
    ['GET /secret-path HTTP/1.1\r\nHost: secret-host.example\r\n\r\n', 404],
    ['GET /secret-path HTTP/1.1\r\nHost: secret-host..example\r\n\r\n', 400],
    ['GET / HTTP/1.1\r\nHost: a.example\r\nsecret-name : x\r\n\r\n', 400],
    ['CONNECT secret-host:443 HTTP/1.1\r\nHost: secret-host:443\r\n\r\n', 405],
    [`GET /${'secret-'.repeat(2000)} HTTP/1.1\r\n`, 414],
    [`GET / HTTP/1.1\r\nHost: a.example\r\nA: ${'secret-'.repeat(4000)}`, 431],
    ['GET / HTTP/1.1\r\nHost: a.example\r\nExpect: secret-x\r\n\r\n', 417],
    ['PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 505],
    ['secret-\0', 400],
  ];
  for (const [request, status] of cases) {
    const visitor = await edge.visit();
    visitor.send(request);
    const page = await visitor.readEnd();
    assert.equal(statusOf(page), status, request.slice(0, 40));
    assert.equal(visitor.ending, 'fin');
    assert.match(page, /\r\nConnection: close\r\n/);
    assert.doesNotMatch(page, /secret/);
    const [head = '', body = ''] = page.split('\r\n\r\n');
    assert.ok(head.includes(`Content-Length: ${body.length}`));
    if (status === 405) assert.match(page, /\r\nAllow: [A-Z, -]+\r\n/);
  }
  assert.equal(edge.metered.length, cases.length);
  assert.ok(edge.metered.every(({ tunnel }) => tunnel === undefined));
  assert.equal(edge.router.streams.length, 0);
});

test('reads no second request after a refusal', async (t) => {
  const edge = await startEdge(t);
  await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(`CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n${GET}`);
  assert.equal(statusOf(await visitor.readEnd()), 405);
  assert.equal(visitor.text.match(/HTTP\/1\.1 /g)?.length, 1);
  assert.equal(edge.router.streams.length, 0);
});

test('answers 400 to a malformed body, and the upstream sees a cut', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(
    'POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n',
  );
  const peer = await upstream.next();
  await peer.read('x\r\n');
  visitor.send('zz\r\n');
  assert.equal(statusOf(await visitor.readEnd()), 400);
  await peer.readEnd();
  assert.equal(peer.ending, 'cut');
});

test('answers 421 when the Host is not the name of the handshake', async (t) => {
  const edge = await startEdge(t, { accept: { serverName: 'a.example', scheme: 'https' } });
  const upstream = await edge.upstream('a.example');
  await edge.upstream('b.example');
  const visitor = await edge.visit();
  visitor.send(GET);
  const peer = await upstream.next();
  assert.match(await peer.read(HEAD_END), /X-Forwarded-Proto: https\r\n[\s\S]*;proto=https\r\n/);
  peer.send(OK);
  await visitor.read('ok');
  visitor.send(GET.replace('a.example', 'b.example'));
  assert.equal(statusOf(await visitor.readEnd()), 421);
});

test('tells the visitor that a listener names', async (t) => {
  const edge = await startEdge(t, {
    accept: { visitor: { address: '::ffff:192.0.2.9', port: 7 } },
  });
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(GET);
  const peer = await upstream.next();
  assert.match(await peer.read(HEAD_END), /\r\nX-Real-IP: 192\.0\.2\.9\r\n/);
  assert.deepEqual(edge.router.streams[0]?.visitor, { address: '192.0.2.9', port: 7 });
});

test('counts a request whose visitor leaves before the answer as 499', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(GET);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  visitor.socket.resetAndDestroy();
  await peer.until('the upstream to hear of it', () => peer.ending !== 'open');
  const counted = edge.metered.map(({ tunnel, status }) => [tunnel, status]);
  assert.deepEqual(counted, [['a.example', 499]]);
});

test('counts one whose visitor leaves while a login provider is asked, too', async (t) => {
  const asked = Promise.withResolvers<void>();
  const never: AskControl = () => {
    asked.resolve();
    return new Promise(() => {});
  };
  const logins = new LoginAnswers(never, new FakeClock());
  logins.sessions.apply({ keys: [], providers: [['company', 'id']] });
  const edge = await startEdge(t, { ingress: { logins } });
  await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send('GET /.well-known/sluiceway/callback?code=x HTTP/1.1\r\nHost: a.example\r\n\r\n');
  await asked.promise;
  visitor.socket.resetAndDestroy();
  await eventually(5000, 'it is counted', async () => {
    // A request of the exit node's own is none of a tunnel.
    assert.deepEqual(edge.metered, [{ tunnel: undefined, method: 'GET', status: 499 }]);
  });
});

test('closes a silent connection, and answers 408 to a slow head', async (t) => {
  const edge = await startEdge(t);
  const silent = await edge.visit();
  const slow = await edge.visit();
  slow.send('GET / HTTP/1.1\r\n');
  await turns();
  edge.pass(LIMITS.headerTimeoutMs - 1);
  slow.send('Host: a.example\r\n');
  await turns();
  edge.pass(1);
  assert.equal(await silent.readEnd(), '');
  assert.equal(silent.ending, 'fin');
  assert.equal(statusOf(await slow.readEnd()), 408);
});

test('closes a connection that stays idle after a response', async (t) => {
  const { edge, visitor, peer } = await startKept(t);
  edge.pass(LIMITS.keepAliveTimeoutMs - 1);
  assert.equal(visitor.ending, 'open');
  edge.pass(1);
  assert.equal(await visitor.readEnd(), '');
  await peer.readEnd();
  assert.equal(peer.ending, 'fin');
});

test('answers 408 to a stalled body, but waits for a slow one', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send('POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n');
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  for (let i = 0; i < 5; i += 1) {
    visitor.send('x');
    await peer.read('x');
    edge.pass(LIMITS.bodyIdleTimeoutMs - 1);
  }
  assert.equal(visitor.ending, 'open');
  edge.pass(1);
  assert.equal(statusOf(await visitor.readEnd()), 408);
  await peer.readEnd();
  assert.equal(peer.ending, 'cut');
});

test('answers 504 when no response comes, and waits for ever once one has begun', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const served = await edge.visit();
  served.send(GET);
  const answering = await upstream.next();
  await answering.read(HEAD_END);
  answering.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no');
  await served.read('o');
  const starved = await edge.visit();
  starved.send(GET);
  const silent = await upstream.next();
  await silent.read(HEAD_END);
  silent.send('HTTP/1.1 103 Early\r\n\r\n');
  await starved.read(HEAD_END);
  edge.pass(LIMITS.upstreamResponseTimeoutMs);
  assert.equal(statusOf(await starved.readEnd()), 504);
  edge.pass(24 * 3_600_000);
  answering.send('k');
  await served.read('k');
  assert.equal(served.ending, 'open');
});

test('tells visitors beyond the limit, and cuts those far beyond it', async (t) => {
  const edge = await startEdge(t, { limits: { visitorConnectionsMax: 2 } });
  const upstream = await edge.upstream('a.example');
  const visitors = [await edge.visit(), await edge.visit()];
  await turns();
  const surplus = await edge.visit();
  assert.equal(statusOf(await surplus.readEnd()), 503);
  surplus.socket.end();
  await turns();
  visitors[0]?.send(GET);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(OK);
  await visitors[0]?.read('ok');
  assert.equal(edge.ingress.connectionsCount, 2);
});

test('drains: idle connections close, busy ones after their response', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const [idle, busy, streaming] = [await edge.visit(), await edge.visit(), await edge.visit()];
  const begin = async (visitor: Peer): Promise<Peer> => {
    visitor.send(GET);
    const peer = await upstream.next();
    await peer.read(HEAD_END);
    return peer;
  };
  const idlePeer = (await begin(idle)).send(OK);
  await idle.read('ok');
  const busyPeer = await begin(busy);
  const streamingPeer = (await begin(streaming)).send(
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no',
  );
  await streaming.read('o');
  edge.ingress.drain(false);
  assert.equal(await idle.readEnd(), '');
  await idlePeer.readEnd();
  assert.equal(idlePeer.ending, 'fin');
  busyPeer.send(OK);
  assert.match(await busy.readEnd(), /\r\nConnection: close\r\n\r\nok$/);
  streamingPeer.send('k');
  assert.equal(await streaming.readEnd(), 'k');
});

test('answers close their connections while the process is short of memory', async (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const { edge, upstream, visitor, peer } = await startKept(t);
  memoryPressure.level = PRESSURE.SEVERE;
  visitor.send(GET);
  await peer.read(HEAD_END);
  peer.send(OK);
  assert.match(await visitor.readEnd(), /\r\nConnection: close\r\n\r\nok$/);
  const late = await edge.visit();
  late.send(GET);
  (await upstream.next()).send(OK);
  assert.match(await late.readEnd(), /\r\nConnection: close\r\n\r\nok$/);
});

test('drains without a hurry: an idle connection may ask once more, for a while', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const [asking, silent] = [await edge.visit(), await edge.visit()];
  const peers: Peer[] = [];
  for (const visitor of [asking, silent]) {
    visitor.send(GET);
    const peer = await upstream.next();
    await peer.read(HEAD_END);
    peer.send(OK);
    await visitor.read('ok');
    peers.push(peer);
  }
  edge.ingress.drain(true);
  await turns();
  assert.deepEqual([asking.ending, silent.ending], ['open', 'open']);
  asking.send(GET);
  await peers[0]?.read(HEAD_END);
  peers[0]?.send(OK);
  assert.match(await asking.readEnd(), /\r\nConnection: close\r\n\r\nok$/);
  edge.clock.advance(4000);
  edge.ingress.sweep();
  await turns();
  assert.equal(silent.ending, 'open');
  edge.clock.advance(1001);
  edge.ingress.sweep();
  assert.equal(await silent.readEnd(), '');
});

interface Upgraded {
  readonly edge: Edge;
  readonly visitor: Peer;
  readonly peer: Peer;
  readonly lines: LogLines;
}

async function upgrade(t: TestContext, limits: Partial<typeof LIMITS> = {}): Promise<Upgraded> {
  const lines = new LogLines('access');
  const edge = await startEdge(t, { limits, ingress: { access: new AccessLog(lines.records) } });
  const upstream: Upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(`${UPGRADE}early`);
  const peer = await upstream.next();
  assert.match(await peer.read(HEAD_END), /\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n/);
  peer.send(`${SWITCH}hello`);
  assert.match(await visitor.read('hello'), /^HTTP\/1\.1 101 [\s\S]*\r\n\r\nhello$/);
  await peer.read('early');
  return { edge, visitor, peer, lines };
}

test('a switch that says that it has no body is one', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(UPGRADE);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(`${SWITCH.replace('\r\n\r\n', '\r\nContent-Length: 0\r\n\r\n')}hello`);
  const answer = await visitor.read(/hello$|<\/html>/);
  assert.match(answer, /^HTTP\/1\.1 101 [\s\S]*\r\n\r\nhello$/);
  assert.doesNotMatch(answer, /Content-Length/, 'RFC 9110 8.6: no server may send it');
});

test('carries raw bytes both ways after a switch, with half-close each way', async (t) => {
  const { edge, visitor, peer, lines } = await upgrade(t);
  assert.deepEqual(edge.metered, [{ tunnel: 'a.example', method: 'GET', status: 101 }]);
  visitor.send('GET /not-a-request');
  await peer.read('GET /not-a-request');
  peer.send('HTTP/1.1 200 not a response');
  await visitor.read('HTTP/1.1 200 not a response');
  visitor.socket.end('last');
  await peer.read('last');
  await peer.readEnd();
  assert.equal(peer.ending, 'fin');
  peer.send('still');
  await visitor.read('still');
  peer.socket.end();
  await visitor.readEnd();
  assert.equal(visitor.ending, 'fin');
  const [stream] = edge.router.streams;
  assert.equal(stream?.consumedBytes, stream?.receivedBytes);
  const { bytesIn, bytesOut } = await lines.line('connection');
  const [sent, answered] = ['earlyGET /not-a-requestlast', 'helloHTTP/1.1 200 not a responsestill'];
  assert.deepEqual([bytesIn, bytesOut], [sent.length, answered.length]);
});

test('cuts an upgraded connection whose other side is lost', async (t) => {
  const { edge, visitor } = await upgrade(t);
  edge.router.streams[0]?.lose('SLW_LINK_LOST');
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
  await turns();
  assert.equal(edge.ingress.connectionsCount, 0);
});

for (const [how, ending] of [
  ['an end', 'fin'],
  ['a cut', 'cut'],
] as const) {
  test(`${how} after a switch comes behind what waited before the switch`, async (t) => {
    const edge = await startEdge(t);
    const upstream = await edge.upstream('a.example');
    const visitor = await edge.visit();
    visitor.socket.pause();
    visitor.send(GET);
    const peer = await upstream.next();
    await peer.read(HEAD_END);
    peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
    const [stream] = edge.router.streams;
    const waitingBytes = (): number => (stream?.receivedBytes ?? 0) - (stream?.consumedBytes ?? 0);
    const chunk = Buffer.alloc(32 * 1024, 'x');
    let chunks = 0;
    // Some waits for the visitor, and less than would hold its next request up.
    while (waitingBytes() < chunk.length) {
      peer
        .send(`${chunk.length.toString(16)}\r\n`)
        .send(chunk)
        .send('\r\n');
      chunks += 1;
      await turns(3);
    }
    peer.send('0\r\n\r\n');
    visitor.send(UPGRADE);
    await peer.read(HEAD_END);
    peer.send(`${SWITCH}hello`);
    await turns();
    assert.ok(waitingBytes() > 0, 'the kernel took all: nothing waited');
    if (ending === 'fin') peer.socket.end();
    else stream?.lose('SLW_LINK_LOST');
    await turns();
    visitor.socket.resume();
    const text = await visitor.readEnd();
    assert.equal(visitor.ending, ending);
    if (ending === 'cut') assert.ok(!text.endsWith('hello'), 'a cut came behind the end');
    else {
      assert.match(text.slice(-200), /\r\n0\r\n\r\nHTTP\/1\.1 101 [\s\S]*\r\n\r\nhello$/);
      assert.equal(text.split('x'.repeat(chunk.length)).length - 1, chunks, 'all, and in order');
      visitor.socket.end();
    }
  });
}

test('ends an upgraded connection that is idle for too long, when asked to', async (t) => {
  const { edge, visitor, peer } = await upgrade(t, { tcpIdleTimeoutMs: 1000 });
  edge.pass(999);
  visitor.send('x');
  await peer.read('x');
  edge.pass(999);
  assert.equal(visitor.ending, 'open');
  edge.pass(1001);
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
});

test('parses what follows a refused switch as HTTP', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(UPGRADE + GET.replace('/', '/next'));
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(OK);
  await visitor.read('ok');
  assert.match(await peer.read(HEAD_END), /^GET \/next HTTP/);
  peer.send(OK);
  await visitor.read('ok');
});

test('does not offer a switch to any other protocol', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(UPGRADE.replace('websocket', 'h2c'));
  const peer = await upstream.next();
  assert.doesNotMatch(await peer.read(HEAD_END), /upgrade|h2c/i);
  peer.send('HTTP/1.1 101 Switching\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n');
  assert.equal(statusOf(await visitor.readEnd()), 502);
});
