// Goal: what passes is safe as a route, a label and a log field. Method: names of both kinds, and
// everything that looks like one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SluicewayError } from '../../src/base/errors.ts';
import { checkTunnelName, isHttpTunnel } from '../../src/control/tunnel-name.ts';

function isRefused(name: string): boolean {
  try {
    checkTunnelName(name);
    return false;
  } catch (error) {
    assert.ok(error instanceof SluicewayError, String(error));
    assert.equal(error.code, 'SLW_TUNNEL_NAME');
    assert.doesNotMatch(error.message, /[^\x20-\x7e]/);
    assert.ok(error.message.length < 200);
    return true;
  }
}

test('hosts, wildcards, the catch-all and ports pass', () => {
  const label = 'a'.repeat(63);
  const hosts = [
    'example.com',
    'localhost',
    '*',
    '*.example.com',
    'xn--bcher-kva.example',
    'a_b.example.com',
    '1.2.3.4',
    '__proto__',
    'example.com/api',
    '*/api/V1',
    '*.example.com/a%2Fb/~c',
    'a/...',
    `a/${'x'.repeat(199)}`,
    `${label}.${label}.${label}.${'a'.repeat(61)}`,
  ];
  const passed = ['tls:example.com', 'tls:*.example.com', 'tls:localhost'];
  for (const host of [...hosts, ...passed]) assert.equal(checkTunnelName(host), undefined, host);
  assert.deepEqual(checkTunnelName('tcp:1'), { transport: 'tcp', port: 1 });
  assert.deepEqual(checkTunnelName('tcp:65535'), { transport: 'tcp', port: 65_535 });
  assert.deepEqual(checkTunnelName('udp:53'), { transport: 'udp', port: 53 });
  assert.equal(isHttpTunnel('udp:53'), false);
});

test('everything else is refused, and told without its control characters', () => {
  const names = [
    ...[
      'tls:',
      'tls:*',
      'tls:a/b',
      'tls:A',
      'tls:a:443',
      'tls:tls:a',
      'tls:*.',
      'TLS:a',
      'tls:[::1]',
    ],
    ...['', '.', '..', 'a..b', '.a', 'a.', '-a.com', 'a-.com', 'Example.com', 'a b', '/a'],
    ...['a:80', 'user@a', '[::1]', 'a,b', 'a"b', "a'b", 'a\\b', 'a\nb', 'a\r\nX: y', 'a\0b'],
    ...['\u001b[2J', 'a\u202eb', 'bücher.example', 'a\u3002b', 'a\uff0eb', '\u0130.com'],
    ...['**', '*a', '*.', '*.*.com', 'a.*.com', '*.*', 'a*.com'],
    ...[
      'a/',
      '*/',
      '/',
      'a//b',
      'a/b/',
      'a/./b',
      'a/../b',
      'a/%2e',
      'a/%7e',
      'a/%2f',
      'a/%',
      'a/b?c',
    ],
    ...[
      'a/b#c',
      'a/b c',
      'a/b,c',
      'a/b;c',
      'a/b=c',
      'a/*',
      'a/b"c',
      'a/b\\c',
      'a/ü',
      'tcp:22/a',
      'A/b',
    ],
    `a/${'x'.repeat(200)}`,
    ...['tcp:', 'tcp:0', 'tcp:65536', 'tcp:99999', 'tcp:022', 'tcp:-1', 'tcp:1e3', 'tcp: 22'],
    ...['udp:', 'udp:0', 'udp:65536', 'udp:053', 'udp:53/a', 'UDP:53', 'udp:53 ', 'sctp:53'],
    ...['tcp:22\n', 'TCP:22', 'tcp:22.0', `${'a'.repeat(64)}.com`],
    `${'a.'.repeat(126)}aa`,
    'x'.repeat(100_000),
  ];
  for (const name of names) assert.equal(isRefused(name), true, JSON.stringify(name.slice(0, 40)));
});

test('what passes is made of safe characters only', () => {
  const seed = 31;
  const anything = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.string({ unit: fc.constantFrom(...'ab.-_*:019tcp/%~\n"\u202e') }),
  );
  fc.assert(
    fc.property(anything, (name) => {
      if (isRefused(name)) return;
      const safe = /^(?:(?:\*|(?:\*\.)?[a-z0-9._-]{1,253})(?:\/[\w.~!$&'()+:@%/-]+)?|tcp:\d{1,5})$/;
      assert.match(name, safe);
    }),
    { seed, numRuns: 5000 },
  );
});
