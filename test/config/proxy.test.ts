// Goal: a server is dialled through the proxy that was meant, and through none where none was; a
// login is never shown. Method: tables of environments, and of texts of --proxy.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { InvalidText } from '../../src/config/option.ts';
import { buildProxies, proxyProblems, proxyUrl } from '../../src/config/proxy.ts';

type Environment = Readonly<Record<string, string>>;
const WSS = 'wss://exit.example.com:8123/connect';
const WS = 'ws://exit.example.com/connect';

function chosen(url: string, env: Environment, given?: string): string {
  return buildProxies(given, [url], env)[url]?.reveal() ?? 'direct';
}

const P = 'http://proxy:3128';
const ROWS: readonly (readonly [string, Environment, string])[] = [
  [WSS, {}, 'direct'],
  [WSS, { HTTPS_PROXY: P }, P],
  [WSS, { https_proxy: P, HTTPS_PROXY: 'http://other:1' }, P],
  [WSS, { HTTP_PROXY: P }, 'direct'],
  [WS, { HTTP_PROXY: P }, P],
  [WS, { HTTPS_PROXY: P }, 'direct'],
  [WSS, { ALL_PROXY: P }, P],
  [WSS, { ALL_PROXY: 'http://other:1', HTTPS_PROXY: P }, P],
  [WSS, { HTTPS_PROXY: 'proxy:3128' }, P],
  [WSS, { HTTPS_PROXY: 'socks5://proxy:1080' }, 'socks5h://proxy:1080'],
  [WSS, { HTTPS_PROXY: 'SOCKS5H://proxy:1080' }, 'socks5h://proxy:1080'],
  [WSS, { HTTPS_PROXY: '' }, 'direct'],
  // This machine is not behind a proxy.
  ['wss://127.0.0.1:8123/connect', { HTTPS_PROXY: P }, 'direct'],
  ['wss://[::1]:8123/connect', { HTTPS_PROXY: P }, 'direct'],
  ['wss://localhost/connect', { HTTPS_PROXY: P }, 'direct'],
  // NO_PROXY.
  [WSS, { HTTPS_PROXY: P, NO_PROXY: '*' }, 'direct'],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: 'exit.example.com' }, 'direct'],
  [WSS, { HTTPS_PROXY: P, no_proxy: 'other, example.com' }, 'direct'],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: '.example.com' }, 'direct'],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: '*.example.com' }, 'direct'],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: 'EXAMPLE.COM' }, 'direct'],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: 'exit.example.com:8123' }, 'direct'],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: 'exit.example.com:443' }, P],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: 'it.example.com' }, P],
  [WSS, { HTTPS_PROXY: P, NO_PROXY: 'other.com,,' }, P],
  ['wss://10.1.2.3:8123/connect', { HTTPS_PROXY: P, NO_PROXY: '10.0.0.0/8' }, 'direct'],
  ['wss://10.1.2.3:8123/connect', { HTTPS_PROXY: P, NO_PROXY: '10.1.2.3' }, 'direct'],
  ['wss://10.1.2.3:8123/connect', { HTTPS_PROXY: P, NO_PROXY: '10.1.2.3:8123' }, 'direct'],
  ['wss://10.1.2.3:8123/connect', { HTTPS_PROXY: P, NO_PROXY: '11.0.0.0/8,2.3' }, P],
  ['wss://[2001:db8::1]/connect', { HTTPS_PROXY: P, NO_PROXY: '2001:db8::/32' }, 'direct'],
  ['wss://[2001:db8::1]/connect', { HTTPS_PROXY: P, NO_PROXY: '[2001:db8::1]:443' }, 'direct'],
];

for (const [url, env, wanted] of ROWS) {
  test(`${url} with ${JSON.stringify(env)}: ${wanted}`, () => {
    assert.equal(chosen(url, env), wanted);
    assert.deepEqual(proxyProblems([url], env), []);
  });
}

test('--proxy is stronger than the environment, and off is none', () => {
  const env = { HTTPS_PROXY: 'http://other:1', NO_PROXY: '*' };
  assert.equal(chosen(WSS, env, P), P);
  assert.equal(chosen('wss://127.0.0.1/connect', env, P), P);
  assert.equal(chosen(WSS, { HTTPS_PROXY: P }, 'off'), 'direct');
});

