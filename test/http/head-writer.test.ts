// Heads as the other side gets them, by comparing whole texts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Forwarding, type VisitorOrigin } from '../../src/http/forwarding.ts';
import {
  type ResponseShape,
  writeRequestHead,
  writeResponseHead,
} from '../../src/http/head-writer.ts';
import type { HeaderEdits } from '../../src/http/header-edits.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { ResponseParser } from '../../src/http/response-head.ts';
import { Slab } from '../../src/http/slab.ts';

const ORIGIN: VisitorOrigin = {
  address: '192.0.2.7',
  scheme: 'http',
  localAuthority: '203.0.113.5:8000',
};

function block(authority: string, origin = ORIGIN, via = '1.1'): string {
  const { address, scheme } = origin;
  const name = address.includes(':') ? `"[${address}]"` : address;
  const [field, parameter] =
    authority === '' ? ['', ''] : [`X-Forwarded-Host: ${authority}\r\n`, `;host="${authority}"`];
  return (
    `Via: ${via} sluiceway\r\nX-Forwarded-For: ${address}\r\nX-Forwarded-Proto: ${scheme}\r\n` +
    `${field}X-Real-IP: ${address}\r\nForwarded: for=${name}${parameter};proto=${scheme}\r\n\r\n`
  );
}

function forward(text: string, origin = ORIGIN, edits?: HeaderEdits): string {
  const parser = new RequestParser();
  const bytes = Buffer.from(`xyz${text}`, 'latin1');
  assert.equal(parser.push(bytes, 3), bytes.length, parser.error);
  const slab = new Slab();
  writeRequestHead(parser, { forwarding: new Forwarding(origin), edits }, slab, 0);
  return slab.take().toString('latin1');
}

function answer(text: string, shape: Partial<ResponseShape> = {}, method = 'GET'): string {
  const parser = new ResponseParser();
  parser.prepare(method, shape.connection === 'upgrade');
  const bytes = Buffer.from(`xyz${text}`, 'latin1');
  assert.equal(parser.push(bytes, 3), bytes.length, parser.error);
  const slab = new Slab();
  writeResponseHead(parser, { connection: 'none', isDecoded: false, ...shape }, slab, 0);
  return slab.take().toString('latin1');
}

test('forwards an ordinary request with only the hop taken out and ours added', () => {
  assert.equal(
    forward(
      'GET /a//b?c HTTP/1.1\r\nHost: A.example:80\r\nConnection: keep-alive\r\nAccept: */*\r\n' +
        'Keep-Alive: 5\r\nCookie: a=b\r\nProxy-Connection: x\r\n\r\n',
    ),
    'GET /a//b?c HTTP/1.1\r\nHost: A.example:80\r\nAccept: */*\r\nCookie: a=b\r\n' +
      block('A.example:80'),
  );
});

test('writes Host first, and every line as name, colon, space, value', () => {
  assert.equal(
    forward('POST / HTTP/1.1\r\nA:b\r\nB:  c \t\r\nhost:\ta.example\r\nC: d\r\nE:\r\nF: \r\n\r\n'),
    'POST / HTTP/1.1\r\nHost: a.example\r\nA: b\r\nB: c\r\nC: d\r\nE: \r\nF: \r\n' +
      block('a.example'),
  );
});

test('gives the origin form of an absolute target', () => {
  const absolute = (line: string) => forward(`${line} HTTP/1.1\r\nHost: a.example\r\n\r\n`);
  const expected = (line: string) => `${line} HTTP/1.1\r\nHost: a.example\r\n${block('a.example')}`;
  assert.equal(absolute('GET http://a.example/x?y'), expected('GET /x?y'));
  assert.equal(absolute('GET http://a.example'), expected('GET /'));
  assert.equal(absolute('GET http://a.example?x'), expected('GET /?x'));
  assert.equal(absolute('OPTIONS http://a.example'), expected('OPTIONS *'));
  assert.equal(absolute('OPTIONS *'), expected('OPTIONS *'));
});

