// The vectors of reliability.md App. A and B for request heads, as tables.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { METHODS } from '../../src/http/method.ts';
import { type ParsedRequest, parseRequest } from '../support/http-parse.ts';

function accepted(text: string | Buffer): ParsedRequest {
  const result = parseRequest(text);
  assert.ok(typeof result !== 'string', `refused: ${String(result)}`);
  return result;
}

/** A request that is right but for what is put into it. */
function request(fields: string, line = 'GET / HTTP/1.1', host = 'Host: a.example\r\n'): string {
  return `${line}\r\n${host}${fields}\r\n`;
}

const REFUSED: readonly (readonly [name: string, text: string, code: string])[] = [
  ['no Host on 1.1', request('', 'GET / HTTP/1.1', ''), 'BAD_REQUEST'],
  ['two different Hosts', request('Host: b.example\r\n'), 'BAD_REQUEST'],
  ['two equal Hosts', request('Host: a.example\r\n'), 'BAD_REQUEST'],
  ['two Hosts on 1.0', request('Host: a.example\r\n', 'GET / HTTP/1.0'), 'BAD_REQUEST'],
  ['empty Host', request('', 'GET / HTTP/1.1', 'Host:\r\n'), 'BAD_REQUEST'],
  ['Host with a list', request('', 'GET / HTTP/1.1', 'Host: a, b\r\n'), 'BAD_REQUEST'],
  ['Host with userinfo', request('', 'GET / HTTP/1.1', 'Host: u@a\r\n'), 'BAD_REQUEST'],
  ['Host with a path', request('', 'GET / HTTP/1.1', 'Host: a/x\r\n'), 'BAD_REQUEST'],
  ['Host with 0xff', request('', 'GET / HTTP/1.1', 'Host: a\xffb\r\n'), 'BAD_REQUEST'],
  ['Host with a TAB', request('', 'GET / HTTP/1.1', 'Host: a\tb\r\n'), 'BAD_REQUEST'],
  ['Host with NUL', request('', 'GET / HTTP/1.1', 'Host: a\0b\r\n'), 'BAD_REQUEST'],
  ['Host *', request('', 'GET / HTTP/1.1', 'Host: *\r\n'), 'BAD_REQUEST'],
  ['absolute form, other host', request('', 'GET http://b.example/ HTTP/1.1'), 'BAD_REQUEST'],
  ['absolute form, other port', request('', 'GET http://a.example:81/ HTTP/1.1'), 'BAD_REQUEST'],
  ['absolute form, userinfo', request('', 'GET http://u@a.example/ HTTP/1.1'), 'BAD_REQUEST'],
  ['absolute form, other scheme', request('', 'GET ftp://a.example/ HTTP/1.1'), 'BAD_REQUEST'],
  ['absolute form without host', request('', 'GET http:///x HTTP/1.1'), 'BAD_REQUEST'],
  ['GET *', request('', 'GET * HTTP/1.1'), 'BAD_REQUEST'],
  ['OPTIONS **', request('', 'OPTIONS ** HTTP/1.1'), 'BAD_REQUEST'],
  ['fragment', request('', 'GET /a#b HTTP/1.1'), 'BAD_REQUEST'],
  ['backslash in the path', request('', 'GET /a\\b HTTP/1.1'), 'BAD_REQUEST'],
  ['target without slash', request('', 'GET x HTTP/1.1'), 'BAD_REQUEST'],
  ['authority form', request('', 'GET a.example:80 HTTP/1.1'), 'BAD_REQUEST'],
  ['NUL in the target', request('', 'GET /\0 HTTP/1.1'), 'BAD_REQUEST'],
  ['0x80 in the target', request('', 'GET /\x80 HTTP/1.1'), 'BAD_REQUEST'],
  ['DEL in the target', request('', 'GET /\x7f HTTP/1.1'), 'BAD_REQUEST'],
  ['TAB in the target', request('', 'GET /a\tb HTTP/1.1'), 'BAD_REQUEST'],
  ['double spaces', request('', 'GET  /  HTTP/1.1'), 'BAD_REQUEST'],
  ['two spaces before the version', request('', 'GET /  HTTP/1.1'), 'BAD_REQUEST'],
  ['space after the version', request('', 'GET / HTTP/1.1 '), 'BAD_REQUEST'],
  ['TAB for a space', request('', 'GET\t/ HTTP/1.1'), 'BAD_REQUEST'],
  ['leading space', request('', ' GET / HTTP/1.1'), 'BAD_REQUEST'],
  ['two leading CRLFs', `\r\n\r\n${request('')}`, 'BAD_REQUEST'],
  ['leading LF', `\n${request('')}`, 'BAD_REQUEST'],
  ['leading CR', `\rG${request('')}`, 'BAD_REQUEST'],
  ['a TLS hello', '\x16\x03\x01\x02\0\x01', 'BAD_REQUEST'],
  ['HTTP/0.9', 'GET /\r\n', 'BAD_REQUEST'],
  ['lower-case http', request('', 'GET / http/1.1'), 'BAD_REQUEST'],
  ['HTTP/1.10', request('', 'GET / HTTP/1.10'), 'BAD_REQUEST'],
  ['HTTP/11', request('', 'GET / HTTP/11'), 'BAD_REQUEST'],
  ['HTTP/1.2', request('', 'GET / HTTP/1.2'), 'VERSION'],
  ['HTTP/2.0', request('', 'GET / HTTP/2.0'), 'VERSION'],
  ['HTTP/0.9 spelt out', request('', 'GET / HTTP/0.9'), 'VERSION'],
  ['HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'VERSION'],
  ['CONNECT', request('', 'CONNECT a.example:80 HTTP/1.1'), 'METHOD'],
  ['an unknown method', request('', 'BREW / HTTP/1.1'), 'METHOD'],
  ['a lower-case method', request('', 'get / HTTP/1.1'), 'METHOD'],
  ['__proto__ as a method', request('', '__proto__ / HTTP/1.1'), 'METHOD'],
  ['a method without end', 'A'.repeat(100), 'BAD_REQUEST'],
  ['unknown Expect', request('Expect: 200-ok\r\n'), 'EXPECTATION'],
  ['Expect twice', request('Expect: 100-continue\r\nExpect: 100-continue\r\n'), 'EXPECTATION'],
  ['Expect list', request('Expect: 100-continue, x\r\n'), 'EXPECTATION'],
  ['bare LF after the line', 'GET / HTTP/1.1\nHost: a\n\n', 'BAD_REQUEST'],
  ['bare LF after a field', request('A: b\nC: d\r\n'), 'BAD_REQUEST'],
  ['bare CR in a value', request('A: b\rC: d\r\n'), 'BAD_REQUEST'],
  ['CR CR LF', request('A: b\r\r\n'), 'BAD_REQUEST'],
  ['folding', request('A: b\r\n c\r\n'), 'BAD_REQUEST'],
  ['folding by TAB', request('A: b\r\n\tc\r\n'), 'BAD_REQUEST'],
  ['leading blank before the first field', 'GET / HTTP/1.1\r\n Host: a\r\n\r\n', 'BAD_REQUEST'],
  ['no colon', request('Content-Length 10\r\n'), 'BAD_REQUEST'],
  ['empty name', request(': x\r\n'), 'BAD_REQUEST'],
  ['only a colon', request(':\r\n'), 'BAD_REQUEST'],
  ['space before the colon', request('A : b\r\n'), 'BAD_REQUEST'],
  ['TAB before the colon', request('A\t: b\r\n'), 'BAD_REQUEST'],
  ['TAB in the name', request('A\tB: b\r\n'), 'BAD_REQUEST'],
  ['0xef in the name', request('A\xef: b\r\n'), 'BAD_REQUEST'],
  ['0xa0 before the name', request('\xa0A: b\r\n'), 'BAD_REQUEST'],
  ['0x85 after the name', request('A\x85: b\r\n'), 'BAD_REQUEST'],
  ['a name over two lines', request('Conte\r\nnt-Length: 5\r\n'), 'BAD_REQUEST'],
  ['NUL in a value', request('A: b\0\r\n'), 'BAD_REQUEST'],
  ['DEL in a value', request('A: b\x7f\r\n'), 'BAD_REQUEST'],
  ['VT in a value', request('A: b\x0bc\r\n'), 'BAD_REQUEST'],
  ['LF after the last CRLF', 'GET / HTTP/1.1\r\nHost: a\r\n\rx', 'BAD_REQUEST'],
];

const FRAMING_REFUSED: readonly string[] = [
  ...['01', '00', '010', '+1', '-1', '0x1', '1_0', '1, 1', '1,1', '', '1 1', '1a', '5\t', '\xa05'],
  ...['9223372036854775808', '18446744073709551616', '9007199254740992', '99999999999999999999'],
].map((value) => `Content-Length: ${value}\r\n`);

const CODING_REFUSED: readonly string[] = [
  ...['gzip, chunked', ',chunked', 'chunked,', 'chunked, chunked', 'xchunked', 'chunk', 'identity'],
  ...['chunked;a=b', '', 'chunked\x0b', '\x0bchunked', '\x0cchunked', 'chunked x', '"chunked"'],
  ...[
    'chun ked',
    'chunked\t',
    'chunked \t ',
    'chunked\xa0',
    'chunked\r\n chunked',
    'chunked, identity',
    'gzip',
  ],
].map((value) => `Transfer-Encoding: ${value}\r\n`);

const TOGETHER_REFUSED: readonly string[] = [
  'Content-Length: 5\r\nTransfer-Encoding: chunked\r\n',
  'Transfer-Encoding: chunked\r\nContent-Length: 5\r\n',
  'Content-Length: 5\r\nContent-Length: 5\r\n',
  'Content-Length: 5\r\nContent-Length: 6\r\n',
  'Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n',
  'Transfer_Encoding: chunked\r\nContent-Length: 5\r\n',
  'Transfer_Encoding: chunked\r\n',
  'Transfer.Encoding: x\r\n',
  'transfer-Encoding : chunked\r\n',
  'Content_Length: 5\r\n',
  'CONTENT.LENGTH: 5\r\n',
  'Content-Length : 5\r\n',
];

test('refuses each malformed or ambiguous head with its code', () => {
  for (const [name, text, code] of REFUSED)
    assert.equal(parseRequest(text), `SLW_HTTP_${code}`, name);
});

test('refuses every framing that is not exactly one length or chunked', () => {
  for (const field of [...FRAMING_REFUSED, ...CODING_REFUSED, ...TOGETHER_REFUSED])
    assert.equal(parseRequest(request(field, 'POST / HTTP/1.1')), 'SLW_HTTP_BAD_REQUEST', field);
  const old = request('Transfer-Encoding: chunked\r\n', 'POST / HTTP/1.0');
  assert.equal(parseRequest(old), 'SLW_HTTP_BAD_REQUEST', 'chunked on HTTP/1.0');
});

test('accepts one framing, in any case of letters', () => {
  const cases: readonly (readonly [string, string, number])[] = [
    ['', 'none', 0],
    ['Content-Length: 0\r\n', 'length', 0],
    ['content-length: 10\r\n', 'length', 10],
    ['CONTENT-LENGTH:9007199254740991\r\n', 'length', Number.MAX_SAFE_INTEGER],
    ['Transfer-Encoding: chunked\r\n', 'chunked', 0],
    ['transfer-encoding: \t CHUNKED \r\n', 'chunked', 0],
  ];
  for (const [fields, framing, length] of cases) {
    for (const method of ['GET', 'HEAD', 'OPTIONS', 'POST', 'DELETE']) {
      const parsed = accepted(request(fields, `${method} / HTTP/1.1`));
      assert.equal(parsed.framing, framing, fields);
      assert.equal(parsed.length, length, fields);
    }
  }
});

test('limits the head, the number of fields and the target', () => {
  const fields = (count: number) => request('A: b\r\n'.repeat(count - 1));
  assert.equal(accepted(fields(100)).fields.length, 100);
  assert.equal(parseRequest(fields(101)), 'SLW_HTTP_HEAD_TOO_LARGE');
  const empty = request('A: \r\n').length;
  const head = (bytes: number) => request(`A: ${'x'.repeat(bytes - empty)}\r\n`);
  assert.equal(head(16_384).length, 16_384);
  assert.equal(accepted(head(16_384)).rest, '');
  assert.equal(parseRequest(head(16_385)), 'SLW_HTTP_HEAD_TOO_LARGE');
  assert.equal(
    parseRequest(`GET / HTTP/1.1\r\nA: ${'x'.repeat(65_536)}`),
    'SLW_HTTP_HEAD_TOO_LARGE',
  );
  const target = (bytes: number) => request('', `GET /${'x'.repeat(bytes - 1)} HTTP/1.1`);
  assert.equal(accepted(target(8192)).target.length, 8192);
  assert.equal(parseRequest(target(8193)), 'SLW_HTTP_URI_TOO_LONG');
  assert.equal(parseRequest(`GET /${'x'.repeat(8191)}\0`), 'SLW_HTTP_URI_TOO_LONG');
  assert.equal(parseRequest(`GET /${'x'.repeat(8190)}\0`), 'SLW_HTTP_BAD_REQUEST');
});

test('gives the target byte for byte, and absolute form in origin form', () => {
  const targets = [
    '/',
    '//',
    '//b.example/x',
    '/%2F..%2f/../a/./b//',
    '/a?b=\\c&d=%zz',
    '/?',
    '/"<>^`{|}',
  ];
  for (const target of targets)
    assert.equal(accepted(request('', `GET ${target} HTTP/1.1`)).target, target);
  const absolute: readonly (readonly [string, string])[] = [
    ['GET http://a.example/x?y', '/x?y'],
    ['GET HTTP://A.Example:80/x', '/x'],
    ['GET https://a.example', '/'],
    ['GET http://a.example?x=/y', '/?x=/y'],
    ['OPTIONS http://a.example', '*'],
    ['OPTIONS *', '*'],
  ];
  for (const [line, target] of absolute)
    assert.equal(accepted(request('', `${line} HTTP/1.1`)).target, target, line);
  const withPort = request('', 'GET https://a.example:443/ HTTP/1.1');
  assert.equal(accepted(withPort.replace('Host: a.example', 'Host: a.example:443')).target, '/');
});

test('serves HTTP/1.0 without Host under an empty host, or under that of its target', () => {
  assert.equal(accepted('GET / HTTP/1.0\r\n\r\n').host, '');
  assert.equal(accepted('GET http://a.example/x HTTP/1.0\r\n\r\n').host, 'a.example');
  assert.equal(accepted('GET / HTTP/1.0\r\nHost: B.example\r\n\r\n').host, 'b.example');
});

test('skips one leading CRLF, and says where the next request begins', () => {
  const parsed = accepted(`\r\n${request('')}GET /next`);
  assert.equal(parsed.target, '/');
  assert.equal(parsed.rest, 'GET /next');
  assert.equal(parseRequest('\r\n'), 'more');
  assert.equal(parseRequest('GET / HTTP/1.1\r\nHost: a\r\n'), 'more');
});

test('keeps the connection alive as version and Connection say', () => {
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['1.1', '', true],
    ['1.1', 'Connection: close\r\n', false],
    ['1.1', 'Connection: CLOSE , foo\r\n', false],
    ['1.1', 'Connection: keep-alive, close\r\n', false],
    ['1.1', 'Connection: foo\r\nConnection: close\r\n', false],
    ['1.1', 'Connection: closed\r\n', true],
    ['1.0', '', false],
    ['1.0', 'Connection: Keep-Alive\r\n', true],
    ['1.0', 'Connection: keep-alive, close\r\n', false],
  ];
  for (const [version, fields, keepAlive] of cases)
    assert.equal(accepted(request(fields, `GET / HTTP/${version}`)).keepAlive, keepAlive, fields);
  const names = Array.from({ length: 33 }, (_, i) => `n${i}`).join(',');
  assert.equal(parseRequest(request(`Connection: ${names}\r\n`)), 'SLW_HTTP_BAD_REQUEST');
});

