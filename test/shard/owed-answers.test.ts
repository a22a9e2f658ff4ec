// Goal: what waits for slow visitors of whole answers is on the account of their link's session
// until they take it, and its limit cuts them; who takes it gets all. Method: the HTTP ingress on
// real sockets, with visitors that pause, over one real session whose peer a test answers for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { type Peer, turns } from '../support/http-edge.ts';
import {
  answer,
  ask,
  CHUNK,
  CLOSING,
  close,
  GET,
  KEPT,
  nextStream,
  readWhole,
  say,
  scene,
  untilNothingIsHeld,
  untilTakenBack,
  WAIT_MS,
  WAITING_BYTES,
} from './link-scene.ts';

const UPGRADE =
  'GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';
const SWITCH =
  'HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n';

test('what waits of a whole answer is held by its session until it is taken', async (t) => {
  const at = await scene(t);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, CLOSING);
  await close(at, stream);
  assert.ok(stream.isEnded, 'let go, both ways');
  assert.ok(at.link.session.memory.heldBytes >= WAITING_BYTES, 'some of it waits');
  await readWhole(visitor);
  await untilNothingIsHeld(at);
});

test('so is that of a kept stream that is let go, and its farewell ends nothing', async (t) => {
  const at = await scene(t);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, KEPT);
  at.edge.pass(3600);
  assert.equal(at.link.written(FRAME.FIN).length, 1, 'let go');
  assert.ok(at.link.session.memory.heldBytes >= WAITING_BYTES);
  // Its upstream does not close.
  at.edge.pass(5000);
  assert.equal(at.link.written(FRAME.RST).length, 1);
  assert.ok(at.link.session.memory.heldBytes >= WAITING_BYTES);
  await readWhole(visitor);
  await untilNothingIsHeld(at);
});

test('so is that of an answer which came before the end of its request', async (t) => {
  const at = await scene(t);
  const upload = 'POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9\r\n\r\n';
  const { visitor, stream } = await ask(at, upload);
  await answer(at, stream, KEPT);
  assert.equal(at.link.written(FRAME.RST).length, 1, 'nobody wants the rest of it');
  assert.ok(at.link.session.memory.heldBytes >= WAITING_BYTES);
  // Late, and of no use.
  say(at, stream, CHUNK);
  await readWhole(visitor);
  await untilNothingIsHeld(at);
});

test('what an upstream says behind its answer is not held', async (t) => {
  const at = await scene(t);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, CLOSING);
  const { heldBytes } = at.link.session.memory;
  at.link.deliver(bodyFrame(FRAME.DATA, stream.id, Buffer.alloc(20_000)), 3000);
  assert.equal(at.link.written(FRAME.RST).length, 1);
  assert.equal(at.link.session.memory.heldBytes, heldBytes);
  await readWhole(visitor);
  await untilNothingIsHeld(at);
});

test('who leaves gives back what waited', async (t) => {
  const at = await scene(t);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, CLOSING);
  await close(at, stream);
  assert.ok(at.link.session.memory.heldBytes >= WAITING_BYTES);
  visitor.socket.resetAndDestroy();
  await untilNothingIsHeld(at);
});

test('at its limit the visitors are cut who have whole answers and take none', async (t) => {
  const at = await scene(t, 200_000);
  const visitors: Peer[] = [];
  for (let count = 0; count < 12; count += 1) {
    const { visitor, stream } = await ask(at);
    await answer(at, stream, CLOSING);
    await close(at, stream);
    at.link.clock.advance(1000);
    visitors.push(visitor);
    assert.ok(at.link.session.memory.heldBytes <= 200_000, `at visitor ${count}`);
  }
  await eventually(WAIT_MS, 'some are gone', async () => {
    assert.ok(at.edge.ingress.connectionsCount < 12);
  });
  const left = at.edge.ingress.connectionsCount;
  assert.ok(left > 0, 'and some are not');
  for (const visitor of visitors.slice(-left)) await readWhole(visitor);
  for (const visitor of visitors.slice(0, -left)) {
    visitor.socket.resume();
    await visitor.readEnd();
    assert.equal(visitor.ending, 'cut');
  }
  await untilNothingIsHeld(at);
});

test('no page follows an answer whose stream is reset for want of memory', async (t) => {
  const at = await scene(t, 200_000);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, KEPT);
  visitor.send(GET);
  await eventually(WAIT_MS, 'it asks once more', async () => {
    assert.equal(at.link.written(FRAME.DATA).length, 2);
  });
  at.link.clock.advance(1000);
  const { stream: other } = await ask(at);
  say(at, other, KEPT);
  while (!stream.isEnded) {
    say(at, other, CHUNK);
    await turns(5);
  }
  visitor.socket.resume();
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
  assert.ok(!visitor.text.includes('502'));
});

for (const [kind, head] of [
  ['kept', KEPT],
  ['closing', CLOSING],
] as const) {
  test(`what waits of a ${kind} answer is held by its session behind a switch`, async (t) => {
    const at = await scene(t);
    const { visitor, stream } = await ask(at);
    await answer(at, stream, head);
    if (head === CLOSING) await close(at, stream);
    visitor.send(UPGRADE);
    const next = head === KEPT ? stream : await nextStream(at, 2);
    await eventually(WAIT_MS, 'it asks once more', async () => {
      assert.equal(at.link.written(FRAME.DATA).length, 2);
    });
    say(at, next, `${SWITCH}hello`);
    await turns();
    assert.ok(at.link.session.memory.heldBytes >= WAITING_BYTES);
    visitor.socket.resume();
    await visitor.until('the answers', () => visitor.text.endsWith('\r\n\r\nhello'));
    await eventually(WAIT_MS, 'nothing is held', async () => {
      assert.equal(at.link.session.memory.heldBytes, 0);
    });
    assert.equal(at.link.session.streamsCount, 1);
    visitor.socket.resetAndDestroy();
    await untilNothingIsHeld(at);
  });
}

test('whoever was switched is cut for want of memory, with what waits from before', async (t) => {
  const at = await scene(t, 200_000);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, CLOSING);
  await close(at, stream);
  visitor.send(UPGRADE);
  say(at, await nextStream(at, 2), SWITCH);
  await turns();
  await untilTakenBack(at, stream);
  visitor.socket.resume();
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
});

test('who leaves many small answers is asked no further', async (t) => {
  const at = await scene(t);
  const { visitor, stream } = await ask(at, GET.repeat(40));
  await answer(at, stream, CLOSING);
  await close(at, stream);
  const small = 'HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok';
  const serve = async (upTo: number): Promise<void> => {
    for (let count = at.router.opened.length; count <= upTo; count += 1) {
      const next = await nextStream(at, count);
      say(at, next, small);
      await close(at, next);
    }
  };
  await serve(16);
  await turns(100);
  assert.equal(at.router.opened.length, 16, 'nothing is asked for it');
  visitor.socket.resume();
  await serve(40);
  await visitor.until('all answers', () => visitor.text.split('200 OK').length === 41);
  await untilNothingIsHeld(at);
});
