// Goal: a request whose body moves on toward its upstream is never overdue, however slow; one that
// has come to a standstill is, on whichever side. Method: an ingress with streams of a session in
// memory, whose peer takes what the test grants.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { Stream } from '../../src/mux/stream.ts';
import { STILL_MS_MAX } from '../../src/shard/stillness.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { type Edge, LIMITS, type Peer, startEdge } from '../support/http-edge.ts';
import { Bench } from './router-bench.ts';

const SITE = 'a.example';
const TIMEOUT_MS = LIMITS.upstreamResponseTimeoutMs;
const SWEEP_MS = 1000;
/** More than a stream may send before its peer has taken any. */
const LARGE_BYTES = 300_000;
const SMALL_BYTES = 20_000;

class Scene {
  readonly edge: Edge;
  readonly visitor: Peer;
  readonly #bench: Bench;

  private constructor(edge: Edge, visitor: Peer, bench: Bench) {
    this.edge = edge;
    this.visitor = visitor;
    this.#bench = bench;
  }

  /** A visitor has sent so much of a body, and the stream holds or has sent all that was read. */
  static async start(t: TestContext, lengthBytes: number, sentBytes: number): Promise<Scene> {
    const bench = new Bench(t);
    bench.apply('add', SITE, 'one/1');
    const edge = await startEdge(t, { ingress: { router: bench.router } });
    const visitor = await edge.visit();
    const scene = new Scene(edge, visitor, bench);
    visitor.send(`POST / HTTP/1.1\r\nHost: ${SITE}\r\nContent-Length: ${lengthBytes}\r\n\r\n`);
    visitor.send(Buffer.alloc(sentBytes, 'x'));
    await scene.settled(sentBytes);
    scene.#deliver(valueFrame(FRAME.OPENED, scene.stream?.id ?? 0, 0));
    edge.pass(SWEEP_MS);
    return scene;
  }

  /** Waits until so much was sent, or no more can be. */
  settled(sentBytes: number): Promise<void> {
    return eventually(5000, 'the body is on its way', async () => {
      const { queuedBytes = 0, credit } = this.stream ?? {};
      const isFull = queuedBytes > 0 && credit?.availableBytes === 0;
      assert.ok(isFull || this.writtenBytes >= sentBytes);
    });
  }

  get stream(): Stream | undefined {
    return this.#bench.opener.streams[0];
  }

  get writtenBytes(): number {
    const frames = this.#bench.opener.peer.written(FRAME.DATA);
    return frames.reduce((sum, { content }) => sum + (content as Buffer).length, 0);
  }

  #deliver(frame: Buffer): void {
    this.#bench.opener.peer.deliver(frame);
  }

  /** The upstream takes a little, and then it is just not too late yet; several times. */
  async takeSlowly(lengthBytes: number): Promise<void> {
    for (let step = 0; step < 5; step += 1) {
      this.take();
      await this.settled(lengthBytes);
      this.edge.pass(TIMEOUT_MS - 1);
      assert.equal(this.stream?.isEnded, false);
    }
  }

  take(bytes = 100): void {
    this.#deliver(valueFrame(FRAME.CREDIT, this.stream?.id ?? 0, bytes));
  }

  /** The upstream answers before it has taken all of the body. */
  async beginAnswer(): Promise<void> {
    const answer = Buffer.from('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no');
    this.#deliver(bodyFrame(FRAME.DATA, this.stream?.id ?? 0, answer));
    await this.visitor.read('o');
  }
}

for (const [what, lengthBytes] of [
  ['that waits for its upstream', LARGE_BYTES],
  ['that was sent, and whose client still has some of it,', SMALL_BYTES],
] as const) {
  test(`a body ${what} is overdue at a standstill alone`, async (t) => {
    const scene = await Scene.start(t, lengthBytes, lengthBytes);
    await scene.takeSlowly(lengthBytes);
    scene.edge.pass(TIMEOUT_MS);
    assert.match(await scene.visitor.readEnd(), /^HTTP\/1\.1 504 /);
  });
}

test('after the response has begun it is given five minutes, and then it is a cut', async (t) => {
  const scene = await Scene.start(t, LARGE_BYTES, LARGE_BYTES);
  await scene.beginAnswer();
  await scene.takeSlowly(LARGE_BYTES);
  scene.edge.pass(STILL_MS_MAX - 1);
  assert.equal(scene.stream?.isEnded, false);
  scene.edge.pass(1);
  await scene.visitor.readEnd();
  assert.equal(scene.visitor.ending, 'cut');
});

test('five minutes anew each time that its upstream takes none of it', async (t) => {
  const scene = await Scene.start(t, 4 * LARGE_BYTES, LARGE_BYTES);
  await scene.beginAnswer();
  scene.edge.pass(SWEEP_MS);
  scene.take(LARGE_BYTES);
  for (let passedMs = 0; passedMs < STILL_MS_MAX; passedMs += LIMITS.bodyIdleTimeoutMs / 2) {
    const { writtenBytes } = scene;
    scene.visitor.send('x');
    await scene.settled(writtenBytes + 1);
    scene.edge.pass(LIMITS.bodyIdleTimeoutMs / 2);
  }
  scene.visitor.send(Buffer.alloc(2 * LARGE_BYTES, 'x'));
  await scene.settled(4 * LARGE_BYTES);
  scene.edge.pass(SWEEP_MS);
  scene.edge.pass(STILL_MS_MAX - 1);
  assert.equal(scene.stream?.isEnded, false);
  scene.edge.pass(1);
  await scene.visitor.readEnd();
  assert.equal(scene.visitor.ending, 'cut');
});

test('a visitor that sends no more is cut also after the response has begun', async (t) => {
  const scene = await Scene.start(t, LARGE_BYTES, SMALL_BYTES);
  await scene.beginAnswer();
  scene.edge.pass(LIMITS.bodyIdleTimeoutMs - 1);
  assert.equal(scene.stream?.isEnded, false);
  scene.edge.pass(1);
  await scene.visitor.readEnd();
  assert.equal(scene.visitor.ending, 'cut');
});

test('a visitor that sends no more is not excused by an upstream that takes', async (t) => {
  const scene = await Scene.start(t, LARGE_BYTES, SMALL_BYTES);
  for (let step = 0; step < 2; step += 1) {
    scene.take();
    scene.edge.pass(LIMITS.bodyIdleTimeoutMs / 2);
  }
  assert.match(await scene.visitor.readEnd(), /^HTTP\/1\.1 408 /);
});
