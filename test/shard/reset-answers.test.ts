// Goal: a whole answer that waits for its visitor is delivered, and stays on the account of its
// link's session, when the client resets its stream, whatever for; half an answer is a cut.
// Method: visitors that pause, over one real session whose peer a test answers for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import type { Stream } from '../../src/mux/stream.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { turns } from '../support/http-edge.ts';
import {
  answer,
  ask,
  CHUNK,
  CLOSING,
  END,
  GET,
  KEPT,
  nextStream,
  readWhole,
  type Scene,
  say,
  scene,
  untilNothingIsHeld,
  untilTakenBack,
  WAIT_MS,
  WAITING_BYTES,
} from './link-scene.ts';

const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

/** The client gives the stream up. */
async function reset({ link }: Scene, stream: Stream, code: ErrorCode): Promise<void> {
  link.deliver(valueFrame(FRAME.RST, stream.id, ERRORS[code].wire));
  await turns();
}

for (const code of ['SLW_STREAM_MEMORY', 'SLW_STREAM_RESET'] as const) {
  for (const [what, head] of [
    ['kept stream', KEPT],
    ['stream that was to be closed', CLOSING],
  ] as const) {
    test(`a whole answer of a ${what} outlives ${code}, and is held until taken`, async (t) => {
      const at = await scene(t);
      const { visitor, stream } = await ask(at);
      await answer(at, stream, head);
      const { heldBytes } = at.link.session.memory;
      assert.ok(heldBytes >= WAITING_BYTES);
      await reset(at, stream, code);
      assert.ok(stream.isEnded);
      assert.equal(at.link.session.memory.heldBytes, heldBytes);
      await readWhole(visitor);
      await untilNothingIsHeld(at);
      assert.notEqual(visitor.ending, 'cut');
    });
  }

  test(`half an answer is cut at ${code}, and what waited of it is free`, async (t) => {
    const at = await scene(t);
    const { visitor, stream } = await ask(at);
    say(at, stream, KEPT);
    while (stream.window.heldBytes < WAITING_BYTES) {
      say(at, stream, CHUNK);
      await turns(5);
    }
    await reset(at, stream, code);
    await untilNothingIsHeld(at);
    visitor.socket.resume();
    await visitor.readEnd();
    assert.equal(visitor.ending, 'cut');
    assert.ok(!visitor.text.endsWith(END));
  });
}

test('the next request goes on another stream, and its answer follows the first', async (t) => {
  const at = await scene(t);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, KEPT);
  await reset(at, stream, 'SLW_STREAM_MEMORY');
  visitor.send(GET);
  say(at, await nextStream(at, 2), OK);
  await turns();
  visitor.socket.resume();
  await visitor.until('both', () => visitor.text.endsWith('\r\n\r\nok'));
  assert.match(visitor.text, /\r\n0\r\n\r\nHTTP\/1\.1 200 OK\r\n/);
  visitor.socket.end();
  await eventually(WAIT_MS, 'nothing is held', async () => {
    assert.equal(at.link.session.memory.heldBytes, 0);
  });
});

test('what is held behind a reset is given back where memory ends, by a cut', async (t) => {
  const at = await scene(t, 200_000);
  const { visitor, stream } = await ask(at);
  await answer(at, stream, KEPT);
  await reset(at, stream, 'SLW_STREAM_RESET');
  await untilTakenBack(at, stream);
  assert.ok(at.link.session.memory.heldBytes <= 200_000);
  visitor.socket.resume();
  await visitor.readEnd();
  assert.equal(visitor.ending, 'cut');
});

for (const [what, head] of [
  ['kept stream', KEPT],
  ['stream that was to be closed', CLOSING],
] as const) {
  test(`a whole answer of a ${what} outlives its link`, async (t) => {
    const at = await scene(t);
    const { visitor, stream } = await ask(at);
    await answer(at, stream, head);
    at.link.link.destroy();
    await turns();
    at.edge.pass(0);
    await readWhole(visitor);
    assert.notEqual(visitor.ending, 'cut');
    visitor.socket.end();
    await untilNothingIsHeld(at);
  });
}
