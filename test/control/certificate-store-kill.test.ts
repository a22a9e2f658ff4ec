// Goal: whenever the process is killed while it stores, the store has a whole pair. Method: a
// child that stores without end, killed at 20 random moments, also before its first pair.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { CertificateStore } from '../../src/control/certificate-store.ts';
import { makeAuthority } from '../../src/control/private-ca.ts';
import { seededRandom } from '../support/digest.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

const WRITER = path.join(import.meta.dirname, '../fixtures/store-writer.ts');
const KILLS = 20;
const STORING_MS = 40;
const STARTING_MS = 600;

test('a kill at any moment leaves a pair that belongs together', async (t) => {
  const seed = Number(process.env.SLUICEWAY_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const folder = path.join(scratchFolder(t), 'tls');
  const lines = new LogLines('control');
  let ca = '';
  for (let kill = 0; kill < KILLS; kill += 1) {
    const child = spawn(process.execPath, [WRITER, folder], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const ended = once(child, 'exit');
    // One in four dies before it is ready: while it makes the CA or the first leaf.
    if (kill % 4 === 0) await wait(random() * STARTING_MS);
    else {
      await Promise.race([once(child.stdout, 'data'), ended]);
      assert.equal(child.exitCode, null, 'the writer is at work');
      await wait(random() * STORING_MS);
    }
    child.kill('SIGKILL');
    await ended;
    const store = new CertificateStore(folder, lines.log);
    await store.prepare(Date.now());
    const authority = await store.authority(Date.now(), () => makeAuthority(Date.now()));
    if (ca !== '') assert.equal(authority.cert, ca, 'the CA stays');
    ca = authority.cert;
    const leaf = await store.leaf(authority);
    if (kill % 4 !== 0) assert.ok(leaf !== undefined, 'a stored leaf is there');
    if (leaf === undefined) continue;
    const certificate = new X509Certificate(leaf.cert);
    assert.ok(certificate.checkPrivateKey(createPrivateKey(leaf.key)));
  }
  assert.deepEqual(lines.complaints(), [], 'nothing was broken');
});
