// A visitor's WebSocket on which nothing is said for a long time is still there afterwards.
//
// Goal: no deadline of ours ends an upgraded connection. Method: real processes and real time,
// which `npm run soak` makes a quarter of an hour; test/shard/idle-websocket.test.ts shows the same
// with a clock that is moved by hand.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { WebSocket, WebSocketServer } from 'ws';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { httpTunnel } from '../support/tunnel.ts';

const HOST = 'idle.example.com';
const IDLE_SECONDS = Number(process.env.SLUICEWAY_IDLE_SECONDS ?? 2);

test(`a WebSocket that is silent for ${IDLE_SECONDS} s goes on`, async (t) => {
  const server = http.createServer();
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket) => socket.on('message', (data) => socket.send(data)));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const tunnel = await httpTunnel(t, HOST, address.port);
  const visitor = new WebSocket(`ws://127.0.0.1:${tunnel.httpPort}/`, { headers: { Host: HOST } });
  undoAfter(t, () => {
    visitor.terminate();
  });
  await within(10_000, 'the WebSocket opens', once(visitor, 'open'));
  for (const text of ['before', 'after']) {
    visitor.send(text);
    const [answer] = await within(10_000, 'an echo', once(visitor, 'message'));
    assert.equal(String(answer), text);
    if (text === 'before') await wait(IDLE_SECONDS * 1000);
  }
});