test('what the environment names and no link can take is a problem that names the variable', () => {
  for (const bad of [
    'ftp://proxy:1',
    'http://',
    'http://a b',
    'http://proxy/path',
    'socks4://p:1',
  ]) {
    const problems = proxyProblems([WSS, WS], { HTTPS_PROXY: bad });
    assert.equal(problems.length, 1, bad);
    assert.match(problems[0] ?? '', /^HTTPS_PROXY \(environment\): /u);
    assert.deepEqual(buildProxies(undefined, [WSS], { HTTPS_PROXY: bad }), {});
  }
  // Nobody is dialled through it.
  assert.deepEqual(proxyProblems([WS], { HTTPS_PROXY: 'ftp://proxy' }), []);
});

test('a login is kept for the proxy and shown to nobody', () => {
  const text = 'http://user:s3cret@proxy:3128';
  assert.equal(chosen(WSS, {}, text), text);
  assert.equal(proxyUrl.show(text), 'http://[masked]@proxy:3128');
  assert.equal(proxyUrl.shown?.('ftp://user:s3cret@proxy'), 'ftp://[masked]@proxy');
  assert.equal(String(buildProxies(text, [WSS], {})[WSS]), '[masked]');
  const [problem = ''] = proxyProblems([WSS], { HTTPS_PROXY: 'ftp://user:s3cret@proxy' });
  assert.doesNotMatch(problem, /s3cret/u);
});

test('other texts are refused', () => {
  for (const text of ['', 'ftp://proxy', 'http://', 'http://proxy/path', 'http://proxy?x', 'a b']) {
    assert.ok(proxyUrl.read(text) instanceof InvalidText, text);
  }
});

test('a login that no proxy can be told is refused, and what was masked, too', () => {
  const rows = [
    ['http://u:100%@p:3128', /has a login that is not percent-encoded; write % as %25/],
    ['http://u%:x@p:3128', /percent-encoded/],
    ['socks5://u:%zz@p', /percent-encoded/],
    ['u:%ff@p:3128', /percent-encoded/],
    [proxyUrl.show('http://user:s3cret@p:3128'), /was masked when it was printed/],
    [proxyUrl.show('socks5h://user:s3cret@p:1'), /was masked when it was printed/],
  ] as const;
  for (const [text, message] of rows) {
    const read = proxyUrl.read(text);
    assert.ok(read instanceof InvalidText, text);
    assert.match(read.message, message);
    const [problem = ''] = proxyProblems([WSS], { HTTPS_PROXY: text });
    assert.match(problem, message);
  }
  for (const text of ['http://u:100%25@p:3128', 'http://u:%5Bmasked%5D@p']) {
    assert.equal(proxyUrl.read(text), text);
  }
});

test('a SOCKS login longer than its protocol can carry is refused', () => {
  const message = /a user or password of more than 255 bytes, which SOCKS cannot carry/;
  const fits = 'x'.repeat(255);
  for (const scheme of ['socks5', 'socks5h', 'SOCKS5']) {
    // Bytes once decoded: an é is two.
    for (const login of [`${fits}x:p`, `u:${fits}x`, `u:${'%C3%A9'.repeat(128)}`]) {
      const text = `${scheme}://${login}@p:1080`;
      const read = proxyUrl.read(text);
      assert.ok(read instanceof InvalidText, text);
      assert.match(read.message, message);
      const [problem = ''] = proxyProblems([WSS], { ALL_PROXY: text });
      assert.match(problem, /^ALL_PROXY \(environment\): /);
      assert.match(problem, message);
      assert.deepEqual(buildProxies(undefined, [WSS], { ALL_PROXY: text }), {});
    }
  }
  for (const login of [`${fits}:${fits}`, `u:${'%C3%A9'.repeat(127)}`]) {
    const text = `socks5h://${login}@p:1080`;
    assert.equal(proxyUrl.read(text), text);
  }
  // HTTP's has no such bound.
  const http = `http://u:${fits}x@p:3128`;
  assert.equal(proxyUrl.read(http), http);
});
