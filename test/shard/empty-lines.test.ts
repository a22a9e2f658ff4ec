// Goal: the empty line that old programs send behind a body begins no request (RFC 9112 2.2): it
// has no deadline and no answer of its own. Method: the HTTP ingress on real sockets, a clock moved
// by hand.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import type { HttpIngress } from '../../src/shard/ingress-http.ts';
import { eventually } from '../support/deadline.ts';
import { type Edge, LIMITS, type Peer, startEdge, type Upstream } from '../support/http-edge.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n';
const POST = 'POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\n\r\nhi';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

interface Scene {
  readonly edge: Edge;
  readonly visitor: Peer;
  /** The upstream gets one more request of the visitor, and answers. */
  answer(): Promise<void>;
  /** Sends, and waits until it is read. */
  send(text: string): Promise<void>;
}

async function start(t: TestContext): Promise<Scene> {
  const sockets: Socket[] = [];
  const door = (ingress: HttpIngress) => (socket: Socket) => {
    sockets.push(socket);
    ingress.accept(socket);
  };
  const edge = await startEdge(t, { door });
  const upstream: Upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  const bytesRead = (): number => sockets[0]?.bytesRead ?? 0;
  let sentBytes = 0;
  return {
    ...{ edge, visitor },
    answer: async () => {
      const peer = await upstream.next();
      await peer.read(/\r\n\r\n(?:hi)?$/);
      peer.socket.end(OK);
      await visitor.read('ok');
    },
    send: async (text) => {
      sentBytes += text.length;
      visitor.send(text);
      await eventually(5000, 'it is read', async () => assert.equal(bytesRead(), sentBytes));
    },
  };
}

test('an empty line behind a body is no request, whatever follows it', async (t) => {
  for (const line of ['\r\n', '\r']) {
    const { edge, visitor, answer, send } = await start(t);
    await send(`${POST}${line}`);
    await answer();
    edge.pass(LIMITS.keepAliveTimeoutMs - 1);
    assert.equal(visitor.ending, 'open');
    await send(`${'\r\n'.slice(line.length)}${GET}`);
    await answer();
    await send(line);
    edge.pass(LIMITS.keepAliveTimeoutMs);
    assert.equal(await visitor.readEnd(), '', 'nobody is told of a request that nobody made');
    assert.equal(edge.metered.length, 2);
  }
});

test('a head that begins behind an empty line has its time', async (t) => {
  const { edge, visitor, answer, send } = await start(t);
  await send(POST);
  await answer();
  await send('\r\n');
  edge.pass(LIMITS.keepAliveTimeoutMs - 1);
  await send('GET / HTTP/1.1\r\n');
  edge.pass(LIMITS.headerTimeoutMs - 1);
  assert.equal(visitor.ending, 'open');
  edge.pass(1);
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 408 /);
});
