// Goal: a visitor that has left during a silent answer keeps nothing for longer than five minutes,
// and one that has closed its side on purpose still gets its answer. Method: the HTTP ingress on
// real sockets, plain and TLS, with a clock moved by hand.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import tls from 'node:tls';
import { STILL_MS_MAX } from '../../src/shard/stillness.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import {
  type Edge,
  type EdgeOptions,
  LIMITS,
  Peer,
  startEdge,
  turns,
  type Upstream,
} from '../support/http-edge.ts';
import type { LoopbackStream } from '../support/http-stream.ts';
import { PAIR_A } from '../support/test-pairs.ts';

const WAIT_MS = 5000;
const HOUR_MS = 3_600_000;
const HEAD_END = /\r\n\r\n$/;
const GET = 'GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n';
const EVENTS = 'HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n';

interface Scene {
  readonly edge: Edge;
  readonly upstream: Upstream;
  readonly visitor: Peer;
  readonly peer: Peer;
  readonly stream: LoopbackStream;
  /** The exit node's end of the visitor's connection. */
  readonly isEnded: () => boolean;
}

/** A visitor whose `request` is with the upstream. */
async function ask(
  t: TestContext,
  over: 'TCP' | 'TLS',
  { request = GET, ...limits }: Partial<typeof LIMITS> & { readonly request?: string } = {},
): Promise<Scene> {
  let isEnded = (): boolean => false;
  const door: EdgeOptions['door'] = (ingress) => {
    const server = tls.createServer({ ...PAIR_A }, (secure) => {
      secure.allowHalfOpen = true;
      isEnded = () => secure.readableEnded;
      ingress.accept(secure, { scheme: 'https' });
    });
    return (socket) => {
      isEnded = () => socket.readableEnded;
      if (over === 'TLS') server.emit('connection', socket);
      else ingress.accept(socket);
    };
  };
  const edge = await startEdge(t, { door, limits });
  const upstream = await edge.upstream('a.test');
  const visitor = over === 'TLS' ? await visitSecurely(t, edge) : await edge.visit();
  visitor.send(request);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  const [stream] = edge.router.streams;
  assert.ok(stream !== undefined);
  return { edge, upstream, visitor, peer, stream, isEnded: () => isEnded() };
}

async function visitSecurely(t: TestContext, { port }: Edge): Promise<Peer> {
  const peer = { port, host: '127.0.0.1', ca: PAIR_A.cert, servername: 'a.test' };
  const options = { ...peer, allowHalfOpen: true };
  const socket = tls.connect(options);
  undoAfter(t, () => {
    socket.destroy();
  });
  await within(WAIT_MS, 'a handshake', once(socket, 'secureConnect'));
  return new Peer(socket);
}

/** The visitor's FIN has come, and was looked at once. */
async function untilEnded({ edge, isEnded }: Scene): Promise<void> {
  await eventually(WAIT_MS, 'the end is read', async () => assert.ok(isEnded()));
  edge.pass(0);
}

async function untilGone(edge: Edge): Promise<void> {
  await eventually(WAIT_MS, 'the connection is gone', async () => {
    assert.equal(edge.ingress.connectionsCount, 0);
  });
}

/** Nobody is given up a moment before `ms`, and then the visitor is. */
async function checkGoneAfter({ edge }: Scene, ms: number): Promise<void> {
  edge.pass(ms - 1);
  await turns();
  assert.equal(edge.ingress.connectionsCount, 1);
  edge.pass(1);
  await untilGone(edge);
}

/** The visitor has the head of an answer that stays silent, and goes; then it is given up. */
async function leaveSilentAnswer(scene: Scene): Promise<void> {
  const { visitor, peer, stream } = scene;
  peer.send(EVENTS);
  await visitor.read(HEAD_END);
  visitor.socket.destroy();
  await untilEnded(scene);
  await checkGoneAfter(scene, STILL_MS_MAX);
  assert.deepEqual(stream.log, ['reset SLW_STREAM_HALF_CLOSED']);
}

for (const over of ['TCP', 'TLS'] as const) {
  test(`who leaves a silent answer over ${over} is given up after five minutes`, async (t) => {
    const scene = await ask(t, over);
    const { edge, peer } = scene;
    await leaveSilentAnswer(scene);
    assert.deepEqual(edge.metered, [{ tunnel: 'a.test', method: 'GET', status: 200 }]);
    await peer.readEnd();
  });

  test(`who leaves before an answer over ${over} is counted with 499`, async (t) => {
    const scene = await ask(t, over, { upstreamResponseTimeoutMs: HOUR_MS });
    const { edge, visitor, stream } = scene;
    visitor.socket.destroy();
    await untilEnded(scene);
    await checkGoneAfter(scene, STILL_MS_MAX);
    assert.deepEqual(stream.log, ['reset SLW_STREAM_HALF_CLOSED']);
    assert.deepEqual(edge.metered, [{ tunnel: 'a.test', method: 'GET', status: 499 }]);
  });

  test(`who closes its own side over ${over} gets the answer of a slow upstream`, async (t) => {
    const scene = await ask(t, over, { upstreamResponseTimeoutMs: HOUR_MS });
    const { edge, visitor, peer } = scene;
    visitor.socket.end();
    await untilEnded(scene);
    for (const piece of [OK, 'o', 'k']) {
      edge.pass(STILL_MS_MAX - 1);
      await turns();
      peer.send(piece);
      await visitor.read(piece.slice(-1));
      edge.pass(0);
    }
    await visitor.readEnd();
    assert.equal(visitor.ending, 'fin');
    assert.deepEqual(edge.metered, [{ tunnel: 'a.test', method: 'GET', status: 200 }]);
  });
}

