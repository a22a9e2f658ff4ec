// Who visits, when a trusted proxy says so: a table of X-Forwarded-For, and whole heads.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readNetwork } from '../../src/base/network.ts';
import { NetworkSet } from '../../src/base/network-set.ts';
import { Forwarding, type VisitorOrigin } from '../../src/http/forwarding.ts';
import { writeRequestHead } from '../../src/http/head-writer.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { Slab } from '../../src/http/slab.ts';
import { HOPS_MAX, visitorOf, visitorScheme } from '../../src/http/trusted-forwarding.ts';

const PEER = '10.0.0.1';

function trust(...networks: readonly string[]): NetworkSet {
  return new NetworkSet(
    networks.map((text) => {
      const read = readNetwork(text);
      assert.ok(typeof read !== 'string', text);
      return read;
    }),
  );
}

const ORIGIN: VisitorOrigin = {
  address: PEER,
  scheme: 'http',
  localAuthority: '203.0.113.5:8000',
  trusted: trust('10.0.0.0/8', '2001:db8:1::/48'),
};

function parse(fields: string, line = 'GET / HTTP/1.1'): RequestParser {
  const parser = new RequestParser();
  const bytes = Buffer.from(`xyz${line}\r\nHost: a.example\r\n${fields}\r\n`, 'latin1');
  assert.equal(parser.push(bytes, 3), bytes.length, parser.error);
  return parser;
}

function forward(fields: string, origin = ORIGIN): string {
  const slab = new Slab();
  writeRequestHead(
    parse(fields),
    { forwarding: new Forwarding(origin), edits: undefined },
    slab,
    0,
  );
  return slab.take().toString('latin1');
}

/** The head that the upstream gets, with `others` before our own fields. */
function expected(chain: readonly string[], more: Partial<Record<string, string>> = {}): string {
  const { host = 'a.example', proto = 'http', kept = '', others = '' } = more;
  const node = (one: string): string => (one.includes(':') ? `for="[${one}]"` : `for=${one}`);
  const [visitor = '', ...hops] = chain;
  const first = `${node(visitor)};host="${host}";proto=${proto}`;
  return (
    `GET / HTTP/1.1\r\nHost: a.example\r\n${kept}Via: 1.1 sluiceway\r\n${others}` +
    `X-Forwarded-For: ${chain.join(', ')}\r\nX-Forwarded-Proto: ${proto}\r\n` +
    `X-Forwarded-Host: ${host}\r\nX-Real-IP: ${visitor}\r\n` +
    `Forwarded: ${[first, ...hops.map(node)].join(', ')}\r\n\r\n`
  );
}

const V = '192.0.2.7';

