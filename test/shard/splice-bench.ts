// Two sessions joined by a splice, against raw peers: the near one is the shard of the visitor, the
// far one the client. Invariant: the first stream each way is the spliced one. Must not know: what
// is tested.

import assert from 'node:assert/strict';
import { Roster } from '../../src/base/roster.ts';
import { createSplice, type SpliceEnd } from '../../src/shard/splice.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { bodyFrame, RawPeer, valueFrame } from '../mux/raw-peer.ts';
import { seededNoise } from '../support/digest.ts';

export const REQUEST = { tunnel: 'a', address: '192.0.2.1', port: 1, link: '' };
export const NEAR_ID = 1;
export const FAR_ID = 2;

export interface Bench {
  readonly near: RawPeer;
  readonly far: RawPeer;
  readonly partings: Roster<SpliceEnd>;
}

export function createBench(
  congestionBytes?: number,
  nearWindowBytes = 65_536,
  farMemoryBytes = 64 << 20,
): Bench {
  const partings = new Roster<SpliceEnd>();
  const far = new RawPeer({
    ...(congestionBytes === undefined ? {} : { congestionBytes }),
    announces: { credit: 65_536 },
    limits: { memoryBytes: farMemoryBytes },
  });
  const near = new RawPeer({
    onOpen: (inner) => {
      const splice = createSplice(partings);
      const outer = far.session.open(REQUEST, splice.outer);
      assert.ok(typeof outer !== 'string');
      inner.sink = splice.inner;
      splice.inner.stream = inner;
      splice.outer.stream = outer;
    },
  });
  assert.equal(near.open(0, { window: nearWindowBytes }), NEAR_ID);
  return { near, far, partings };
}

export const ANSWER = seededNoise(8, 100_000);

/** The client has sent all of ANSWER, of which the visitor took the first 10,000 bytes. */
export function createSlowBench(farMemoryBytes?: number): Bench {
  const bench = createBench(undefined, 10_000, farMemoryBytes);
  bench.far.deliver(valueFrame(FRAME.OPENED, FAR_ID, 0));
  bench.far.deliver(bodyFrame(FRAME.DATA, FAR_ID, ANSWER));
  bench.far.deliver(valueFrame(FRAME.FIN, FAR_ID, 0));
  assert.equal(payload(bench.near).length, 10_000);
  return bench;
}

export function payload(peer: RawPeer): Buffer {
  return Buffer.concat(peer.written(FRAME.DATA).map(({ content }) => content as Buffer));
}
