// Goal: a visitor who takes nothing of what waits for it is cut after five minutes, whatever state
// its connection is in; who takes some now and then is not. Method: the HTTP ingress on real
// sockets, visitors that pause, a clock moved by hand.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type TestContext, test } from 'node:test';
import { UNTAKEN_MS_MAX } from '../../src/shard/uptake.ts';
import { eventually } from '../support/deadline.ts';
import {
  type Edge,
  LIMITS,
  type Peer,
  startEdge,
  turns,
  type Upstream,
} from '../support/http-edge.ts';
import type { LoopbackStream } from '../support/http-stream.ts';

const WAIT_MS = 5000;
const HEAD_END = /\r\n\r\n$/;
const GET = 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n';
/** More than kernels take for who does not read. */
const LARGE_BYTES = 64 * 1024 * 1024;

interface Scene {
  readonly edge: Edge;
  readonly upstream: Upstream;
  readonly visitor: Peer;
  readonly peer: Peer;
  readonly stream: LoopbackStream;
}

/** A visitor who has asked, and reads nothing; its request is with the upstream. */
async function ask(t: TestContext): Promise<Scene> {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.socket.pause();
  visitor.send(GET);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  const [stream] = edge.router.streams;
  assert.ok(stream !== undefined);
  return { edge, upstream, visitor, peer, stream };
}

async function untilStill(value: () => number): Promise<void> {
  let seen = Number.NaN;
  while (value() !== seen) {
    seen = value();
    await turns(300);
  }
}

/** Begins an answer that never fits, and waits until nothing moves. */
async function answerLarge({ edge, peer, stream }: Scene): Promise<void> {
  peer.send(`HTTP/1.1 200 OK\r\nContent-Length: ${LARGE_BYTES}\r\n\r\n`);
  peer.socket.write(Buffer.alloc(LARGE_BYTES, 'x'));
  await untilStill(() => stream.receivedBytes);
  assert.ok(stream.receivedBytes > stream.consumedBytes, 'some of the answer waits');
  edge.pass(0);
}

/** As little as makes the visitor's kernel take more. */
async function takeSome({ visitor, stream }: Scene): Promise<void> {
  const before = stream.consumedBytes;
  while (stream.consumedBytes === before) {
    visitor.socket.resume();
    await once(visitor.socket, 'data');
    visitor.socket.pause();
    await turns(3);
  }
  await untilStill(() => stream.receivedBytes);
}

async function untilGone(edge: Edge): Promise<void> {
  await eventually(WAIT_MS, 'the connection is gone', async () => {
    assert.equal(edge.ingress.connectionsCount, 0);
  });
}

test('who takes nothing of an answer under way is cut, and its upstream told', async (t) => {
  const scene = await ask(t);
  const { edge, visitor, peer, stream } = scene;
  await answerLarge(scene);
  edge.pass(UNTAKEN_MS_MAX - 1);
  await turns();
  assert.equal(edge.ingress.connectionsCount, 1);
  edge.pass(1);
  await untilGone(edge);
  assert.deepEqual(stream.log, ['reset SLW_STREAM_IDLE']);
  assert.deepEqual(edge.metered, [{ tunnel: 'a.example', method: 'GET', status: 200 }]);
  await peer.readEnd();
  visitor.socket.resume();
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
});

test('who takes some of it now and then is not cut', async (t) => {
  const scene = await ask(t);
  const { edge } = scene;
  await answerLarge(scene);
  for (let round = 0; round < 3; round += 1) {
    edge.pass(UNTAKEN_MS_MAX - 1);
    await turns();
    assert.equal(edge.ingress.connectionsCount, 1, `after ${round} times`);
    await takeSome(scene);
    edge.pass(1);
  }
  edge.pass(UNTAKEN_MS_MAX);
  await untilGone(edge);
});

test('an upstream that is silent for hours cuts nobody who has taken all', async (t) => {
  const { edge, visitor, peer } = await ask(t);
  visitor.socket.resume();
  peer.send('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no');
  await visitor.read('o');
  for (let hour = 0; hour < 5; hour += 1) edge.pass(3_600_000);
  peer.send('k');
  await visitor.read('k');
  assert.equal(visitor.ending, 'open');
});

test('who leaves the end of a whole answer is cut behind its keep-alive time', async (t) => {
  const { edge, peer, stream } = await ask(t);
  peer.send('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n');
  const chunk = Buffer.alloc(32 * 1024, 'x');
  // Some waits, and less than would hold its next request up.
  while (stream.receivedBytes - stream.consumedBytes < chunk.length) {
    peer.send('8000\r\n').send(chunk).send('\r\n');
    await turns(3);
  }
  peer.send('0\r\n\r\n');
  await eventually(WAIT_MS, 'it is answered', async () => assert.equal(edge.metered.length, 1));
  edge.pass(0);
  edge.pass(LIMITS.keepAliveTimeoutMs);
  assert.deepEqual(stream.log, ['end'], 'let go');
  // Beside the end that has just begun no stream here can be reset.
  await turns();
  edge.pass(UNTAKEN_MS_MAX - LIMITS.keepAliveTimeoutMs - 1);
  await turns();
  assert.equal(edge.ingress.connectionsCount, 1);
  edge.pass(1);
  await untilGone(edge);
});

test('who asks on and on and takes nothing is cut', async (t) => {
  const { edge, upstream, visitor, peer } = await ask(t);
  visitor.send(GET.repeat(399));
  const body = 'x'.repeat(200_000);
  const answer = `HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 200000\r\n\r\n${body}`;
  let asked = peer;
  let answered = 0;
  for (;;) {
    asked.socket.end(answer);
    answered += 1;
    await eventually(WAIT_MS, 'it is answered', async () => {
      assert.equal(edge.metered.length, answered);
    });
    await turns(300);
    if (upstream.peers.length === answered) break;
    asked = await upstream.next();
    await asked.read(HEAD_END);
  }
  assert.ok(answered < 400, 'it was never held back');
  edge.pass(0);
  edge.pass(UNTAKEN_MS_MAX - 1);
  await turns();
  assert.equal(edge.ingress.connectionsCount, 1);
  edge.pass(1);
  await untilGone(edge);
  assert.equal(upstream.peers.length, answered, 'nothing is asked for who is gone');
});
