// Goal: a request with a body is given to a client after another as long as none of them has shown
// any of it to an upstream, and arrives whole; else its visitor is told. Method: the real router
// and ingress; streams end as sessions would have them end.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { memoryPressure, PRESSURE } from '../../src/base/memory-pressure.ts';
import { KEPT_BYTES_MAX, KeptBodies } from '../../src/shard/kept-bodies.ts';
import { LATER_BYTES_MAX } from '../../src/shard/sent-request.ts';
import { eventually } from '../support/deadline.ts';
import { type Peer, turns, type Upstream } from '../support/http-edge.ts';
import { answer, HEAD_END, RoutedEdge, SITE } from './routed-edge.ts';

const WAIT_MS = 5000;
const REFUSED = 'SLW_STREAM_REFUSED';
const head = (fields: string): string => `POST / HTTP/1.1\r\nHost: ${SITE}\r\n${fields}\r\n\r\n`;

interface Scene {
  readonly edge: RoutedEdge;
  readonly two: Upstream;
  readonly visitor: Peer;
  /** What the client has of the request that is to give it up. */
  readonly first: Peer;
}

/** A request of which `sent` is with a client that did not answer yet; another has come since. */
async function begin(t: TestContext, sent: string): Promise<Scene> {
  const edge = await RoutedEdge.start(t);
  const [one, two] = [await edge.link('one'), await edge.link('two')];
  edge.add('one');
  edge.acceptNothing();
  const visitor = await edge.visit();
  visitor.send(sent);
  const first = await one.next();
  await first.read(HEAD_END);
  edge.add('two');
  return { edge, two, visitor, first };
}

test('a body that comes when its client has refused goes to another, behind its head', async (t) => {
  const { edge, two, visitor } = await begin(t, head('Content-Length: 4'));
  edge.lose(REFUSED);
  const peer = await two.next();
  await peer.read(HEAD_END);
  visitor.send('body');
  assert.equal((await answer(visitor, peer, 'body')).request, 'body');
  visitor.send(head('Content-Length: 4')).send('more');
  await answer(visitor, peer, 'more');
});

test('so does one of which some was on its way, and the rest of it follows', async (t) => {
  const { edge, two, visitor, first } = await begin(t, head('Content-Length: 12'));
  for (const part of ['one-', 'two-']) {
    visitor.send(part);
    await first.read(part);
  }
  edge.lose(REFUSED);
  const peer = await two.next();
  await peer.until('what was sent', () => peer.text.endsWith('\r\n\r\none-two-'));
  visitor.send('end.');
  const { request } = await answer(visitor, peer, 'end.');
  assert.match(request, /^POST \/ HTTP\/1\.1\r\n.*\r\n\r\none-two-end\.$/s);
});

test('so does one in chunks, cut anywhere, and what follows it is for the next', async (t) => {
  const { edge, two, visitor, first } = await begin(t, head('Transfer-Encoding: chunked'));
  for (const part of ['3\r', '\nabc\r\n4', '\r\nde']) {
    visitor.send(part);
    await first.read(part);
  }
  visitor.send(`fg\r\n0\r\n\r\n${head('Content-Length: 2')}`);
  await first.read('\r\n0\r\n\r\n');
  edge.lose(REFUSED);
  const peer = await two.next();
  const { request } = await answer(visitor, peer, '0\r\n\r\n');
  assert.equal(request.split('\r\n\r\n')[1], '3\r\nabc\r\n4\r\ndefg\r\n0');
  visitor.send('ok');
  await answer(visitor, peer, '\r\n\r\nok');
});

test('a head that came in two reads is no hindrance', async (t) => {
  const edge = await RoutedEdge.start(t);
  const [one, two] = [await edge.link('one'), await edge.link('two')];
  edge.add('one');
  edge.acceptNothing();
  const visitor = await edge.visit();
  visitor.send('POST / HTTP/1.1\r\nHo');
  await turns();
  visitor.send(`st: ${SITE}\r\nContent-Length: 2\r\n\r\nhi`);
  await (await one.next()).read('\r\n\r\nhi');
  edge.add('two');
  edge.lose(REFUSED);
  await answer(visitor, await two.next(), '\r\n\r\nhi');
});

test('a visitor that the first held back is read on when another takes more', async (t) => {
  const bytes = 1 << 20;
  const { edge, two, visitor, first } = await begin(t, head(`Content-Length: ${bytes}`));
  edge.holdBack();
  visitor.send('x'.repeat(bytes));
  await first.read('x');
  await turns();
  edge.lose(REFUSED);
  const peer = await two.next();
  const isWhole = (): boolean => peer.text.length - peer.text.indexOf('\r\n\r\n') - 4 === bytes;
  await peer.until('the body', isWhole);
  await answer(visitor, peer, 'x');
});

test('a client that has no memory for what it holds while it dials is one that refuses', async (t) => {
  const { edge, two, visitor, first } = await begin(t, head('Content-Length: 4'));
  visitor.send('body');
  await first.read('body');
  edge.lose('SLW_STREAM_MEMORY');
  await answer(visitor, await two.next(), '\r\n\r\nbody');
});

test('one after another may refuse, and each is asked once', async (t) => {
  const { edge, two, visitor } = await begin(t, head('Content-Length: 4'));
  edge.lose(REFUSED);
  const second = await two.next();
  visitor.send('body');
  await second.read('\r\n\r\nbody');
  const three = await edge.link('three');
  edge.add('three');
  edge.lose('SLW_STREAM_UNREACHABLE');
  await answer(visitor, await three.next(), '\r\n\r\nbody');
  assert.equal(edge.endings.length, 3);
});

