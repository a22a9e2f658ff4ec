// The link of the mesh, over a real channel. Its peer reads or does not, as a shard would that is
// busy: bytes under way are what the other side has not read yet.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MessageChannel } from 'node:worker_threads';
import { PortLink } from '../../src/link/port-link.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { FrameRecorder } from '../compliance/frame-recorder.ts';
import { testLink } from '../compliance/link-suite.ts';
import { eventually } from '../support/deadline.ts';

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
    [22, 5012, 65_548],
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
