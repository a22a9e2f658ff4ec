// The link of the model tests obeys the same rules as the real ones, or those tests prove nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testLink } from '../compliance/link-suite.ts';
import { randomSize, seededRandom } from '../support/digest.ts';
import { createLinkPair } from '../support/memory-link.ts';

const CONGESTION_BYTES = 1024 * 1024;

testLink({
  name: 'memory link',
  goodbye: 'SLW_LINK_LOST',
  createPair: async (t) => {
    const [near, far] = createLinkPair(CONGESTION_BYTES);
    const random = seededRandom(1);
    let pump: NodeJS.Immediate | undefined;
    const move = (): void => {
      for (let step = 0; step < 50; step += 1) {
        near.move(randomSize(random, 65_536));
        far.move(randomSize(random, 65_536));
      }
      pump = setImmediate(move);
    };
    t.after(() => clearImmediate(pump));
    return { near, far, flow: move };
  },
});

test('memory link: bytes move only when told to', () => {
  const [near] = createLinkPair(1);
  near.writeValue(0x0c, 0, 1);
  assert.equal(near.queuedBytes, 12);
  assert.equal(near.isCongested, true);
});
