// Goal: a route's rules change the fields they name and nothing that frames, routes or vouches for
// a request. Method: whole texts, and random heads with random rules read back by the same parsers.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { TunnelOptions } from '../../src/base/tunnel-options.ts';
import { boundsProblem, readOffered, TUNNEL_OPTIONS } from '../../src/base/tunnel-options.ts';
import { KIND, kindOf } from '../../src/http/field-kind.ts';
import { Forwarding } from '../../src/http/forwarding.ts';
import {
  type ConnectionWord,
  writeRequestHead,
  writeResponseHead,
} from '../../src/http/head-writer.ts';
import { HeaderEdits } from '../../src/http/header-edits.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { ResponseParser } from '../../src/http/response-head.ts';
import { Slab } from '../../src/http/slab.ts';

const ORIGIN = {
  address: '192.0.2.7',
  scheme: 'http',
  localAuthority: '203.0.113.5:8000',
} as const;

function requestParser(text: string): RequestParser {
  const parser = new RequestParser();
  const bytes = Buffer.from(text, 'latin1');
  assert.equal(parser.push(bytes, 0), bytes.length, parser.error);
  return parser;
}

function responseParser(text: string, isSwitch = false): ResponseParser {
  const parser = new ResponseParser();
  parser.prepare('GET', isSwitch);
  const bytes = Buffer.from(text, 'latin1');
  assert.equal(parser.push(bytes, 0), bytes.length, parser.error);
  return parser;
}

/** What the upstream gets, up to our own fields. */
function request(text: string, options: TunnelOptions): string {
  const slab = new Slab();
  const gains = { forwarding: new Forwarding(ORIGIN), edits: HeaderEdits.from(options) };
  writeRequestHead(requestParser(text), gains, slab, 0);
  return slab.take().toString('latin1');
}

function response(
  text: string,
  options: TunnelOptions,
  connection: ConnectionWord = 'none',
): string {
  const slab = new Slab();
  const shape = { connection, isDecoded: false, edits: HeaderEdits.from(options) };
  writeResponseHead(responseParser(text, connection === 'upgrade'), shape, slab, 0);
  return slab.take().toString('latin1');
}

const GET =
  'GET /a HTTP/1.1\r\nHost: a.example\r\nX-Team: red\r\nAccept: */*\r\nx-TEAM:green\r\n\r\n';

describe('requests', () => {
  test('lose every field of a name, and gain lines before ours', () => {
    const options: TunnelOptions = {
      'request-header-remove': ['x-team', 'Cookie'],
      'request-header-add': ['X-Team: blue', 'X-Empty:', 'X-Tight:\t a b '],
    };
    const text = request(GET, options);
    assert.ok(
      text.startsWith(
        'GET /a HTTP/1.1\r\nHost: a.example\r\nAccept: */*\r\nX-Team: blue\r\nX-Empty: \r\n' +
          'X-Tight: a b\r\nVia: 1.1 sluiceway\r\nX-Forwarded-For: 192.0.2.7\r\n',
      ),
      text,
    );
  });

  test('keep what came beside what is added', () => {
    const text = request(GET, { 'request-header-add': ['X-Team: blue'] });
    assert.deepEqual(text.match(/x-team: ?\w+/gi), [
      'X-Team: red',
      'x-TEAM: green',
      'X-Team: blue',
    ]);
  });

  test('go to another Host, while forwarding fields name the one that was asked for', () => {
    for (const head of [
      GET,
      GET.replace('Host: a.example\r\n', '').replace('\r\n\r\n', '\r\nhost:a.example\r\n\r\n'),
    ]) {
      const text = request(head, { 'host-header': ['internal.example:81'] });
      assert.ok(
        text.startsWith('GET /a HTTP/1.1\r\nHost: internal.example:81\r\nX-Team: red\r\n'),
        text,
      );
      assert.equal(text.match(/^host:/gim)?.length, 1);
      assert.match(text, /\r\nX-Forwarded-Host: a\.example\r\n/);
      assert.match(text, /;host="a\.example";/);
    }
    const old = request('GET / HTTP/1.0\r\n\r\n', { 'host-header': ['internal.example'] });
    assert.ok(
      old.startsWith('GET / HTTP/1.1\r\nHost: internal.example\r\nVia: 1.0 sluiceway\r\n'),
      old,
    );
    const absolute = request('GET http://b/x HTTP/1.1\r\nHost: b\r\n\r\n', {
      'host-header': ['c'],
    });
    assert.ok(absolute.startsWith('GET /x HTTP/1.1\r\nHost: c\r\nVia'), absolute);
  });
});

