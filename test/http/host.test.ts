// One canonical host: what is the same, and what is none.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { canonicalHost, HostReader } from '../../src/http/host.ts';

const LONGEST = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(63)}`;

test('gives one form for every spelling of a host', () => {
  const cases: readonly (readonly [string, string])[] = [
    ['example.com', 'example.com'],
    ['EXAMPLE.Com', 'example.com'],
    ['example.com.', 'example.com'],
    ['example.com:8000', 'example.com'],
    ['example.com.:8000', 'example.com'],
    ['example.com:', 'example.com'],
    ['example.com:65535', 'example.com'],
    ['xn--bcher-kva.example', 'xn--bcher-kva.example'],
    ['a_b.example-1', 'a_b.example-1'],
    ['localhost', 'localhost'],
    ['127.0.0.1:80', '127.0.0.1'],
    ['[::1]', '[::1]'],
    ['[2001:DB8::1]:443', '[2001:db8::1]'],
    ['[1:2:3:4:5:6:7:8]', '[1:2:3:4:5:6:7:8]'],
    ['[::ffff:192.0.2.1]', '[::ffff:192.0.2.1]'],
    ['__proto__', '__proto__'],
    ['constructor', 'constructor'],
    [LONGEST, LONGEST],
    [`${LONGEST}.:65535`, LONGEST],
  ];
  for (const [given, host] of cases) assert.equal(canonicalHost(given), host, given);
});

test('knows no host in anything else', () => {
  const bad = [
    ...['', '.', '..', 'a..b', '.a', 'a..', '*', '*.a', 'a,b', 'a b', 'u@a', 'a/b', 'a?b', 'a#b'],
    ...['a:b', 'a:80:80', 'a:65536', 'a:123456', 'a:-1', 'a:+1', ':80', ':', 'a\\b', 'a%41', 'a\0'],
    ...['b\u00fccher', 'a\u3002b', 'a\uff0eb', 'a\uff61b', `${LONGEST}e`, 'x'.repeat(256)],
    ...[
      '[',
      '[]',
      '[::',
      '::1',
      '[::1',
      '[::1]x',
      '[::1]:x',
      '[fe80::1%25eth0]',
      '[:::]',
      '[1::2::3]',
    ],
    ...['[12345::]', '[1:2:3:4:5:6:7]', '[1:2:3:4:5:6:7:8:9]', '[1:2:3:4:5:6:7::8]', '[::1.2.3]'],
    ...['[::256.0.0.1]', '[v1.a]', '[::01.2.3.4]', `[${'0:'.repeat(40)}1]`, '[1.2.3.4]', 'a[b]'],
  ];
  for (const given of bad) assert.equal(canonicalHost(given), undefined, JSON.stringify(given));
});

test('does not confuse a host with the one before it', () => {
  const reader = new HostReader();
  const read = (text: string) => reader.read(Buffer.from(text), 0, text.length);
  for (const [text, host, port] of [
    ['a.example:80', 'a.example', 80],
    ['b.example:80', 'b.example', 80],
    ['b.example', 'b.example', -1],
    ['b.example', 'b.example', -1],
  ] as const) {
    assert.equal(read(text), true);
    assert.equal(reader.host, host);
    assert.equal(reader.port, port);
  }
  assert.equal(read('b.exampl/'), false);
  assert.equal(read('b.example'), true);
  assert.equal(reader.host, 'b.example');
});
