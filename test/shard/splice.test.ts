// Goal: what is spliced passes from one stream to the other with its credit, its FIN and its RST.
// Method: two sessions against raw peers; the near one is the shard of the visitor, the far one the
// client.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS } from '../../src/base/errors.ts';
import { FRAME, type FrameType } from '../../src/wire/frame.ts';
import { bodyFrame, type RawPeer, RecordingSink, valueFrame } from '../mux/raw-peer.ts';
import { seededNoise } from '../support/digest.ts';
import {
  ANSWER,
  type Bench,
  createBench,
  createSlowBench,
  FAR_ID,
  NEAR_ID,
  payload,
  REQUEST,
} from './splice-bench.ts';

function lastOf({ near }: Bench): string {
  const { type = -1 } = near.written().at(-1) ?? {};
  return Object.entries(FRAME).find(([, value]) => value === type)?.[0] ?? '';
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

for (const [what, end, code] of [
  ['a lost link', ({ far }: Bench) => far.link.destroy(), 'SLW_LINK_LOST'],
  [
    'a reset',
    ({ far }: Bench) => far.deliver(valueFrame(FRAME.RST, FAR_ID, ERRORS.SLW_STREAM_RESET.wire)),
    'SLW_STREAM_RESET',
  ],
  [
    "the client's want of memory",
    ({ far }: Bench) => far.deliver(valueFrame(FRAME.RST, FAR_ID, ERRORS.SLW_STREAM_MEMORY.wire)),
    'SLW_STREAM_MEMORY',
  ],
] as const) {
  test(`data and FIN that came before ${what} are passed on before it`, () => {
    const bench = createSlowBench();
    const { near, partings } = bench;
    end(bench);
    assert.deepEqual(near.written(FRAME.RST), []);
    near.deliver(valueFrame(FRAME.CREDIT, NEAR_ID, 50_000));
    assert.deepEqual([near.written(FRAME.RST), near.written(FRAME.FIN)], [[], []]);
    near.deliver(valueFrame(FRAME.CREDIT, NEAR_ID, 50_000));
    assert.ok(payload(near).equals(ANSWER));
    assert.equal(near.written(FRAME.FIN).length, 1);
    assert.equal(lastOf(bench), 'RST', 'for what comes the other way');
    assert.equal(sum(near, FRAME.RST), ERRORS[code].wire);
    assert.deepEqual([near.session.streamsCount, partings.size], [0, 0]);
    assert.equal(near.session.memory.heldBytes, 0);
  });
}

test('what came without a FIN is cut with the link', () => {
  const { near, far, partings } = createBench(undefined, 10_000);
  far.deliver(valueFrame(FRAME.OPENED, FAR_ID, 0));
  far.deliver(bodyFrame(FRAME.DATA, FAR_ID, ANSWER));
  far.link.destroy();
  assert.equal(sum(near, FRAME.RST), ERRORS.SLW_LINK_LOST.wire);
  assert.deepEqual([near.session.streamsCount, partings.size], [0, 0]);
});

for (const isReset of [false, true]) {
  const which = isReset ? ', though its client has reset it' : '';
  test(`what waits is dropped at once for want of memory here${which}`, () => {
    const { near, far, partings } = createSlowBench(120_000);
    if (isReset) far.deliver(valueFrame(FRAME.RST, FAR_ID, ERRORS.SLW_STREAM_RESET.wire));
    assert.equal(near.written(FRAME.RST).length, 0);
    const other = far.session.open(REQUEST, new RecordingSink());
    assert.ok(typeof other !== 'string');
    far.deliver(valueFrame(FRAME.OPENED, other.id, 0));
    far.deliver(bodyFrame(FRAME.DATA, other.id, Buffer.alloc(30_000)));
    assert.equal(sum(near, FRAME.RST), ERRORS.SLW_STREAM_MEMORY.wire);
    assert.deepEqual([near.session.streamsCount, partings.size], [0, 0]);
    assert.equal(far.session.memory.heldBytes, 30_000);
  });
}

test('what waits behind a reset is held until it is passed on, or given up', () => {
  for (const how of ['passed on', 'left', 'given up'] as const) {
    const { near, far, partings } = createSlowBench();
    far.deliver(valueFrame(FRAME.RST, FAR_ID, ERRORS.SLW_STREAM_RESET.wire));
    assert.equal(far.session.memory.heldBytes, ANSWER.length);
    if (how === 'passed on') near.deliver(valueFrame(FRAME.CREDIT, NEAR_ID, 100_000));
    else if (how === 'left') {
      near.deliver(valueFrame(FRAME.RST, NEAR_ID, ERRORS.SLW_STREAM_CANCELLED.wire));
    } else for (const nowMs of [0, 5000]) for (const end of partings) end.sweep(nowMs, 5000);
    assert.deepEqual([far.session.memory.heldBytes, far.session.streamsCount], [0, 0], how);
    assert.deepEqual([near.session.streamsCount, partings.size], [0, 0], how);
  }
});

test('a visitor who goes meanwhile ends what it had not taken', () => {
  const { near, far, partings } = createSlowBench();
  far.link.destroy();
  assert.equal(partings.size, 1);
  near.deliver(valueFrame(FRAME.RST, NEAR_ID, ERRORS.SLW_STREAM_CANCELLED.wire));
  assert.deepEqual([near.session.streamsCount, partings.size], [0, 0]);
});

test('what a visitor sends into a stream that is gone gets no credit', () => {
  const { near, far } = createSlowBench();
  far.link.destroy();
  near.deliver(bodyFrame(FRAME.DATA, NEAR_ID, ANSWER));
  near.deliver(bodyFrame(FRAME.DATA, NEAR_ID, ANSWER));
  assert.deepEqual(near.written(FRAME.CREDIT), []);
  near.deliver(valueFrame(FRAME.CREDIT, NEAR_ID, 100_000));
  assert.equal(near.session.memory.heldBytes, 0);
});

test('what a visitor has said before it went reaches a client that answers later', () => {
  const { near, far, partings } = createBench();
  for (const [at, to] of [
    [0, 65_536],
    [65_536, ANSWER.length],
  ] as const) {
    near.deliver(bodyFrame(FRAME.DATA, NEAR_ID, ANSWER.subarray(at, to)));
  }
  near.deliver(valueFrame(FRAME.FIN, NEAR_ID, 0));
  near.deliver(valueFrame(FRAME.RST, NEAR_ID, ERRORS.SLW_STREAM_RESET.wire));
  assert.deepEqual(far.written(FRAME.RST), []);
  far.deliver(valueFrame(FRAME.OPENED, FAR_ID, 1_000_000));
  assert.ok(payload(far).equals(ANSWER));
  assert.equal(far.written(FRAME.FIN).length, 1);
  assert.equal(sum(far, FRAME.RST), ERRORS.SLW_STREAM_RESET.wire);
  assert.deepEqual([far.session.streamsCount, far.ends, partings.size], [0, [], 0]);
});

test('what nobody takes is given up after a while in which nothing moved', () => {
  const { near, far, partings } = createSlowBench();
  far.link.destroy();
  const [end] = partings;
  end?.sweep(0, 60_000);
  near.deliver(valueFrame(FRAME.CREDIT, NEAR_ID, 50_000));
  end?.sweep(59_000, 60_000);
  end?.sweep(118_000, 60_000);
  assert.deepEqual(near.written(FRAME.RST), []);
  end?.sweep(119_000, 60_000);
  assert.equal(sum(near, FRAME.RST), ERRORS.SLW_STREAM_HALF_CLOSED.wire);
  assert.deepEqual([near.session.streamsCount, partings.size], [0, 0]);
});
