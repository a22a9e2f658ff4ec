// Goal: the same CA for ever, a leaf that is renewed in time and follows its names, and a store
// that never gives a wrong pair. Method: real folders, a clock that is moved by hand.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { isIP } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { TIMER_MS_MAX, type Timer } from '../../src/base/clock.ts';
import { ConfigError } from '../../src/base/errors.ts';
import { AutoTls, fingerprintOf } from '../../src/control/auto-tls.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

const NAMES = ['exit.example.com'];
const DAY_MS = 86_400_000;

class TimerClock extends FakeClock {
  longestMs = 0;
  /** By how much it was set back. */
  behindMs = 0;

  override wallMs(): number {
    return super.wallMs() - this.behindMs;
  }

  override after(delayMs: number, callback: () => void): Timer {
    this.longestMs = Math.max(this.longestMs, delayMs);
    return super.after(delayMs, callback);
  }
}

class Bench {
  readonly clock = new TimerClock();
  readonly lines = new LogLines('control');
  readonly folder: string;
  readonly #t: TestContext;

  constructor(t: TestContext) {
    this.#t = t;
    this.folder = path.join(scratchFolder(t), 'state', 'tls');
  }

  async open(names: readonly string[] = NAMES): Promise<AutoTls> {
    const { folder, clock, lines } = this;
    const opened = await AutoTls.open({ folder, names, clock, log: lines.log });
    undoAfter(this.#t, () => opened.close());
    return opened;
  }

  file(name: string): string {
    return path.join(this.folder, name);
  }

  asides(): string[] {
    return readdirSync(this.folder).filter((name) => name.includes('.broken-'));
  }
}

/** Moves the clock in steps until `autoTls` says that it renewed, or failed to. */
function renewal(bench: Bench, autoTls: AutoTls): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  autoTls.watch(resolve);
  bench.clock.advance(62 * DAY_MS);
  return within(10_000, 'a renewal', promise);
}

test('the first start makes a CA and a leaf that only the owner can read', async (t) => {
  const bench = new Bench(t);
  const made = await bench.open();
  for (const name of ['ca.pem', 'leaf.pem']) {
    assert.equal(statSync(bench.file(name)).mode & 0o777, 0o600, name);
  }
  assert.equal(statSync(bench.folder).mode & 0o777, 0o700);
  assert.equal(readFileSync(bench.file('ca.crt'), 'utf8'), made.ca);
  assert.match(fingerprintOf(made.ca), /^sha256:[0-9a-f]{64}$/);
  assert.deepEqual(made.names, ['127.0.0.1', '::1', 'exit.example.com', 'localhost']);
  assert.deepEqual(readdirSync(bench.folder).sort(), ['ca.crt', 'ca.pem', 'leaf.pem']);
});

test('a second start has the same CA and the same leaf', async (t) => {
  const bench = new Bench(t);
  const first = await bench.open();
  const second = await bench.open();
  assert.deepEqual([second.ca, second.leaf], [first.ca, first.leaf]);
});

test('without names the leaf is for the addresses of the machine', async (t) => {
  const made = await new Bench(t).open([]);
  assert.ok(made.names.includes('127.0.0.1') && made.names.includes('localhost'));
  const again = new X509Certificate(made.leaf.cert);
  for (const name of made.names) {
    const found = isIP(name) === 0 ? again.checkHost(name) : again.checkIP(name);
    assert.ok(found, name);
  }
});

test('other names make a new leaf of the same CA; the order of names does not', async (t) => {
  const bench = new Bench(t);
  const first = await bench.open(['a.example', 'FD00::2'.toLowerCase()]);
  const same = await bench.open(['fd00:0::2', 'a.example']);
  assert.equal(same.leaf.cert, first.leaf.cert);
  const other = await bench.open(['a.example', 'b.example']);
  assert.notEqual(other.leaf.cert, first.leaf.cert);
  assert.equal(other.ca, first.ca);
});

test('starts at once make one CA', async (t) => {
  const bench = new Bench(t);
  const all = await Promise.all(Array.from({ length: 8 }, () => bench.open()));
  assert.equal(new Set(all.map(({ ca }) => ca)).size, 1);
  for (const { leaf, ca } of all) {
    assert.ok(new X509Certificate(leaf.cert).verify(new X509Certificate(ca).publicKey));
  }
});

test('a leaf is renewed after two thirds of its life, by short timers', async (t) => {
  const bench = new Bench(t);
  const autoTls = await bench.open();
  const before = autoTls.leaf;
  assert.equal(await renewal(bench, autoTls), true);
  assert.notEqual(autoTls.leaf.cert, before.cert);
  assert.ok(bench.clock.longestMs <= DAY_MS && bench.clock.longestMs <= TIMER_MS_MAX);
  const left = new X509Certificate(before.cert).validToDate.getTime() - bench.clock.wallMs();
  assert.ok(left > 20 * DAY_MS, `${left / DAY_MS} days before its end`);
  assert.equal((await bench.open()).leaf.cert, autoTls.leaf.cert);
});

