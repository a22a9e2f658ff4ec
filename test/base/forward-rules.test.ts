// Goal: a rule allows what it says and nothing beside it, and no address of this machine, its link
// or its cloud unless a rule names it. Method: a table of rules and targets, each with the address
// that its name led to; texts that are no rule; every rule's text read again.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  ForwardRules,
  type ForwardVerdict,
  readForwardRule,
  showForwardRule,
} from '../../src/base/forward-rules.ts';

function rules(...texts: readonly string[]): ForwardRules {
  return new ForwardRules(
    texts.map((text) => {
      const read = readForwardRule(text);
      assert.ok(typeof read !== 'string', `${text} ${String(read)}`);
      return read;
    }),
  );
}

/** Rules, the host asked for, the address it led to (itself when left out), port, verdict. */
const CASES: readonly (readonly [string, string, string, number, ForwardVerdict])[] = [
  ['nats.svc:4222', 'nats.svc', '10.1.2.3', 4222, 'allowed'],
  ['nats.svc:4222', 'nats.svc', '10.1.2.3', 4223, 'denied'],
  ['nats.svc:4222', 'other.svc', '10.1.2.3', 4222, 'denied'],
  // The address alone is not named by a rule for a name.
  ['nats.svc:4222', '10.1.2.3', '10.1.2.3', 4222, 'denied'],
  ['nats.svc:4222', 'evil.nats.svc', '10.1.2.3', 4222, 'denied'],
  ['nats.svc:4222', 'nats.svc.evil', '10.1.2.3', 4222, 'denied'],
  ['*.svc:*', 'a.b.svc', '10.1.2.3', 1, 'allowed'],
  ['*.svc:*', 'svc', '10.1.2.3', 1, 'denied'],
  ['*.svc:*', 'evilsvc', '10.1.2.3', 1, 'denied'],
  ['*:80', 'anything.example', '198.51.100.7', 80, 'allowed'],
  ['*:80', '198.51.100.7', '198.51.100.7', 80, 'allowed'],
  ['*:80', 'anything.example', '198.51.100.7', 81, 'denied'],
  ['10.0.0.0/8:8000-8100', '10.255.0.1', '10.255.0.1', 8100, 'allowed'],
  ['10.0.0.0/8:8000-8100', '10.255.0.1', '10.255.0.1', 8101, 'denied'],
  ['10.0.0.0/8:8000-8100', '11.0.0.1', '11.0.0.1', 8000, 'denied'],
  ['10.0.0.0/8:8000-8100', 'any.name', '10.0.0.1', 8000, 'allowed'],
  ['10.0.0.0/8:8000-8100', 'any.name', '192.0.2.1', 8000, 'denied'],
  ['10.0.0.1:*', '10.0.0.1', '10.0.0.1', 65_535, 'allowed'],
  ['10.0.0.1:*', '::ffff:10.0.0.1', '::ffff:10.0.0.1', 80, 'allowed'],
  ['[2001:db8::/32]:443', '2001:db8::1', '2001:db8::1', 443, 'allowed'],
  ['[2001:db8::/32]:443', '2001:db9::1', '2001:db9::1', 443, 'denied'],
  // Reserved addresses, whatever the rule, the name or the form.
  ['*:*', '127.0.0.1', '127.0.0.1', 80, 'reserved'],
  ['*:*', '127.255.255.254', '127.255.255.254', 80, 'reserved'],
  ['*:*', '::1', '::1', 80, 'reserved'],
  ['*:*', '::ffff:127.0.0.1', '::ffff:127.0.0.1', 80, 'reserved'],
  ['*:*', '::ffff:7f00:1', '::ffff:7f00:1', 80, 'reserved'],
  ['*:*', '::127.0.0.1', '::127.0.0.1', 80, 'reserved'],
  ['*:*', '0.0.0.0', '0.0.0.0', 80, 'reserved'],
  ['*:*', '::', '::', 80, 'reserved'],
  ['*:*', 'localhost', '127.0.0.1', 80, 'reserved'],
  ['*:*', 'rebound.example', '127.0.0.1', 80, 'reserved'],
  ['rebound.example:80', 'rebound.example', '127.0.0.1', 80, 'reserved'],
  ['rebound.example:80', 'rebound.example', '169.254.169.254', 80, 'reserved'],
  ['metadata.google.internal:80', 'metadata.google.internal', '169.254.169.254', 80, 'reserved'],
  ['*:*', '169.254.169.254', '169.254.169.254', 80, 'reserved'],
  ['*:*', 'fe80::1', 'fe80::1', 80, 'reserved'],
  ['*:*', 'name.example', 'fe80::1%eth0', 80, 'reserved'],
  ['*:*', '100.100.100.200', '100.100.100.200', 80, 'reserved'],
  ['*:*', '168.63.129.16', '168.63.129.16', 80, 'reserved'],
  ['*:*', '192.0.0.192', '192.0.0.192', 80, 'reserved'],
  ['*:*', 'fd00:ec2::254', 'fd00:ec2::254', 80, 'reserved'],
  ['*:*', 'fd20:ce::254', 'fd20:ce::254', 80, 'reserved'],
  ['[fd00::/8]:*', 'fd00:100::100:200', 'fd00:100::100:200', 80, 'reserved'],
  ['[fd00::/8]:*', 'fd00:42::42', 'fd00:42::42', 80, 'reserved'],
  ['[fd00:42::42]:80', 'fd00:42::42', 'fd00:42::42', 80, 'allowed'],
  ['*:*', 'name', 'fd00:a9fe:a9fe::1', 80, 'reserved'],
  ['*:*', 'name', 'fd00:c1::a9fe:a9fe', 80, 'reserved'],
  // Networks that people choose for themselves: of those only the address is.
  ['*:*', 'fd00:42::43', 'fd00:42::43', 80, 'allowed'],
  ['*:*', '64:ff9b::a9fe:a9fe', '64:ff9b::a9fe:a9fe', 80, 'reserved'],
  ['*:*', '2002:7f00:1::', '2002:7f00:1::', 80, 'reserved'],
  // Every form in which a router may find an IPv4 address again: translated, NAT64 of one's own,
  // Teredo, 6to4, and what is written in other letters.
  ['*:*', 'name', '::ffff:0:127.0.0.1', 80, 'reserved'],
  ['*:*', 'name', '::ffff:0:a9fe:a9fe', 80, 'reserved'],
  ['*:*', 'name', '64:ff9b:1::7f00:1', 80, 'reserved'],
  ['*:*', 'name', '64:ff9b:1:7f00:0:100::', 80, 'reserved'],
  ['*:*', 'name', '2001:0:7f00:1::', 80, 'reserved'],
  ['*:*', 'name', '2002:a9fe:a9fe::1', 80, 'reserved'],
  ['*:*', 'name', '::169.254.169.254', 80, 'reserved'],
  ['*:*', 'name', '::FFFF:A9FE:A9FE', 80, 'reserved'],
  ['*:*', 'name', '0:0:0:0:0:ffff:7f00:1', 80, 'reserved'],
  ['*:*', 'name', 'fe80::5efe:127.0.0.1', 80, 'reserved'],
  ['*:*', 'name', '0.1.2.3', 80, 'reserved'],
  ['*:*', 'name', '240.0.0.1', 80, 'reserved'],
  // Numbers that a resolver would read as an address, and others that are none.
  ['*:*', '0x7f000001', '0x7f000001', 80, 'denied'],
  ['*:*', '0177.0.0.1', '0177.0.0.1', 80, 'denied'],
  ['*:*', '127.1', '127.1', 80, 'denied'],
  ['*:*', '127.0.0.1\r\n', '127.0.0.1\r\n', 80, 'denied'],
  ['*:*', 'name', '127.0.0.1 ', 80, 'denied'],
  ['*:*', 'name', '[::1]', 80, 'denied'],
  // No rule has port 0.
  ['*:*', '10.0.0.1', '10.0.0.1', 0, 'denied'],
  ['10.0.0.1:1-65535', '10.0.0.1', '10.0.0.1', 0, 'denied'],
  ['*:*', '224.0.0.1', '224.0.0.1', 80, 'reserved'],
  ['*:*', '255.255.255.255', '255.255.255.255', 80, 'reserved'],
  ['*:*', 'ff02::1', 'ff02::1', 80, 'reserved'],
  // Wider than what is reserved is not named.
  ['0.0.0.0/0:*', '127.0.0.1', '127.0.0.1', 80, 'reserved'],
  ['[::/0]:*', '::1', '::1', 80, 'reserved'],
  ['[::/0]:*', '::ffff:127.0.0.1', '::ffff:127.0.0.1', 80, 'denied'],
  ['126.0.0.0/7:*', '127.0.0.1', '127.0.0.1', 80, 'reserved'],
  // Named.
  ['127.0.0.1:5432', '127.0.0.1', '127.0.0.1', 5432, 'allowed'],
  ['127.0.0.1:5432', '127.0.0.2', '127.0.0.2', 5432, 'denied'],
  ['127.0.0.0/8:*', '127.9.9.9', '127.9.9.9', 1, 'allowed'],
  ['127.0.0.1:*', 'db.example', '127.0.0.1', 1, 'allowed'],
  ['localhost:5432', 'localhost', '127.0.0.1', 5432, 'allowed'],
  ['localhost:5432', 'localhost', '::1', 5432, 'allowed'],
  ['localhost:5432', 'localhost', '169.254.169.254', 5432, 'reserved'],
  ['localhost:5432', '127.0.0.1', '127.0.0.1', 5432, 'denied'],
  ['169.254.169.254:80', '169.254.169.254', '169.254.169.254', 80, 'allowed'],
  ['169.254.0.0/16:80', 'meta.example', '169.254.169.254', 80, 'allowed'],
  // What is no address is never allowed.
  ['*:*', 'name', 'no address', 80, 'denied'],
  ['*:*', '2130706433', '2130706433', 80, 'denied'],
];

