// Keys that a client masks its messages with (RFC 6455 5.3): none at a server, the zero key, which
// costs nothing, or a random one.
//
// Invariant: a random key is of a strong source and used once, as 10.3 wants it; it is read before
// the next is asked for. Must not know: messages, or who chooses the kind.

import { randomFillSync } from 'node:crypto';

/** How a client masks: it must, but the zero key costs nothing. */
export type MaskKey = 'none' | 'zero' | 'random';

export const ZERO_KEY = Buffer.alloc(4);
/** Made together, as a call of the source costs more than a message. */
const randomKeys = Buffer.alloc(4096);
let usedKeyBytes = randomKeys.length;

/** For one message. */
export function createMaskKey(mask: MaskKey): Buffer | undefined {
  if (mask === 'none') return undefined;
  return mask === 'zero' ? ZERO_KEY : randomKey();
}

function randomKey(): Buffer {
  if (usedKeyBytes === randomKeys.length) {
    randomFillSync(randomKeys);
    usedKeyBytes = 0;
  }
  usedKeyBytes += ZERO_KEY.length;
  return randomKeys.subarray(usedKeyBytes - ZERO_KEY.length, usedKeyBytes);
}
