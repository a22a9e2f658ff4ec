// Goal: nothing below TLS 1.2, no weak cipher and no renegotiation on the control port, and the
// exit codes of refused certificates. Method: sslscan and the programs as a user starts them.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { DAY_MS, leafOf, newAuthority, serveCa } from '../support/private-pki.ts';
import { runProgram } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, startServer } from '../support/tunnel.ts';

test('sslscan finds nothing weak on the control port', async (t) => {
  const programs = requirePrograms(t, ['sslscan']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  const server = await startServer(t, { args: ['--auto-tls', '--auto-tls-dir', folder] });
  await server.process.line('the fingerprint', (line) => /^CA fingerprint sha256:/.test(line));
  const { stdout } = await runProgram(t, {
    command: programs.sslscan,
    args: ['--no-colour', `127.0.0.1:${server.controlPort}`],
  });
  for (const version of ['SSLv2', 'SSLv3', 'TLSv1.0', 'TLSv1.1']) {
    assert.match(stdout, new RegExp(`^${version} +disabled$`, 'm'), version);
  }
  assert.match(stdout, /^TLSv1\.3 +enabled$/m);
  assert.match(stdout, /Session renegotiation not supported/);
  const ciphers = stdout.match(/^(?:Preferred|Accepted) .*$/gm) ?? [];
  assert.ok(ciphers.length >= 6, stdout);
  for (const cipher of ciphers) {
    assert.match(cipher, /TLS_(?:AES|CHACHA20)|ECDHE-.*(?:GCM|CHACHA20)/, cipher);
  }
});

test('client and status end with 3 for an expired certificate, and say so', async (t) => {
  const folder = scratchFolder(t);
  const ca = await newAuthority();
  const leaf = await leafOf(ca, { madeMs: Date.now() - 100 * DAY_MS });
  const url = `wss://127.0.0.1:${await serveCa(t, leaf, ca.cert)}`;
  const env = environment({ XDG_STATE_HOME: folder });
  const common = ['--url', url];
  for (const args of [
    ['client', ...common, '--once', '--tcp', '2222=127.0.0.1:22'],
    ['client', ...common, '--max-retry', '1', '--tcp', '2222=127.0.0.1:22'],
    ['status', ...common],
  ]) {
    const command = process.execPath;
    const { code, stderr } = await runProgram(t, { command, args: [ENTRY, ...args], env });
    assert.equal(code, 3, stderr);
    assert.match(stderr, /^sluiceway: .*127\.0\.0\.1:\d+: its certificate expired on .*renew it/m);
  }
});

test('what status learns of a server on first use, it keeps', async (t) => {
  const folder = scratchFolder(t);
  const args = ['--auto-tls', '--auto-tls-dir', path.join(folder, 'tls')];
  const server = await startServer(t, { args });
  const status = await runProgram(t, {
    command: process.execPath,
    args: [ENTRY, 'status', '--url', `wss://127.0.0.1:${server.controlPort}`],
    env: environment({ XDG_STATE_HOME: folder }),
  });
  assert.equal(status.code, 0, status.stderr);
  const known = readFileSync(path.join(folder, 'sluiceway/known-servers'), 'utf8');
  const line = await server.process.line('the fingerprint', (text) => text.startsWith('CA '));
  assert.ok(known.includes(line.replace('CA fingerprint ', '')), known);
});
