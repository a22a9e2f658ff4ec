// Goal: a token serves what it names and nothing else. Method: tables.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TokenEntry } from '../../src/config/config.ts';
import { mayServe } from '../../src/control/token-scope.ts';

const BARE: TokenEntry = {
  ...{ name: 'ci', digests: [], hosts: [], ports: [], udpPorts: [], isAdmin: false },
};

const TABLE: readonly (readonly [readonly string[], readonly string[], readonly string[]])[] = [
  [[], [], ['a.test', '*', '*.a.test', 'tls:a.test', 'a.test/api']],
  [['a.test'], ['a.test', 'a.test/api', 'tls:a.test'], ['b.test', 'x.a.test', '*.a.test', '*']],
  [
    ['*.a.test'],
    ['x.a.test', 'x.y.a.test', '*.a.test', '*.x.a.test', 'tls:*.a.test', 'x.a.test/p'],
    ['a.test', 'xa.test', 'a.test.b', '*', '*.test', 'tls:a.test'],
  ],
  [['*'], ['a.test', '*', '*.a.test', 'tls:a.test', '*/api'], ['tcp:2222', 'udp:2222']],
];

for (const [hosts, may, mayNot] of TABLE) {
  test(`hosts [${hosts.join(' ')}]`, () => {
    for (const name of may) assert.equal(mayServe({ ...BARE, hosts }, name), true, name);
    for (const name of mayNot) assert.equal(mayServe({ ...BARE, hosts }, name), false, name);
  });
}

test('ports, and no host by them', () => {
  const entry = {
    ...BARE,
    ports: [
      { first: 2222, last: 2222 },
      { first: 8000, last: 8100 },
    ],
  };
  for (const name of ['tcp:2222', 'tcp:8000', 'tcp:8100'])
    assert.equal(mayServe(entry, name), true);
  for (const name of ['tcp:2223', 'tcp:7999', 'tcp:8101', 'tcp:22', 'udp:2222', '2222', 'a.test']) {
    assert.equal(mayServe(entry, name), false, name);
  }
});

test('UDP ports, and no TCP port by them', () => {
  const entry = { ...BARE, udpPorts: [{ first: 5353, last: 5354 }] };
  for (const name of ['udp:5353', 'udp:5354']) assert.equal(mayServe(entry, name), true);
  for (const name of ['udp:5352', 'udp:5355', 'udp:05353', 'udp:', 'tcp:5353', 'a.test']) {
    assert.equal(mayServe(entry, name), false, name);
  }
});
