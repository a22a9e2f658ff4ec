// Goal: a request is sent to a second client only where nothing was lost with the first, and as the
// visitor's own. Method: the real router and ingress; streams end as sessions would have them end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Peer } from '../support/http-edge.ts';
import { ANN, answer, HEAD_END, LOGIN, RoutedEdge, SITE } from './routed-edge.ts';

const POST = `POST / HTTP/1.1\r\nHost: ${SITE}\r\nContent-Length: 2\r\n\r\nhi`;

for (const [what, code, isRepeated] of [
  ['was refused as its client drains', 'SLW_LINK_DRAINING', true],
  ['was cut off as a server stops', 'SLW_STREAM_DRAINED', false],
] as const) {
  test(`a POST whose stream ${what} is ${isRepeated ? '' : 'not '}sent to another`, async (t) => {
    const scene = await RoutedEdge.start(t);
    const [one, two] = [await scene.link('one'), await scene.link('two')];
    scene.add('one');
    scene.acceptNothing();
    const visitor = await scene.visit();
    visitor.send(POST);
    await (await one.next()).read('hi');
    scene.add('two');
    scene.lose(code);
    if (isRepeated) {
      await answer(visitor, await two.next(), 'hi');
      return;
    }
    assert.match(await visitor.readEnd(), /^HTTP\/1\.1 503 .*\r\nRetry-After: /s);
    assert.equal(two.peers.length, 0);
    assert.deepEqual(scene.edge.metered.at(-1), { tunnel: SITE, method: 'POST', status: 503 });
  });
}

test('a request that is sent again to its client does not move its visitor to another', async (t) => {
  const scene = await RoutedEdge.start(t);
  const [one, two] = [await scene.link('one'), await scene.link('two')];
  scene.add('one', { affinity: ['cookie'] });
  const visitor = await scene.visit();
  const get = (cookie: string): string =>
    `GET / HTTP/1.1\r\nHost: ${SITE}\r\nCookie: ${cookie}\r\n\r\n`;
  visitor.send(get('a=b'));
  const first = await one.next();
  const { response } = await answer(visitor, first);
  const mark = /^Set-Cookie: (slw_[^;]+);/m.exec(response)?.[1] ?? '';
  for (const idle of ['two', 'three', 'four']) {
    await scene.link(idle);
    scene.add(idle, { affinity: ['cookie'] });
  }
  // Died of age, while it was kept: the client itself is there.
  visitor.send(get(mark));
  await first.read(HEAD_END);
  first.socket.resetAndDestroy();
  const again = await answer(visitor, await one.next());
  assert.doesNotMatch(again.response, /^Set-Cookie/m);
  assert.equal(two.peers.length, 0);
});

for (const [what, options, fields, status] of [
  ['login', LOGIN, 'X-Forwarded-For: 203.0.113.9\r\n', 401],
  ['list', { 'allow-ips': ['203.0.113.0/24'] }, ANN, 403],
] as const) {
  test(`a request goes to no other client whose ${what} it was not judged by`, async (t) => {
    const scene = await RoutedEdge.start(t);
    const [one, two] = [await scene.link('one'), await scene.link('two')];
    scene.add('one');
    scene.acceptNothing();
    const ask = async (shown: string): Promise<Peer> => {
      const visitor = await scene.visit();
      visitor.send(POST.replace('\r\n\r\n', `\r\n${shown}\r\n`));
      await (await one.next()).read('hi');
      return visitor;
    };
    const refused = await ask(fields);
    scene.add('two', options);
    scene.lose('SLW_LINK_DRAINING');
    assert.equal(Number((await refused.readEnd()).slice(9, 12)), status);
    scene.withdraw('two');
    const passed = await ask(`X-Forwarded-For: 203.0.113.9\r\n${ANN}`);
    scene.add('two', options);
    scene.lose('SLW_LINK_DRAINING');
    const { request } = await answer(passed, await two.next(), 'hi');
    assert.equal(two.peers.length, 1);
    assert.equal(request.includes('Authorization'), what !== 'login', 'what opens is hidden');
  });
}

test('a POST that its upstream may have seen is not sent to another, whatever is said', async (t) => {
  const scene = await RoutedEdge.start(t);
  const [one, two] = [await scene.link('one'), await scene.link('two')];
  scene.add('one');
  const visitor = await scene.visit();
  visitor.send(POST);
  await (await one.next()).read('hi');
  scene.add('two');
  scene.lose('SLW_STREAM_REFUSED');
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 502 /);
  assert.equal(two.peers.length, 0);
});
