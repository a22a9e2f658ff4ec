// The options for HTTPS: what follows from what, and what is refused.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type HttpsConfig, resolveConfig, type ServerConfig } from '../../src/config/config.ts';
import { coversName } from '../../src/config/https.ts';
import { maskedConfig } from '../../src/config/print.ts';
import type { ConfigInput } from '../../src/config/resolve.ts';
import { configInput, problemsOf, TOKEN } from './input.ts';
import { CERT, KEY, OTHER_KEY } from './tls-pair.ts';

type Flags = ConfigInput['flags'];

const FILES: Readonly<Record<string, string>> = { c: CERT, k: KEY, other: OTHER_KEY };

function readFile(path: string): string {
  const text = FILES[path];
  if (text === undefined) throw new Error(`the file ${path} does not exist`);
  return text;
}

function resolve(flags: Flags, env: Record<string, string> = {}): ServerConfig {
  const input = { flags, env: { SLUICEWAY_TOKEN: TOKEN, ...env }, readFile };
  return resolveConfig(configInput('server', input));
}

function httpsOf(flags: Flags, env: Record<string, string> = {}): HttpsConfig {
  const { https } = resolve(flags, env);
  assert.ok(https !== undefined);
  return https;
}

function check(flags: Flags): readonly string[] {
  return problemsOf(() => resolve(flags));
}

