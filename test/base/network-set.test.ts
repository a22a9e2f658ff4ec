// Lists of networks against a second reading that compares bits one by one.
//
// Method: a table of lists and addresses, each pair looked up; what is right is worked out by big
// integers, and a few rows are written out by hand, so that both readings cannot be wrong alike.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ipBytes, unmapped } from '../../src/base/ip.ts';
import { type Network, readNetwork, showNetwork } from '../../src/base/network.ts';
import { NetworkSet, networkSet, networkTable, outsideOf } from '../../src/base/network-set.ts';

function network(text: string): Network {
  const read = readNetwork(text);
  assert.ok(typeof read !== 'string', `${text} ${String(read)}`);
  return read;
}

const LISTS = [
  ['0.0.0.0/0'],
  ['::/0'],
  ['0.0.0.0/0', '::/0'],
  ['10.0.0.0/8'],
  ['10.1.2.3'],
  ['10.1.2.3/32', '192.168.0.0/16'],
  ['172.16.0.0/12', '10.255.255.254/31'],
  ['2001:db8::/32'],
  ['2001:db8::1/128', 'fc00::/7'],
  ['2001:db8:0:1::/65', 'fe80::/10'],
  ['::ffff:10.0.0.0/104'],
  ['::ffff:0:0/96'],
  ['128.0.0.0/1', '8000::/1'],
  // One within another, one twice, and neighbours, in no order.
  ['10.1.2.3', '10.0.0.0/8', '10.1.0.0/16', '10.1.2.3', '11.0.0.0/8', '9.255.255.255'],
  ['2001:db8::1', '2001:db8::/32', '2001:db8::/64', '2001:db9::/32', '::/127'],
  ['255.255.255.255', '0.0.0.0', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '::'],
];

const ADDRESSES = [
  ...['0.0.0.0', '10.0.0.0', '10.1.2.3', '10.1.2.2', '10.255.255.254', '11.0.0.0', '127.0.0.1'],
  ...['172.15.255.255', '172.16.0.0', '172.31.255.255', '172.32.0.0', '192.168.255.255'],
  ...['255.255.255.255', '::', '::1', '::ffff:10.1.2.3', '::ffff:a01:203', '::ffff:127.0.0.1'],
  ...['2001:db8::', '2001:db8::1', '2001:db9::', '2001:db8:0:1:7fff:ffff:ffff:ffff'],
  ...['2001:db8:0:1:8000::', 'fe80::1', 'fec0::', 'fdff::1', 'ffff::', '::a01:203'],
];

/** Bits as a string, after a mapped address was unwrapped. */
function bitsOf(address: string): string {
  const bytes = unmapped(ipBytes(address) ?? new Uint8Array(0));
  return Array.from(bytes, (byte) => byte.toString(2).padStart(8, '0')).join('');
}

function holds({ address, prefixBits }: Network, candidate: string): boolean {
  const [left, right] = [bitsOf(address), bitsOf(candidate)];
  return left.length === right.length && left.slice(0, prefixBits) === right.slice(0, prefixBits);
}

test(`a list finds what bits say, in ${LISTS.length * ADDRESSES.length} pairs`, () => {
  for (const list of LISTS) {
    const networks = list.map(network);
    const set = new NetworkSet(networks);
    for (const address of ADDRESSES) {
      const expected = networks.some((one) => holds(one, address));
      assert.equal(set.has(address), expected, `${address} in ${list.join(' ')}`);
      const others = outsideOf(networkTable(networks));
      assert.equal(others?.has(address), !expected, `${address} outside of ${list.join(' ')}`);
    }
  }
});

test('IPv4 and IPv6 are apart, and a mapped address is IPv4', () => {
  const [all4, all6] = [new NetworkSet([network('0.0.0.0/0')]), new NetworkSet([network('::/0')])];
  assert.deepEqual(
    ['192.0.2.1', '::ffff:192.0.2.1', '::1'].map((one) => [all4.has(one), all6.has(one)]),
    [
      [true, false],
      [true, false],
      [false, true],
    ],
  );
});

