import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { orphansIn } from '../../src/config/certificate.ts';
import { resolveConfig } from '../../src/config/config.ts';
import { ClientCa, leafOf, newAuthority } from '../support/private-pki.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { configInput, problemsOf } from './input.ts';
import { CERT, KEY, OTHER_KEY } from './tls-pair.ts';

const FILES: Readonly<Record<string, string>> = {
  'cert.pem': CERT,
  'key.pem': KEY,
  'other.pem': OTHER_KEY,
  'empty.pem': '',
};

function readFile(path: string): string {
  const text = FILES[path];
  if (text === undefined) throw new Error(`the file ${path} does not exist`);
  return text;
}

function check(flags: Record<string, string>): readonly string[] {
  return problemsOf(() => resolveConfig(configInput('server', { flags, readFile })));
}

describe('--tls-cert and --tls-key', () => {
  test('are accepted as a pair that belongs together', () => {
    const flags = { 'tls-cert': 'cert.pem', 'tls-key': 'key.pem' };
    const config = resolveConfig(configInput('server', { flags, readFile }));
    assert.equal(config.tlsCert, 'cert.pem');
    assert.equal(config.tlsKey, 'key.pem');
  });

  test('are refused alone: the control port must not fall back to plain text', () => {
    assert.deepEqual(check({ 'tls-cert': 'cert.pem' }), ['--tls-cert (flag): needs --tls-key too']);
    assert.deepEqual(check({ 'tls-key': 'key.pem' }), ['--tls-key (flag): needs --tls-cert too']);
    assert.deepEqual(check({ 'tls-cert': 'cert.pem', 'tls-key': '' }), [
      '--tls-key (flag): is empty; give a value',
    ]);
  });

  test('are refused when they cannot be used', () => {
    assert.deepEqual(check({ 'tls-cert': 'cert.pem', 'tls-key': 'other.pem' }), [
      '--tls-key (flag): the key does not belong to the certificate of --tls-cert',
    ]);
    assert.deepEqual(check({ 'tls-cert': 'key.pem', 'tls-key': 'empty.pem' }), [
      '--tls-cert (flag): the file holds no certificate in PEM format',
      '--tls-key (flag): the file holds no unencrypted private key in PEM format',
    ]);
    assert.deepEqual(check({ 'tls-cert': 'missing.pem', 'tls-key': 'key.pem' }), [
      '--tls-cert (flag): the file missing.pem does not exist',
    ]);
  });
});

test('--client-ca must hold authorities alone, as the server starts with nothing else', async () => {
  const authority = await newAuthority();
  const { cert: leaf } = await leafOf(authority);
  const texts: Readonly<Record<string, string>> = {
    'ca.pem': `${authority.cert}${CERT}`,
    'leaf.pem': leaf,
    'both.pem': `${authority.cert}${leaf}`,
    'broken.pem': `${CERT}${CERT.replace('MIIB', 'AAAA')}`,
  };
  const resolve = (file: string) => {
    const flags = { 'auto-tls': 'true', 'client-ca': file };
    const input = configInput('server', { flags, readFile: (path) => texts[path] ?? '' });
    return resolveConfig(input);
  };
  const check = (file: string) => problemsOf(() => resolve(file));
  assert.equal(resolve('ca.pem').clientCa, 'ca.pem');
  const wrong = '--client-ca (flag): the file holds a certificate that is';
  assert.deepEqual(check('leaf.pem'), [`${wrong} not of an authority`]);
  assert.deepEqual(check('both.pem'), [`${wrong} not of an authority`]);
  assert.deepEqual(check('broken.pem'), [`${wrong} broken`]);
});

test('--tls-ca must hold a certificate', () => {
  const flags = { url: 'wss://localhost:8123', 'tls-ca': 'cert.pem' };
  assert.equal(resolveConfig(configInput('status', { flags, readFile })).trust.tlsCa, 'cert.pem');
  const wrong = configInput('status', { flags: { ...flags, 'tls-ca': 'empty.pem' }, readFile });
  assert.deepEqual(
    problemsOf(() => resolveConfig(wrong)),
    ['--tls-ca (flag): the file holds no certificate in PEM format'],
  );
});

test('what no root of a file leads to is named', (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const root = new ClientCa(scratchFolder(t), 'root');
  const middle = new ClientCa(root.folder, 'middle', root);
  const issuing = new ClientCa(root.folder, 'issuing', middle);
  const other = new ClientCa(scratchFolder(t), 'other');
  const stray = new ClientCa(other.folder, 'stray', other);
  // Its issuer has the name of the root, and it says nothing of the key.
  const extensions = 'basicConstraints=critical,CA:true\nauthorityKeyIdentifier=none';
  const lost = new ClientCa(scratchFolder(t), 'root').issue('lost', '/CN=lost', extensions);
  const orphans = (...cas: { readonly ca: string }[]) =>
    orphansIn(cas.map(({ ca }) => readFileSync(ca, 'utf8')).join(''));
  assert.deepEqual(orphans(root, other), []);
  assert.deepEqual(orphans(issuing, middle, root), [], 'in any order');
  assert.deepEqual(orphans(root, issuing), ['CN=issuing'], 'what issued it is missing');
  assert.deepEqual(orphans(root, stray, middle, { ca: lost.cert }), ['CN=stray', 'CN=lost']);
  assert.deepEqual(orphansIn(''), []);
});

test('--client-ca must hold a root, as an intermediate alone would let nobody in', (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const root = new ClientCa(scratchFolder(t), 'root');
  const issuing = readFileSync(new ClientCa(root.folder, 'issuing', root).ca, 'utf8');
  const texts: Readonly<Record<string, string>> = {
    'issuing.pem': issuing,
    'both.pem': issuing + readFileSync(root.ca, 'utf8'),
  };
  const resolve = (file: string) => {
    const flags = { 'auto-tls': 'true', 'client-ca': file };
    return resolveConfig(configInput('server', { flags, readFile: (path) => texts[path] ?? '' }));
  };
  assert.equal(resolve('both.pem').clientCa, 'both.pem');
  const [problem = ''] = problemsOf(() => resolve('issuing.pem'));
  assert.match(problem, /^--client-ca \(flag\): the file holds no root, .* but CN=issuing$/);
});
