// Goal: certificates that OpenSSL, Node and curl accept, and that can do no more than they must.
// Method: Node's own reader, and `openssl verify -x509_strict` where it is installed.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { issueLeaf, makeAuthority } from '../../src/control/private-ca.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';

const NOW_MS = Date.now();
const DAY_MS = 86_400_000;
const NAMES = ['127.0.0.1', '::1', 'exit.example.com'];

test('a leaf is signed by its CA, for all names, for 90 days', async () => {
  const ca = await makeAuthority(NOW_MS);
  const leaf = await issueLeaf(ca, NAMES, NOW_MS);
  const authority = new X509Certificate(ca.cert);
  const certificate = new X509Certificate(leaf.cert);
  assert.ok(certificate.checkIssued(authority) && certificate.verify(authority.publicKey));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(leaf.key)));
  assert.equal(certificate.checkIP('127.0.0.1'), '127.0.0.1');
  assert.equal(certificate.checkHost('exit.example.com'), 'exit.example.com');
  assert.equal(certificate.checkHost('other.example.com'), undefined);
  assert.equal(authority.ca, true);
  assert.equal(certificate.ca, false);
  assert.deepEqual(certificate.keyUsage, ['1.3.6.1.5.5.7.3.1']);
  const days = (certificate.validToDate.getTime() - NOW_MS) / DAY_MS;
  assert.ok(days > 89 && days <= 90, String(days));
  assert.ok((authority.validToDate.getTime() - NOW_MS) / DAY_MS > 3640);
});

test('serials are 128 random bits, and no CA is called like another', async () => {
  const [one, two] = await Promise.all([makeAuthority(NOW_MS), makeAuthority(NOW_MS)]);
  const first = new X509Certificate(one.cert);
  const second = new X509Certificate(two.cert);
  assert.match(first.serialNumber, /^[4-7][0-9A-F]{31}$/);
  assert.notEqual(first.serialNumber, second.serialNumber);
  assert.notEqual(first.subject, second.subject);
});

test('a leaf never outlives its CA', async () => {
  const ca = await makeAuthority(NOW_MS);
  const { validToDate } = new X509Certificate(ca.cert);
  const leaf = await issueLeaf(ca, NAMES, validToDate.getTime() - DAY_MS);
  assert.equal(new X509Certificate(leaf.cert).validTo, new X509Certificate(ca.cert).validTo);
});

test('openssl verifies it strictly, for servers, by name and by address', async (t) => {
  const programs = requirePrograms(t, ['openssl']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  const ca = await makeAuthority(NOW_MS);
  writeFileSync(path.join(folder, 'ca.crt'), ca.cert);
  writeFileSync(path.join(folder, 'leaf.crt'), (await issueLeaf(ca, NAMES, NOW_MS)).cert);
  const verify = (...more: string[]) => {
    const args = ['verify', '-x509_strict', '-CAfile', 'ca.crt', ...more, 'leaf.crt'];
    return spawnSync(programs.openssl, args, { cwd: folder, encoding: 'utf8' });
  };
  for (const more of [
    ['-verify_ip', '::1'],
    ['-verify_hostname', 'exit.example.com'],
  ]) {
    const { status, stderr } = verify('-purpose', 'sslserver', ...more);
    assert.equal(status, 0, stderr);
  }
  assert.notEqual(verify('-purpose', 'sslclient').status, 0);
  assert.notEqual(verify('-verify_hostname', 'other.example.com').status, 0);
});