test('drops every forwarding field of the visitor and its aliases', () => {
  const names = [
    ...['X-Forwarded-For', 'x_forwarded_for', 'X.Forwarded.For', 'X-Forwarded-Host'],
    ...['X-Forwarded-Proto', 'X-Forwarded-Anything', 'X-FORWARDED_Server', 'X-Forwarded'],
    ...['Forwarded', 'FORWARDED', 'X-Real-IP', 'X_Real_Ip', 'x.real-ip', 'X-Forwarded-'],
    ...['X-Forwarded-Ssl', 'X-Forwarded-Scheme', 'X-Forwarded-Prefix', 'X_Forwarded-1'],
  ];
  const fields = names.map((name) => `${name}: 10.0.0.1\r\n`).join('');
  const kept = 'X-Forwardedfor: 1\r\nX-Forward: 2\r\nX-Real-Ipp: 3\r\nMy-Forwarded: 4\r\n';
  assert.equal(
    forward(`GET / HTTP/1.1\r\nHost: a\r\n${fields}${kept}\r\n`),
    `GET / HTTP/1.1\r\nHost: a\r\n${kept}${block('a')}`,
  );
});

test('strips what Connection names before adding ours, but never Host or framing', () => {
  const named = 'close, X-Forwarded-For, X-Real-IP, Host, Authorization, Via, content-length, x-a';
  assert.equal(
    forward(
      `POST / HTTP/1.1\r\nHost: a\r\nAuthorization: x\r\nConnection: ${named}\r\nX-A: 1\r\n` +
        'X-B: 2\r\nContent-Length: 5\r\n\r\n',
    ),
    `POST / HTTP/1.1\r\nHost: a\r\nX-B: 2\r\nContent-Length: 5\r\n${block('a')}`,
  );
  assert.equal(
    forward(
      'POST / HTTP/1.1\r\nHost: a\r\nConnection: transfer-encoding\r\n' +
        'Transfer-Encoding: Chunked\r\nX-B: 2\r\n\r\n',
    ),
    `POST / HTTP/1.1\r\nHost: a\r\nX-B: 2\r\nTransfer-Encoding: chunked\r\n${block('a')}`,
  );
});

test('asks for a WebSocket, and for nothing else', () => {
  const ask = (protocol: string) =>
    forward(
      `GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocol}\r\n` +
        'HTTP2-Settings: x\r\nSec-WebSocket-Key: k\r\n\r\n',
    );
  const start = 'GET / HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Key: k\r\n';
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\n';
  assert.equal(ask('websocket'), `${start}${upgrade}${block('a')}`);
  assert.equal(ask('h2c'), `${start}${block('a')}`);
});

test('keeps TE only as trailers, and Expect only on HTTP/1.1', () => {
  const te = (value: string) => forward(`GET / HTTP/1.1\r\nHost: a\r\nTE: ${value}\r\n\r\n`);
  const start = 'GET / HTTP/1.1\r\nHost: a\r\n';
  assert.equal(te('gzip, Trailers'), `${start}Connection: TE\r\nTE: trailers\r\n${block('a')}`);
  assert.equal(te('gzip'), `${start}${block('a')}`);
  const expecting = (version: string) =>
    forward(`POST / HTTP/${version}\r\nHost: a\r\nExpect: 100-continue\r\n\r\n`);
  const post = 'POST / HTTP/1.1\r\nHost: a\r\n';
  assert.equal(expecting('1.1'), `${post}Expect: 100-continue\r\n${block('a')}`);
  assert.equal(expecting('1.0'), `${post}${block('a', ORIGIN, '1.0')}`);
});

test('names the address it was reached at when an HTTP/1.0 visitor names no host', () => {
  assert.equal(
    forward('GET / HTTP/1.0\r\n\r\n'),
    `GET / HTTP/1.1\r\nHost: 203.0.113.5:8000\r\n${block('', ORIGIN, '1.0')}`,
  );
});

test('quotes IPv6 addresses and says https', () => {
  const origin: VisitorOrigin = { ...ORIGIN, address: '2001:db8::7', scheme: 'https' };
  const text = forward('GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n', origin);
  assert.equal(text, `GET / HTTP/1.1\r\nHost: [::1]:80\r\n${block('[::1]:80', origin)}`);
  assert.match(text, /Forwarded: for="\[2001:db8::7\]";host="\[::1\]:80";proto=https\r\n/);
});

