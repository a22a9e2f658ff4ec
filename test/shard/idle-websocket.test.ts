// A visitor's WebSocket that says nothing for a quarter of an hour, by a clock that a test moves:
// with the defaults no deadline of HTTP is left on it, and it still carries bytes both ways.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LIMITS, startEdge } from '../support/http-edge.ts';

const MINUTE_MS = 60_000;
const UPGRADE =
  'GET /chat HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const SWITCH =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

test('a WebSocket that is idle for 15 minutes lives on', async (t) => {
  const edge = await startEdge(t);
  assert.equal(LIMITS.tcpIdleTimeoutMs, 0, 'the default, which is no limit');
  const upstream = await edge.upstream('a.example');
  const visitor = await edge.visit();
  visitor.send(UPGRADE);
  const peer = await upstream.next();
  await peer.read(/\r\n\r\n$/);
  peer.send(SWITCH);
  await visitor.read(/\r\n\r\n$/);
  for (let minute = 0; minute < 15; minute += 1) edge.pass(MINUTE_MS);
  visitor.send('still here?');
  await peer.read('still here?');
  peer.send('still here');
  await visitor.read('still here');
  assert.equal(visitor.ending, 'open');
});
