// Goal: a visitor can read the last answer of its connection, however long it sends before that;
// but neither silence nor sending keeps the connection for ever. Method: the HTTP ingress on real
// sockets, a clock moved by hand.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { LINGER_MS_MAX } from '../../src/shard/http-visitor.ts';
import type { HttpIngress } from '../../src/shard/ingress-http.ts';
import { eventually } from '../support/deadline.ts';
import { startEdge, turns } from '../support/http-edge.ts';

const GET = 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n';

function statusOf(answer: string): number {
  return Number(answer.slice(9, 12));
}

test('destroys a connection that does not close after its last answer', async (t) => {
  const edge = await startEdge(t);
  const visitor = await edge.visit();
  visitor.send(GET);
  assert.equal(statusOf(await visitor.readEnd()), 404);
  visitor.send('still here');
  await turns();
  assert.equal(edge.ingress.connectionsCount, 1);
  edge.pass(10_000);
  await turns();
  assert.equal(edge.ingress.connectionsCount, 0);
});

test('lets a visitor send all before it reads its last answer, but not for ever', async (t) => {
  const sockets: Socket[] = [];
  const door = (ingress: HttpIngress) => (socket: Socket) => {
    sockets.push(socket);
    ingress.accept(socket);
  };
  const edge = await startEdge(t, { door });
  const visitor = await edge.visit();
  visitor.send('POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n');
  assert.equal(statusOf(await visitor.readEnd()), 404);
  const [socket] = sockets;
  assert.ok(socket !== undefined);
  const sendOn = async (): Promise<void> => {
    const { bytesRead } = socket;
    visitor.send('x');
    await eventually(5000, 'it is read', async () => assert.ok(socket.bytesRead > bytesRead));
  };
  for (let passedMs = 0; passedMs < LINGER_MS_MAX - 4000; passedMs += 4000) {
    await sendOn();
    edge.pass(4000);
    assert.ok(!socket.destroyed, `${passedMs + 4000} ms after the answer`);
  }
  await sendOn();
  edge.pass(4000);
  assert.ok(socket.destroyed, 'who sends on and on has its end as well');
});