/** Values of X-Forwarded-For, one a line, and the chain that is believed. */
const WALKS: readonly (readonly [lines: readonly string[], chain: readonly string[]])[] = [
  [[], [PEER]],
  [[V], [V, PEER]],
  [[`1.1.1.1, ${V}`], [V, PEER]],
  [[`${V}, 10.0.0.2`], [V, '10.0.0.2', PEER]],
  [[`1.1.1.1,${V},10.0.0.2 ,\t10.0.0.3`], [V, '10.0.0.2', '10.0.0.3', PEER]],
  [
    [V, '10.0.0.2'],
    [V, '10.0.0.2', PEER],
  ],
  [
    ['10.0.0.2', V],
    [V, PEER],
  ],
  [
    ['1.1.1.1', '8.8.8.8, 10.0.0.9'],
    ['8.8.8.8', '10.0.0.9', PEER],
  ],
  [['10.0.0.2'], ['10.0.0.2', PEER]],
  [['10.0.0.3, 10.0.0.2'], ['10.0.0.3', '10.0.0.2', PEER]],
  [['2001:DB8:1:0::9, 10.0.0.2'], ['2001:db8:1::9', '10.0.0.2', PEER]],
  [['2001:db8:2::1, 2001:db8:1::9'], ['2001:db8:2::1', '2001:db8:1::9', PEER]],
  [[`::ffff:${V}, ::ffff:10.0.0.2`], [V, '10.0.0.2', PEER]],
  [[`${V}:4711`], [V, PEER]],
  [['[2001:db8:2::1]:4711'], ['2001:db8:2::1', PEER]],
  [['[2001:db8:2::1]'], ['2001:db8:2::1', PEER]],
  [['2001:db8:2::1:4711'], ['2001:db8:2::1:4711', PEER]],
  [[`${V}, 10.0.0.2:80, [2001:db8:1::1]:80`], [V, '10.0.0.2', '2001:db8:1::1', PEER]],
  ...[
    ...[
      'unknown',
      '_hidden',
      'localhost',
      '',
      ' ',
      '-',
      '1.2.3',
      '01.2.3.4',
      '256.1.1.1',
      '"1.2.3.4"',
    ],
    ...[
      '1.2.3.4:',
      '1.2.3.4:99999',
      '1.2.3.4:1:2',
      '1.2.3.4:x',
      '[1.2.3.4]',
      '[1.2.3.4]:80',
      '[::1',
    ],
    ...[
      '::1]',
      '[::1]80',
      '[::1]:',
      '[::1]:x',
      '[]',
      '[]:80',
      ':80',
      '::1%lo',
      'for=1.2.3.4',
      '1.2.3.4 5',
    ],
    ...[
      '1.2.3.4\u00a0',
      '1.2.3.4/32',
      '0x7f.0.0.1',
      '2130706433',
      `${'1'.repeat(60)}`,
      '::ffff:1.2.3.4:80',
    ],
  ].flatMap((bad): (readonly [readonly string[], readonly string[]])[] => [
    [[bad], [PEER]],
    [[`${V}, ${bad}`], [PEER]],
    [[`${bad}, ${V}`], [V, PEER]],
    [[`${V}, ${bad}, 10.0.0.2`], ['10.0.0.2', PEER]],
    [
      [V, bad, '10.0.0.2'],
      ['10.0.0.2', PEER],
    ],
  ]),
];

test(`the visitor is the last address that is no proxy, in ${WALKS.length} rows`, () => {
  for (const [lines, chain] of WALKS) {
    const fields = lines.map((line) => `X-Forwarded-For: ${line}\r\n`).join('');
    assert.equal(forward(fields), expected(chain), JSON.stringify(lines));
    assert.equal(visitorOf(parse(fields), ORIGIN), chain[0], JSON.stringify(lines));
  }
});

test('nobody is believed who is not trusted', () => {
  const origin = { ...ORIGIN, trusted: undefined };
  for (const [lines] of WALKS) {
    const fields = lines.map((line) => `X-Forwarded-For: ${line}\r\n`).join('');
    assert.equal(forward(fields, origin), expected([PEER]), JSON.stringify(lines));
    assert.equal(visitorOf(parse(fields), origin), PEER);
  }
});

test('a chain has a bound', () => {
  const many = Array.from({ length: 200 }, (_, index) => `10.1.1.${index}`);
  const chain = [...many.slice(1 - HOPS_MAX), PEER];
  assert.equal(forward(`X-Forwarded-For: ${many.join(',')}\r\n`), expected(chain));
});

test('with everybody trusted the visitor is the first of the list', () => {
  const origin = { ...ORIGIN, trusted: trust('0.0.0.0/0', '::/0') };
  const head = forward(`X-Forwarded-For: ::1, ${V}\r\nX-Forwarded-For: 1.1.1.1\r\n`, origin);
  assert.equal(head, expected(['::1', V, '1.1.1.1', PEER]));
});

test('the scheme is the last one named, if it is one', () => {
  const scheme = (...values: string[]): string =>
    forward(values.map((value) => `X-Forwarded-Proto: ${value}\r\n`).join(''));
  for (const values of [['https'], ['HTTPS'], ['http, https'], ['http', 'https'], ['x,https ']]) {
    assert.equal(scheme(...values), expected([PEER], { proto: 'https' }), values.join('|'));
  }
  for (const values of [['http'], ['https,'], ['https', 'wsss'], ['https://'], ['"https"'], ['']]) {
    assert.equal(scheme(...values), expected([PEER]), values.join('|'));
  }
});