test('when all have refused, the visitor has what the last one said', async (t) => {
  const { edge, two, visitor } = await begin(t, head('Content-Length: 2'));
  edge.lose(REFUSED);
  await two.next();
  edge.lose('SLW_STREAM_CONNECT_TIMEOUT');
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 504 /);
  assert.equal(edge.endings.length, 2);
});

test('of very many that refuse only some are asked', async (t) => {
  const edge = await RoutedEdge.start(t);
  edge.acceptNothing();
  for (let count = 0; count < 20; count += 1) {
    await edge.link(`client-${count}`);
    edge.add(`client-${count}`);
  }
  const visitor = await edge.visit();
  visitor.send(head('Content-Length: 4'));
  for (let asked = 1; visitor.ending === 'open' && asked <= 20; asked += 1) {
    await eventually(WAIT_MS, 'the next is asked, or the visitor told', async () => {
      assert.ok(edge.endings.length === asked || visitor.ending !== 'open');
    });
    edge.lose(REFUSED);
  }
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 502 /);
  assert.equal(edge.endings.length, 8);
});

for (const [what, lose] of [
  ['whose link was lost, and with it what became of it', 'SLW_LINK_LOST'],
  ['that was answered by nobody in time', 'SLW_STREAM_OPEN_TIMEOUT'],
  ['whose upstream cut it', 'SLW_STREAM_RESET'],
] as const) {
  test(`a body ${what}, is not sent again`, async (t) => {
    const { edge, two, visitor, first } = await begin(t, head('Content-Length: 4'));
    visitor.send('bo');
    await first.read('bo');
    edge.lose(lose);
    assert.match(await visitor.readEnd(), /^HTTP\/1\.1 50[24] /);
    assert.equal(two.peers.length, 0);
  });
}

test('nor is one on a stream that was used before, whatever is said', async (t) => {
  const edge = await RoutedEdge.start(t);
  const [one, two] = [await edge.link('one'), await edge.link('two')];
  edge.add('one');
  const visitor = await edge.visit();
  visitor.send(`GET / HTTP/1.1\r\nHost: ${SITE}\r\n\r\n`);
  const first = await one.next();
  await answer(visitor, first);
  visitor.send(`${head('Content-Length: 2')}hi`);
  await first.read('\r\n\r\nhi');
  edge.add('two');
  edge.lose(REFUSED);
  assert.match(await visitor.readEnd(), /^HTTP\/1\.1 502 /);
  assert.equal(two.peers.length, 0);
});

for (const what of ['more than is kept', 'more reads than are kept', 'no memory to keep it in']) {
  test(`a body of which there was ${what} is not sent again`, async (t) => {
    t.after(() => {
      memoryPressure.level = PRESSURE.NONE;
    });
    const { edge, two, visitor, first } = await begin(t, head(`Content-Length: ${1 << 20}`));
    const send = async (part: string): Promise<void> => {
      visitor.send(part);
      await first.until('a part', () => first.text.length >= part.length);
      first.text = '';
    };
    if (what === 'more than is kept') await send('x'.repeat(LATER_BYTES_MAX + 1));
    else if (what === 'no memory to keep it in') {
      memoryPressure.level = PRESSURE.HIGH;
      await send('x');
    } else for (let count = 0; count < 200; count += 1) await send('x');
    edge.lose(REFUSED);
    assert.match(await visitor.readEnd(), /^HTTP\/1\.1 502 /);
    assert.equal(two.peers.length, 0);
  });
}

test('all that is kept has a bound, and what nobody needs any more is given back', async (t) => {
  const edge = await RoutedEdge.start(t);
  const [one, two] = [await edge.link('one'), await edge.link('two')];
  edge.add('one');
  edge.acceptNothing();
  const part = 'x'.repeat(LATER_BYTES_MAX - 8 * 1024);
  const keepAll = async (count: number): Promise<readonly Peer[]> => {
    const peers: Peer[] = [];
    for (let index = 0; index < count; index += 1) {
      const visitor = await edge.visit();
      visitor.send(head(`Content-Length: ${part.length}`));
      const peer = await one.next();
      await peer.read(HEAD_END);
      visitor.send(part);
      await peer.until('its body', () => peer.text.length >= part.length);
      peers.push(visitor);
    }
    return peers;
  };
  const many = Math.floor(KEPT_BYTES_MAX / part.length);
  const first = await keepAll(many);
  const [late] = await keepAll(1);
  edge.add('two');
  edge.lose(REFUSED);
  assert.match(await (late as Peer).readEnd(), /^HTTP\/1\.1 502 /);
  assert.equal(two.peers.length, 0, 'one too many is not sent again');
  for (const visitor of [...first, late]) visitor?.socket.resetAndDestroy();
  await eventually(WAIT_MS, 'they are gone', async () => {
    assert.equal(edge.edge.ingress.connectionsCount, 0);
  });
  edge.withdraw('two');
  const [again] = await keepAll(1);
  edge.add('two');
  edge.lose(REFUSED);
  await answer(again as Peer, await two.next(), part);
});

test('a shard gives what it has, and what it gets back', () => {
  const kept = new KeptBodies();
  assert.equal(kept.take(KEPT_BYTES_MAX), true);
  assert.equal(kept.take(1), false);
  kept.giveBack(10);
  assert.equal(kept.take(11), false);
  assert.equal(kept.take(10), true);
  assert.equal(kept.bytes, KEPT_BYTES_MAX);
});