describe('responses', () => {
  const OK = 'HTTP/1.1 200 OK\r\nServer: x/1\r\nContent-Length: 2\r\nSERVER: y\r\n\r\n';
  const options: TunnelOptions = {
    'response-header-remove': ['Server'],
    'response-header-add': ['Cache-Control: no-store, max-age=0'],
  };

  test('lose and gain fields before ours', () => {
    assert.equal(
      response(OK, options, 'close'),
      'HTTP/1.1 200 OK\r\nContent-Length: 2\r\nCache-Control: no-store, max-age=0\r\n' +
        'Via: 1.1 sluiceway\r\nConnection: close\r\n\r\n',
    );
    assert.equal(
      response('HTTP/1.0 204 x\r\nServer: y\r\nContent-Length: 0\r\n\r\n', options),
      'HTTP/1.1 204 x\r\nCache-Control: no-store, max-age=0\r\nVia: 1.0 sluiceway\r\n\r\n',
    );
  });

  test('that switch to WebSocket do so too', () => {
    const text = response(
      'HTTP/1.1 101 x\r\nServer: y\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
      options,
      'upgrade',
    );
    assert.equal(
      text,
      'HTTP/1.1 101 x\r\nCache-Control: no-store, max-age=0\r\nVia: 1.1 sluiceway\r\n' +
        'Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n',
    );
  });
});

test('nothing to do is nothing at all', () => {
  assert.equal(HeaderEdits.from(undefined), undefined);
  assert.equal(HeaderEdits.from({}), undefined);
  assert.equal(HeaderEdits.from({ 'request-header-add': [] }), undefined);
});

/** Names that framing, routing, one connection or the exit node own. */
const OWNED = [
  ...['Host', 'Content-Length', 'Transfer-Encoding', 'Connection', 'Keep-Alive', 'TE', 'Trailer'],
  ...['Upgrade', 'Proxy-Connection', 'Proxy-Authorization', 'Proxy-Anything', 'HTTP2-Settings'],
  ...['Expect', 'Via', 'Forwarded', 'X-Real-IP', 'X-Forwarded', 'X-Forwarded-For'],
  ...['X-Forwarded-Proto', 'X-Forwarded-Whatever'],
];

