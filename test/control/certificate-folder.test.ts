// The folder of certificates: full disks, kills, locks, and what is left in each case.

import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { AcmeError } from '../../src/control/acme.ts';
import { CertificateFolder } from '../../src/control/certificate-folder.ts';
import { checkPair, isForName } from '../../src/control/certificate-pair.ts';
import { acquireLock, HOLD_MS_MAX, LOCK_MS, RENEW_MS } from '../../src/control/folder-lock.ts';
import { makeAuthority } from '../../src/control/private-ca.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { seededRandom } from '../support/digest.ts';
import { LogLines } from '../support/log-lines.ts';
import { DAY_MS, leafOf } from '../support/private-pki.ts';
import { runProgram, startProcess } from '../support/process.ts';
import { scratchFolder, skipOrFail } from '../support/programs.ts';
import { PAIR_90_DAYS, PAIR_150_DAYS, PAIR_B, PAIR_WILD } from '../support/test-pairs.ts';
import { PairClock, startBench } from './fake-issuer.ts';

const KILLS = 20;
/** Writes of a pair take less than a millisecond on a fast disk: kills fall into all parts. */
const KILL_AFTER_MS_MAX = 40;
/** Of a certificate of ours. */
const LEAF_DAYS = 90;

function folderIn(
  dir: string,
  clock = new PairClock(),
): { folder: CertificateFolder; log: LogLines } {
  const log = new LogLines('control');
  const issuer = 'https://ca.test/dir';
  return { folder: new CertificateFolder({ dir, issuer, clock, log: log.log }), log };
}

test('a kill at any moment leaves the last good pair', async (t) => {
  const seed = Number(process.env.SLUICEWAY_SEED ?? Date.now() % 1_000_000);
  t.diagnostic(`seed ${seed}`);
  const random = seededRandom(seed);
  const dir = scratchFolder(t);
  const good = [PAIR_90_DAYS, PAIR_150_DAYS].map(
    (pair) => checkPair({ name: 'a.test', ...pair }).fingerprint,
  );
  const { folder, log } = folderIn(dir);
  for (let kill = 0; kill < KILLS; kill += 1) {
    const writer = startProcess(t, {
      name: 'writer',
      command: process.execPath,
      args: [path.join(import.meta.dirname, 'safe-file-writer.ts'), dir],
    });
    await writer.line('a first pair', (line) => line === 'stored');
    await wait(random() * KILL_AFTER_MS_MAX);
    await writer.stop('SIGKILL');
    const pair = await folder.load('a.test');
    assert.ok(pair !== undefined && good.includes(pair.fingerprint), `after kill ${kill}`);
  }
  assert.deepEqual(log.lines, [], 'nothing was found broken');
  const left = readdirSync(folder.path).filter((name) => name.endsWith('.tmp'));
  for (const name of left) utimesSync(path.join(folder.path, name), 1, 1);
  await folder.prepare();
  assert.deepEqual(readdirSync(folder.path), ['a.test.pem']);
});

/** A file system of 64 KiB; undefined where that is not allowed. */
async function mountTiny(t: TestContext): Promise<string | undefined> {
  const dir = path.join(scratchFolder(t), 'tiny');
  mkdirSync(dir);
  const args = ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', dir];
  const mounted = await runProgram(t, { command: '/bin/mount', args });
  if (mounted.code !== 0) {
    skipOrFail(t, 'a tmpfs cannot be mounted here');
    return undefined;
  }
  undoAfter(t, async () => {
    await runProgram(t, { command: '/bin/umount', args: [dir] });
  });
  return dir;
}