const LOSSES: readonly [name: string, lose: (bench: Bench) => void][] = [
  ['lost', (bench) => rmSync(bench.file('ca.pem'))],
  ['broken', (bench) => writeFileSync(bench.file('ca.pem'), 'no PEM at all')],
  [
    'lost with all the folder',
    (bench) =>
      readdirSync(bench.folder).forEach((name) => {
        rmSync(bench.file(name));
      }),
  ],
];

for (const [name, lose] of LOSSES) {
  test(`a CA whose file is ${name} stays in use, and is put back by a renewal`, async (t) => {
    const bench = new Bench(t);
    const autoTls = await bench.open();
    const { ca } = autoTls;
    const before = readFileSync(bench.file('ca.pem'), 'utf8');
    lose(bench);
    assert.equal(await renewal(bench, autoTls), true);
    assert.equal(autoTls.ca, ca);
    assert.ok(new X509Certificate(autoTls.leaf.cert).verify(new X509Certificate(ca).publicKey));
    assert.equal(readFileSync(bench.file('ca.pem'), 'utf8'), before);
    assert.equal(readFileSync(bench.file('ca.crt'), 'utf8'), ca);
    assert.equal(bench.lines.all('the CA in use was not in its folder, and is put back').length, 1);
    assert.equal((await bench.open()).leaf.cert, autoTls.leaf.cert);
  });
}

test('another CA in the folder is used at the next start, and said', async (t) => {
  const bench = new Bench(t);
  const autoTls = await bench.open();
  const { ca } = autoTls;
  const other = new Bench(t);
  const stranger = await other.open();
  writeFileSync(bench.file('ca.pem'), readFileSync(other.file('ca.pem')));
  assert.equal(await renewal(bench, autoTls), true);
  assert.equal(autoTls.ca, ca);
  const [said] = bench.lines.all('another CA is in the folder: used at the next start');
  assert.equal(said?.fingerprint, fingerprintOf(stranger.ca));
  assert.equal((await bench.open()).ca, stranger.ca);
});

test('a CA that ends while it is in use is replaced, and its fingerprint told', async (t) => {
  const bench = new Bench(t);
  const autoTls = await bench.open();
  const { ca } = autoTls;
  const { promise, resolve } = Promise.withResolvers<boolean>();
  bench.clock.advance(3660 * DAY_MS);
  autoTls.watch(resolve);
  bench.clock.advance(1);
  assert.equal(await within(10_000, 'a renewal', promise), true);
  assert.notEqual(autoTls.ca, ca);
  const [said] = bench.lines.all('the CA is at its end: another is in use');
  assert.equal(said?.fingerprint, fingerprintOf(autoTls.ca));
});

test('a leaf that was made while the clock was ahead is made anew by a start', async (t) => {
  const bench = new Bench(t);
  const { ca } = await bench.open();
  bench.clock.advance(400 * DAY_MS);
  const ahead = await bench.open();
  bench.clock.behindMs = 399 * DAY_MS;
  const right = await bench.open();
  assert.notEqual(right.leaf.cert, ahead.leaf.cert);
  assert.ok(new X509Certificate(right.leaf.cert).validFromDate.getTime() < bench.clock.wallMs());
  assert.equal(right.ca, ca);
  assert.deepEqual(bench.lines.complaints(), []);
});

test('a clock that is set back while it runs makes a new leaf within an hour', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  bench.clock.advance(400 * DAY_MS);
  const autoTls = await bench.open();
  const { promise, resolve } = Promise.withResolvers<boolean>();
  autoTls.watch(resolve);
  bench.clock.behindMs = 399 * DAY_MS;
  bench.clock.advance(DAY_MS / 24);
  assert.equal(await within(10_000, 'a renewal', promise), true);
  const { validFromDate } = new X509Certificate(autoTls.leaf.cert);
  assert.ok(validFromDate.getTime() < bench.clock.wallMs());
});

test('a CA of the future stays, with its leaf, and is said: the clock may be behind', async (t) => {
  const bench = new Bench(t);
  const first = await bench.open();
  bench.clock.behindMs = 400 * DAY_MS;
  const second = await bench.open();
  assert.deepEqual([second.ca, second.leaf], [first.ca, first.leaf]);
  const [said] = bench.lines.complaints();
  assert.equal(said?.msg, 'the CA is not valid yet: it was made by another clock');
  assert.equal(said?.folder, bench.folder);
});

test('a start after the end of the leaf makes a new one', async (t) => {
  const bench = new Bench(t);
  const first = await bench.open();
  bench.clock.advance(200 * DAY_MS);
  const second = await bench.open();
  assert.notEqual(second.leaf.cert, first.leaf.cert);
  assert.equal(second.ca, first.ca);
  assert.deepEqual(bench.asides(), []);
});