test('a zone is ignored, and what is no address is on no list', () => {
  const set = new NetworkSet(['0.0.0.0/0', '::/0'].map(network));
  const others = outsideOf(networkTable([network('192.0.2.1')]));
  assert.deepEqual([set.has('fe80::1%eth0'), others?.has('fe80::1%eth0')], [true, true]);
  for (const text of ['', 'localhost', '1.2.3', '1.2.3.4:5', '[::1]', '::1/128', '%', '0x7f.1']) {
    assert.equal(set.has(text), false, text);
    assert.equal(others?.has(text), false, `outside: ${text}`);
  }
});

test('an empty list is no set at all', () => {
  assert.equal(networkSet([]), undefined);
  assert.equal(networkSet(undefined), undefined);
  assert.equal(outsideOf(undefined), undefined);
  assert.equal(outsideOf(networkTable([])), undefined);
  assert.equal(outsideOf(networkTable([network('::1')]))?.has('::1'), false);
  assert.equal(networkSet([network('::1')])?.has('::1'), true);
});

/** A number of 32 bits that looks like chance and is the same each time. */
function mixed(seed: number): number {
  let bits = Math.imul(seed + 1, 0x9e3779b1);
  bits = Math.imul(bits ^ (bits >>> 15), 0x85ebca77);
  return (bits ^ (bits >>> 13)) >>> 0;
}

const dotted = (word: number): string =>
  [word >>> 24, (word >>> 16) & 0xff, (word >>> 8) & 0xff, word & 0xff].join('.');

test('of 65,536 networks each is found, and no address beside them', () => {
  const listed = new Set<number>();
  for (let seed = 0; listed.size < 65_536; seed += 1) listed.add(mixed(seed));
  const networks = [...listed].map((word, at): Network => {
    const high = (word >>> 16).toString(16);
    const low = (word & 0xffff).toString(16);
    return network(at % 2 === 0 ? dotted(word) : `2001:db8:${high}:${low}::/64`);
  });
  const set = new NetworkSet(networks);
  for (const { address } of networks) assert.equal(set.has(address), true, address);
  const known = new Set(networks.map(({ address }) => address));
  for (let seed = 0; seed < 65_536; seed += 1) {
    const address = dotted(mixed(seed + 200_000));
    assert.equal(set.has(address), known.has(address), address);
  }
});

test('a network reads back as it is shown', () => {
  const shown = (text: string): string => showNetwork(network(text));
  assert.equal(shown('10.0.0.0/8'), '10.0.0.0/8');
  assert.equal(shown('192.0.2.7'), '192.0.2.7/32');
  assert.equal(shown('2001:DB8:0::/32'), '2001:db8::/32');
  assert.equal(shown('::1'), '::1/128');
  assert.equal(shown('::ffff:10.0.0.0/104'), '10.0.0.0/8');
  assert.equal(shown('::ffff:192.0.2.7'), '192.0.2.7/32');
  for (const list of LISTS.flat()) assert.deepEqual(network(shown(list)), network(list));
});

test('a wrong network says what is right', () => {
  const table: readonly (readonly [string, RegExp])[] = [
    ['10.0.0.1/8', /bits set behind the prefix; write 10\.0\.0\.0\/8$/],
    ['192.168.1.0/16', /write 192\.168\.0\.0\/16$/],
    ['2001:db8::1/32', /write 2001:db8::\/32$/],
    ['::ffff:10.0.0.1/104', /bits set behind the prefix/],
    ['::ffff:0:0/90', /bits set behind the prefix/],
    ['1.2.3.4/0', /write 0\.0\.0\.0\/0$/],
    ['10.0.0.0/33', /no valid prefix; write a number from 0 to 32/],
    ['::/129', /from 0 to 128/],
    ['10.0.0.0/', /no valid prefix/],
    ['10.0.0.0/08', /no valid prefix/],
    ['10.0.0.0/-1', /no valid prefix/],
    ['10.0.0.0/8/8', /no valid prefix/],
    ['10.0.0.0/255.0.0.0', /no valid prefix/],
    ['10.0.0', /is not a network; write an address or a network/],
    ['010.0.0.0/8', /is not a network/],
    ['10.0.0.0 /8', /is not a network/],
    ['[::1]', /is not a network/],
    ['fe80::1%eth0', /is not a network/],
    ['localhost', /is not a network/],
    ['*', /is not a network/],
    ['', /is not a network/],
  ];
  for (const [text, expected] of table) {
    const read = readNetwork(text);
    assert.ok(typeof read === 'string', text);
    assert.match(read, expected, text);
  }
});
