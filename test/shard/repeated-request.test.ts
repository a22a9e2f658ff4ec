// Goal: a request is sent to a second client only where nothing was lost with the first, and as the
// visitor's own. Method: the real router and ingress; streams end as sessions would have them end.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answer, RoutedEdge, SITE } from './routed-edge.ts';

const POST = `POST / HTTP/1.1\r\nHost: ${SITE}\r\nContent-Length: 2\r\n\r\nhi`;

for (const [what, code, isRepeated] of [
  ['was refused as its client drains', 'SLW_LINK_DRAINING', true],
  ['was cut off as a server stops', 'SLW_STREAM_DRAINED', false],
] as const) {
  test(`a POST whose stream ${what} is ${isRepeated ? '' : 'not '}sent to another`, async (t) => {
    const scene = await RoutedEdge.start(t);
    const [one, two] = [await scene.link('one'), await scene.link('two')];
    scene.add('one');
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
