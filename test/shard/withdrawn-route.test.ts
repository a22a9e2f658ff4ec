// Goal: what a visitor connection keeps never outlives the route that it leads along: no request
// goes to a client that has withdrawn its tunnel, and none passes unasked because of it. Method:
// the real router and ingress, routes as control would publish them, each link an upstream.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ANN, answer, ask, HEAD_END, LOGIN, RoutedEdge, SHARD, SITE } from './routed-edge.ts';

const ALLOWED = 'X-Forwarded-For: 203.0.113.9\r\n';
const FORBIDDEN = 'X-Forwarded-For: 198.51.100.1\r\n';

function get(path: string, fields = ''): string {
  return `GET ${path} HTTP/1.1\r\nHost: ${SITE}\r\n${fields}\r\n`;
}

function statusOf(text: string): number {
  return Number(text.slice(9, 12));
}

for (const [what, options, allowed, forbidden] of [
  ['login', LOGIN, ANN, 'X-Auth-Request-User: root\r\n'],
  ['list', { 'allow-ips': ['203.0.113.0/24'] }, ALLOWED, FORBIDDEN],
] as const) {
  test(`a ${what} is not open to everybody once its client has withdrawn the tunnel`, async (t) => {
    const scene = await RoutedEdge.start(t);
    const upstream = await scene.link('one');
    scene.add('one', options);
    const visitor = await scene.visit();
    const kept = await ask(visitor, upstream, get('/', allowed));
    scene.withdraw('one');
    visitor.send(get('/secret', forbidden));
    assert.equal(statusOf(await visitor.readEnd()), 503);
    await kept.readEnd();
    assert.equal(kept.text, '');
    assert.equal(upstream.peers.length, 1);
  });

  test(`a ${what} that is declared later is asked of a connection that was let in`, async (t) => {
    const scene = await RoutedEdge.start(t);
    const upstream = await scene.link('one');
    scene.add('one');
    const visitor = await scene.visit();
    const kept = await ask(visitor, upstream, get('/', forbidden));
    scene.add('one', options);
    visitor.send(get('/', allowed));
    await answer(visitor, kept);
    visitor.send(get('/secret', forbidden));
    assert.equal(statusOf(await visitor.readEnd()), what === 'login' ? 401 : 403);
  });
}

for (const [where, shard] of [
  ['this shard', SHARD],
  ['another shard', SHARD + 1],
] as const) {
  test(`a client of ${where} that withdraws gets no further request`, async (t) => {
    const scene = await RoutedEdge.start(t);
    const [ill, well] = [await scene.link('ill'), await scene.link('well')];
    scene.add('ill', {}, shard);
    const visitor = await scene.visit();
    const kept = await ask(visitor, ill, get('/1'));
    scene.add('well', {}, shard);
    visitor.send(get('/2'));
    await answer(visitor, kept);
    scene.withdraw('ill');
    const next = await ask(visitor, well, get('/3'));
    assert.equal(await kept.readEnd(), '');
    // It is well again: new visitors may come, and this one has no reason to.
    scene.add('ill', {}, shard);
    visitor.send(get('/4'));
    await answer(visitor, next);
    assert.deepEqual(scene.endings, ['end', '']);
  });
}

test('an idle connection lets the stream of a withdrawn route go', async (t) => {
  const scene = await RoutedEdge.start(t);
  const upstream = await scene.link('one');
  scene.add('one');
  const visitor = await scene.visit();
  const kept = await ask(visitor, upstream, get('/'));
  scene.edge.pass(1000);
  assert.deepEqual(scene.endings, ['']);
  scene.withdraw('one');
  scene.edge.pass(1000);
  await kept.readEnd();
  assert.deepEqual(scene.endings, ['end']);
});

test('a route that comes back is another one, with its own rules', async (t) => {
  const scene = await RoutedEdge.start(t);
  const upstream = await scene.link('one');
  scene.add('one', { 'request-header-add': ['Rule: old'] });
  const visitor = await scene.visit();
  const kept = await ask(visitor, upstream, get('/1'));
  scene.withdraw('one');
  scene.add('one', { 'request-header-add': ['Rule: new'] });
  visitor.send(get('/2'));
  const next = await upstream.next();
  assert.match((await answer(visitor, next)).request, /^Rule: new\r$/m);
  await kept.readEnd();
  scene.add('one', { 'request-header-add': ['Rule: newest'] });
  visitor.send(get('/3'));
  assert.match((await answer(visitor, next)).request, /^Rule: newest\r$/m);
});

test('what is under way when its route is withdrawn is carried to its end', async (t) => {
  const scene = await RoutedEdge.start(t);
  const upstream = await scene.link('one');
  scene.add('one');
  const [visitor, socket] = [await scene.visit(), await scene.visit()];
  visitor.send(get('/'));
  const asked = await upstream.next();
  socket.send(get('/', 'Connection: Upgrade\r\nUpgrade: websocket\r\n'));
  const switched = await upstream.next();
  await switched.read(HEAD_END);
  switched.send('HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n');
  await socket.read(HEAD_END);
  scene.withdraw('one');
  scene.edge.pass(1000);
  await answer(visitor, asked);
  socket.send('ping');
  await switched.read('ping');
  visitor.send(get('/'));
  assert.equal(statusOf(await visitor.readEnd()), 503);
});