describe('what is refused', () => {
  const add = TUNNEL_OPTIONS['request-header-add'].problemOf;
  const remove = TUNNEL_OPTIONS['response-header-remove'].problemOf;
  const host = TUNNEL_OPTIONS['host-header'].problemOf;

  test('names that others own, in any case and with any alias of the dash', () => {
    for (const name of OWNED) {
      for (const alias of [
        name,
        name.toUpperCase(),
        name.replaceAll('-', '_'),
        name.replace('-', '.'),
      ]) {
        assert.notEqual(remove(alias), undefined, alias);
        assert.notEqual(add(`${alias}: x`), undefined, alias);
      }
    }
    for (const name of [
      'X-Team',
      'Cookie',
      'Set-Cookie',
      'Server',
      'Authorization',
      'x_y.z',
      'Hosts',
    ]) {
      assert.equal(remove(name), undefined, name);
      assert.equal(add(`${name}: x`), undefined, name);
    }
  });

  test('every name that the parser takes for more than a field', () => {
    const seed = 5;
    const piece = fc.constantFrom(
      'content',
      'length',
      'transfer',
      'encoding',
      'te',
      'host',
      'x',
      'real',
      'ip',
      'forwarded',
      'for',
      'connection',
      'proxy',
      'keep',
      'alive',
      'expect',
      'upgrade',
      '-',
      '_',
      '.',
      'A',
    );
    fc.assert(
      fc.property(
        fc.array(piece, { minLength: 1, maxLength: 6 }),
        fc.boolean(),
        (pieces, isUpper) => {
          const name = isUpper ? pieces.join('').toUpperCase() : pieces.join('');
          const bytes = Buffer.from(name, 'latin1');
          if (kindOf(bytes, 0, bytes.length) !== KIND.OTHER)
            assert.notEqual(remove(name), undefined, name);
        },
      ),
      { seed, numRuns: 20_000 },
    );
  });

  test('names and values that would not stay one line', () => {
    for (const name of [
      '',
      ' ',
      'a b',
      'a:b',
      'a\r\nb',
      'a\0',
      'ä',
      '"a"',
      'x'.repeat(129),
      'a(',
    ]) {
      assert.notEqual(remove(name), undefined, JSON.stringify(name));
    }
    for (const text of [
      '',
      'a',
      ': b',
      'a : b',
      ' a: b',
      'a: b\r\nc: d',
      'a: b\n',
      'a: b\r',
      'a: \0',
      'a: ä',
      'a: \x7f',
      '\r\na: b',
    ]) {
      assert.notEqual(add(text), undefined, JSON.stringify(text));
    }
  });

  test('hosts that are none', () => {
    for (const text of [
      '',
      'a b',
      'a:b',
      'a:99999',
      'a/b',
      'a\r\nb: c',
      'a,b',
      'user@a',
      '[::1',
      'ä',
      'a:',
      'http://a',
      'x'.repeat(262),
    ]) {
      assert.notEqual(host(text), undefined, JSON.stringify(text));
    }
    for (const text of ['a', 'Internal.Example:8080', '[::1]:80', '10.0.0.1'])
      assert.equal(host(text), undefined);
  });

  test('more of them than there is room for', () => {
    const many = Array.from({ length: 31 }, (_, index) => `X-${index}: 1`);
    assert.equal(boundsProblem({ 'request-header-add': many, 'host-header': ['a'] }), undefined);
    assert.match(
      boundsProblem({ 'request-header-add': many, 'request-header-remove': ['a', 'b'] }) ?? '',
      /33 header rules for a request are too many; give at most 32/,
    );
    const large = { 'response-header-add': [`a: ${'x'.repeat(4090)}`, 'b: c'] };
    assert.match(boundsProblem(large) ?? '', /header rules for a response have \d+ bytes/);
  });

  test('keys that this exit node does not know, and those of another kind of tunnel', () => {
    const refusal = (key: string, values: readonly string[], isHttp = true) => {
      try {
        return readOffered([[key, values]], isHttp);
      } catch (error) {
        return (error as Error).message;
      }
    };
    assert.match(
      String(refusal('basic-auth-of-tomorrow', ['x'])),
      /is not known to this exit node/,
    );
    assert.match(String(refusal('constructor', ['x'])), /option constructor is not known/);
    assert.match(String(refusal('a\u001b[2J\n', ['x'])), /^option a\?\[2J\? is not known/);
    assert.match(String(refusal('host-header', ['a'], false)), /is for HTTP tunnels/);
    assert.match(String(refusal('host-header', ['a', 'b'])), /has several values/);
    assert.match(String(refusal('host-header', [])), /has no text/);
    const secret = String(refusal('request-header-add', ['Authorization: s3cret\n']));
    assert.doesNotMatch(secret, /s3cret/);
    assert.deepEqual(refusal('host-header', ['a']), { 'host-header': ['a'] });
    assert.equal(readOffered([], false), undefined);
  });
});

test('whatever the rules, a head keeps its framing, its target and its authority', () => {
  const seed = 6;
  const name = fc.constantFrom(
    'X-A',
    'x-a',
    'Cookie',
    'Accept',
    'A',
    ...OWNED,
    'content_length',
    'x.y',
  );
  const value = fc.string({ maxLength: 12 });
  const rules = fc.record({
    'host-header': fc.array(fc.constantFrom('i', 'i:8', 'a b', 'i\r\nX: y'), { maxLength: 1 }),
    'request-header-add': fc.array(
      fc.tuple(name, value).map((pair) => pair.join(': ')),
      { maxLength: 4 },
    ),
    'request-header-remove': fc.array(name, { maxLength: 4 }),
    'response-header-add': fc.array(
      fc.tuple(name, value).map((pair) => pair.join(':')),
      { maxLength: 4 },
    ),
    'response-header-remove': fc.array(name, { maxLength: 4 }),
  });
  const field = fc.constantFrom(
    'X-A: 1',
    'Cookie:b',
    'x-a:  2 ',
    'Accept: */*',
    'A:',
    'Connection: x-a, close',
    'TE: trailers',
  );
  const frame = fc.constantFrom('', 'Content-Length: 5', 'Transfer-Encoding: chunked');
  const permitted = (options: TunnelOptions): TunnelOptions =>
    Object.fromEntries(
      Object.entries(options).map(([key, texts]) => {
        const { problemOf } = TUNNEL_OPTIONS[key as keyof TunnelOptions];
        return [key, texts.filter((text) => problemOf(text) === undefined)];
      }),
    );
  fc.assert(
    fc.property(rules, fc.array(field, { maxLength: 5 }), frame, (wanted, fields, framing) => {
      const options = permitted(wanted);
      const lines = [...fields, framing]
        .filter((one) => one !== '')
        .map((one) => `${one}\r\n`)
        .join('');
      const plain = requestParser(
        request(`POST /p?q HTTP/1.1\r\nHost: v.example\r\n${lines}\r\n`, {}),
      );
      const edited = requestParser(
        request(`POST /p?q HTTP/1.1\r\nHost: v.example\r\n${lines}\r\n`, options),
      );
      const { method, framing: kind, contentLength } = plain;
      assert.deepEqual(
        [edited.method, edited.framing, edited.contentLength],
        [method, kind, contentLength],
      );
      assert.equal(edited.host, options['host-header']?.[0]?.replace(/:.*/, '') ?? 'v.example');
      const [one, two] = [plain, edited].map((head) => head.bytes.toString('latin1'));
      const ours = /\r\nVia: 1\.1 sluiceway\r\nX-Forwarded-For: [\s\S]*$/;
      assert.equal(two?.match(ours)?.[0], one?.match(ours)?.[0]);
      const answer = `HTTP/1.1 200 OK\r\n${lines}\r\n`;
      const before = responseParser(response(answer, {}));
      const after = responseParser(response(answer, options));
      assert.deepEqual(
        [after.framing, after.contentLength],
        [before.framing, before.contentLength],
      );
      assert.equal(after.isKeepAlive, before.isKeepAlive);
    }),
    { seed, numRuns: 3000 },
  );
});