test('a renewed leaf that cannot be stored is served, and said', async (t) => {
  const bench = new Bench(t);
  const autoTls = await bench.open();
  const before = autoTls.leaf;
  const { promise, resolve } = Promise.withResolvers<void>();
  const seen: boolean[] = [];
  autoTls.watch((isRenewed) => {
    seen.push(isRenewed);
    if (isRenewed) resolve();
  });
  // A folder cannot be replaced by a file, whoever runs this.
  rmSync(bench.file('leaf.pem'));
  mkdirSync(bench.file('leaf.pem/full'), { recursive: true });
  bench.clock.advance(62 * DAY_MS);
  await within(10_000, 'a renewal', promise);
  assert.ok(seen.includes(false));
  assert.ok(bench.lines.all('certificate store failed').length > 0);
  assert.notEqual(autoTls.leaf.cert, before.cert);
});

const BROKEN: readonly [name: string, spoil: (text: string) => string][] = [
  ['empty', () => ''],
  ['cut', (text) => text.slice(0, text.length / 2)],
  ['noise', () => '\u0000\u0001 no PEM at all'],
  ['without its key', (text) => text.slice(text.indexOf('-----BEGIN CERTIFICATE'))],
];

for (const file of ['ca.pem', 'leaf.pem']) {
  for (const [name, spoil] of BROKEN) {
    test(`${file} that is ${name} is set aside and made anew`, async (t) => {
      const bench = new Bench(t);
      const first = await bench.open();
      const broken = spoil(readFileSync(bench.file(file), 'utf8'));
      writeFileSync(bench.file(file), broken);
      const second = await bench.open();
      assert.equal(second.ca === first.ca, file === 'leaf.pem');
      const ca = new X509Certificate(second.ca);
      assert.ok(new X509Certificate(second.leaf.cert).verify(ca.publicKey));
      const [aside = ''] = bench.asides();
      assert.match(aside, new RegExp(`^${file}\\.broken-\\d+$`));
      assert.equal(readFileSync(bench.file(aside), 'utf8'), broken);
      assert.equal(bench.lines.complaints().length, 1);
    });
  }
}

test('a key of another pair is not served with the certificate', async (t) => {
  const bench = new Bench(t);
  const first = await bench.open();
  const other = new Bench(t);
  const { leaf } = await other.open();
  writeFileSync(bench.file('leaf.pem'), `${leaf.key}${first.leaf.cert}`);
  const second = await bench.open();
  assert.notEqual(second.leaf.cert, first.leaf.cert);
  assert.equal(bench.asides().length, 1);
});

test('a leaf of another CA is replaced, and a CA that is no CA set aside', async (t) => {
  const bench = new Bench(t);
  const first = await bench.open();
  const stranger = new Bench(t);
  const { leaf } = await stranger.open();
  writeFileSync(bench.file('leaf.pem'), `${leaf.key}${leaf.cert}`);
  const second = await bench.open();
  assert.equal(second.ca, first.ca);
  assert.notEqual(second.leaf.cert, leaf.cert);
  writeFileSync(bench.file('ca.pem'), `${leaf.key}${leaf.cert}`);
  const third = await bench.open();
  assert.notEqual(third.ca, first.ca);
  assert.equal(new X509Certificate(third.ca).ca, true);
});

test('an expired CA is set aside with a warning', async (t) => {
  const bench = new Bench(t);
  const first = await bench.open();
  bench.clock.advance(3660 * DAY_MS);
  assert.notEqual((await bench.open()).ca, first.ca);
  assert.equal(bench.asides().length, 1);
});

test('a file that cannot be read is an error, and no reason for a new CA', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  rmSync(bench.file('ca.pem'));
  mkdirSync(bench.file('ca.pem'));
  await assert.rejects(bench.open(), (error) => {
    assert.ok(error instanceof ConfigError);
    return /^--auto-tls-dir .*\/tls: EISDIR/.test(error.message);
  });
});

test('a folder that cannot be made is an error that names the option', async (t) => {
  const bench = new Bench(t);
  mkdirSync(path.dirname(bench.folder), { recursive: true });
  writeFileSync(bench.folder, 'a file');
  await assert.rejects(
    bench.open(),
    /^ConfigError: --auto-tls-dir .*: it is a file, not a folder \(EEXIST\)$/,
  );
});

test('what others could read or change is closed to them or said', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  chmodSync(bench.file('ca.pem'), 0o644);
  chmodSync(bench.folder, 0o777);
  await bench.open();
  assert.equal(statSync(bench.file('ca.pem')).mode & 0o777, 0o600);
  assert.deepEqual(
    bench.lines.complaints().map(({ msg }) => msg),
    [
      'others may write to the folder of --auto-tls-dir',
      'others could read a private key; only the owner may now',
    ],
  );
});

test('temporary files of killed processes are removed when they are old', async (t) => {
  const bench = new Bench(t);
  await bench.open();
  const name = '.leaf.pem.0123456789abcdef.tmp';
  writeFileSync(bench.file(name), 'half');
  // The files' times are those of the real clock, long after that of this test.
  bench.clock.advance(Date.now());
  await bench.open();
  assert.ok(!readdirSync(bench.folder).includes(name));
});
