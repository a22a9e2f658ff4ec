// The stream that a visitor connection keeps: when it is used again, and when it must not be.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { eventually } from '../support/deadline.ts';
import { type Edge, type Peer, startEdge, turns, type Upstream } from '../support/http-edge.ts';

const HEAD_END = /\r\n\r\n$/;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';
const VIA = 'Via: 1.1 sluiceway\r\n';
const OK_SEEN = `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${VIA}\r\nok`;

function get(path = '/', fields = '', version = '1.1'): string {
  return `GET ${path} HTTP/${version}\r\nHost: a.example\r\n${fields}\r\n`;
}

interface Scene {
  readonly edge: Edge;
  readonly upstream: Upstream;
  readonly visitor: Peer;
}

async function scene(t: TestContext): Promise<Scene> {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  return { edge, upstream, visitor: await edge.visit() };
}

function statusOf(answer: string): number {
  return Number(answer.slice(9, 12));
}

test('reuses the stream while both sides keep it alive', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  for (let i = 0; i < 3; i += 1) {
    visitor.send(get(`/${i}`));
    const peer = upstream.peers[0] ?? (await upstream.next());
    assert.match(await peer.read(HEAD_END), new RegExp(`^GET /${i} `));
    peer.send(OK);
    assert.equal(await visitor.read('ok'), OK_SEEN);
  }
  assert.equal(edge.router.streams.length, 1);
  assert.equal(edge.router.streams[0]?.consumedBytes, edge.router.streams[0]?.receivedBytes);
});

test('a request that is never repeated meets no upstream that may just be closing', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  const post = get('/', 'Content-Length: 2\r\n').replace('GET', 'POST').concat('hi');
  const bodiless = get().replace('GET', 'DELETE');
  const getWithBody = get('/', 'Content-Length: 2\r\n').concat('hi');
  visitor.send(get());
  const first = await upstream.next();
  await first.read(HEAD_END);
  first.send(OK);
  await visitor.read('ok');
  /** Asks after a rest; how many connections the upstream has had then. */
  const askAfter = async (restMs: number, request: string): Promise<number> => {
    edge.clock.advance(restMs);
    visitor.send(request);
    const end = request.slice(-2);
    const isAsked = (): boolean => upstream.peers.some(({ text }) => text.endsWith(end));
    await eventually(5000, 'it is asked', async () => assert.ok(isAsked()));
    for (const peer of upstream.peers.filter(({ text }) => text !== '')) {
      peer.text = '';
      peer.send(OK);
    }
    await visitor.read('ok');
    return upstream.peers.length;
  };
  assert.equal(await askAfter(999, post), 1, 'short of a second all is well');
  assert.equal(await askAfter(3499, get()), 1, 'what is repeated may be late');
  assert.equal(await askAfter(1000, post), 2);
  assert.equal(await askAfter(1000, bodiless), 3);
  assert.equal(await askAfter(1000, getWithBody), 4);
  assert.equal(await askAfter(1000, get()), 4);
  assert.equal(await askAfter(3500, get()), 5);
});

test('opens another stream when the upstream closes after its response', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send(get());
  const first = await upstream.next();
  await first.read(HEAD_END);
  first.send('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok');
  assert.equal(await visitor.read('ok'), OK_SEEN);
  await first.readEnd();
  assert.equal(first.ending, 'fin');
  visitor.send(get());
  const second = await upstream.next();
  await second.read(HEAD_END);
  second.send(OK);
  await visitor.read('ok');
  assert.equal(edge.router.streams.length, 2);
});

test('routes each request of a connection by its own Host', async (t) => {
  const edge = await startEdge(t);
  const upstreams = { a: await edge.upstream('a.example'), b: await edge.upstream('b.example') };
  const visitor = await edge.visit();
  for (const name of ['a', 'b', 'a'] as const) {
    visitor.send(`GET / HTTP/1.1\r\nHost: ${name.toUpperCase()}.example:80\r\n\r\n`);
    const peer = await upstreams[name].next();
    await peer.read(HEAD_END);
    peer.send(OK.replace('ok', `${name}!`));
    await visitor.read(`${name}!`);
  }
  assert.deepEqual(
    edge.router.streams.map((stream) => stream.tunnel),
    ['a.example', 'b.example', 'a.example'],
  );
  assert.deepEqual(edge.router.streams[0]?.log, ['end']);
});