test('on a full disk the old pair stays, and is replaced once there is room', async (t) => {
  const dir = await mountTiny(t);
  if (dir === undefined) return;
  const bench = await startBench(t, { dir });
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  const old = await bench.folder.load('a.test');
  const filler = path.join(dir, 'filler');
  fill(filler);
  bench.issuer.answers.push(PAIR_150_DAYS);
  await bench.pass(0);
  for (let day = 0; day < 61; day += 1) await bench.pass(86_400_000);
  assert.equal(bench.issuer.answers.length, 1, 'nothing is ordered that cannot be stored');
  assert.equal((await bench.folder.load('a.test'))?.fingerprint, old?.fingerprint);
  assert.ok((bench.orders.results.get('store') ?? 0) > 0);
  const line = bench.log.all('certificate not renewed, the old one stays').at(-1);
  assert.match(String(line?.reason), /the disk is full/);
  assert.deepEqual(readdirSync(bench.folder.path).sort(), ['a.test.orders', 'a.test.pem']);
  writeFileSync(filler, '');
  await bench.pass(11 * 60_000);
  assert.equal(bench.issuer.answers.length, 0);
  const stored = await bench.folder.load('a.test');
  assert.equal(stored?.fingerprint, bench.served.at(-1)?.fingerprint);
  assert.notEqual(stored?.fingerprint, old?.fingerprint);
});

test('what was ordered and cannot be stored is served, and stored later', async (t) => {
  const dir = await mountTiny(t);
  if (dir === undefined) return;
  const filler = path.join(dir, 'filler');
  const bench = await startBench(t, { dir });
  const order = bench.issuer.order.bind(bench.issuer);
  bench.issuer.order = async (request) => {
    const pair = await order(request);
    fill(filler);
    return pair;
  };
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  assert.equal(bench.served.length, 1);
  assert.equal(await bench.folder.load('a.test'), undefined);
  writeFileSync(filler, '');
  await bench.pass(11 * 60_000);
  assert.notEqual(await bench.folder.load('a.test'), undefined);
  assert.equal(bench.issuer.requests.length, 1);
});

function fill(filler: string): void {
  for (let size = 64 * 1024; size > 0; size = Math.floor(size / 2)) {
    try {
      writeFileSync(filler, Buffer.alloc(size), { flag: 'a' });
    } catch {
      // Half of it, then.
    }
  }
}

test('files are for their owner alone, and pairs go together', async (t) => {
  const { folder } = folderIn(scratchFolder(t));
  await folder.prepare();
  await folder.save(checkPair({ name: '*.wild.test', ...PAIR_WILD }));
  const file = path.join(folder.path, '_.wild.test.pem');
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.equal(statSync(folder.path).mode & 0o777, 0o700);
  assert.match(readFileSync(file, 'utf8'), /PRIVATE KEY-----\n-----BEGIN CERTIFICATE/);
  assert.throws(() => checkPair({ name: 'x', cert: PAIR_B.cert, key: PAIR_WILD.key }), /match/);
  assert.equal(isForName(PAIR_WILD.cert, '*.wild.test'), true);
  assert.equal(isForName(PAIR_WILD.cert, 'wild.test'), false);
});

test('one account key is kept, and a broken one replaced', async (t) => {
  const { folder } = folderIn(scratchFolder(t));
  await folder.prepare();
  const first = await folder.accountKey(async () => PAIR_B.key);
  assert.equal(await folder.accountKey(async () => assert.fail('made again')), first);
  writeFileSync(path.join(folder.path, 'account.pem'), first.slice(0, 80));
  assert.equal(await folder.accountKey(async () => PAIR_WILD.key), PAIR_WILD.key);
});

test('a folder that cannot be used says so', async (t) => {
  const file = path.join(scratchFolder(t), 'file');
  writeFileSync(file, '');
  const { folder } = folderIn(file);
  await assert.rejects(folder.prepare(), { code: 'SLW_CERTIFICATE_STORE' });
});

