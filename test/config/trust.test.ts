// Goal: an option that protects is in force alone, from any source, or it is a problem. Method:
// each option through flag, environment and file; the relations that would make one idle.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { resolveConfig } from '../../src/config/config.ts';
import type { ConfigInput } from '../../src/config/resolve.ts';
import type { Command } from '../../src/config/schema.ts';
import { isFetched } from '../../src/config/trust.ts';
import { configInput, problemsOf, TOKEN } from './input.ts';
import { CERT, KEY } from './tls-pair.ts';

const PIN = `sha256:${'0a'.repeat(32)}`;
const CLIENT = { url: 'wss://exit.example.com:8123', tcp: '2222' };
const SOURCES = ['flag', 'environment', 'file'] as const;

function readFile(path: string): string {
  if (path === 'cert.pem') return CERT;
  if (path === 'key.pem') return KEY;
  throw new Error(`the file ${path} does not exist`);
}

/** Base options as flags, and `options` from one source. */
function inputOf<C extends Command>(
  command: C,
  source: (typeof SOURCES)[number],
  options: Readonly<Record<string, string>>,
): ConfigInput<C> {
  const base = command === 'server' ? {} : { url: CLIENT.url };
  const flags = command === 'client' ? { ...base, tcp: CLIENT.tcp } : base;
  const env: Record<string, string> = { SLUICEWAY_TOKEN: TOKEN };
  if (source === 'flag') return configInput(command, { flags: { ...flags, ...options }, readFile });
  if (source === 'environment') {
    for (const [name, value] of Object.entries(options)) {
      env[`SLUICEWAY_${name.toUpperCase().replaceAll('-', '_')}`] = value;
    }
    return configInput(command, { flags, env, readFile });
  }
  const text = Object.entries(options)
    .map(([name, value]) => `${name}: ${JSON.stringify(value)}\n`)
    .join('');
  return configInput(command, { flags, readFile, file: { path: 'a.yaml', text } });
}

for (const source of SOURCES) {
  describe(`from ${source}`, () => {
    test('--auto-tls, --auto-tls-san and --auto-tls-dir make a private CA', () => {
      const loopback = { 'control-addr': '127.0.0.1:8123' };
      const auto = resolveConfig(inputOf('server', source, { ...loopback, 'auto-tls': 'true' }));
      assert.deepEqual(auto.autoTls, { folder: '/var/lib/sluiceway/tls', names: [] });
      const named = { 'auto-tls-san': 'Exit.Example.com,192.0.2.1', 'auto-tls-dir': '/keys' };
      assert.deepEqual(resolveConfig(inputOf('server', source, named)).autoTls, {
        folder: '/keys',
        names: ['exit.example.com', '192.0.2.1'],
      });
      const off = resolveConfig(inputOf('server', source, { 'auto-tls': 'false' }));
      assert.equal(off.autoTls, undefined);
    });

    test('--client-ca is taken, and stands in for a token', () => {
      const config = resolveConfig(inputOf('server', source, { 'client-ca': 'cert.pem' }));
      assert.equal(config.clientCa, 'cert.pem');
      const input = inputOf('server', source, { 'client-ca': 'cert.pem' });
      const { SLUICEWAY_TOKEN: _, ...env } = input.env;
      assert.equal(resolveConfig({ ...input, env }).token, undefined);
      const broken = inputOf('server', source, { 'client-ca': 'none.pem' });
      const problems = problemsOf(() => resolveConfig({ ...broken, env: {} }));
      assert.match(problems.join(), source === 'environment' ? /token is required/ : /none\.pem/);
    });

    for (const command of ['client', 'status'] as const) {
      test(`${command}: --auto-tls-fingerprint alone pins, also a server with a name`, () => {
        const { trust } = resolveConfig(
          inputOf(command, source, { 'auto-tls-fingerprint': PIN.replace('0a', '0A') }),
        );
        assert.deepEqual(trust.fingerprints, [PIN]);
        assert.equal(isFetched(trust, CLIENT.url), true);
      });

      test(`${command}: --auto-tls, --known-servers and a client certificate are taken`, () => {
        const options = {
          'auto-tls': 'true',
          'known-servers': '/known',
          'tls-client-cert': 'cert.pem',
          'tls-client-key': 'key.pem',
        };
        assert.deepEqual(resolveConfig(inputOf(command, source, options)).trust, {
          autoTls: 'on',
          fingerprints: [],
          knownServers: '/known',
          clientCert: 'cert.pem',
          clientKey: 'key.pem',
        });
      });
    }
  });
}