test('--half-close-timeout ends it sooner', async (t) => {
  const scene = await ask(t, 'TCP', { halfCloseTimeoutMs: 10_000 });
  const { visitor, peer } = scene;
  peer.send(EVENTS);
  await visitor.read(HEAD_END);
  visitor.socket.end();
  await untilEnded(scene);
  await checkGoneAfter(scene, 10_000);
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
});

test('a request that moves on toward a slow upstream keeps its visitor', async (t) => {
  const head = 'POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n';
  const scene = await ask(t, 'TCP', { request: head, upstreamResponseTimeoutMs: HOUR_MS });
  const { edge, visitor, peer, stream } = scene;
  peer.socket.pause();
  const chunk = Buffer.concat([Buffer.from('8000\r\n'), Buffer.alloc(0x8000), Buffer.from('\r\n')]);
  while (stream.queuedBytes === 0) {
    visitor.send(chunk);
    await turns(3);
  }
  visitor.send('0\r\n\r\n');
  visitor.socket.end();
  await untilEnded(scene);
  edge.pass(STILL_MS_MAX - 1);
  const before = stream.queuedBytes;
  while (stream.queuedBytes === before) {
    peer.socket.resume();
    await within(WAIT_MS, 'some of the request', once(peer.socket, 'data'));
    peer.socket.pause();
    await turns(3);
  }
  edge.pass(1);
  await checkGoneAfter(scene, STILL_MS_MAX);
});

for (const behind of ['\r\n', GET]) {
  const sent = behind === GET ? 'a request' : 'a stray line';
  test(`sees a visitor cut behind ${sent} sent ahead`, async (t) => {
    const { edge, visitor, peer, stream } = await ask(t, 'TCP', { request: GET + behind });
    peer.send(EVENTS);
    await visitor.read(HEAD_END);
    visitor.socket.resetAndDestroy();
    await untilGone(edge);
    assert.deepEqual(stream.log, ['reset SLW_STREAM_CANCELLED']);
  });

  test(`sees a visitor end behind ${sent} sent ahead`, async (t) => {
    const scene = await ask(t, 'TCP', { request: GET + behind });
    await leaveSilentAnswer(scene);
  });
}

test('who sends more ahead than is read is given up once all is still', async (t) => {
  const ahead = GET.repeat(1000);
  const scene = await ask(t, 'TCP', { request: GET + ahead });
  const { edge, visitor, peer, stream } = scene;
  peer.send(EVENTS);
  await visitor.read(HEAD_END);
  edge.pass(0);
  edge.pass(STILL_MS_MAX - 1);
  peer.send(': alive\n\n');
  await visitor.read('\n\n');
  edge.pass(0);
  visitor.socket.destroy();
  await checkGoneAfter(scene, STILL_MS_MAX);
  assert.deepEqual(stream.log, ['reset SLW_STREAM_IDLE']);
});

test('what dribbles in behind a request does not put off the answer that is due', async (t) => {
  const { edge, visitor } = await ask(t, 'TCP');
  const { upstreamResponseTimeoutMs } = LIMITS;
  for (const byte of 'GET') {
    edge.pass(upstreamResponseTimeoutMs / 3);
    visitor.send(byte);
    await turns();
  }
  edge.pass(0);
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 504 /);
});

test('all that was sent ahead, in many parts, is answered in order', async (t) => {
  const { edge, visitor, peer } = await ask(t, 'TCP');
  const requests = Array.from({ length: 60 }, (_, index) =>
    GET.replace('/events', `/${index}/${'x'.repeat(1000)}`),
  );
  for (const request of requests) {
    visitor.send(request);
    await turns(2);
  }
  for (const [index] of requests.entries()) {
    peer.send(`${OK}ok`);
    const head = await peer.read(HEAD_END);
    assert.ok(head.startsWith(`GET /${index}/`), head.slice(0, 40));
  }
  peer.send(`${OK}ok`);
  await eventually(WAIT_MS, 'all are answered', async () => {
    assert.equal(edge.metered.length, requests.length + 1);
  });
});
