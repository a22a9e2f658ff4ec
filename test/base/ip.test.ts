// Addresses as text and bytes: what is one, in which form two are compared, and back again.

import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import { canonicalIp, ipBytes, ipText, mapped, plainAddress, unmapped } from '../../src/base/ip.ts';

const SEED = Number(process.env.SLUICEWAY_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));

const CANONICAL: readonly (readonly [string, string])[] = [
  ['0.0.0.0', '0.0.0.0'],
  ['255.255.255.255', '255.255.255.255'],
  ['::', '::'],
  ['::1', '::1'],
  ['1::', '1::'],
  ['2001:DB8::1', '2001:db8::1'],
  ['2001:0db8:0000:0000:0000:0000:0000:0001', '2001:db8::1'],
  ['1:0:0:2:0:0:0:3', '1:0:0:2::3'],
  ['1:0:2:0:3:0:4:5', '1:0:2:0:3:0:4:5'],
  ['1:2:3:4:5:6:7::', '1:2:3:4:5:6:7:0'],
  ['64:ff9b::192.0.2.1', '64:ff9b::c000:201'],
  ['::ffff:192.0.2.1', '192.0.2.1'],
  ['::FFFF:c000:201', '192.0.2.1'],
  ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
  ['::fffe:192.0.2.1', '::fffe:c000:201'],
];

const NONE = [
  ...['', '1', '1.2.3', '1.2.3.4.5', '1.2.3.', '.1.2.3', '01.2.3.4', '1.2.3.04', '256.1.1.1'],
  ...['1.2.3.-4', '1.2.3.4 ', ' 1.2.3.4', '0x7f.0.0.1', '1e1.0.0.0', '1.2.3.+4', '2130706433'],
  ...[':', ':::', '1:::2', '1::2::3', '1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', '1:2:3:4:5:6:7:8::'],
  ...[':1:2:3:4:5:6:7', '1:2:3:4:5:6:7:', '12345::', '::g', '::1%eth0', '[::1]', '::1/128'],
  ...['1.2.3.4::', '::1.2.3.4:1', '::1.2.3', '::256.1.1.1', '1:2:3:4:5:6:7:1.2.3.4', '::-1'],
];

test('an address has one canonical form, and a mapped one that of IPv4', () => {
  for (const [text, expected] of CANONICAL) assert.equal(canonicalIp(text), expected, text);
});

test('what is no address has no form', () => {
  for (const text of NONE) assert.equal(canonicalIp(text), undefined, text);
});

test('the same texts are addresses as for Node, but for zones', () => {
  const text = fc.oneof(
    fc.ipV4(),
    fc.ipV6(),
    fc.string({ unit: fc.constantFrom(...'0123456789abcdefF:.::1'), maxLength: 46 }),
  );
  fc.assert(
    fc.property(text, (one) => {
      assert.equal(ipBytes(one) !== undefined, isIP(one) !== 0, one);
    }),
    { seed: SEED, numRuns: 20_000 },
  );
});

test('bytes come back from text, and mapping is undone', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 }),
  );
  fc.assert(
    fc.property(bytes, (one) => {
      const exact = Uint8Array.from(one);
      assert.deepEqual(ipBytes(ipText(exact)), exact);
      if (exact.length === 4) assert.deepEqual([...unmapped(mapped(exact))], [...exact]);
    }),
    { seed: SEED, numRuns: 20_000 },
  );
});

test('a socket address loses its zone and its mapping', () => {
  assert.equal(plainAddress('::ffff:192.0.2.1'), '192.0.2.1');
  assert.equal(plainAddress('fe80::1%eth0'), 'fe80::1');
  assert.equal(plainAddress('::1'), '::1');
  assert.equal(plainAddress('192.0.2.1'), '192.0.2.1');
});
