// A visitor that ends its side with a request cut short behind a whole one: what it sent ahead is
// looked at when its turn comes, long after the end was told.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Edge, type Peer, startEdge, turns } from '../support/http-edge.ts';

const HOST = 'a.example';
const FIRST = `GET /1 HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
const ANSWER = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

async function sendAll(edge: Edge, bytes: string): Promise<{ visitor: Peer; upstream: Peer }> {
  const upstreams = await edge.upstream(HOST);
  const visitor = await edge.visit();
  visitor.send(bytes);
  visitor.socket.end();
  const upstream = await upstreams.next();
  await upstream.read(/\r\n\r\n/);
  await turns();
  upstream.send(ANSWER);
  return { visitor, upstream };
}

test('cuts a visitor whose body ended too soon while it waited for its turn', async (t) => {
  const edge = await startEdge(t);
  const second = `POST /2 HTTP/1.1\r\nHost: ${HOST}\r\nContent-Length: 1000\r\n\r\nabc`;
  const { visitor, upstream } = await sendAll(edge, FIRST + second);
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 200 OK/);
  assert.equal(visitor.ending, 'cut');
  await upstream.readEnd();
});

test('closes after the answer when the head behind it was cut short', async (t) => {
  const edge = await startEdge(t);
  const { visitor } = await sendAll(edge, `${FIRST}GET /2 HTTP/1.1\r\nHos`);
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 200 OK[\s\S]*ok$/);
  assert.equal(visitor.ending, 'fin');
});

test('serves a whole request that waited for its turn', async (t) => {
  const edge = await startEdge(t);
  const { visitor, upstream } = await sendAll(edge, FIRST + FIRST.replace('/1', '/2'));
  await upstream.read(/^GET \/2 [\s\S]*\r\n\r\n$/);
  upstream.send(ANSWER);
  assert.equal((await visitor.readEnd()).match(/HTTP\/1\.1 200 OK/g)?.length, 2);
  assert.equal(visitor.ending, 'fin');
});
