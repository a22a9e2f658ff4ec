// Goal: a CA file of clients that works for some and not for others says so. Method: files, and
// what is logged when they are read.

import assert from 'node:assert/strict';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { openControlTls } from '../../src/control/control-tls.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { ClientCa } from '../support/private-pki.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { PAIR_A } from '../support/test-pairs.ts';

test('an intermediate of --client-ca without its root is named, until that is there', async (t) => {
  if (requirePrograms(t, ['openssl']) === undefined) return;
  const folder = scratchFolder(t);
  const root = new ClientCa(folder, 'root');
  const other = new ClientCa(scratchFolder(t), 'other');
  const stray = new ClientCa(other.folder, 'stray', other);
  const file = (name: string, text: string): string => {
    writeFileSync(path.join(folder, name), text);
    return path.join(folder, name);
  };
  const tlsCert = file('cert.pem', PAIR_A.cert);
  const tlsKey = file('key.pem', PAIR_A.key);
  const clientCa = file('clients.pem', readFileSync(root.ca, 'utf8'));
  appendFileSync(clientCa, readFileSync(stray.ca));
  const lines = new LogLines('control');
  const config = { tlsCert, tlsKey, clientCa };
  const tls = await openControlTls({ config, clock: new FakeClock(), log: lines.log });
  undoAfter(t, () => tls.close());
  const named = () => lines.complaints().map(({ level, names, file }) => [level, names, file]);
  tls.describe();
  const warning = ['warn', ['CN=stray'], clientCa];
  assert.deepEqual(named(), [warning]);
  await tls.reload();
  assert.deepEqual(named(), [warning, warning], 'still');
  appendFileSync(clientCa, readFileSync(other.ca));
  await tls.reload();
  assert.deepEqual(named(), [warning, warning]);
});
