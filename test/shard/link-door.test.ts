// Goal: the first bytes of a connection tell a link from a visitor, however they are split, and
// never take a visitor for a link. Method: heads cut at every byte.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { judgeHead } from '../../src/shard/link-door.ts';

const lines = (...texts: readonly string[]): Buffer =>
  Buffer.from([...texts, '', ''].join('\r\n'), 'latin1');

const LINK = lines(
  'GET /connect HTTP/1.1',
  'Host: exit.example.com',
  'Upgrade: websocket',
  'Sec-WebSocket-Protocol: sluiceway.1',
);

const LINKS: Readonly<Record<string, Buffer>> = {
  'a link': LINK,
  'with a query': lines('GET /connect?x HTTP/1.1', 'sec-websocket-protocol:sluiceway.1'),
  'with several protocols': lines(
    'GET /connect HTTP/1.1',
    'SEC-WEBSOCKET-PROTOCOL: a, sluiceway.1 ,b',
  ),
  'with bytes behind': Buffer.concat([LINK, Buffer.from('more')]),
};

const VISITORS: Readonly<Record<string, Buffer>> = {
  'another path': lines('GET / HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'a longer path': lines('GET /connections HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'a path below': lines('GET /connect/x HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'another method': lines('POST /connect HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'lower case': lines('get /connect HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.1'),
  'no protocol': lines('GET /connect HTTP/1.1', 'Upgrade: websocket'),
  'another protocol': lines('GET /connect HTTP/1.1', 'Sec-WebSocket-Protocol: sluiceway.10'),
  'a protocol in another field': lines(
    'GET /connect HTTP/1.1',
    'X: sec-websocket-protocol: sluiceway.1',
  ),
  'a protocol in the body': Buffer.concat([
    lines('GET /connect HTTP/1.1', 'Content-Length: 40'),
    lines('Sec-WebSocket-Protocol: sluiceway.1'),
  ]),
  'no HTTP': Buffer.from('\x16\x03\x01hello'),
};

for (const [what, bytes] of Object.entries(LINKS)) {
  test(`${what}, cut anywhere, is a link's at its last byte`, () => {
    const end = bytes.indexOf('\r\n\r\n') + 4;
    for (let length = 0; length < end; length += 1) {
      assert.equal(judgeHead(bytes.subarray(0, length)), 'more', `${length} bytes`);
    }
    assert.equal(judgeHead(bytes.subarray(0, end)), 'link');
    assert.equal(judgeHead(bytes), 'link');
  });
}

for (const [what, bytes] of Object.entries(VISITORS)) {
  test(`${what}, cut anywhere, is never a link`, () => {
    for (let length = 0; length <= bytes.length; length += 1) {
      assert.notEqual(judgeHead(bytes.subarray(0, length)), 'link', `${length} bytes`);
    }
    assert.equal(judgeHead(bytes), 'visitor');
  });
}

test('a head that never ends is a visitor, who is told so', () => {
  const long = Buffer.concat([Buffer.from('GET /connect?'), Buffer.alloc(16 * 1024, 'x')]);
  assert.equal(judgeHead(long), 'visitor');
});