test('the scheme of a WebSocket is that of the request that opens it', () => {
  const told = (value: string, scheme: 'http' | 'https'): string => {
    const origin = { ...ORIGIN, scheme };
    const field = `X-Forwarded-Proto: ${value}\r\n`;
    const head = forward(field, origin);
    assert.ok(head.includes(`proto=${visitorScheme(parse(field), origin)}\r\n`), head);
    return /X-Forwarded-Proto: (.*)\r\n/.exec(head)?.[1] ?? '';
  };
  for (const value of ['wss', 'WSS', 'ws, wss']) assert.equal(told(value, 'http'), 'https', value);
  for (const value of ['ws', 'wss,ws']) assert.equal(told(value, 'https'), 'http', value);
});

test('the host is told on, but never written into Host', () => {
  const host = (...values: string[]): string =>
    forward(values.map((value) => `X-Forwarded-Host: ${value}\r\n`).join(''));
  assert.equal(host('b.example'), expected([PEER], { host: 'b.example' }));
  assert.equal(host('x', 'b.example:8443'), expected([PEER], { host: 'b.example:8443' }));
  assert.equal(host('[::1]:80'), expected([PEER], { host: '[::1]:80' }));
  for (const bad of ['', 'a b', 'a"b', 'a;b', 'a/b', '..', 'x,', 'a\\b', 'a:b', 'user@a']) {
    assert.equal(host(bad), expected([PEER]), bad);
  }
});

test('other X-Forwarded fields of a trusted proxy stay, aliases and what is ours do not', () => {
  const dropped = [
    ...['x_forwarded_for', 'X.Forwarded-For', 'X-Forwarded_Port', 'X_Forwarded_Proto'],
    ...['Forwarded', 'X-Real-IP', 'X_Real_IP', 'X-Forwarded', 'X-Forwarded-', 'X-Forwarded-A.B'],
  ];
  const fields = dropped.map((name) => `${name}: 1.1.1.1\r\n`).join('');
  const others = 'X-Forwarded-Port: 443\r\nx-forwarded-prefix: /a\r\n';
  const kept = 'Accept: */*\r\nCookie: a\r\n';
  assert.equal(
    forward(
      `Accept: */*\r\n${fields}X-Forwarded-Port:443 \r\nx-forwarded-prefix: /a\r\nCookie: a\r\n`,
    ),
    expected([PEER], { kept, others }),
  );
});

test('a visitor cannot take away what its proxy says by naming it in Connection', () => {
  const said = `X-Forwarded-For: ${V}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: b.example\r\n`;
  const names = 'close, x-forwarded-for, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port';
  const others = 'X-Forwarded-Port: 1\r\n';
  const fields = `Connection: ${names}\r\n${said}${others}`;
  const more = { host: 'b.example', proto: 'https', others };
  assert.equal(forward(fields), expected([V, PEER], more));
  assert.equal(visitorOf(parse(fields), ORIGIN), V);
  assert.equal(visitorScheme(parse(fields), ORIGIN), 'https');
});

test('each request of a connection has a visitor of its own', () => {
  const forwarding = new Forwarding(ORIGIN);
  const slab = new Slab();
  for (const visitor of [V, '198.51.100.1', V]) {
    writeRequestHead(
      parse(`X-Forwarded-For: ${visitor}\r\n`),
      { forwarding, edits: undefined },
      slab,
      0,
    );
    assert.equal(slab.take().toString('latin1'), expected([visitor, PEER]));
  }
});

test('a list as long as a head may be is walked at once', () => {
  for (const unit of [',', ' ', '\t,', '1,', '[', ':', '10.0.0.1,']) {
    const value = unit.repeat(Math.floor(15_000 / unit.length));
    const start = performance.now();
    forward(`X-Forwarded-For: x${value}x\r\n`);
    assert.ok(performance.now() - start < 250, JSON.stringify(unit));
  }
});
