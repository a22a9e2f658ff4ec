import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  address,
  addressOrOff,
  controlUrl,
  host,
  portRange,
  serverUrl,
} from '../../src/config/address.ts';
import type { Kind } from '../../src/config/option.ts';
import { readText, reasonOf } from './input.ts';

function check<T>(kind: Kind<T>, text: string, expected: T | RegExp): void {
  if (expected instanceof RegExp) assert.match(reasonOf(kind, text), expected, text);
  else assert.deepEqual(readText(kind, text), expected, text);
}

test('addresses are a host and a port, with brackets around IPv6', () => {
  check(address, '0.0.0.0:8123', { host: '0.0.0.0', port: 8123 });
  check(address, '[::]:80', { host: '::', port: 80 });
  check(address, '[2001:DB8::1]:80', { host: '2001:db8::1', port: 80 });
  check(address, '127.0.0.1:0', { host: '127.0.0.1', port: 0 });
  check(address, ':8000', { host: '0.0.0.0', port: 8000 });
  check(address, 'localhost:65535', { host: 'localhost', port: 65_535 });
  assert.equal(address.show({ host: '::', port: 80 }), '[::]:80');
});

test('what is not an address says what one looks like', () => {
  for (const text of ['', '8123', '127.0.0.1', '::1', '::1:80', '[::1]', 'http://a:80', 'a:b:c']) {
    check(address, text, /write HOST:PORT, such as/);
  }
  for (const text of ['127.0.0.1:', ':', '[::]:', 'a:65536', 'a:-1', 'a: 80', 'a:８０']) {
    check(address, text, /has no valid port; write HOST:PORT/);
  }
  for (const text of [
    '3000:80',
    '0x7f.1:80',
    '1.2.3:80',
    '256.0.0.1:80',
    'a b:80',
    '[1.2.3.4]:80',
  ]) {
    check(address, text, /has no valid host; write HOST:PORT/);
  }
  check(address, 'off', /is not an address/);
  check(addressOrOff, 'off', 'off');
});

test('hosts may end in a colon', () => {
  check(host, '127.0.0.1', '127.0.0.1');
  check(host, '127.0.0.1:', '127.0.0.1');
  check(host, '::', '::');
  check(host, '[::1]', '::1');
  check(host, '[::1]:', '::1');
  for (const text of ['', ':', '127.0.0.1:80', '127.0.0.1/8']) check(host, text, /is not a host/);
});

test('port ranges are one port or two in order', () => {
  check(portRange, '22', { first: 22, last: 22 });
  check(portRange, '1024-65535', { first: 1024, last: 65_535 });
  for (const text of ['', '0', '0-1', '2-1', '1-65536', '1-', '-1', '1 - 2', 'ssh', '1-2-3']) {
    check(portRange, text, /is not a port or a range; write 8080 or 1024-65535/);
  }
});

describe('server URLs', () => {
  test('become the URL of the link endpoint', () => {
    check(serverUrl, 'wss://tunnel.example.com:8123', 'wss://tunnel.example.com:8123/connect');
    check(serverUrl, 'ws://127.0.0.1:8123/connect', 'ws://127.0.0.1:8123/connect');
    check(serverUrl, 'WSS://Tunnel.Example.com', 'wss://tunnel.example.com/connect');
    check(serverUrl, 'ws://[::1]:8123/connect/', 'ws://[::1]:8123/connect');
    check(serverUrl, 'wss://example.com/inner/', 'wss://example.com/inner/connect');
  });

  test('keep the default ports of the URL standard', () => {
    check(serverUrl, 'ws://example.com:80', 'ws://example.com/connect');
    check(serverUrl, 'wss://example.com:443', 'wss://example.com/connect');
  });

  test('say which scheme to write instead of http', () => {
    check(serverUrl, 'http://example.com:8123', /links are WebSockets, write ws:\/\//);
    check(serverUrl, 'https://example.com:8123', /links are WebSockets, write wss:\/\//);
    check(serverUrl, 'tcp://example.com:8123', /is neither ws nor wss/);
  });

  test('refuse what would be dropped or misread', () => {
    check(serverUrl, 'example.com:8123', /is not a URL/);
    check(serverUrl, 'wss://user:secret@example.com', /has credentials in it/);
    check(serverUrl, 'wss://example.com/connect?token=x', /has a query or a fragment/);
    check(serverUrl, 'wss://example.com#x', /has a query or a fragment/);
    check(serverUrl, 'wss://', /has no valid host/);
    check(serverUrl, 'wss://::1', /has no valid host/);
    check(serverUrl, 'wss://exam\u3002ple.com', /has no valid host/);
    check(serverUrl, 'wss://a,wss://b', /has no valid host/);
    check(serverUrl, 'wss://2130706433', /has no valid host/);
    check(serverUrl, 'wss://example.com:0', /has no valid port/);
    check(serverUrl, 'wss://example.com:65536', /has no valid port/);
    check(serverUrl, 'wss://example.com/ü', /has a path that is not ASCII/);
  });

  test('are shown without what may be a token, also where a comma has cut it', () => {
    const rows = [
      ['wss://user:pass@a.example:8123', 'wss://[masked]@a.example:8123'],
      ['wss://token@a.example', 'wss://[masked]@a.example'],
      ['wss://user:pa', 'wss://user:[masked]'],
      ['ss@a.example', '[masked]@a.example'],
      ['wss://a.example:8123/?token=x', 'wss://a.example:8123/?[masked]'],
      ['wss://a.example#x', 'wss://a.example#[masked]'],
      ['wss://user:p?a/s#s@a.example', 'wss://[masked]@a.example'],
      ['http://a.example:8123/x', 'http://a.example:8123/x'],
      ['wss:/a.example:8123', 'wss:/a.example:8123'],
      ['wss://[::1]:0', 'wss://[::1]:0'],
    ] as const;
    for (const [text, shown] of rows) assert.equal(serverUrl.shown?.(text), shown);
  });

  test('lead to the other paths of the control port', () => {
    assert.equal(controlUrl('wss://a:8123/connect', '/status'), 'https://a:8123/status');
    assert.equal(controlUrl('ws://a/connect', '/status'), 'http://a/status');
  });
});
