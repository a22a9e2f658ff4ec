// Goal: listeners of one process that would be in each other's way are a wrong configuration, and
// no others. Method: options, as the program takes them.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { resolveConfig } from '../../src/config/config.ts';
import { configInput, problemsOf } from './input.ts';

const CLIENT_FLAGS = { url: 'wss://tunnel.example.com:8123', upstream: 'a.example=http://b:1' };

test('a server refuses two listeners on one port, where the second could not be opened', () => {
  const input = (flags: Readonly<Record<string, string>>) =>
    configInput('server', { flags: { 'admin-addr': 'off', ...flags } });
  const problems = (flags: Readonly<Record<string, string>>) =>
    problemsOf(() => resolveConfig(input(flags)));
  assert.deepEqual(problems({ 'control-addr': '0.0.0.0:8000' }), [
    '--http-addr (default): 0.0.0.0:8000 is also --control-addr, 0.0.0.0:8000; ' +
      'give one of them another port',
  ]);
  assert.deepEqual(problems({ 'https-addr': ':444', 'admin-addr': '127.0.0.1:444' }), [
    '--admin-addr (flag): 127.0.0.1:444 is also --https-addr, 0.0.0.0:444; ' +
      'give one of them another port',
  ]);
  const mapped = { 'control-addr': '127.0.0.1:81', 'http-addr': '[::ffff:127.0.0.1]:81' };
  assert.equal(problems(mapped).length, 1);
  // Shards share their ports, and the kernel prefers the one address.
  const beside = { 'control-addr': '127.0.0.1:8000' };
  resolveConfig(input(beside));
  for (const alone of [{ shards: '1' }, { 'reuse-port': 'off' }]) {
    assert.match(problems({ ...beside, ...alone }).join(), /8000 is also --control-addr, 127\./);
  }
  const apart = { shards: '1', 'control-addr': '127.0.0.1:81', 'http-addr': '192.0.2.1:81' };
  resolveConfig(input({ ...apart, 'https-addr': '[::1]:81', 'admin-addr': ':82' }));
  resolveConfig(input({ shards: '1', 'control-addr': ':0', 'http-addr': ':0' }));
});

test('a client refuses a forward on the port of its own endpoint, where both would listen', () => {
  const problems = (flags: Readonly<Record<string, string>>) => {
    const input = configInput('client', { flags: { ...CLIENT_FLAGS, ...flags } });
    return problemsOf(() => resolveConfig(input));
  };
  const forward = { local: '9124:db:1' };
  assert.deepEqual(problems({ ...forward, 'metrics-addr': '[::]:9124' }), [
    '--local (flag): port 9124 on 127.0.0.1 is that of --metrics-addr (flag), [::]:9124; ' +
      'give one of them another port',
  ]);
  const proxy = { 'local-socks': '9124', 'local-addr': '::1' };
  assert.deepEqual(problems({ ...proxy, 'metrics-addr': '[::1]:9124' }), [
    '--local-socks (flag): port 9124 on [::1] is that of --metrics-addr (flag), [::1]:9124; ' +
      'give one of them another port',
  ]);
  for (const [host, metrics] of [
    ['127.0.0.1', '192.0.2.1:9124'],
    ['::1', ':9124'],
    ['127.0.0.1', '127.0.0.1:9125'],
    ['127.0.0.1', 'off'],
  ] as const) {
    const flags = { ...CLIENT_FLAGS, ...forward, 'local-addr': host, 'metrics-addr': metrics };
    resolveConfig(configInput('client', { flags }));
  }
  const chosen = { ...CLIENT_FLAGS, local: '0:db:1', 'metrics-addr': ':0' };
  resolveConfig(configInput('client', { flags: chosen }));
});
