// The HTTP ingress on real sockets: requests, responses, reuse, and what a visitor never sees.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
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

test('carries a request and its response, rewritten, and counts it', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send(get('/a?b', 'Connection: keep-alive\r\nX-Forwarded-For: 1.1.1.1\r\n'));
  const peer = await upstream.next();
  assert.equal(
    await peer.read(HEAD_END),
    `GET /a?b HTTP/1.1\r\nHost: a.example\r\n${VIA}X-Forwarded-For: 127.0.0.1\r\n` +
      'X-Forwarded-Proto: http\r\nX-Forwarded-Host: a.example\r\nX-Real-IP: 127.0.0.1\r\n' +
      'Forwarded: for=127.0.0.1;host="a.example";proto=http\r\n\r\n',
  );
  peer.send(OK);
  assert.equal(await visitor.read('ok'), OK_SEEN);
  assert.deepEqual(edge.metered, [{ tunnel: 'a.example', method: 'GET', status: 200 }]);
  assert.equal(edge.router.streams[0]?.visitor.port, visitor.socket.localPort);
});

test('answers pipelined requests in order, one at a time', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  const count = 100;
  visitor.send(Array.from({ length: count }, (_, i) => get(`/${i}`)).join(''));
  const peer = await upstream.next();
  for (let i = 0; i < count; i += 1) {
    const head = await peer.read(HEAD_END);
    assert.match(head, new RegExp(`^GET /${i} `));
    assert.equal(head.match(/GET/g)?.length, 1);
    peer.send(`HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n${String(i).padStart(4, '0')}`);
  }
  const text = await visitor.read('0099');
  const bodies = text
    .split('\r\n\r\n')
    .slice(1)
    .map((part) => part.slice(0, 4));
  assert.deepEqual(
    bodies,
    Array.from({ length: count }, (_, i) => String(i).padStart(4, '0')),
  );
  assert.equal(edge.metered.length, count);
});

test('delivers the answer to a good request before refusing the bad one behind it', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send(`${get('/good')}GET /bad HTTP/1.1\r\nHost : x\r\n\r\n`);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(OK);
  const text = await visitor.readEnd();
  assert.ok(text.startsWith(`${OK_SEEN}HTTP/1.1 400 Bad Request\r\n`), text);
  assert.equal(visitor.ending, 'fin');
  assert.deepEqual(
    edge.metered.map(({ status }) => status),
    [200, 400],
  );
});

test('passes bodies by length and in chunks, each way, at any cut', async (t) => {
  const { upstream, visitor } = await scene(t);
  const chunked = '5\r\nhello\r\n1;x=y\r\n!\r\n0\r\nA: b\r\nContent-Type: x\r\n\r\n';
  const plain = '5\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n';
  const post = (fields: string) => `POST / HTTP/1.1\r\nHost: a.example\r\n${fields}\r\n\r\n`;
  for (const size of [1, 7, 1000]) {
    for (const [fields, body, passed] of [
      ['Content-Length: 5', 'hello', 'hello'],
      ['Transfer-Encoding: chunked', chunked, plain],
    ] as const) {
      const message = post(fields) + body;
      for (let at = 0; at < message.length; at += size) visitor.send(message.slice(at, at + size));
      const peer = upstream.peers[0] ?? (await upstream.next());
      const seen = await peer.read(passed);
      assert.ok(seen.endsWith(`\r\n\r\n${passed}`));
      const answer = `HTTP/1.1 200 OK\r\n${fields}\r\n\r\n${body}`;
      for (let at = 0; at < answer.length; at += size) peer.send(answer.slice(at, at + size));
      assert.ok((await visitor.read(passed)).endsWith(`\r\n\r\n${passed}`));
    }
  }
});