for (const [rule, host, address, port, verdict] of CASES) {
  test(`${rule}: ${host} at ${address}, port ${port}, is ${verdict}`, () => {
    assert.equal(rules(rule).judge(host, address, port), verdict);
  });
}

test('one of several rules is enough, and none allows nothing', () => {
  assert.equal(rules('a:1', 'b:2').judge('b', '10.0.0.1', 2), 'allowed');
  assert.equal(rules().judge('b', '10.0.0.1', 2), 'denied');
  // A wide rule and one that names the address: both together are what the second says.
  assert.equal(rules('*:*', '127.0.0.1:5432').judge('x', '127.0.0.1', 5432), 'allowed');
  assert.equal(rules('*:*', '127.0.0.1:5432').judge('x', '127.0.0.1', 5433), 'reserved');
});

test('a name is looked up only if a rule could fit where it leads', () => {
  assert.equal(rules('nats.svc:4222').mayFit('nats.svc', 4222), true);
  assert.equal(rules('nats.svc:4222').mayFit('nats.svc', 1), false);
  assert.equal(rules('nats.svc:4222').mayFit('other.svc', 4222), false);
  assert.equal(rules('10.0.0.0/8:80').mayFit('other.svc', 80), true);
  assert.equal(rules('10.0.0.0/8:80').mayFit('other.svc', 81), false);
  assert.equal(rules().mayFit('other.svc', 81), false);
});

