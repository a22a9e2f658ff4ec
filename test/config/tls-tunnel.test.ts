import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveConfig } from '../../src/config/config.ts';
import { tlsTunnel } from '../../src/config/tls-tunnel.ts';
import { configInput, problemsOf, readText, reasonOf } from './input.ts';

const URL = ['ws://127.0.0.1:1'];

test('a server name and where to dial', () => {
  const cases: Record<string, string> = {
    'example.com=127.0.0.1:443': 'tls:example.com=127.0.0.1:443',
    'Example.COM.=Db:8443': 'tls:example.com=db:8443',
    '*.example.com=[::1]:443': 'tls:*.example.com=[::1]:443',
    'localhost=localhost:1': 'tls:localhost=localhost:1',
  };
  for (const [text, label] of Object.entries(cases)) {
    const tunnel = readText(tlsTunnel, text);
    assert.equal(tunnel.label, label);
    assert.deepEqual([tunnel.kind, tunnel.upstream.tls], ['tls', false]);
    assert.deepEqual(readText(tlsTunnel, tlsTunnel.show(tunnel)), tunnel);
  }
});

test('what TLS cannot name, and what cannot be dialled, is refused with what is right', () => {
  const cases: Record<string, RegExp> = {
    'example.com': /has no "="; write NAME=HOST:PORT/,
    '*=127.0.0.1:443': /TLS names hosts alone/,
    '192.0.2.1=127.0.0.1:443': /TLS names hosts alone/,
    '[::1]=127.0.0.1:443': /without a port/,
    'example.com:443=127.0.0.1:443': /without a port/,
    'example.com/api=127.0.0.1:443': /no valid host name/,
    'bücher.example=127.0.0.1:443': /xn--/,
    '=127.0.0.1:443': /no valid host name/,
    'example.com=https://127.0.0.1:443': /without a scheme/,
    'example.com=127.0.0.1': /no valid upstream host and port/,
    'example.com=127.0.0.1:0': /no valid upstream host and port/,
    'example.com=::1:443': /no valid upstream host and port/,
    'example.com=127.0.0.1:443;tls-insecure=true': /only allow-ips/,
  };
  for (const [text, reason] of Object.entries(cases)) {
    assert.match(reasonOf(tlsTunnel, text), reason, text);
  }
});

test('such tunnels are enough for a client, may share a host with HTTP, and come once', () => {
  const tls = ['example.com=127.0.0.1:443'];
  const resolve = (flags: Record<string, string | string[]>) =>
    resolveConfig(configInput('client', { flags: { url: URL, 'tls-passthrough': tls, ...flags } }));
  assert.deepEqual(
    resolve({ 'proxy-protocol': 'v2' }).tunnels.map(({ name }) => name),
    ['tls:example.com'],
  );
  const both = resolve({ upstream: ['example.com=http://a:1'] });
  assert.equal(both.tunnels.length, 2);
  const twice = problemsOf(() => resolve({ 'tls-passthrough': [...tls, 'EXAMPLE.com=b:1'] }));
  assert.match(twice.join(), /--tls-passthrough \(flag\): 'tls:example.com' is given twice/);
});