test('a lock is for one, and ends with its holder or its time', async (t) => {
  const file = path.join(scratchFolder(t), 'a.lock');
  const nowMs = 1_000_000_000;
  const release = await acquireLock(file, nowMs);
  assert.ok(release !== undefined);
  assert.equal(await acquireLock(file, nowMs), undefined);
  await release();
  const taken = await Promise.all([1, 2, 3, 4, 5].map(() => acquireLock(file, nowMs)));
  assert.equal(taken.filter((one) => one !== undefined).length, 1);
  await taken.find((one) => one !== undefined)?.();
  const dead = await runProgram(t, { command: '/bin/sh', args: ['-c', 'echo $$'] });
  const holders: readonly (readonly [string, object, boolean])[] = [
    ['a process that is gone', { host: hostname(), pid: Number(dead.stdout) }, true],
    ['our pid of a life before', { host: hostname(), pid: process.pid }, true],
    ['a process that lives', { host: hostname(), pid: process.ppid }, false],
    ['another host', { host: 'elsewhere', pid: 1 }, false],
    ['another host, too old', { host: 'elsewhere', pid: 1, sinceMs: nowMs - LOCK_MS - 1 }, true],
    ['the far future', { host: 'elsewhere', pid: 1, sinceMs: nowMs + LOCK_MS + 1 }, true],
    ['nobody', { host: 7 }, true],
  ];
  for (const [what, holder, isFree] of holders) {
    writeFileSync(file, JSON.stringify({ id: 'x', sinceMs: nowMs, ...holder }));
    const got = await acquireLock(file, nowMs);
    assert.equal(got !== undefined, isFree, what);
    await got?.();
  }
});

/** Lets the holder renew its lock so often, and waits for each. */
async function renew(clock: PairClock, file: string, times: number): Promise<void> {
  for (let count = 0; count < times; count += 1) {
    const before = readFileSync(file, 'utf8');
    clock.advance(RENEW_MS);
    await eventually(5000, 'the lock is renewed', async () => {
      assert.notEqual(readFileSync(file, 'utf8'), before);
    });
  }
}

test('the lock of an order is renewed for as long as it takes, within bounds', async (t) => {
  const dir = scratchFolder(t);
  const clock = new PairClock();
  const { folder } = folderIn(dir, clock);
  const { folder: others } = folderIn(dir, clock);
  await folder.prepare();
  const release = await folder.lock('a.test');
  assert.ok(release !== undefined);
  const file = path.join(folder.path, 'a.test.lock');
  await renew(clock, file, (2 * LOCK_MS) / RENEW_MS);
  assert.equal(await others.lock('a.test'), undefined, 'the order goes on');
  await release();
  const next = await others.lock('a.test');
  assert.ok(next !== undefined);
  await renew(clock, file, HOLD_MS_MAX / RENEW_MS - 1);
  clock.advance(RENEW_MS);
  clock.advance(LOCK_MS);
  const last = await folder.lock('a.test');
  assert.ok(last !== undefined, 'the order hangs');
  await next();
  assert.equal(await others.lock('a.test'), undefined, 'who had it leaves it alone');
  await last();
});

test('a lock that another took while this machine slept is left to it', async (t) => {
  const dir = scratchFolder(t);
  const clock = new PairClock();
  const other = new PairClock();
  const { folder } = folderIn(dir, clock);
  const { folder: others } = folderIn(dir, other);
  await folder.prepare();
  const release = await folder.lock('a.test');
  other.advance(LOCK_MS + 1);
  const taken = await others.lock('a.test');
  assert.ok(release !== undefined && taken !== undefined);
  const file = path.join(folder.path, 'a.test.lock');
  const text = readFileSync(file, 'utf8');
  clock.advance(RENEW_MS);
  await wait(20);
  await release();
  assert.equal(readFileSync(file, 'utf8'), text);
  await taken();
});

test('of many who find a stale lock one gets it', async (t) => {
  for (let round = 0; round < 20; round += 1) {
    const file = path.join(scratchFolder(t), 'a.lock');
    writeFileSync(file, JSON.stringify({ host: 'x', pid: 1, id: 'x', sinceMs: 0 }));
    const got = await Promise.all([1, 2, 3, 4].map(() => acquireLock(file, LOCK_MS * 2)));
    assert.equal(got.filter((one) => one !== undefined).length, 1, `round ${round}`);
  }
});

