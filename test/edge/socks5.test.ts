// Goal: a SOCKS message is read whole, exactly to its end, and nothing but CONNECT to a host that
// may be dialled comes out. Method: messages of RFC 1928, cut at every byte, and wrong ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  encodeSocksReply,
  readSocksGreeting,
  readSocksRequest,
  SOCKS_REPLY,
  socksReplyOf,
} from '../../src/edge/socks5.ts';

const port = (value: number): Buffer => Buffer.from([value >> 8, value & 0xff]);
const named = (name: string, at = 443): Buffer =>
  Buffer.concat([Buffer.from([5, 1, 0, 3, name.length]), Buffer.from(name, 'latin1'), port(at)]);
const ipv4 = Buffer.concat([Buffer.from([5, 1, 0, 1, 10, 0, 0, 1]), port(80)]);
const ipv6 = Buffer.concat([
  Buffer.from([5, 1, 0, 4, 0x20, 1, 0x0d, 0xb8]),
  Buffer.alloc(11),
  Buffer.from([1]),
  port(80),
]);

const REQUESTS: readonly (readonly [Buffer, string])[] = [
  [ipv4, '10.0.0.1'],
  [ipv6, '2001:db8::1'],
  [named('example.com'), 'example.com'],
  [named('EXAMPLE.com.'), 'example.com'],
  [named('10.0.0.1'), '10.0.0.1'],
  [named('a'.repeat(250)), 'a'.repeat(250)],
];

for (const [bytes, host] of REQUESTS) {
  test(`a request for ${host.slice(0, 20)} is whole at its last byte and not before`, () => {
    for (let length = 0; length < bytes.length; length += 1) {
      assert.equal(readSocksRequest(bytes.subarray(0, length)), 'more', `${length} bytes`);
    }
    const verdict = readSocksRequest(Buffer.concat([bytes, Buffer.from('behind')]));
    assert.ok(typeof verdict === 'object' && 'target' in verdict);
    assert.deepEqual([verdict.bytes, verdict.target.host], [bytes.length, host]);
  });
}

const REFUSED: readonly (readonly [string, Buffer, number])[] = [
  ['BIND', Buffer.from([5, 2, 0, 1, 0, 0, 0, 0, 0, 1]), SOCKS_REPLY.COMMAND],
  ['UDP ASSOCIATE', Buffer.from([5, 3, 0, 1, 0, 0, 0, 0, 0, 1]), SOCKS_REPLY.COMMAND],
  ['an unknown type', Buffer.from([5, 1, 0, 9, 0, 0]), SOCKS_REPLY.ADDRESS_TYPE],
  ['port 0', named('example.com', 0), SOCKS_REPLY.FAILED],
  ['a name of no letters', named('', 1), SOCKS_REPLY.FAILED],
  ['a number', named('2130706433'), SOCKS_REPLY.FAILED],
  ['an octal address', named('0177.0.0.1'), SOCKS_REPLY.FAILED],
  ['CRLF', named('a\r\nb'), SOCKS_REPLY.FAILED],
  ['a NUL', named('a\0b'), SOCKS_REPLY.FAILED],
  ['another version', Buffer.from([4, 1, 0, 80, 10, 0, 0, 1, 0]), SOCKS_REPLY.FAILED],
];

for (const [what, bytes, reply] of REFUSED) {
  test(`${what} is refused with ${reply}`, () => {
    assert.deepEqual(readSocksRequest(bytes), { refusal: reply });
  });
}

test('a greeting is whole at its last method, and open only with the method of none', () => {
  const greeting = Buffer.from([5, 2, 2, 0]);
  for (let length = 0; length < greeting.length; length += 1) {
    assert.equal(readSocksGreeting(greeting.subarray(0, length)), 'more');
  }
  assert.deepEqual(readSocksGreeting(Buffer.from([5, 2, 2, 0, 5])), { bytes: 4, isOpen: true });
  assert.deepEqual(readSocksGreeting(Buffer.from([5, 1, 2])), { bytes: 3, isOpen: false });
  assert.deepEqual(readSocksGreeting(Buffer.from([5, 0])), { bytes: 2, isOpen: false });
  assert.equal(readSocksGreeting(Buffer.from([4])), 'refused');
  assert.equal(readSocksGreeting(Buffer.from('GET / HTTP/1.1')), 'refused');
});

test('failures have the replies of RFC 1928', () => {
  assert.equal(socksReplyOf('SLW_FORWARD_TOKEN'), SOCKS_REPLY.NOT_ALLOWED);
  assert.equal(socksReplyOf('SLW_STREAM_REFUSED'), SOCKS_REPLY.REFUSED);
  assert.equal(socksReplyOf('SLW_STREAM_UNREACHABLE'), SOCKS_REPLY.UNREACHABLE);
  assert.equal(socksReplyOf('SLW_STREAM_CONNECT_TIMEOUT'), SOCKS_REPLY.TIMED_OUT);
  assert.equal(socksReplyOf('SLW_STREAM_NO_LINK'), SOCKS_REPLY.FAILED);
  assert.equal(encodeSocksReply(0).toString('hex'), '05000001000000000000');
});
