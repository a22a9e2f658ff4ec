// Certificates in files of the operator's: read at the start, and again when they change.

import assert from 'node:assert/strict';
import { renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { CertificateFiles } from '../../src/control/certificate-files.ts';
import type { CheckedPair } from '../../src/control/certificate-pair.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';
import { PAIR_90_DAYS, PAIR_150_DAYS, PAIR_B, type TestPair } from '../support/test-pairs.ts';

interface Bench {
  readonly files: CertificateFiles;
  readonly reloads: Map<string, number>;
  readonly used: CheckedPair[];
  readonly log: LogLines;
  readonly clock: FakeClock;
  readonly dir: string;
  put(pair: Partial<TestPair>): void;
}

function startBench(t: TestContext): Bench {
  const dir = scratchFolder(t);
  const [cert, key] = [path.join(dir, 'cert.pem'), path.join(dir, 'key.pem')];
  const used: CheckedPair[] = [];
  const log = new LogLines('control');
  const clock = new FakeClock();
  const reloads = new Map<string, number>();
  const files = new CertificateFiles({
    entries: [{ name: 'a.test', cert, key }],
    onPair: (pair) => used.push(pair),
    reloads,
    clock,
    log: log.log,
  });
  undoAfter(t, () => files.close());
  const put = (pair: Partial<TestPair>): void => {
    if (pair.cert !== undefined) writeFileSync(cert, pair.cert);
    if (pair.key !== undefined) writeFileSync(key, pair.key);
  };
  return { files, reloads, used, log, clock, dir, put };
}

test('refuses to start with what cannot be used', async (t) => {
  const bench = startBench(t);
  bench.put({ cert: PAIR_90_DAYS.cert, key: PAIR_B.key });
  await assert.rejects(bench.files.load(), {
    code: 'SLW_CONFIG_INVALID',
    message: '--https-cert "a.test": key and certificate do not match',
  });
});

test('uses new files once they match, and keeps the old pair until then', async (t) => {
  const bench = startBench(t);
  bench.put(PAIR_90_DAYS);
  await bench.files.load();
  await bench.files.reload();
  assert.equal(bench.used.length, 1);
  bench.put({ cert: PAIR_150_DAYS.cert });
  for (let count = 0; count < 3; count += 1) await bench.files.reload();
  assert.equal(bench.used.length, 1);
  const complaints = bench.log.all('certificate cannot be read again');
  assert.equal(complaints.length, 1, 'said once');
  bench.put({ key: PAIR_150_DAYS.key });
  await bench.files.reload();
  assert.equal(bench.used.length, 2);
  assert.deepEqual(Object.fromEntries(bench.reloads), { ok: 1, failed: 1 });
});

test('says once that a file is gone, and takes it when it is back as it was', async (t) => {
  const bench = startBench(t);
  bench.put(PAIR_90_DAYS);
  await bench.files.load();
  rmSync(path.join(bench.dir, 'cert.pem'));
  for (let count = 0; count < 3; count += 1) await bench.files.reload();
  assert.equal(bench.log.all('certificate cannot be read again').length, 1);
  bench.put(PAIR_90_DAYS);
  await bench.files.reload();
  assert.equal(bench.used.at(-1)?.fingerprint, bench.used[0]?.fingerprint);
});

test('notices a link that leads elsewhere, as mounted secrets do', async (t) => {
  const bench = startBench(t);
  for (const [name, pair] of [
    ['one', PAIR_90_DAYS],
    ['two', PAIR_150_DAYS],
  ] as const) {
    writeFileSync(path.join(bench.dir, `${name}.cert`), pair.cert);
    writeFileSync(path.join(bench.dir, `${name}.key`), pair.key);
  }
  const point = (name: string): void => {
    for (const kind of ['cert', 'key']) {
      const aside = path.join(bench.dir, `aside.${kind}`);
      symlinkSync(path.join(bench.dir, `${name}.${kind}`), aside);
      renameSync(aside, path.join(bench.dir, `${kind}.pem`));
    }
  };
  point('one');
  await bench.files.load();
  point('two');
  await bench.files.reload();
  assert.equal(bench.used.length, 2);
});

test('warns of a certificate for other names, and uses it', async (t) => {
  const bench = startBench(t);
  bench.put(PAIR_B);
  await bench.files.load();
  assert.equal(bench.used.length, 1);
  assert.equal(bench.log.all('the certificate is for other names').length, 1);
});
