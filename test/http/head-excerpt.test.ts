// What a log shows of a request head: as much as is kept of it, and never its query.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { excerptOf } from '../../src/http/head-excerpt.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { cuts } from '../support/http-parse.ts';

/** What came in with a piece, before it, and is none of the head's. */
const BEFORE = Buffer.from('x?');
const LONG = 'a'.repeat(300);
/** The slash of the path, and as much of the rest as makes 257 octets. */
const LONG_PATH = `/${'a'.repeat(256)}`;

/** The same for all ways that the head may come in, or the test fails. */
function excerpt(line: string, fields = ''): { path: string; userAgent: string } {
  const head = Buffer.from(`${line}\r\nHost: a.example\r\n${fields}\r\n`, 'latin1');
  const seen = cuts(head).map((pieces) => {
    const parser = new RequestParser();
    const ends = pieces.map((piece) => parser.push(Buffer.concat([BEFORE, piece]), BEFORE.length));
    assert.ok((ends.at(-1) ?? 0) > 0, `${line} is refused`);
    return excerptOf(parser);
  });
  const [first] = seen;
  assert.ok(first !== undefined);
  for (const other of seen) assert.deepEqual(other, first);
  return first;
}

test('the path is the target without its query', () => {
  const cases: readonly (readonly [line: string, path: string])[] = [
    ['GET / HTTP/1.1', '/'],
    ['GET /a/b HTTP/1.1', '/a/b'],
    ['GET /a?token=secret HTTP/1.1', '/a'],
    ['GET /? HTTP/1.1', '/'],
    ['GET /a??b HTTP/1.1', '/a'],
    ['GET http://a.example/a?b HTTP/1.1', '/a'],
    ['GET http://a.example?b HTTP/1.1', '/'],
    ['GET http://a.example HTTP/1.1', '/'],
    ['OPTIONS * HTTP/1.1', '*'],
    [`GET /?${LONG} HTTP/1.1`, '/'],
    [`GET /${LONG} HTTP/1.1`, LONG_PATH],
    [`GET /${LONG}?secret HTTP/1.1`, LONG_PATH],
    [`GET ${LONG_PATH}?secret HTTP/1.1`, LONG_PATH],
    [`GET ${LONG_PATH.slice(0, -1)}?secret HTTP/1.1`, LONG_PATH.slice(0, -1)],
  ];
  for (const [line, path] of cases) assert.equal(excerpt(line).path, path, line);
});

test('a question mark beyond the target is not the start of a query', () => {
  const seen = excerpt('GET /a HTTP/1.1', 'User-Agent: why?\r\n');
  assert.deepEqual(seen, { path: '/a', userAgent: 'why?' });
});

test('the User-Agent is the first, bounded, in Latin-1', () => {
  const cases: readonly (readonly [fields: string, userAgent: string])[] = [
    ['', ''],
    ['user-agent: curl/8\r\n', 'curl/8'],
    ['USER-AGENT:  curl/8 \r\n', 'curl/8'],
    ['User-Agent:\r\n', ''],
    ['User-Agents: x\r\n', ''],
    ['User-Agent: one\r\nUser-Agent: two\r\n', 'one'],
    ['User-Agent: \xe9\r\n', 'é'],
    [`User-Agent: ${LONG}\r\n`, LONG.slice(0, 257)],
  ];
  for (const [fields, userAgent] of cases)
    assert.equal(excerpt('GET / HTTP/1.1', fields).userAgent, userAgent, fields);
});