test('tries a request again when the kept stream dies before the first byte', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  for (const how of ['fin', 'cut'] as const) {
    visitor.send(get('/first'));
    const first = await upstream.next();
    await first.read(HEAD_END);
    first.send(OK);
    await visitor.read('ok');
    visitor.send(get('/again?x=1', 'A: b\r\n'));
    const once = await first.read(HEAD_END);
    if (how === 'fin') first.socket.end();
    else first.socket.resetAndDestroy();
    const second = await upstream.next();
    assert.equal(await second.read(HEAD_END), once);
    second.send(OK.replace('200 OK', '200 OK\r\nConnection: close'));
    assert.equal(await visitor.read('ok'), OK_SEEN);
    await second.readEnd();
  }
  assert.equal(edge.metered.length, 4);
});

test('does not try again on a new stream, a second time, or what is not repeatable', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const fresh = await edge.visit();
  fresh.send(get());
  (await upstream.next()).socket.resetAndDestroy();
  assert.equal(statusOf(await fresh.readEnd()), 502);

  const prime = async (): Promise<readonly [Peer, Peer]> => {
    const visitor = await edge.visit();
    visitor.send(get());
    const peer = await upstream.next();
    await peer.read(HEAD_END);
    peer.send(OK);
    await visitor.read('ok');
    return [visitor, peer];
  };
  const [twice, first] = await prime();
  twice.send(get());
  await first.read(HEAD_END);
  first.socket.resetAndDestroy();
  const second = await upstream.next();
  await second.read(HEAD_END);
  second.socket.resetAndDestroy();
  assert.equal(statusOf(await twice.readEnd()), 502);

  const unrepeatable = [
    get().replace('GET', 'POST'),
    get('/', 'Content-Length: 2\r\n').concat('hi'),
  ];
  for (const request of unrepeatable) {
    const [visitor, peer] = await prime();
    visitor.send(request);
    await peer.until('the request', () => peer.text.includes('\r\n\r\n'));
    peer.socket.resetAndDestroy();
    assert.equal(statusOf(await visitor.readEnd()), 502);
  }
  const [begun, peer] = await prime();
  begun.send(get());
  await peer.read(HEAD_END);
  peer.socket.end('HTTP/1.1 2');
  assert.equal(statusOf(await begun.readEnd()), 502);
});

test('never lets bytes after a response reach the next request', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send(get());
  const first = await upstream.next();
  await first.read(HEAD_END);
  first.send(`${OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison`);
  assert.equal(await visitor.read('ok'), OK_SEEN);
  visitor.send(get());
  const second = await upstream.next();
  await second.read(HEAD_END);
  second.send(OK);
  assert.equal(await visitor.read('ok'), OK_SEEN);
  second.send('HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison');
  await second.readEnd();
  assert.equal(second.ending, 'cut');
  visitor.send(get());
  const third = await upstream.next();
  await third.read(HEAD_END);
  third.send(OK);
  assert.equal(await visitor.read('ok'), OK_SEEN);
  assert.equal(edge.router.streams.length, 3);
});

test('closes an idle stream before an upstream with a short keep-alive time does', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send(get());
  const first = await upstream.next();
  await first.read(HEAD_END);
  first.send(OK);
  await visitor.read('ok');
  edge.pass(3499);
  visitor.send(get());
  await first.read(HEAD_END);
  first.send(OK);
  await visitor.read('ok');
  edge.pass(3500);
  assert.equal(await first.readEnd(), '');
  assert.equal(first.ending, 'fin');
  first.socket.end();
  visitor.send(get());
  const second = await upstream.next();
  await second.read(HEAD_END);
  second.send(OK);
  await visitor.read('ok');
});

test('sends no request on a stream that was idle for too long while its head came', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send(get());
  const first = await upstream.next();
  await first.read(HEAD_END);
  first.send(OK);
  await visitor.read('ok');
  for (const idleMs of [3499, 3500]) {
    edge.pass(3000);
    visitor.send(get().slice(0, 10));
    await turns();
    edge.pass(idleMs - 3000);
    visitor.send(get().slice(10));
    const peer = idleMs < 3500 ? first : await upstream.next();
    await peer.read(HEAD_END);
    peer.send(OK);
    await visitor.read('ok');
  }
  assert.equal(edge.router.streams.length, 2);
  assert.deepEqual(edge.router.streams[0]?.log, ['end']);
});

test('forgets an idle stream that its upstream closes', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send(get());
  const first = await upstream.next();
  await first.read(HEAD_END);
  first.send(OK);
  await visitor.read('ok');
  first.socket.end();
  await first.readEnd();
  visitor.send(get());
  const second = await upstream.next();
  await second.read(HEAD_END);
  second.send(OK);
  await visitor.read('ok');
  assert.deepEqual(edge.router.streams[0]?.log, ['fin', 'end']);
});