test('an order time from the future does not block', async (t) => {
  const bench = await startBench(t);
  const times = [1, 2, 3, 4].map((days) => bench.clock.wallMs() + days * 86_400_000);
  writeFileSync(path.join(bench.folder.path, 'a.test.orders'), JSON.stringify(times));
  bench.issuer.answers.push(new AcmeError('SLW_ACME_REFUSED', 'no', 0));
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  assert.equal(bench.issuer.requests.length, 1);
});

/** Makes `file` with `text`, last changed `days` ago by the folder's clock. */
function leave(folder: CertificateFolder, file: string, text: string, days: number): void {
  const target = path.join(folder.path, file);
  writeFileSync(target, text);
  const changed = (new PairClock().wallMs() - days * DAY_MS) / 1000;
  utimesSync(target, changed, changed);
}

/** Key and chain for over.test and what is below, over for `days` by the folder's clock. */
async function pairEnded(days: number): Promise<string> {
  const madeMs = new PairClock().wallMs() - (days + LEAF_DAYS) * DAY_MS;
  const authority = await makeAuthority(madeMs);
  const { key, cert } = await leafOf(authority, { names: ['over.test', '*.over.test'], madeMs });
  return `${key}${cert}`;
}

test('a sweep removes what nobody keeps and is over for a month, and nothing else', async (t) => {
  const { folder, log } = folderIn(scratchFolder(t));
  await folder.prepare();
  const [over, late] = [await pairEnded(31), await pairEnded(29)];
  const valid = `${PAIR_B.key}${PAIR_B.cert}`;
  const gone = ['over.test.pem', 'over.test.orders', '_.over.test.pem', 'failed.test.orders'];
  for (const file of ['over.test.pem', '_.over.test.pem']) leave(folder, file, over, 31);
  for (const file of ['over.test.orders', 'failed.test.orders']) leave(folder, file, '[]', 31);
  leave(folder, 'dead.test.lock', JSON.stringify({ host: 'x', pid: 1, id: 'x', sinceMs: 0 }), 31);
  leave(folder, 'kept.over.test.pem', over, 31);
  leave(folder, 'touched.over.test.pem', over, 29);
  leave(folder, 'ordered.over.test.pem', over, 31);
  leave(folder, 'ordered.over.test.orders', '[]', 29);
  leave(folder, 'locked.over.test.pem', over, 31);
  leave(folder, 'late.over.test.pem', late, 400);
  leave(folder, 'b.test.pem', valid, 400);
  leave(folder, 'other.pem', over, 400);
  leave(folder, 'a.test.pem.broken', over, 400);
  leave(folder, 'garbage.pem', 'garbage', 400);
  leave(folder, 'account.pem', PAIR_B.key, 400);
  const release = await folder.lock('locked.over.test');
  const before = new Set(readdirSync(folder.path));
  const swept = await folder.sweep((name) => name === 'kept.over.test');
  for (const file of [...gone, 'dead.test.lock']) before.delete(file);
  assert.deepEqual(readdirSync(folder.path), [...before]);
  assert.equal(swept, 4);
  assert.deepEqual(log.lines, []);
  await release?.();
});

test('a sweep takes two hundred names, and the next one the others', async (t) => {
  const { folder } = folderIn(scratchFolder(t));
  await folder.prepare();
  for (let count = 0; count < 201; count += 1) leave(folder, `n${count}.test.orders`, '[]', 31);
  assert.equal(await folder.sweep(() => false), 200);
  assert.equal(readdirSync(folder.path).length, 1);
  assert.equal(await folder.sweep(() => false), 1);
  assert.deepEqual(readdirSync(folder.path), []);
});
