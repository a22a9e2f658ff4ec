// Goal: only the whole token passes. Method: every near miss of a header that would pass.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { Masked } from '../../src/base/masked.ts';
import type { TokenEntry } from '../../src/config/config.ts';
import { entryNameOf, ownerOf, shownOwnerOf, TokenGate } from '../../src/control/tokens.ts';
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
  assert.ok(shared.isReplaced(before));
  assert.equal(shared.isReplaced(after.credential), false);
  shared.share(undefined);
  assert.equal(shared.identify('Bearer another-shared-token-0123', '192.0.2.1'), undefined);
  assert.equal(shared.isShared(after.credential), false);
  assert.equal(shared.isReplaced(after.credential), false, 'nothing opens in its place');
  assert.equal(shared.isShared(''), false, 'a certificate is no token');
});

test('a credential is replaced when its entry has other secrets, and not when that has gone', () => {
  const clock = new FakeClock();
  const rotated = new TokenGate(new Masked(TOKEN), clock);
  const address = '192.0.2.1';
  const entryOf = (secrets: readonly string[], more: object = {}): TokenEntry => ({
    ...{ name: 'app', hosts: [], ports: [], udpPorts: [], isAdmin: false },
    digests: secrets.map((secret) => createHash('sha256').update(secret).digest('hex')),
    ...more,
  });
  rotated.replace([entryOf(['one', 'two'])]);
  const credential = rotated.identify('Bearer one', address)?.credential ?? '';
  assert.equal(rotated.isReplaced(credential), false, 'one of two');
  rotated.replace([entryOf(['two', 'three'])]);
  assert.equal(rotated.entryOf(credential, address), undefined);
  assert.equal(rotated.isReplaced(credential), true);
  rotated.replace([entryOf(['one'], { expiresMs: clock.wallMs() })]);
  assert.equal(rotated.entryOf(credential, address), undefined);
  assert.equal(rotated.isReplaced(credential), false, 'it has ended, and no other came');
  rotated.replace([entryOf(['two'], { name: 'app-2' })]);
  assert.equal(rotated.isReplaced(credential), false, 'its entry has gone');
});

test('the first rule that fits lets in, until its session is over or it asks for something else', () => {
  const clock = new FakeClock();
  const ruled = new TokenGate(undefined, clock);
  const rule = (name: string, pattern: string, more: object = {}): TokenEntry => ({
    ...{ name, digests: [], hosts: [], ports: [], udpPorts: [], isAdmin: false },
    ...{ claims: [{ claim: 'sub', patterns: [pattern] }], ...more },
  });
  const address = '192.0.2.1';
  const wide = rule('wide', 'repo:*', { sessionMaxMs: 60_000 });
  ruled.replace([rule('first', 'repo:acme:*', { expiresMs: clock.wallMs() + 10_000 }), wide]);
  const first = ruled.identifyClaims({ sub: 'repo:acme:x' }, address);
  assert.equal(first?.entry?.name, 'first');
  const credential = ruled.identifyClaims({ sub: 'repo:else:x' }, address)?.credential ?? '';
  assert.equal(entryNameOf(credential), 'wide');
  assert.notEqual(
    ownerOf(credential),
    ownerOf(ruled.identifyClaims({ sub: 'repo:else:y' }, address)?.credential ?? ''),
  );
  assert.match(ownerOf(credential), /^wide@[0-9a-f]{32}$/u, 'too long for a like one to be found');
  assert.equal(shownOwnerOf(credential), ownerOf(credential).slice(0, 'wide@'.length + 12));
  assert.equal(shownOwnerOf('entry#0123456789abcdef'), 'entry');
  assert.equal(ruled.identifyClaims({ sub: 'user:x' }, address), undefined);
  assert.equal(ruled.identifyClaims({}, address), undefined);
  assert.equal(ruled.entryOf(credential, address), wide);
  assert.equal(ruled.isSessionOver(credential), false);
  clock.advance(60_000);
  assert.equal(ruled.isSessionOver(credential), true);
  assert.equal(ruled.entryOf(first?.credential ?? '', address), undefined, 'the rule has ended');
  ruled.replace([rule('wide', 'repo:else:*')]);
  assert.equal(ruled.entryOf(credential, address), undefined, 'another condition');
  assert.equal(ruled.isReplaced(credential), false, 'it asks for no secret');
  ruled.replace([rule('wide', 'repo:*', { allowIps: [] })]);
  assert.equal(ruled.identify(`Bearer ${credential}`, address), undefined);
});
