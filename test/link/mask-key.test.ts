// Goal: a client's messages are masked as its kind says, and no random key twice. Method: more keys
// than are made together.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createMaskKey, ZERO_KEY } from '../../src/link/mask-key.ts';

test('a server masks nothing, and the zero key is one that changes no byte', () => {
  assert.equal(createMaskKey('none'), undefined);
  assert.equal(createMaskKey('zero'), ZERO_KEY);
  assert.deepEqual([...ZERO_KEY], [0, 0, 0, 0]);
});

test('random keys are of four bytes, and others each time', () => {
  const keys = Array.from({ length: 5000 }, () => createMaskKey('random')?.toString('hex') ?? '');
  assert.ok(keys.every((key) => key.length === 8));
  // Of so many, two of 2^32 are alike by chance once in 350 times; five never are.
  assert.ok(new Set(keys).size > keys.length - 5, `${new Set(keys).size} of ${keys.length}`);
});