test('holds back an upstream that the visitor does not read, and a visitor likewise', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  const bytes = 24 * 1024 * 1024;
  visitor.socket.pause();
  visitor.send(get());
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n\r\n`);
  peer.socket.write(Buffer.alloc(bytes, 'x'));
  const [stream] = edge.router.streams;
  const isStuck = () => (stream?.receivedBytes ?? 0) - (stream?.consumedBytes ?? 0) >= 256 * 1024;
  while (!isStuck()) await new Promise((resolve) => setImmediate(resolve));
  assert.ok((stream?.receivedBytes ?? 0) < bytes);
  visitor.socket.resume();
  const head = `HTTP/1.1 200 OK\r\nContent-Length: ${bytes}\r\n${VIA}\r\n`;
  // A read may end within as many bytes of the end as the head has.
  await visitor.until('the whole', () => visitor.text.length >= head.length + bytes);
  assert.equal(visitor.text.length, head.length + bytes);
  assert.equal(stream?.consumedBytes, stream?.receivedBytes);

  visitor.text = '';
  peer.socket.pause();
  visitor.send(`POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: ${bytes}\r\n\r\n`);
  visitor.socket.write(Buffer.alloc(bytes, 'y'));
  const before = stream?.writtenBytes ?? 0;
  const isFlowing = () => (stream?.writtenBytes ?? 0) === before || stream?.isFull !== true;
  while (isFlowing()) await new Promise((resolve) => setImmediate(resolve));
  assert.ok((stream?.writtenBytes ?? 0) - before < bytes);
  peer.socket.resume();
  await peer.until('the whole body', () => peer.text.length >= bytes);
  assert.equal(peer.text.slice(peer.text.indexOf('\r\n\r\n') + 4).length, bytes);
  peer.text = '';
  peer.send(OK);
  await visitor.read('ok');
  visitor.send(get());
  await peer.read(HEAD_END);
  peer.send(OK);
  await visitor.read('ok');
});

test('asks for nothing more while a visitor leaves its answers unread', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  const count = 400;
  const body = 'x'.repeat(200_000);
  const answerAll = async (): Promise<void> => {
    for (let i = 0; i < count; i += 1) {
      const peer = await upstream.next();
      await peer.read(HEAD_END);
      const head = 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n';
      peer.socket.end(head + body);
    }
  };
  visitor.socket.pause();
  visitor.send(get().repeat(count));
  const answered = answerAll();
  let seen = -1;
  while (edge.metered.length !== seen) {
    seen = edge.metered.length;
    await turns(300);
  }
  assert.ok(seen < count / 2, `${seen} answers are held for a visitor who reads none`);
  visitor.socket.resume();
  await answered;
  await visitor.until('every answer', () => visitor.text.length >= count * body.length);
  assert.equal(edge.metered.length, count);
});

test('passes each piece of a response on as it comes', async (t) => {
  const { upstream, visitor } = await scene(t);
  visitor.send(get());
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(
    'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n',
  );
  await visitor.read(HEAD_END);
  for (const event of ['one', 'two']) {
    peer.send(`3\r\n${event}\r\n`);
    assert.equal(await visitor.read(`${event}\r\n`), `3\r\n${event}\r\n`);
  }
  peer.send('0\r\n\r\n');
  await visitor.read('0\r\n\r\n');
});

test('passes interim responses, and lets 100-continue bring the body', async (t) => {
  const { upstream, visitor } = await scene(t);
  visitor.send(
    'POST / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n',
  );
  const peer = await upstream.next();
  assert.match(await peer.read(HEAD_END), /\r\nExpect: 100-continue\r\n/);
  peer.send('HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n');
  assert.equal(
    await visitor.read(/Link[\s\S]*\r\n\r\n$/),
    `HTTP/1.1 100 Continue\r\n${VIA}\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n${VIA}\r\n`,
  );
  visitor.send('hello');
  await peer.read('hello');
  peer.send(OK);
  assert.equal(await visitor.read('ok'), OK_SEEN);
});

test('gives no body to HEAD, 204 and 304, and goes on with the connection', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  const cases: readonly (readonly [string, string])[] = [
    ['HEAD', 'HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n'],
    ['HEAD', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n'],
    ['GET', 'HTTP/1.1 204 No Content\r\n'],
    ['GET', 'HTTP/1.1 304 Not Modified\r\nContent-Length: 5000\r\n'],
  ];
  for (const [method, answer] of cases) {
    visitor.send(get().replace('GET', method));
    const peer = upstream.peers[0] ?? (await upstream.next());
    await peer.read(HEAD_END);
    peer.send(`${answer}\r\n`);
    assert.equal(await visitor.read(HEAD_END), `${answer}${VIA}\r\n`);
  }
  assert.equal(edge.router.streams.length, 1);
});

test('delivers an answer that comes before the body, and then closes', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  visitor.send('POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\npart');
  const peer = await upstream.next();
  await peer.read('part');
  peer.send('HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno');
  assert.equal(
    await visitor.readEnd(),
    `HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n${VIA}Connection: close\r\n\r\nno`,
  );
  assert.equal(visitor.ending, 'fin');
  assert.deepEqual(edge.router.streams[0]?.log, ['reset SLW_STREAM_CANCELLED']);
});

test('goes on sending the body while an early answer is under way', async (t) => {
  const { upstream, visitor } = await scene(t);
  visitor.send('POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 8\r\n\r\npart');
  const peer = await upstream.next();
  await peer.read('part');
  peer.send('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npa');
  await visitor.read('pa');
  visitor.send('more');
  await peer.read('more');
  peer.send('rt');
  assert.equal(await visitor.readEnd(), 'rt');
  assert.equal(visitor.ending, 'fin');
});

test('ends a response without length at a clean FIN, and closes', async (t) => {
  const { upstream, visitor } = await scene(t);
  visitor.send(get());
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send('HTTP/1.0 200 OK\r\n\r\nall ');
  peer.socket.end('of it');
  assert.equal(
    await visitor.readEnd(),
    'HTTP/1.1 200 OK\r\nVia: 1.0 sluiceway\r\nConnection: close\r\n\r\nall of it',
  );
  assert.equal(visitor.ending, 'fin');
});

test('cuts the visitor when a response ends before its end', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const framings = ['Content-Length: 10\r\n', 'Transfer-Encoding: chunked\r\n', ''];
  for (const fields of framings) {
    for (const how of ['fin', 'lost'] as const) {
      if (fields === '' && how === 'fin') continue;
      const visitor = await edge.visit();
      visitor.send(get());
      const peer = await upstream.next();
      await peer.read(HEAD_END);
      peer.send(`HTTP/1.1 200 OK\r\n${fields}\r\n4\r\nab`);
      await visitor.read('ab');
      if (how === 'fin') peer.socket.end();
      else edge.router.streams.at(-1)?.lose('SLW_LINK_LOST');
      assert.equal(await visitor.readEnd(), '', `${fields}${how}`);
      assert.equal(visitor.ending, 'cut', `${fields}${how}`);
    }
  }
  assert.equal(edge.metered.length, 5);
});

test('cuts the visitor when chunks of a response are malformed', async (t) => {
  const { upstream, visitor } = await scene(t);
  visitor.send(get());
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n');
  await visitor.read('ab\r\n');
  peer.send('zz\r\n');
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
});

test('answers 502, 503 or 504 when no byte of a response has come', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  for (const [code, status] of [
    ['SLW_LINK_LOST', 502],
    ['SLW_STREAM_DRAINED', 503],
    ['SLW_STREAM_OPEN_TIMEOUT', 504],
    ['SLW_STREAM_CONNECT_TIMEOUT', 504],
  ] as const) {
    const visitor = await edge.visit();
    visitor.send(get());
    const peer = await upstream.next();
    await peer.read(HEAD_END);
    edge.router.streams.at(-1)?.lose(code);
    assert.equal(statusOf(await visitor.readEnd()), status);
    assert.equal(visitor.ending, 'fin');
  }
  edge.router.tunnels.set('refused.example', 1);
  const refused = await edge.visit();
  refused.send('GET / HTTP/1.1\r\nHost: refused.example\r\n\r\n');
  assert.equal(statusOf(await refused.readEnd()), 502);
  edge.router.tunnels.set('gone.example', 'SLW_STREAM_NO_LINK');
  const gone = await edge.visit();
  gone.send('HEAD / HTTP/1.1\r\nHost: gone.example\r\n\r\n');
  const page = await gone.readEnd();
  assert.equal(statusOf(page), 503);
  assert.match(page, /\r\nRetry-After: 5\r\n/);
  assert.match(page, HEAD_END);
  assert.equal(edge.metered.length, 6);
});

test('answers 502 to every response that cannot be framed, and to a silent end', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const bad = [
    'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n',
    'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(17),
    'HTTP/1.1 000 x\r\n\r\n',
    `HTTP/1.1 200 OK\r\nA: ${'x'.repeat(20_000)}\r\n\r\n`,
    'HTTP/1.1 200 OK\r\nA',
    '',
  ];
  for (const text of bad) {
    const visitor = await edge.visit();
    visitor.send(get());
    const peer = await upstream.next();
    await peer.read(HEAD_END);
    peer.socket.end(text);
    const seen = (await visitor.readEnd()).replaceAll(/HTTP\/1.1 103[\s\S]*?\r\n\r\n/g, '');
    assert.equal(statusOf(seen), 502, text.slice(0, 60));
  }
});

test('gives an HTTP/1.0 visitor plain data and closes, or keeps it alive when it may', async (t) => {
  const { edge, upstream, visitor } = await scene(t);
  const ask = async (fields: string, answer: string): Promise<Peer> => {
    visitor.send(get('/', fields, '1.0'));
    const peer = upstream.peers[0] ?? (await upstream.next());
    assert.match(await peer.read(HEAD_END), /^GET \/ HTTP\/1.1\r\nHost: a.example\r\n/);
    return peer.send(answer);
  };
  await ask('Connection: keep-alive\r\n', OK);
  assert.equal(
    await visitor.read('ok'),
    `HTTP/1.1 200 OK\r\nContent-Length: 2\r\n${VIA}Connection: keep-alive\r\n\r\nok`,
  );
  const chunks = '5\r\nhello\r\n6;x\r\n world\r\n0\r\nA: b\r\n\r\n';
  await ask(
    'Connection: keep-alive\r\n',
    `HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}`,
  );
  assert.equal(
    await visitor.readEnd(),
    `HTTP/1.1 200 OK\r\n${VIA}Connection: close\r\n\r\nhello world`,
  );
  assert.equal(visitor.ending, 'fin');

  edge.router.tunnels.set('*', upstream.port);
  const nameless = await edge.visit();
  nameless.send('GET / HTTP/1.0\r\n\r\n');
  const peer = await upstream.next();
  assert.match(await peer.read(HEAD_END), /\r\nHost: 127\.0\.0\.1:\d+\r\n/);
  peer.send(OK);
  await nameless.readEnd();
});

test('serves a visitor who sends FIN after a whole request', async (t) => {
  const { upstream, visitor } = await scene(t);
  visitor.socket.end(get());
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  peer.send(OK);
  assert.equal(await visitor.readEnd(), OK_SEEN);
  assert.equal(visitor.ending, 'fin');
});

test('gives up the stream of a visitor who leaves', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const body = 'POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\npart';
  for (const [request, how] of [
    [body, 'fin'],
    [body, 'cut'],
    [get(), 'cut'],
  ] as const) {
    const visitor = await edge.visit();
    visitor.send(request);
    const peer = await upstream.next();
    await peer.read(/\r\n\r\n(part)?$/);
    if (how === 'fin') visitor.socket.end();
    else visitor.socket.resetAndDestroy();
    await peer.readEnd();
    assert.equal(peer.ending, 'cut');
  }
});
