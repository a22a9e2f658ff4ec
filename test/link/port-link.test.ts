// The link of the mesh, over a real channel. Its peer reads or does not, as a shard would that is
// busy: bytes under way are what the other side has not read yet.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { HEADROOM_BYTES, readPool, WHOLE_BYTES } from '../../src/base/read-pool.ts';
import { PortLink } from '../../src/link/port-link.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { FRAME_BYTES_MAX } from '../../src/wire/limits.ts';
import { FrameRecorder } from '../compliance/frame-recorder.ts';
import { testLink } from '../compliance/link-suite.ts';
import { eventually } from '../support/deadline.ts';

const SEED = 20_261_129;

testLink({
  name: 'port link',
  goodbye: 'SLW_LINK_DRAINING',
  createPair: async (t) => {
    const { port1, port2 } = new MessageChannel();
    t.after(() => {
      port1.close();
      port2.close();
    });
    return { near: new PortLink(port1), far: new PortLink(port2) };
  },
});

test('port link: what is posted is transferred alone, never a pool that it was cut from', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  const messages: ArrayBuffer[] = [];
  const got = new Promise<void>((resolve) => {
    port2.on('message', (message: ArrayBuffer) => {
      messages.push(message);
      if (messages.length === 3) resolve();
    });
  });
  const link = new PortLink(port1);
  link.start({ sink: new FrameRecorder(), frameBytesMax: 65_536 });
  for (const length of [10, 5000, 65_536]) {
    const pooled = Buffer.from('x'.repeat(length));
    link.writeBody(FRAME.DATA, 1, pooled);
    await new Promise((resolve) => setImmediate(resolve));
    assert.equal(pooled.length, length, 'the body itself is copied, as it may be shared');
  }
  await got;
  assert.deepEqual(
    messages.map(({ byteLength }) => byteLength),
    [22, WHOLE_BYTES, WHOLE_BYTES],
  );
});

test('port link: bytes are under way until the other side has read them', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  const near = new PortLink(port1);
  near.start({ sink: new FrameRecorder(), frameBytesMax: 65_536 });
  for (let turn = 0; turn < 5; turn += 1) {
    near.writeBody(FRAME.DATA, 1, Buffer.alloc(1000));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal(near.queuedBytes, 5 * 1012);
  new PortLink(port2).start({ sink: new FrameRecorder(), frameBytesMax: 65_536 });
  await eventually(5000, 'all bytes are read', async () => assert.equal(near.queuedBytes, 0));
});

/** Keeps what it gets, as one does whose socket stands still; `release` lets go of half. */
class Keeper extends FrameRecorder {
  readonly kept: { readonly sum: number; readonly piece: Buffer }[] = [];
  bytes = 0;
  atHeadroom = 0;

  override onDataPiece(piece: Buffer): void {
    super.onDataPiece(piece);
    this.atHeadroom += piece.byteOffset === HEADROOM_BYTES ? 1 : 0;
    assert.equal(readPool.wholeOf(piece), undefined, 'what lies before it is not free');
    this.bytes += piece.length;
    this.kept.push({ sum: sumOf(piece), piece });
  }

  release(random: () => number): void {
    for (const { sum, piece } of this.kept.splice(0, Math.ceil(this.kept.length * random()))) {
      assert.equal(sumOf(piece), sum, 'nobody has written to what somebody holds');
      readPool.release(piece, piece.length);
    }
  }
}

function sumOf(bytes: Uint8Array): number {
  return bytes.reduce((sum, byte, index) => (sum + byte * (index + 1)) >>> 0, 0);
}

test('port link: memory goes round, and what is held of it stays as it came', async (t) => {
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  let state = SEED;
  const random = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const lentBefore = readPool.lentCount;
  const spare = t.mock.method(readPool, 'spare');
  const near = new PortLink(port1);
  near.start({ sink: new FrameRecorder(), frameBytesMax: FRAME_BYTES_MAX });
  const keeper = new Keeper();
  new PortLink(port2).start({ sink: keeper, frameBytesMax: FRAME_BYTES_MAX });
  let sentBytes = 0;
  for (let turn = 0; turn < 60; turn += 1) {
    const bytes = turn % 10 === 0 ? FRAME_BYTES_MAX : 1 + Math.floor(random() * FRAME_BYTES_MAX);
    // Before it 16 bytes of ours, and two headers: it begins where the headroom of a read ends.
    const first = Buffer.alloc(turn % 3 === 0 ? HEADROOM_BYTES - 16 - 24 : 1, turn);
    near.writeBody(FRAME.DATA, 1, first);
    near.writeBody(FRAME.DATA, 1, Buffer.alloc(bytes, turn + 1));
    sentBytes += first.length + bytes;
    await new Promise((resolve) => setImmediate(resolve));
    if (turn % 4 === 3) keeper.release(random);
  }
  await eventually(5000, 'all has come', async () => {
    assert.equal(keeper.bytes, sentBytes);
    assert.equal(near.queuedBytes, 0);
  });
  keeper.release(() => 1);
  assert.equal(readPool.lentCount, lentBefore);
  assert.ok(keeper.atHeadroom > 5);
  const sentBack = spare.mock.calls.filter(({ result }) => result !== undefined);
  assert.ok(sentBack.length > 5, 'some has gone back');
});
