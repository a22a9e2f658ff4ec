// Goal: what is spliced passes from one stream to the other with its credit, its FIN and its RST.
// Method: two sessions against raw peers; the near one is the shard of the visitor, the far one the
// client.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS } from '../../src/base/errors.ts';
import { createSplice } from '../../src/shard/splice.ts';
import { FRAME, type FrameType } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer, valueFrame } from '../mux/raw-peer.ts';
import { seededNoise } from '../support/digest.ts';

const REQUEST = { tunnel: 'a', address: '192.0.2.1', port: 1, link: '' };
const NEAR_ID = 1;
const FAR_ID = 2;

interface Bench {
  readonly near: RawPeer;
  readonly far: RawPeer;
}

function createBench(congestionBytes?: number): Bench {
  const far = new RawPeer({
    ...(congestionBytes === undefined ? {} : { congestionBytes }),
    announces: { credit: 65_536 },
  });
  const near = new RawPeer({
    onOpen: (inner) => {
      const splice = createSplice();
      const outer = far.session.open(REQUEST, splice.outer);
      assert.ok(typeof outer !== 'string');
      inner.sink = splice.inner;
      splice.inner.stream = inner;
      splice.outer.stream = outer;
    },
  });
  assert.equal(near.open(), NEAR_ID);
  return { near, far };
}

function payload(peer: RawPeer): Buffer {
  return Buffer.concat(peer.written(FRAME.DATA).map(({ content }) => content as Buffer));
}

function sum(peer: RawPeer, type: FrameType): number {
  return peer.written(type).reduce((total, { content }) => total + Number(content), 0);
}

test('the near stream is answered when the far one is', () => {
  const { near, far } = createBench();
  assert.deepEqual(near.written(FRAME.OPENED), []);
  far.deliver(valueFrame(FRAME.OPENED, FAR_ID, 0));
  assert.equal(near.written(FRAME.OPENED).length, 1);
});

test('bytes pass both ways, and a FIN each way by itself', () => {
  const { near, far } = createBench();
  far.deliver(valueFrame(FRAME.OPENED, FAR_ID, 0));
  near.deliver(bodyFrame(FRAME.DATA, NEAR_ID, Buffer.from('request')));
  near.deliver(valueFrame(FRAME.FIN, NEAR_ID, 0));
  assert.equal(payload(far).toString(), 'request');
  assert.equal(far.written(FRAME.FIN).length, 1);
  far.deliver(bodyFrame(FRAME.DATA, FAR_ID, Buffer.from('answer')));
  assert.equal(near.written(FRAME.FIN).length, 0);
  far.deliver(valueFrame(FRAME.FIN, FAR_ID, 0));
  assert.equal(payload(near).toString(), 'answer');
  assert.equal(near.written(FRAME.FIN).length, 1);
  assert.deepEqual([near.session.streamsCount, far.session.streamsCount], [0, 0]);
  assert.deepEqual([near.session.memory.heldBytes, far.session.memory.heldBytes], [0, 0]);
});

test('a reset passes with its code, from either side', () => {
  const code = ERRORS.SLW_STREAM_REFUSED.wire;
  const first = createBench();
  first.far.deliver(valueFrame(FRAME.RST, FAR_ID, code));
  assert.equal(sum(first.near, FRAME.RST), code);
  const second = createBench();
  second.near.deliver(valueFrame(FRAME.RST, NEAR_ID, code));
  assert.equal(sum(second.far, FRAME.RST), code);
  for (const { near, far } of [first, second]) {
    assert.deepEqual([near.session.streamsCount, far.session.streamsCount], [0, 0]);
  }
});

test('a lost link resets the other side', () => {
  const { near, far } = createBench();
  far.link.destroy();
  assert.equal(sum(near, FRAME.RST), ERRORS.SLW_LINK_LOST.wire);
  assert.equal(near.session.streamsCount, 0);
});

test('credit is given back only for what the other side could send', () => {
  const { near, far } = createBench();
  far.deliver(valueFrame(FRAME.OPENED, FAR_ID, 0));
  const noise = seededNoise(6, 3 * 65_536);
  // The far peer has granted 64 KiB and no more.
  for (let at = 0; at < noise.length; at += 65_536) {
    near.deliver(bodyFrame(FRAME.DATA, NEAR_ID, noise.subarray(at, at + 65_536)));
  }
  assert.equal(payload(far).length, 65_536);
  assert.equal(near.session.memory.heldBytes, 2 * 65_536);
  assert.ok(sum(near, FRAME.CREDIT) <= 65_536);
  far.deliver(valueFrame(FRAME.CREDIT, FAR_ID, 10_000));
  assert.equal(near.session.memory.heldBytes, 2 * 65_536, 'some of it still waits');
  far.deliver(valueFrame(FRAME.CREDIT, FAR_ID, 1_000_000));
  assert.equal(near.session.memory.heldBytes, 0);
  assert.ok(payload(far).equals(noise));
  assert.equal(sum(near, FRAME.CREDIT), noise.length);
});

test('a far link that is congested holds the near stream back', () => {
  const { near, far } = createBench(1000);
  far.deliver(valueFrame(FRAME.OPENED, FAR_ID, 1_000_000));
  const noise = seededNoise(7, 65_536);
  for (let at = 0; at < noise.length; at += 4096) {
    near.deliver(bodyFrame(FRAME.DATA, NEAR_ID, noise.subarray(at, at + 4096)));
  }
  near.deliver(valueFrame(FRAME.FIN, NEAR_ID, 0));
  assert.ok(near.session.memory.heldBytes > 0);
  while (far.read() > 0);
  assert.ok(payload(far).equals(noise));
  assert.equal(near.session.memory.heldBytes, 0);
  assert.equal(far.written(FRAME.FIN).length, 1);
});
