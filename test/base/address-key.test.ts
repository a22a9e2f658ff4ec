import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressKey } from '../../src/base/address-key.ts';

const SEED = Date.now() % 0x7fff_ffff;

test('an IPv4 address is one visitor, however it is written', () => {
  for (const [address, key] of [
    ['192.0.2.1', '192.0.2.1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['::ffff:c000:201', '192.0.2.1'],
    ['0:0:0:0:0:ffff:192.0.2.1', '192.0.2.1'],
    ['::FFFF:192.0.2.1', '192.0.2.1'],
  ] as const) {
    assert.equal(addressKey(address), key, address);
  }
});

test('an IPv6 address counts by its first 64 bits', () => {
  for (const [address, key] of [
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::'],
    ['2001:db8:1:2::', '2001:db8:1:2::'],
    ['2001:0DB8:0001:0002::9', '2001:db8:1:2::'],
    ['2001:db8::1', '2001:db8::'],
    ['fe80::1%eth0', 'fe80::'],
    ['::1', '::'],
    ['::', '::'],
    ['1::4:5:6:192.0.2.1', '1:0:0:4::'],
  ] as const) {
    assert.equal(addressKey(address), key, address);
  }
});

test(`the key is that of the network, wherever zeros are left out (seed ${SEED})`, () => {
  const group = fc.oneof(fc.constant(0), fc.nat({ max: 0xffff }));
  fc.assert(
    fc.property(fc.array(group, { minLength: 8, maxLength: 8 }), fc.nat(7), (groups, at) => {
      const texts = groups.map((value) => value.toString(16));
      const key = addressKey(texts.join(':'));
      if (groups.slice(0, 5).every((value) => value === 0) && groups[5] === 0xffff) return;
      assert.equal(key, addressKey(`${texts.slice(0, 4).join(':')}:0:0:0:0`));
      if (groups[at] !== 0) return;
      const shortened = `${texts.slice(0, at).join(':')}::${texts.slice(at + 1).join(':')}`;
      assert.equal(addressKey(shortened), key);
    }),
    { seed: SEED },
  );
});

test('what is no address is a key of its own', () => {
  for (const text of ['', 'unknown', ':', '1:2', '1::2::3', '1:2:3:4:5:6:7:8:9']) {
    assert.equal(addressKey(text), text);
  }
});