test('follows the Host from request to request', () => {
  const forwarding = new Forwarding(ORIGIN);
  const slab = new Slab();
  for (const host of ['a', 'b', 'b', 'ab', 'a']) {
    const parser = new RequestParser();
    parser.push(Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`), 0);
    writeRequestHead(parser, { forwarding, edits: undefined }, slab, 0);
    const text = slab.take().toString('latin1');
    assert.equal(text, `GET / HTTP/1.1\r\nHost: ${host}\r\n${block(host)}`);
  }
});

test('answers with the hop taken out and Via added', () => {
  const fields = 'Content-Type: a\r\nConnection: close, x-hop\r\nX-Hop: 1\r\nKeep-Alive: x\r\n';
  assert.equal(
    answer(`HTTP/1.1 200 OK\r\n${fields}Content-Length: 5\r\nUpgrade: h2c\r\nVia: 1.1 x\r\n\r\n`),
    'HTTP/1.1 200 OK\r\nContent-Type: a\r\nContent-Length: 5\r\nVia: 1.1 x\r\n' +
      'Via: 1.1 sluiceway\r\n\r\n',
  );
});

test('says to the visitor what becomes of the connection', () => {
  const text = 'HTTP/1.1 404 N\xf6 way\r\nTransfer-Encoding: chunked\r\nA:b\r\n\r\n';
  const start = 'HTTP/1.1 404 N\xf6 way\r\nA: b\r\n';
  const via = 'Via: 1.1 sluiceway\r\n';
  const chunked = 'Transfer-Encoding: chunked\r\n';
  assert.equal(answer(text), `${start}${chunked}${via}\r\n`);
  assert.equal(
    answer(text, { connection: 'close' }),
    `${start}${chunked}${via}Connection: close\r\n\r\n`,
  );
  assert.equal(
    answer(text, { connection: 'keep-alive', isDecoded: true }),
    `${start}${via}Connection: keep-alive\r\n\r\n`,
  );
});

test('writes the status line anew when it is old or short', () => {
  const via = 'Via: 1.0 sluiceway\r\n\r\n';
  assert.equal(answer('HTTP/1.0 200 Fine\r\nA: b\r\n\r\n'), `HTTP/1.1 200 Fine\r\nA: b\r\n${via}`);
  assert.equal(answer('HTTP/1.0 200\r\n\r\n'), `HTTP/1.1 200 \r\n${via}`);
  assert.equal(answer('HTTP/1.1 200\r\n\r\n'), `HTTP/1.1 200 \r\n${via.replace('1.0', '1.1')}`);
});

test('keeps the length of a HEAD or 304 answer, and none on 204', () => {
  const via = 'Via: 1.1 sluiceway\r\n\r\n';
  const length = 'Content-Length: 5\r\n';
  assert.equal(
    answer(`HTTP/1.1 200 OK\r\n${length}\r\n`, {}, 'HEAD'),
    `HTTP/1.1 200 OK\r\n${length}${via}`,
  );
  assert.equal(answer(`HTTP/1.1 304 x\r\n${length}\r\n`), `HTTP/1.1 304 x\r\n${length}${via}`);
  assert.equal(answer('HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n'), `HTTP/1.1 204 x\r\n${via}`);
});

test('answers a switch with the fields of one', () => {
  assert.equal(
    answer(
      'HTTP/1.1 101 Switching\r\nupgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: k\r\n\r\n',
      { connection: 'upgrade' },
    ),
    'HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: k\r\nVia: 1.1 sluiceway\r\n' +
      'Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
  );
});

test('never writes into a slice that was taken', () => {
  const slab = new Slab();
  const slices: Buffer[] = [];
  for (let i = 0; i < 2000; i += 1) {
    slab.reserve(100);
    const text = Buffer.from(`slice ${i}`);
    slab.append(text, 0, text.length);
    slices.push(slab.take());
  }
  for (const [i, slice] of slices.entries()) assert.equal(slice.toString(), `slice ${i}`);
});