test('a private CA is on by default where others can connect', () => {
  const autoTls = (flags: Record<string, string>) =>
    resolveConfig(configInput('server', { flags, readFile })).autoTls !== undefined;
  for (const host of ['0.0.0.0', '[::]', '192.0.2.1', 'exit.example.com', '127.example.com']) {
    assert.equal(autoTls({ 'control-addr': `${host}:8123` }), true, host);
  }
  for (const host of ['127.0.0.1', '127.1.2.3', '[::1]', 'localhost', '[::ffff:127.0.0.1]']) {
    assert.equal(autoTls({ 'control-addr': `${host}:8123` }), false, host);
  }
  assert.equal(autoTls({ 'tls-cert': 'cert.pem', 'tls-key': 'key.pem' }), false);
});

test('the CA of a server is fetched when it is dialled by an address', () => {
  const { trust } = resolveConfig(configInput('client', { flags: CLIENT }));
  assert.equal(isFetched(trust, 'wss://192.0.2.1:8123/connect'), true);
  assert.equal(isFetched(trust, 'wss://[2001:db8::1]:8123/connect'), true);
  assert.equal(isFetched(trust, 'wss://exit.example.com/connect'), false);
  assert.equal(isFetched(trust, 'ws://192.0.2.1/connect'), false);
  const flags = { ...CLIENT, 'tls-ca': 'cert.pem' };
  const withCa = resolveConfig(configInput('client', { flags, readFile })).trust;
  assert.equal(isFetched(withCa, 'wss://192.0.2.1:8123/connect'), false);
});

const WRONG_SERVER: readonly [Record<string, string>, RegExp][] = [
  [{ 'auto-tls': 'true', 'tls-cert': 'cert.pem', 'tls-key': 'key.pem' }, /excludes --tls-cert/],
  [{ 'auto-tls': 'false', 'auto-tls-san': 'a.example' }, /has no effect without --auto-tls/],
  [{ 'control-addr': '127.0.0.1:1', 'auto-tls-san': 'a.example' }, /has no effect without/],
  [{ 'auto-tls': 'false', 'client-ca': 'cert.pem' }, /needs TLS on the control port/],
  [{ 'control-addr': '[::1]:1', 'client-ca': 'cert.pem' }, /needs TLS on the control port/],
  [{ 'auto-tls-san': 'a b' }, /is neither a host name nor an IP address/],
  [{ 'client-ca': 'key.pem' }, /holds no certificate in PEM format/],
];

for (const [flags, expected] of WRONG_SERVER) {
  test(`server: ${JSON.stringify(flags)} is refused`, () => {
    const problems = problemsOf(() => resolveConfig(configInput('server', { flags, readFile })));
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', expected);
  });
}

const WRONG_CLIENT: readonly [Record<string, string>, RegExp][] = [
  [{ 'auto-tls': 'false', 'auto-tls-fingerprint': PIN }, /has no effect with --no-auto-tls/],
  [{ 'tls-ca': 'cert.pem', 'auto-tls-fingerprint': PIN }, /excludes --tls-ca/],
  [{ 'tls-ca': 'cert.pem', 'auto-tls': 'true' }, /excludes --tls-ca/],
  [{ url: 'ws://192.0.2.1:1', 'auto-tls-fingerprint': PIN }, /has no effect on ws:/],
  [{ url: 'ws://192.0.2.1:1', 'auto-tls': 'true' }, /has no effect on ws:/],
  [{ 'auto-tls-fingerprint': 'sha256:00' }, /is not a fingerprint/],
  [{ 'tls-client-cert': 'cert.pem' }, /needs --tls-client-key too/],
  [{ 'tls-client-key': 'key.pem' }, /needs --tls-client-cert too/],
];

for (const command of ['client', 'status'] as const) {
  for (const [more, expected] of WRONG_CLIENT) {
    test(`${command}: ${JSON.stringify(more).slice(0, 70)} is refused`, () => {
      const base = command === 'client' ? CLIENT : { url: CLIENT.url };
      const input = configInput(command, { flags: { ...base, ...more }, readFile });
      const problems = problemsOf(() => resolveConfig(input));
      assert.equal(problems.length, 1, problems.join('\n'));
      assert.match(problems[0] ?? '', expected);
    });
  }
}

test('the state folder is that of systemd, of the user, or of the system', () => {
  const knownServers = (env: Record<string, string>) =>
    resolveConfig(configInput('client', { flags: CLIENT, env: { SLUICEWAY_TOKEN: TOKEN, ...env } }))
      .trust.knownServers;
  const both = { XDG_STATE_HOME: '/state', HOME: '/home/a' };
  assert.equal(knownServers({ ...both, STATE_DIRECTORY: '/s:/t' }), '/s/known-servers');
  assert.equal(knownServers(both), '/state/sluiceway/known-servers');
  assert.equal(
    knownServers({ XDG_STATE_HOME: 'relative', HOME: '/home/a' }),
    '/home/a/.local/state/sluiceway/known-servers',
  );
  assert.equal(knownServers({ HOME: '/' }), '/var/lib/sluiceway/known-servers');
});