test('asks for a WebSocket only by GET, on 1.1, without a body, with both fields', () => {
  const both = 'Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n';
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['GET / HTTP/1.1', both, true],
    ['GET / HTTP/1.1', `${both}Content-Length: 0\r\n`, true],
    ['GET / HTTP/1.1', `${both}Content-Length: 1\r\n`, false],
    ['GET / HTTP/1.1', `${both}Transfer-Encoding: chunked\r\n`, false],
    ['POST / HTTP/1.1', both, false],
    ['GET / HTTP/1.0', both, false],
    ['GET / HTTP/1.1', 'Upgrade: websocket\r\n', false],
    ['GET / HTTP/1.1', 'Connection: Upgrade\r\n', false],
    ['GET / HTTP/1.1', 'Connection: Upgrade\r\nUpgrade: h2c\r\n', false],
    ['GET / HTTP/1.1', 'Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n', false],
    ['GET / HTTP/1.1', `${both}Upgrade: websocket\r\n`, false],
  ];
  for (const [line, fields, upgrade] of cases)
    assert.equal(accepted(request(fields, line)).upgrade, upgrade, `${line} ${fields}`);
});

test('takes names of object members as ordinary fields and hosts', () => {
  for (const name of ['__proto__', 'constructor', 'hasOwnProperty', 'toString'])
    assert.ok(accepted(request(`${name}: x\r\n`)).fields.includes(`${name}=x`));
  assert.equal(accepted('GET / HTTP/1.1\r\nHost: __proto__\r\n\r\n').host, '__proto__');
});

test('trims blanks around values and keeps obs-text', () => {
  const parsed = accepted(request('A: \t b \t\xe9 \t\r\nEmpty:\r\n'));
  assert.deepEqual(parsed.fields, ['Host=a.example', 'A=b \t\xe9', 'Empty=']);
});

test('serves every method of its list', () => {
  for (const method of METHODS) {
    if (method !== 'OPTIONS')
      assert.equal(accepted(request('', `${method} / HTTP/1.1`)).method, method);
  }
});
