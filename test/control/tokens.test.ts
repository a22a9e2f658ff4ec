// Goal: only the whole token passes. Method: every near miss of a header that would pass.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Masked } from '../../src/base/masked.ts';
import { TokenGate } from '../../src/control/tokens.ts';
import { FakeClock } from '../support/fake-clock.ts';

const TOKEN = 'correct-horse-battery-staple';
const gate = new TokenGate(new Masked(TOKEN), new FakeClock());
const allows = (header: string | undefined): boolean =>
  gate.identify(header, '192.0.2.1') !== undefined;

test('the token passes, whatever the case of its scheme', () => {
  for (const scheme of ['Bearer ', 'bearer ', 'BEARER ', 'Bearer   ']) {
    assert.equal(allows(`${scheme}${TOKEN}`), true, scheme);
  }
});

test('anything else does not', () => {
  const headers = [
    undefined,
    '',
    'Bearer',
    'Bearer ',
    TOKEN,
    `Basic ${TOKEN}`,
    `Bearer${TOKEN}`,
    `xBearer ${TOKEN}`,
    `Bearer ${TOKEN}x`,
    `Bearer x${TOKEN}`,
    `Bearer ${TOKEN.slice(0, -1)}`,
    `Bearer ${TOKEN.slice(1)}`,
    `Bearer ${TOKEN.toUpperCase()}`,
    `Bearer ${TOKEN} ${TOKEN}`,
    `Bearer ${TOKEN},${TOKEN}`,
    `Bearer "${TOKEN}"`,
    'Bearer [masked]',
    'Bearer undefined',
    `Bearer ${TOKEN}${' '.repeat(10_000)}`,
    `Bearer ${'x'.repeat(1024 * 1024)}`,
  ];
  for (const header of headers) {
    assert.equal(allows(header), false, String(header).slice(0, 60));
  }
});