for (const text of [
  'nats.svc',
  'nats.svc:',
  ':4222',
  ':',
  '',
  'nats.svc:0',
  'nats.svc:65536',
  'nats.svc:1-0',
  'nats.svc:*-9',
  'nats svc:1',
  'nats.svc\r\n:1',
  '*.*:1',
  'a.*:1',
  '**:1',
  '2130706433:80',
  '0x7f.1:80',
  '0177.0.0.1:80',
  '127.1:80',
  '10.0.0.1/8:80',
  '10.0.0.0/33:80',
  '::1',
  '2001:db8::1',
  '2001:db8::1:443',
  '[::1]',
  '[nats]:1',
  '[::1:443',
  'http://nats:80',
  'user@nats:80',
  'nats:80/path',
  'bücher.example:80',
]) {
  test(`${JSON.stringify(text)} is no rule`, () => {
    assert.equal(typeof readForwardRule(text), 'string');
  });
}

test('a rule is shown as it may be written, and read back as the same', () => {
  const shown = [
    ['NATS.svc.:4222', 'nats.svc:4222'],
    ['*:1-65535', '*:*'],
    ['10.0.0.1/32:80', '10.0.0.1:80'],
    ['10.0.0.0/8:80-81', '10.0.0.0/8:80-81'],
    ['[2001:DB8::/32]:*', '[2001:db8::/32]:*'],
    ['[::1]:443', '[::1]:443'],
    ['[::ffff:127.0.0.0/104]:1', '127.0.0.0/8:1'],
  ] as const;
  for (const [text, wanted] of shown) {
    const read = readForwardRule(text);
    assert.ok(typeof read !== 'string', text);
    assert.equal(showForwardRule(read), wanted);
    assert.deepEqual(readForwardRule(wanted), read);
  }
});
