// What the exit node answers by itself over plain HTTP: challenges, and the way to HTTPS.

import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { networkSet } from '../../src/base/network-set.ts';
import { AcmeChallenges } from '../../src/shard/acme-challenges.ts';
import { frontOptions } from '../../src/shard/http-front.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Edge, startEdge } from '../support/http-edge.ts';

const CHALLENGE = { kind: 'http-01', token: 'tok_en-1', text: 'tok_en-1.thumb' } as const;

async function startFront(
  t: TestContext,
  redirectPort: number,
  scheme: 'http' | 'https' = 'http',
): Promise<{ edge: Edge; challenges: AcmeChallenges; clock: FakeClock }> {
  const clock = new FakeClock();
  const challenges = new AcmeChallenges(clock);
  const ingress = frontOptions({ hstsMaxAgeSeconds: 60, redirectPort }, challenges);
  const edge = await startEdge(t, { ingress, accept: { scheme } });
  return { edge, challenges, clock };
}

async function ask(edge: Edge, head: string): Promise<string> {
  const visitor = await edge.visit();
  visitor.send(`${head}\r\n\r\n`);
  return visitor.readEnd();
}

const asking = (token: string): string =>
  `GET /.well-known/acme-challenge/${token} HTTP/1.1\r\nHost: a.test`;

test('answers a challenge before it looks for a tunnel, and no other path', async (t) => {
  const { edge, challenges, clock } = await startFront(t, 443);
  assert.match(await ask(edge, asking('tok_en-1')), /^HTTP\/1\.1 404 /);
  challenges.set([CHALLENGE]);
  const answer = await ask(edge, asking('tok_en-1'));
  assert.match(answer, /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\ntok_en-1\.thumb$/);
  for (const other of ['tok_en-2', 'tok_en-1/', '', 'tok_en-1?x=y']) {
    assert.match(await ask(edge, asking(other)), /^HTTP\/1\.1 404 /, other);
  }
  clock.advance(15 * 60_000);
  challenges.sweep(clock.nowMs());
  assert.match(await ask(edge, asking('tok_en-1')), /^HTTP\/1\.1 404 /);
});

test('passes challenges of an upstream on', async (t) => {
  const { edge, challenges } = await startFront(t, 443);
  challenges.set([CHALLENGE]);
  const upstream = await edge.upstream('a.test');
  const visitor = await edge.visit();
  visitor.send(`${asking('its-own')}\r\nConnection: close\r\n\r\n`);
  const peer = await upstream.next();
  await peer.read('\r\n\r\n');
  peer.send('HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine');
  const answer = await visitor.readEnd();
  assert.match(answer, /mine$/);
  assert.doesNotMatch(answer, /Strict-Transport-Security/);
});

test('sends plain requests of a known host to HTTPS, with their path', async (t) => {
  const { edge } = await startFront(t, 443);
  await edge.upstream('a.test');
  const answer = await ask(edge, 'POST /p/q?r=s HTTP/1.1\r\nHost: A.test:80\r\nContent-Length: 0');
  assert.match(answer, /^HTTP\/1\.1 308 [\s\S]*\r\nLocation: https:\/\/a\.test\/p\/q\?r=s\r\n/);
  assert.deepEqual(edge.metered.at(-1), { tunnel: 'a.test', method: 'POST', status: 308 });
  const unknown = await ask(edge, 'GET / HTTP/1.1\r\nHost: b.test');
  assert.match(unknown, /^HTTP\/1\.1 404 /);
});

test('a request without a host is not served over plain HTTP either', async (t) => {
  const { edge } = await startFront(t, 443);
  await edge.upstream('*');
  assert.match(await ask(edge, 'GET / HTTP/1.0'), /^HTTP\/1\.1 404 /);
  assert.equal(edge.router.streams.length, 0);
  const over = await startFront(t, 443, 'https');
  const upstream = await over.edge.upstream('*');
  const visitor = await over.edge.visit();
  visitor.send('GET / HTTP/1.0\r\n\r\n');
  const peer = await upstream.next();
  await peer.read('\r\n\r\n');
  peer.socket.end('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 200 /);
});

test('names a port that is not the usual one', async (t) => {
  const { edge } = await startFront(t, 8443);
  await edge.upstream('a.test');
  const answer = await ask(edge, 'GET / HTTP/1.1\r\nHost: a.test');
  assert.match(answer, /\r\nLocation: https:\/\/a\.test:8443\/\r\n/);
});

test('redirects nobody who came over HTTPS', async (t) => {
  const { edge } = await startFront(t, 443, 'https');
  const upstream = await edge.upstream('a.test');
  const visitor = await edge.visit();
  visitor.send('GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n');
  const peer = await upstream.next();
  await peer.read('\r\n\r\n');
  peer.send('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 200 OK/);
});

test('believes a trusted proxy that TLS was ended before', async (t) => {
  const challenges = new AcmeChallenges(new FakeClock());
  const front = frontOptions({ hstsMaxAgeSeconds: 0, redirectPort: 443 }, challenges);
  const trustedProxies = networkSet([{ address: '127.0.0.1', prefixBits: 32 }]);
  const edge = await startEdge(t, { ingress: { ...front, trustedProxies } });
  const upstream = await edge.upstream('a.test');
  const visitor = await edge.visit();
  visitor.send('GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: https\r\n\r\n');
  const peer = await upstream.next();
  await peer.read('\r\n\r\n');
  peer.send('HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n');
  await visitor.read('\r\n\r\n');
  visitor.send('GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: http\r\n\r\n');
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 308 /);
});
