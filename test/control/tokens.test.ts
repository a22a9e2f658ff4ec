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

test('another shared token takes the place of the old one, and what was given out for that is over', () => {
  const shared = new TokenGate(new Masked(TOKEN), new FakeClock());
  const before = shared.identify(`Bearer ${TOKEN}`, '192.0.2.1')?.credential ?? '';
  assert.ok(shared.isShared(before));
  shared.share(new Masked('another-shared-token-0123'));
  assert.equal(shared.identify(`Bearer ${TOKEN}`, '192.0.2.1'), undefined);
  assert.equal(shared.isShared(before), false);
  const after = shared.identify('Bearer another-shared-token-0123', '192.0.2.1');
  assert.ok(after !== undefined && shared.isShared(after.credential));
  shared.share(undefined);
  assert.equal(shared.identify('Bearer another-shared-token-0123', '192.0.2.1'), undefined);
  assert.equal(shared.isShared(after.credential), false);
  assert.equal(shared.isShared(''), false, 'a certificate is no token');
});
