// Bodies by length, in chunks and until close; the chunk vectors of reliability.md App. A and B.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyReader } from '../../src/http/body-reader.ts';
import { readBody } from '../support/http-parse.ts';

const raw = (text: string) => readBody(text, { framing: 'chunked' });
const decoded = (text: string) => readBody(text, { framing: 'chunked', mode: 'decode' });

test('ends a body of known length exactly, and leaves what follows', () => {
  const body = readBody('helloGET /', { framing: 'length', length: 5 });
  assert.deepEqual(body, { passed: 'hello', outcome: 'complete', rest: 'GET /' });
  assert.equal(readBody('hell', { framing: 'length', length: 5 }).outcome, 'more');
  assert.equal(readBody('x', { framing: 'length', length: 0 }).rest, 'x');
  assert.equal(readBody('x', { framing: 'none' }).rest, 'x');
});

test('reads until close, where only a proper end is complete', () => {
  assert.equal(readBody('hello', { framing: 'until-close' }).outcome, 'more');
  const reader = new BodyReader();
  reader.begin('until-close', 0, 'raw');
  assert.equal(reader.finish(), true);
  reader.begin('length', 5, 'raw');
  assert.equal(reader.finish(), false);
  reader.begin('chunked', 0, 'raw');
  assert.equal(reader.finish(), false);
});

test('passes chunks on as they are, or only their data', () => {
  const text = '5\r\nhello\r\n00A\r\n0123456789\r\n000\r\n\r\n';
  assert.deepEqual(raw(`${text}GET /`), { passed: text, outcome: 'complete', rest: 'GET /' });
  assert.deepEqual(decoded(`${text}GET /`), {
    passed: 'hello0123456789',
    outcome: 'complete',
    rest: 'GET /',
  });
});

test('passes chunks that come whole in one span', () => {
  const reader = new BodyReader();
  const chunk = Buffer.from('5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\nnext');
  reader.begin('chunked', 0, 'raw');
  const end = reader.step(chunk, 0);
  assert.equal(reader.isComplete, true);
  assert.equal(
    chunk.toString('latin1', reader.start, reader.end),
    '5\r\nhello\r\n3\r\nabc\r\n0\r\n\r\n',
  );
  assert.equal(chunk.toString('latin1', end), 'next');
});

test('drops chunk extensions', () => {
  const text = '5;a=b;c="d;\\" e";f\r\nhello\r\n1;x\r\ny\r\n0;last\r\n\r\nrest';
  const plain = '5\r\nhello\r\n1\r\ny\r\n0\r\n\r\n';
  assert.deepEqual(raw(text), { passed: plain, outcome: 'complete', rest: 'rest' });
  assert.deepEqual(decoded(text), { passed: 'helloy', outcome: 'complete', rest: 'rest' });
});

test('refuses every chunk that is not to the letter', () => {
  const bad = [
    ...['0_2e\r\n', '+5\r\n', '-0x0\r\n', '0x5\r\n', ' 5\r\n', '5 \r\n', '\r\n', ';a\r\n', 'g\r\n'],
    ...[
      '10000000000000000\r\n',
      'FFFFFFFFFFFFFFFF\r\n',
      '20000000000000\r\n',
      '00000000000000005\r\n',
    ],
    ...['5\r\r;ABCD', '5\nhello', '5\rhello', '5;\n', '5;\r\n', '5; a\r\n', '5;a \r\n', '5;a=\r\n'],
    ...[
      '5;a=b c\r\n',
      '5;a\0\r\n',
      '5;a="\x01"\r\n',
      '5;a="b"c\r\n',
      '5 ;a\r\n',
      '5\t\r\n',
      '5;\x7f\r\n',
    ],
    ...['5\r\nhello!\r\n', '5\r\nhello\n0\r\n\r\n', '5\r\nhello\r0\r\n\r\n', '5\r\nhello0\r\n\r\n'],
    ...['0\r\n\n', '0\r\n\r\r', '0\n\r\n', '5\r\nhello\r\n\r\n'],
  ];
  for (const text of bad) {
    assert.equal(raw(text).outcome, 'bad', JSON.stringify(text));
    assert.equal(decoded(text).outcome, 'bad', JSON.stringify(text));
  }
  assert.equal(raw('5;a="\r\n').outcome, 'bad');
});

test('bounds extensions over the whole body', () => {
  const chunk = (bytes: number) => `1;${'x'.repeat(bytes - 1)}\r\ny\r\n`;
  assert.equal(raw(`${chunk(16_384)}0\r\n\r\n`).outcome, 'complete');
  assert.equal(raw(`${chunk(16_385)}0\r\n\r\n`).outcome, 'bad');
  assert.equal(raw(`${chunk(8192)}${chunk(8193)}0\r\n\r\n`).outcome, 'bad');
});

test('keeps harmless trailers and drops those that must not be trailers', () => {
  const trailers =
    'X-Digest:abc \r\nAuthorization: x\r\nCookie: a\r\nContent-Type: text/html\r\n' +
    'X_Forwarded_For: 1.2.3.4\r\nConnection: close\r\nGrpc-Status: 0\r\nSet_Cookie: a\r\n';
  const text = `1\r\ny\r\n0\r\n${trailers}\r\nrest`;
  assert.deepEqual(raw(text), {
    passed: '1\r\ny\r\n0\r\nX-Digest: abc\r\nGrpc-Status: 0\r\n\r\n',
    outcome: 'complete',
    rest: 'rest',
  });
  assert.deepEqual(decoded(text), { passed: 'y', outcome: 'complete', rest: 'rest' });
});

test('refuses trailers that claim framing or Host, are malformed, or too large', () => {
  const bad = [
    ...['Content-Length: 5\r\n', 'Transfer-Encoding: chunked\r\n', 'Host: a\r\n', 'A : b\r\n'],
    ...['Content_Length: 5\r\n', 'A: b\r\n c\r\n', 'A\r\n', ': x\r\n', 'A: \0\r\n', 'A: b\n'],
    ...['A: b\r\n'.repeat(101), `A: ${'x'.repeat(16_384)}\r\n`],
  ];
  for (const trailers of bad) {
    assert.equal(raw(`0\r\n${trailers}\r\n`).outcome, 'bad', trailers.slice(0, 40));
    assert.equal(decoded(`0\r\n${trailers}\r\n`).outcome, 'bad', trailers.slice(0, 40));
  }
});

test('reads one body after another', () => {
  const reader = new BodyReader();
  for (const text of ['0\r\nA: b\r\n\r\n', '1;e\r\nx\r\n0\r\n\r\n', '0\r\nC: d\r\n\r\n']) {
    const chunk = Buffer.from(text);
    reader.begin('chunked', 0, 'raw');
    let offset = 0;
    while (!reader.isDone && offset < chunk.length) offset = reader.step(chunk, offset);
    assert.equal(reader.isComplete, true, text);
  }
});
