// What every link must do, whatever carries its frames.
//
// Registers one test a rule for a kind of link. Frames are drawn from seeded noise, so that a wrong
// byte, a lost frame or a buffer that was written to again shows in the comparison. Must not know:
// how a pair of links is made.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { type ErrorCode, WireError } from '../../src/base/errors.ts';
import type { Link } from '../../src/link/link.ts';
import { FRAME, type FrameType } from '../../src/wire/frame.ts';
import { FRAME_BYTES_MAX } from '../../src/wire/limits.ts';
import { randomSize, seededNoise, seededRandom } from '../support/digest.ts';
import { FrameRecorder } from './frame-recorder.ts';

export interface LinkPair {
  readonly near: Link;
  readonly far: Link;
  /** Both ends were started: bytes may flow. For links that a test moves by hand. */
  readonly flow?: () => void;
}

export interface LinkKind {
  readonly name: string;
  readonly createPair: (t: TestContext) => Promise<LinkPair>;
  /** What the other side reports when one closes with SLW_LINK_DRAINING. */
  readonly goodbye: ErrorCode;
}

interface SentFrame {
  readonly type: FrameType;
  readonly stream: number;
  readonly argument: number;
  readonly body: Buffer | undefined;
}

interface Ends extends LinkPair {
  readonly nearSink: FrameRecorder;
  readonly farSink: FrameRecorder;
}

const NOISE = seededNoise(99, FRAME_BYTES_MAX + 4096);
const VALUES: readonly FrameType[] = [FRAME.CREDIT, FRAME.FIN, FRAME.RST, FRAME.OPENED];

/** Bytes of the noise, a copy that the link may keep. */
function body(length: number, offset: number): Buffer {
  return Buffer.from(NOISE.subarray(offset % 4096, (offset % 4096) + length));
}

function value(stream: number, argument: number): SentFrame {
  const type = VALUES[stream % VALUES.length] ?? FRAME.FIN;
  return { type, stream, argument, body: undefined };
}

function data(stream: number, length: number): SentFrame {
  return { type: FRAME.DATA, stream, argument: length, body: body(length, stream) };
}

function randomFrame(random: () => number, stream: number, bytesMax: number): SentFrame {
  const kind = random();
  if (kind < 0.3) return value(stream, Math.floor(random() * 2 ** 32));
  const length = randomSize(random, bytesMax);
  if (kind > 0.9 && length <= 16_384) {
    return { type: FRAME.REGISTER, stream, argument: length, body: body(length, stream) };
  }
  return data(stream, length);
}

function write(link: Link, frame: SentFrame): void {
  if (frame.body === undefined) link.writeValue(frame.type, frame.stream, frame.argument);
  else link.writeBody(frame.type, frame.stream, Buffer.from(frame.body));
}

/** Starts one end. */
function listen(link: Link): FrameRecorder {
  const sink = new FrameRecorder();
  link.start({ sink, frameBytesMax: FRAME_BYTES_MAX });
  return sink;
}

async function startBoth(kind: LinkKind, t: TestContext): Promise<Ends> {
  const pair = await kind.createPair(t);
  const ends = { ...pair, nearSink: listen(pair.near), farSink: listen(pair.far) };
  pair.flow?.();
  return ends;
}

