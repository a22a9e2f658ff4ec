// The vectors of reliability.md App. A and B for response heads, as tables.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Asked, type ParsedResponse, parseResponse } from '../support/http-parse.ts';

function accepted(text: string, asked: Asked = {}): ParsedResponse {
  const result = parseResponse(text, asked);
  assert.ok(typeof result !== 'string', `refused: ${String(result)} ${JSON.stringify(text)}`);
  return result;
}

function response(fields: string, line = 'HTTP/1.1 200 OK'): string {
  return `${line}\r\n${fields}\r\n`;
}

const SWITCH = response('Connection: Upgrade\r\nUpgrade: websocket\r\n', 'HTTP/1.1 101 Switching');

const REFUSED: readonly (readonly [name: string, text: string, asked?: Asked])[] = [
  ['status 000', response('', 'HTTP/1.1 000 x')],
  ['status 099', response('', 'HTTP/1.1 099 x')],
  ['status 99999', response('', 'HTTP/1.1 99999 x')],
  ['two digits', response('', 'HTTP/1.1 20 OK')],
  ['letters', response('', 'HTTP/1.1 2OO OK')],
  ['HTTP/1.2', response('', 'HTTP/1.2 200 OK')],
  ['HTTP/2.0', response('', 'HTTP/2.0 200 OK')],
  ['HTTP/0.9', 'hello'],
  ['ICY', 'ICY 200 OK\r\n\r\n'],
  ['leading CRLF', `\r\n${response('')}`],
  ['NUL in the reason', response('', 'HTTP/1.1 200 O\0K')],
  ['bare LF', 'HTTP/1.1 200 OK\n\n'],
  ['bare CR in the reason', response('', 'HTTP/1.1 200 O\rK')],
  ['double space', response('', 'HTTP/1.1  200 OK')],
  ['folding', response('A: b\r\n c\r\n')],
  ['a split header', response('Content-\r\nLength: 5\r\n')],
  ['bare CR in a value', response('A: b\rc\r\n')],
  ['NUL in a value', response('A: b\0\r\n')],
  ['length and chunked', response('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n')],
  ['two lengths', response('Content-Length: 5\r\nContent-Length: 5\r\n')],
  ['length list', response('Content-Length: 5, 5\r\n')],
  ['signed length', response('Content-Length: +5\r\n')],
  ['length with a leading zero', response('Content-Length: 05\r\n')],
  ['gzip', response('Transfer-Encoding: gzip\r\n')],
  ['gzip, chunked', response('Transfer-Encoding: gzip, chunked\r\n')],
  ['empty coding element', response('Transfer-Encoding: ,chunked\r\n')],
  ['chunked twice', response('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n')],
  ['chunked on 1.0', response('Transfer-Encoding: chunked\r\n', 'HTTP/1.0 200 OK')],
  ['an alias of a framing field', response('Transfer_Encoding: chunked\r\n')],
  ['204 with a body', response('Content-Length: 5\r\n', 'HTTP/1.1 204 x')],
  ['204 chunked', response('Transfer-Encoding: chunked\r\n', 'HTTP/1.1 204 x')],
  ['103 with a length', response('Content-Length: 5\r\n', 'HTTP/1.1 103 x')],
  ['101 that nobody asked for', SWITCH],
  ['101 without Upgrade', response('', 'HTTP/1.1 101 x'), { upgrade: true }],
  [
    '101 to another protocol',
    response('Connection: Upgrade\r\nUpgrade: h2c\r\n', 'HTTP/1.1 101 x'),
    { upgrade: true },
  ],
  [
    '101 without Connection',
    response('Upgrade: websocket\r\n', 'HTTP/1.1 101 x'),
    { upgrade: true },
  ],
  [
    '101 with a body',
    SWITCH.replace('\r\n\r\n', '\r\nContent-Length: 5\r\n\r\n'),
    { upgrade: true },
  ],
  [
    '101 chunked',
    SWITCH.replace('\r\n\r\n', '\r\nTransfer-Encoding: chunked\r\n\r\n'),
    { upgrade: true },
  ],
  ['101 on 1.0', SWITCH.replace('1.1', '1.0'), { upgrade: true }],
  ['a head of 20 KB', response(`A: ${'x'.repeat(20_000)}\r\n`)],
  ['101 fields', response('A: b\r\n'.repeat(101))],
];

test('refuses each response that cannot be framed safely', () => {
  for (const [name, text, asked] of REFUSED)
    assert.equal(parseResponse(text, asked), 'SLW_HTTP_BAD_RESPONSE', name);
});

test('finds how each response is delimited', () => {
  const length = 'Content-Length: 5\r\n';
  const chunked = 'Transfer-Encoding: chunked\r\n';
  const cases: readonly (readonly [string, string, string, number])[] = [
    ['GET 200', length, 'length', 5],
    ['GET 200', chunked, 'chunked', 0],
    ['GET 200', '', 'until-close', 0],
    ['GET 200', 'Content-Length: 0\r\n', 'length', 0],
    ['HEAD 200', length, 'none', 0],
    ['HEAD 200', chunked, 'none', 0],
    ['HEAD 200', '', 'none', 0],
    ['GET 304', length, 'none', 0],
    ['GET 304', chunked, 'none', 0],
    ['GET 204', '', 'none', 0],
    ['GET 204', 'Content-Length: 0\r\n', 'none', 0],
    ['GET 100', '', 'none', 0],
    ['GET 103', '', 'none', 0],
    ['POST 500', length, 'length', 5],
    ['GET 999', '', 'until-close', 0],
  ];
  for (const [asked, fields, framing, bytes] of cases) {
    const [method = '', status = ''] = asked.split(' ');
    const parsed = accepted(response(fields, `HTTP/1.1 ${status} x`), { method });
    assert.equal(parsed.status, Number(status));
    assert.equal(parsed.framing, framing, `${asked} ${fields}`);
    assert.equal(parsed.length, bytes);
  }
});

test('takes a switch to WebSocket only when it was asked for', () => {
  const parsed = accepted(`${SWITCH}raw bytes`, { upgrade: true });
  assert.equal(parsed.status, 101);
  assert.equal(parsed.rest, 'raw bytes');
});

test('takes an interim response or a switch that says that nothing follows', () => {
  const field = '\r\nContent-Length: 0\r\n\r\n';
  const parsed = accepted(`${SWITCH.replace('\r\n\r\n', field)}raw`, { upgrade: true });
  assert.deepEqual([parsed.status, parsed.framing, parsed.rest], [101, 'none', 'raw']);
  const hints = accepted(`HTTP/1.1 103 x${field}`);
  assert.deepEqual([hints.status, hints.framing], [103, 'none']);
});

test('takes any reason, none, and no space before none', () => {
  for (const line of [
    'HTTP/1.1 200 ',
    'HTTP/1.1 200',
    'HTTP/1.1 404 N\xf6 \t way',
    'HTTP/1.0 200 OK',
  ])
    assert.equal(typeof accepted(response('', line)).status, 'number', line);
});

test('keeps the upstream connection as version, Connection and framing allow', () => {
  const length = 'Content-Length: 5\r\n';
  const cases: readonly (readonly [string, string, boolean])[] = [
    ['1.1', length, true],
    ['1.1', '', false],
    ['1.1', `${length}Connection: close\r\n`, false],
    ['1.0', length, false],
    ['1.0', `${length}Connection: keep-alive\r\n`, true],
    ['1.0', 'Connection: keep-alive\r\n', false],
  ];
  for (const [version, fields, keepAlive] of cases)
    assert.equal(accepted(response(fields, `HTTP/${version} 200 OK`)).keepAlive, keepAlive);
});