describe('HTTPS', () => {
  test('is off without certificates', () => {
    assert.equal(resolve({}).https, undefined);
  });

  test('with files listens on 443, and leaves HTTP where it was', () => {
    const config = resolve({ 'https-cert': ['A.Test=c,k', '*.b.test=c,k'] });
    assert.deepEqual(config.https, {
      addr: { host: '0.0.0.0', port: 443 },
      certificates: [
        { name: 'a.test', cert: 'c', key: 'k' },
        { name: '*.b.test', cert: 'c', key: 'k' },
      ],
      redirect: false,
      hstsMaxAgeSeconds: 0,
    });
    assert.deepEqual(config.httpAddr, { host: '0.0.0.0', port: 8000 });
  });

  test("with Let's Encrypt listens on 80 and 443, unless told otherwise", () => {
    const config = resolve({ 'letsencrypt-domain': 'a.test' });
    assert.deepEqual(config.httpAddr, { host: '0.0.0.0', port: 80 });
    assert.deepEqual(config.https?.addr, { host: '0.0.0.0', port: 443 });
    assert.deepEqual(config.https?.letsEncrypt, {
      domains: ['a.test'],
      onDemand: [],
      issuer: 'https://acme-v02.api.letsencrypt.org/directory',
      dir: '/var/lib/sluiceway/letsencrypt',
      challenge: 'auto',
    });
    const other = { 'http-addr': ':8080', 'https-addr': ':8443' };
    const moved = resolve({ 'letsencrypt-domain': 'a.test', ...other });
    assert.equal(moved.httpAddr === 'off' ? 0 : moved.httpAddr.port, 8080);
    assert.equal(moved.https?.addr.port, 8443);
  });

  test('takes several certificates one a line', () => {
    const text = 'a.test=c,k\nb.test=c,k';
    const { certificates } = httpsOf({}, { SLUICEWAY_HTTPS_CERT: text });
    assert.deepEqual(
      certificates.map(({ name }) => name),
      ['a.test', 'b.test'],
    );
  });

  test('opens the port without a certificate, for TLS that is passed through', () => {
    const { https } = resolve({ 'https-addr': ':443' });
    assert.deepEqual(https?.certificates, []);
    assert.equal(https?.letsEncrypt, undefined);
  });

  test('is printed as it reads back', () => {
    const flags = { 'https-cert': 'a.test=c,k', 'letsencrypt-issuer': 'staging' };
    const more = { 'letsencrypt-domain': 'b.test', hsts: '60' };
    const printed = maskedConfig(configInput('server', { flags: { ...flags, ...more }, readFile }));
    assert.match(printed, /^http-addr: 0\.0\.0\.0:80$/m);
    assert.match(printed, /^https-addr: 0\.0\.0\.0:443$/m);
    assert.match(printed, /^https-cert:\n {2}- a\.test=c,k$/m);
    assert.match(printed, /^letsencrypt-issuer: staging$/m);
    assert.match(printed, /^hsts: 60$/m);
  });

  const printedWays: readonly Flags[] = [
    {},
    { 'https-cert': 'a.test=c,k' },
    { 'letsencrypt-domain': 'b.test', 'letsencrypt-issuer': 'staging', hsts: '60' },
    { 'https-addr': ':443', hsts: 'off' },
  ];
  for (const flags of printedWays) {
    test(`is printed as a file that is taken: ${JSON.stringify(flags)}`, () => {
      const text = maskedConfig(configInput('server', { flags, readFile }));
      const file = { path: 'a.yaml', text: text.replace(/^token: .*\n/m, '') };
      const input = configInput('server', { file, readFile });
      assert.deepEqual(resolveConfig(input), resolve(flags));
      assert.equal(maskedConfig(input), text);
    });
  }

  test('refuses what cannot be served', () => {
    assert.deepEqual(check({ hsts: '300' }), [
      '--hsts: needs HTTPS; give --https-cert or --letsencrypt-domain',
    ]);
    assert.deepEqual(check({ 'https-addr': 'off', 'https-cert': 'a.test=c,k' }), [
      '--https-addr: is off, so certificates are of no use; give an address',
    ]);
    assert.deepEqual(check({ 'https-redirect': true }), [
      '--https-redirect: needs HTTPS; give --https-cert or --letsencrypt-domain',
    ]);
    assert.deepEqual(check({ 'https-cert': 'a.test=c,other' }), [
      '--https-cert "a.test": the key does not belong to the certificate of --https-cert "a.test"',
    ]);
    assert.deepEqual(check({ 'https-cert': 'a.test=c,k', 'letsencrypt-domain': 'a.test' }), [
      '--https-cert, --letsencrypt-domain: "a.test" is given twice',
    ]);
    assert.match(check({ 'https-cert': 'a.test=c' })[0] ?? '', /is not a certificate; write NAME=/);
    assert.match(check({ 'https-cert': '*=c,k' })[0] ?? '', /has no valid name/);
  });

  test('refuses what cannot be ordered', () => {
    const wildcard = { 'letsencrypt-domain': '*.a.test' };
    assert.match(check(wildcard)[0] ?? '', /can be proven by DNS alone; give --letsencrypt-dns-h/);
    const hook = { 'letsencrypt-dns-hook': '/bin/hook' };
    assert.equal(httpsOf({ ...wildcard, ...hook }).letsEncrypt?.dnsHook, '/bin/hook');
    const http = { ...wildcard, ...hook, 'letsencrypt-challenge': 'http-01' };
    assert.match(check(http)[0] ?? '', /http-01 proves no wildcard/);
    const domain = { 'letsencrypt-domain': 'a.test' };
    assert.deepEqual(check({ ...domain, 'letsencrypt-challenge': 'dns-01' }), [
      '--letsencrypt-challenge: dns-01 needs --letsencrypt-dns-hook',
    ]);
    const off = { ...domain, 'letsencrypt-challenge': 'http-01', 'http-addr': 'off' };
    assert.deepEqual(check(off), ['--letsencrypt-challenge: http-01 needs --http-addr']);
    assert.deepEqual(check({ 'letsencrypt-email': 'a@b.test' }), [
      '--letsencrypt-email: needs --letsencrypt-domain or --letsencrypt-on-demand',
    ]);
    for (const name of ['localhost', '10.0.0.1', 'a_b.test', '-a.test', '*', '*.test.', 'a..b']) {
      const [problem] = check({ 'letsencrypt-domain': name });
      assert.match(problem ?? '', /is not a name to have a certificate for/, name);
    }
    for (const url of [
      'http://ca.test/dir',
      'production',
      'ftp://x',
      'https://me:secret@ca.test/',
    ]) {
      const [problem = ''] = check({ ...domain, 'letsencrypt-issuer': url });
      assert.match(problem, /is no issuer/);
      assert.ok(!problem.includes('secret'), problem);
    }
  });
});

test('a wildcard covers one label and no wildcard', () => {
  assert.equal(coversName('*.a.test', 'x.a.test'), true);
  assert.equal(coversName('*.a.test', 'x.y.a.test'), false);
  assert.equal(coversName('*.a.test', 'a.test'), false);
  assert.equal(coversName('*.a.test', '*.a.test'), false);
  assert.equal(coversName('a.test', 'a.test'), true);
});