function assertSame(sink: FrameRecorder, sent: readonly SentFrame[]): void {
  assert.equal(sink.frames.length, sent.length);
  for (const [index, got] of sink.frames.entries()) {
    const frame = sent[index];
    const at = `frame ${index}`;
    assert.deepEqual(
      [got.type, got.stream, got.argument],
      [frame?.type, frame?.stream, frame?.argument],
      at,
    );
    const bytes = Buffer.concat(got.pieces);
    assert.ok(bytes.equals(frame?.body ?? Buffer.alloc(0)), `${at}: other bytes`);
  }
  assert.deepEqual(sink.wireErrors, []);
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Registers the tests of one kind of link. */
export function testLink(kind: LinkKind): void {
  testDelivery(kind);
  testCongestion(kind);
  testEnds(kind);
}

function testDelivery(kind: LinkKind): void {
  test(`${kind.name}: frames of every size arrive in order, both ways`, async (t) => {
    const seed = 4242;
    t.diagnostic(`seed ${seed}`);
    const random = seededRandom(seed);
    const { near, far, nearSink, farSink } = await startBoth(kind, t);
    const sent: [SentFrame[], SentFrame[]] = [[], []];
    for (let stream = 1; stream <= 400; stream += 1) {
      const there = randomFrame(random, stream, FRAME_BYTES_MAX);
      const back = randomFrame(random, stream, 8192);
      write(near, there);
      write(far, back);
      sent[0].push(there);
      sent[1].push(back);
      if (random() < 0.3) await turn();
    }
    await Promise.all([farSink.frameCount(sent[0].length), nearSink.frameCount(sent[1].length)]);
    assertSame(farSink, sent[0]);
    assertSame(nearSink, sent[1]);
    assert.ok(far.receivedBytes > bytesOf(sent[0]), `${far.receivedBytes} bytes are life`);
  });

  test(`${kind.name}: bodies around the sizes of its buffers arrive whole`, async (t) => {
    const { near, farSink } = await startBoth(kind, t);
    const sizes = [1, 4083, 4084, 4095, 4096, 4097, 65_509, 65_510, 65_523, 65_524, 65_535, 65_536];
    const lengths = [...sizes, 65_537, FRAME_BYTES_MAX - 1, FRAME_BYTES_MAX];
    const sent: SentFrame[] = [];
    // Alone in a turn, behind a small frame, and twice in a turn.
    for (const [index, length] of lengths.entries()) {
      for (const round of [[data(index, length)], [value(index, 1), data(index, length)]]) {
        for (const frame of [...round, ...round]) write(near, frame);
        sent.push(...round, ...round);
        await turn();
      }
    }
    await farSink.frameCount(sent.length);
    assertSame(farSink, sent);
  });

  test(`${kind.name}: many small frames of one turn arrive in order`, async (t) => {
    const { near, farSink } = await startBoth(kind, t);
    const sent: SentFrame[] = [];
    for (let stream = 1; stream <= 20_000; stream += 1) {
      const frame = stream % 3 === 0 ? data(stream, 1 + (stream % 40)) : value(stream, stream);
      write(near, frame);
      sent.push(frame);
    }
    await farSink.frameCount(sent.length);
    assertSame(farSink, sent);
  });
}

function testCongestion(kind: LinkKind): void {
  test(`${kind.name}: congested while nobody reads, and drained when somebody does`, async (t) => {
    const { near, far, flow } = await kind.createPair(t);
    const nearSink = listen(near);
    const sent: SentFrame[] = [];
    const bytesMax = 64 * 1024 * 1024;
    assert.equal(near.isCongested, false);
    // Sockets take more after a turn: congested is what stays so.
    for (let bytes = 0; !near.isCongested; bytes += 65_536) {
      assert.ok(bytes < bytesMax, `not congested by ${bytes} bytes that nobody reads`);
      const frame = data(sent.length + 1, 65_536);
      write(near, frame);
      sent.push(frame);
      if (near.isCongested || sent.length % 8 === 0) await turn();
    }
    assert.ok(near.queuedBytes >= 1024 * 1024, `${near.queuedBytes} bytes queued`);
    // It may have drained in between; not since.
    const { drains } = nearSink;
    const farSink = listen(far);
    flow?.();
    await nearSink.until('the link drains', () => nearSink.drains > drains);
    assert.equal(near.isCongested, false);
    await farSink.frameCount(sent.length);
    assertSame(farSink, sent);
  });

  test(`${kind.name}: what was handed over is never written to again, congested or not`, async (t) => {
    const seed = 777;
    t.diagnostic(`seed ${seed}`);
    const random = seededRandom(seed);
    const { near, far, flow } = await kind.createPair(t);
    listen(near);
    const sent: SentFrame[] = [];
    let farSink: FrameRecorder | undefined;
    // Nobody reads at first: batches wait in queues while the next ones are filled.
    for (let stream = 1; stream <= 3000; stream += 1) {
      if (stream === 1500) {
        farSink = listen(far);
        flow?.();
      }
      const frame = randomFrame(random, stream, stream % 50 === 0 ? 65_536 : 2000);
      write(near, frame);
      sent.push(frame);
      if (random() < 0.05) await turn();
    }
    assert.ok(farSink !== undefined);
    await farSink.frameCount(sent.length);
    // The pieces are the very buffers that arrived first; later ones must not have changed them.
    assertSame(farSink, sent);
  });
}

function testEnds(kind: LinkKind): void {
  test(`${kind.name}: close flushes what was written, and each side is told once`, async (t) => {
    const { near, far, nearSink, farSink } = await startBoth(kind, t);
    const sent = Array.from({ length: 40 }, (_, index) => data(index + 1, 1 + index * 3000));
    for (const frame of sent) write(near, frame);
    write(far, value(1, 1));
    near.close('SLW_LINK_DRAINING');
    near.close('SLW_LINK_LOST');
    write(near, value(1, 1));
    await Promise.all([nearSink.closed(), farSink.closed()]);
    assertSame(farSink, sent);
    near.destroy();
    far.destroy();
    near.close('SLW_LINK_LOST');
    write(far, value(1, 1));
    await turn();
    assert.deepEqual(codes(nearSink), ['SLW_LINK_DRAINING']);
    assert.deepEqual(codes(farSink), [kind.goodbye]);
  });

  test(`${kind.name}: both sides may close at once`, async (t) => {
    const { near, far, nearSink, farSink } = await startBoth(kind, t);
    write(near, value(1, 1));
    near.close('SLW_LINK_DRAINING');
    far.close('SLW_LINK_DRAINING');
    await Promise.all([nearSink.closed(), farSink.closed()]);
    await turn();
    assert.deepEqual([codes(nearSink).length, codes(farSink).length], [1, 1]);
  });

  test(`${kind.name}: destroy cuts both sides, each told once that the link is lost`, async (t) => {
    const { near, nearSink, farSink } = await startBoth(kind, t);
    write(near, value(1, 1));
    near.destroy();
    near.destroy();
    await Promise.all([nearSink.closed(), farSink.closed()]);
    await turn();
    assert.deepEqual(codes(nearSink), ['SLW_LINK_LOST']);
    assert.deepEqual(codes(farSink), ['SLW_LINK_LOST']);
  });

  test(`${kind.name}: a WireError of the sink is reported, and nothing follows it`, async (t) => {
    const { near, far, nearSink, farSink } = await startBoth(kind, t);
    farSink.onFrame = ({ stream }) => {
      if (stream === 3) throw new WireError('SLW_WIRE_FLOOD', 'as a test wants it');
    };
    farSink.onBroken = () => far.close('SLW_WIRE_FLOOD');
    for (let stream = 1; stream <= 500; stream += 1) {
      write(near, value(stream, 1));
      if (stream % 50 === 0) await turn();
    }
    await Promise.all([nearSink.closed(), farSink.closed()]);
    assert.deepEqual(
      farSink.wireErrors.map(({ code }) => code),
      ['SLW_WIRE_FLOOD'],
    );
    assert.deepEqual(
      farSink.frames.map(({ stream }) => stream),
      [1, 2, 3],
    );
    assert.deepEqual(codes(farSink), ['SLW_WIRE_FLOOD']);
  });
}

function codes(sink: FrameRecorder): ErrorCode[] {
  return sink.closes.map(({ code }) => code);
}

function bytesOf(frames: readonly SentFrame[]): number {
  return frames.reduce((sum, frame) => sum + (frame.body?.length ?? 0), 0);
}
