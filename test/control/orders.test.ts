// When certificates are ordered, and when not: with a clock by hand and an issuer that obeys.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, renameSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { AcmeError } from '../../src/control/acme.ts';
import { checkPair } from '../../src/control/certificate-pair.ts';
import { makeAuthority } from '../../src/control/private-ca.ts';
import { leafOf } from '../support/private-pki.ts';
import { scratchFolder } from '../support/programs.ts';
import { PAIR_90_DAYS, PAIR_150_DAYS, PAIR_B, type TestPair } from '../support/test-pairs.ts';
import { type Bench, DAY_MS, PairClock, startBench } from './fake-issuer.ts';

const HOUR_MS = 3_600_000;

test('orders what is not there, serves it and stores it', async (t) => {
  const bench = await startBench(t);
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  assert.equal(bench.served[0]?.cert.trim(), PAIR_90_DAYS.cert.trim());
  const stored = await bench.folder.load('a.test');
  assert.equal(stored?.fingerprint, bench.served[0]?.fingerprint);
  assert.equal(stored?.key.trim(), PAIR_90_DAYS.key.trim());
  assert.deepEqual([...bench.orders.results], [['ok', 1]]);
  assert.equal(bench.issuer.requests[0]?.replaces, undefined);
});

test('orders nothing while the certificate is good, then renews it and names the old one', async (t) => {
  const bench = await startBench(t);
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  for (let day = 0; day < 57; day += 1) await bench.pass(DAY_MS);
  assert.equal(bench.issuer.requests.length, 1);
  bench.issuer.answers.push(PAIR_150_DAYS);
  for (let day = 0; day < 3; day += 1) await bench.pass(DAY_MS);
  assert.equal(bench.issuer.requests.length, 2);
  assert.match(bench.issuer.requests[1]?.replaces ?? '', /^[\w-]+\.[\w-]+$/);
  assert.equal(bench.served.length, 2);
});

test('uses what the folder has, and orders nothing', async (t) => {
  const dir = scratchFolder(t);
  const first = await startBench(t, { dir });
  first.issuer.answers.push(PAIR_90_DAYS);
  first.orders.keep('a.test', false);
  await first.pass(0);
  const second = await startBench(t, { dir });
  await second.orders.load('a.test');
  assert.equal(second.served.length, 1);
  second.orders.keep('a.test', false);
  await second.pass(DAY_MS);
  assert.equal(second.issuer.requests.length, 0);
});

test('what is stored is served at once, while an order and another name wait', async (t) => {
  const bench = await startBench(t, { options: { isWanted: () => true } });
  await bench.folder.save(checkPair({ name: 'a.test', ...PAIR_90_DAYS }));
  const { promise: issued, resolve: issue } = Promise.withResolvers<TestPair>();
  bench.issuer.order = () => issued;
  bench.orders.keep('b.test', true);
  bench.orders.keep('a.test', true);
  bench.clock.advance(0);
  await bench.log.line('ordering a certificate', { name: 'b.test' });
  await bench.log.line('certificate in use', { name: 'a.test' });
  assert.equal(bench.served.length, 1);
  issue(PAIR_B);
  await bench.pass(0);
  assert.deepEqual(
    [...bench.served].map(({ name }) => name),
    ['a.test', 'b.test'],
  );
});

test('a broken file is set aside, and the certificate in use is stored again', async (t) => {
  const bench = await startBench(t);
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  const file = path.join(bench.folder.path, 'a.test.pem');
  writeFileSync(file, 'garbage');
  await bench.pass(DAY_MS);
  assert.equal(readFileSync(`${file}.broken`, 'utf8'), 'garbage');
  assert.match(readFileSync(file, 'utf8'), /BEGIN PRIVATE KEY/);
  assert.equal(bench.issuer.requests.length, 1);
});

test('garbage at the start is set aside and ordered anew', async (t) => {
  const bench = await startBench(t);
  const mixed = `${PAIR_B.key}${PAIR_90_DAYS.cert}`;
  for (const [at, text] of ['', 'garbage', mixed, PAIR_90_DAYS.cert].entries()) {
    writeFileSync(path.join(bench.folder.path, `x${at}.test.pem`), text);
    assert.equal(await bench.folder.load(`x${at}.test`), undefined, `case ${at}`);
  }
  assert.equal(readdirSync(bench.folder.path).filter((file) => /broken/.test(file)).length, 4);
});

test('obeys Retry-After, and grows its pauses', async (t) => {
  const bench = await startBench(t);
  const limited = new AcmeError('SLW_ACME_LIMITED', 'slow down', 5 * HOUR_MS);
  bench.issuer.answers.push(limited, PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  assert.equal(bench.orders.results.get('limited'), 1);
  await bench.pass(5 * HOUR_MS - 1000);
  assert.equal(bench.issuer.requests.length, 1);
  // Asked for again in between, as when a client comes back.
  bench.orders.keep('a.test', false);
  await bench.pass(1);
  assert.equal(bench.issuer.requests.length, 1);
  await bench.pass(2000);
  assert.equal(bench.issuer.requests.length, 2);
  assert.equal(bench.served.length, 1);
});

test('a Retry-After of years is obeyed for a day, in parts', async (t) => {
  const bench = await startBench(t);
  bench.issuer.answers.push(new AcmeError('SLW_ACME_LIMITED', 'years', 1e12), PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  const [line] = bench.log.all('no certificate');
  assert.equal(line?.retrySeconds, DAY_MS / 1000);
  for (let part = 0; part < 3; part += 1) await bench.pass(6 * HOUR_MS);
  await bench.pass(6 * HOUR_MS - 1000);
  assert.equal(bench.issuer.requests.length, 1);
  await bench.pass(2000);
  assert.equal(bench.issuer.requests.length, 2);
});

/** Its wall clock is wrong by `aheadMs`. */
class WrongClock extends PairClock {
  aheadMs = 0;

  override wallMs(): number {
    return super.wallMs() + this.aheadMs;
  }
}

test('a clock that was years ahead at a failure, and is set right, delays no order', async (t) => {
  const clock = new WrongClock();
  const bench = await startBench(t, { clock });
  clock.aheadMs = 3000 * DAY_MS;
  const down = new AcmeError('SLW_ACME_UNREACHABLE', 'ENETUNREACH', 0);
  bench.issuer.answers.push(down, PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  assert.equal(bench.issuer.requests.length, 1);
  clock.aheadMs = 0;
  await bench.pass(HOUR_MS);
  assert.equal(bench.served.length, 1);
});

test('orders on demand by a clock that was years ahead count for an hour', async (t) => {
  const clock = new WrongClock();
  const bench = await startBench(t, { clock, options: { isWanted: () => true } });
  clock.aheadMs = 3000 * DAY_MS;
  for (let count = 0; count < 20; count += 1) {
    bench.issuer.answers.push(new AcmeError('SLW_ACME_REFUSED', 'no', DAY_MS));
    bench.orders.keep(`h${count}.test`, true);
  }
  await bench.pass(0);
  clock.aheadMs = 0;
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', true);
  await bench.pass(0);
  await bench.pass(HOUR_MS - 1000);
  assert.equal(bench.served.length, 0);
  await bench.pass(2000);
  assert.equal(bench.served.length, 1);
});

test('advice that a clock far ahead was given is asked for again in time', async (t) => {
  const clock = new WrongClock();
  const bench = await startBench(t, { clock });
  clock.aheadMs = 20 * DAY_MS;
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  const asked = bench.issuer.adviceAsked;
  assert.ok(asked > 0);
  clock.aheadMs = 0;
  await bench.pass(6 * HOUR_MS);
  assert.equal(bench.issuer.adviceAsked, asked + 1);
});

test('makes four orders of a name in an hour at most, over restarts too', async (t) => {
  const dir = scratchFolder(t);
  const clock = new PairClock();
  let made = 0;
  for (let start = 0; start < 10; start += 1) {
    const bench = await startBench(t, { dir, clock });
    bench.issuer.answers.push(new AcmeError('SLW_ACME_REFUSED', 'no such host', 0));
    bench.orders.keep('a.test', false);
    await bench.pass(10);
    made += bench.issuer.requests.length;
    bench.orders.stop();
  }
  assert.equal(made, 4);
  const later = await startBench(t, { dir, clock });
  later.issuer.answers.push(PAIR_90_DAYS);
  clock.advance(HOUR_MS);
  later.orders.keep('a.test', false);
  await later.pass(1);
  assert.equal(later.served.length, 1);
});

test('failures change nothing of what is served', async (t) => {
  const bench = await startBench(t);
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  const down = new AcmeError('SLW_ACME_UNREACHABLE', 'ECONNREFUSED', 0);
  for (let count = 0; count < 200; count += 1) bench.issuer.answers.push(down);
  for (let day = 0; day < 59; day += 1) await bench.pass(DAY_MS);
  const before = bench.issuer.requests.length;
  for (let minutes = 0; minutes < 60; minutes += 1) await bench.pass(60_000);
  const inHour = bench.issuer.requests.length - before;
  assert.ok(inHour >= 1 && inHour <= 4, `${inHour} orders in an hour`);
  assert.equal(bench.served.length, 1);
  assert.equal(bench.log.lines.filter((line) => line.level === 'error').length, 0);
  const line = bench.log.all('certificate not renewed, the old one stays').at(-1);
  assert.match(String(line?.hint), /issuer/);
});

test('follows the window of the issuer, and does without when it has none', async (t) => {
  const bench = await startBench(t);
  const nowMs = bench.clock.wallMs();
  const window = { startMs: nowMs + 4 * DAY_MS, endMs: nowMs + 6 * DAY_MS };
  bench.issuer.adviceAnswer = { window, retryAfterMs: HOUR_MS };
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  for (let day = 0; day < 4; day += 1) await bench.pass(DAY_MS);
  assert.equal(bench.issuer.requests.length, 1);
  const asked = bench.issuer.adviceAsked;
  assert.ok(asked >= 4, `asked ${asked} times`);
  bench.issuer.adviceAnswer = new AcmeError('SLW_ACME_UNREACHABLE', 'down', 0);
  bench.issuer.answers.push(PAIR_150_DAYS);
  for (let day = 0; day < 2; day += 1) await bench.pass(DAY_MS);
  assert.equal(bench.issuer.requests.length, 2, 'the window that it gave before still holds');
});

test('a renewal that ends earlier is served, by all who share the folder, and ordered once', async (t) => {
  const dir = scratchFolder(t);
  const clock = new PairClock();
  const bench = await startBench(t, { dir, clock });
  const other = await startBench(t, { dir, clock });
  bench.issuer.answers.push(PAIR_150_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  await other.orders.load('a.test');
  await bench.pass(DAY_MS);
  const madeMs = clock.wallMs();
  const renewed = await leafOf(await makeAuthority(madeMs), { names: ['a.test'], madeMs });
  bench.issuer.answers.push({ cert: renewed.cert, key: renewed.key });
  const window = { startMs: madeMs - HOUR_MS, endMs: madeMs };
  bench.issuer.adviceAnswer = { window, retryAfterMs: 0 };
  const order = bench.issuer.order.bind(bench.issuer);
  bench.issuer.order = (request) => {
    bench.issuer.adviceAnswer = undefined;
    return order(request);
  };
  for (let part = 0; part < 4; part += 1) await bench.pass(6 * HOUR_MS);
  assert.equal(bench.issuer.requests.length, 2);
  assert.equal(bench.served.at(-1)?.cert.trim(), renewed.cert.trim());
  other.orders.keep('a.test', false);
  await other.pass(0);
  assert.equal(other.served.at(-1)?.cert.trim(), renewed.cert.trim());
  assert.equal(other.issuer.requests.length, 0);
});

test('an order that ends late leaves a later certificate of another in the folder', async (t) => {
  const bench = await startBench(t);
  // Its life begins a day before.
  const madeMs = bench.clock.wallMs() + DAY_MS;
  const later = await leafOf(await makeAuthority(madeMs), { names: ['a.test'], madeMs });
  const order = bench.issuer.order.bind(bench.issuer);
  bench.issuer.order = async (request) => {
    const got = await order(request);
    await bench.folder.save(checkPair({ name: 'a.test', ...later }));
    return got;
  };
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  const { fingerprint } = checkPair({ name: 'a.test', ...later });
  assert.equal((await bench.folder.load('a.test'))?.fingerprint, fingerprint);
  assert.equal(bench.served.at(-1)?.fingerprint, fingerprint);
});

test('a question for advice that waits holds up no order', async (t) => {
  const clock = new PairClock();
  const bench = await startBench(t, { clock, options: { isWanted: () => true } });
  const madeMs = clock.wallMs() - 89 * DAY_MS;
  const due = await leafOf(await makeAuthority(madeMs), { names: ['due.test'], madeMs });
  await bench.folder.save(checkPair({ name: 'due.test', ...due }));
  await bench.folder.save(checkPair({ name: 'a.test', ...PAIR_90_DAYS }));
  const { promise: advised, resolve: advise } = Promise.withResolvers<undefined>();
  bench.issuer.advice = () => advised;
  bench.issuer.answers.push(new AcmeError('SLW_ACME_REFUSED', 'no', 0), PAIR_B);
  for (const name of ['a.test', 'due.test', 'b.test']) bench.orders.keep(name, true);
  clock.advance(0);
  await bench.log.line('certificate in use', { name: 'b.test' });
  const ordered = bench.issuer.requests.map(({ name }) => name);
  assert.deepEqual(ordered, ['due.test', 'b.test']);
  advise(undefined);
  await bench.pass(0);
});

test('a certificate for somebody else is refused', async (t) => {
  const bench = await startBench(t);
  bench.issuer.answers.push(PAIR_B, { cert: PAIR_90_DAYS.cert, key: PAIR_B.key });
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  await bench.pass(10 * 60_000);
  assert.equal(bench.served.length, 0);
  assert.equal(bench.orders.results.get('refused'), 2);
});

test('orders on demand only while the host is served, twenty in an hour', async (t) => {
  const bench = await startBench(t);
  bench.orders.keep('b.test', true);
  await bench.pass(DAY_MS);
  assert.equal(bench.issuer.requests.length, 0);
  for (let count = 0; count < 30; count += 1) {
    bench.wanted.add(`h${count}.test`);
    bench.issuer.answers.push(new AcmeError('SLW_ACME_REFUSED', 'no', 9 * HOUR_MS));
    bench.orders.keep(`h${count}.test`, true);
  }
  await bench.pass(1);
  assert.equal(bench.issuer.requests.length, 20);
  // Asked for again, as when their clients come back.
  for (let count = 0; count < 30; count += 1) bench.orders.keep(`h${count}.test`, true);
  await bench.pass(1);
  assert.equal(bench.log.all('too many orders in an hour, waiting').length, 10);
  await bench.pass(HOUR_MS);
  assert.equal(bench.issuer.requests.length, 30);
});

test('beyond a thousand names that are all served there is no place', async (t) => {
  const bench = await startBench(t, { options: { isWanted: () => true } });
  for (let count = 0; count < 1000; count += 1) {
    assert.equal(bench.orders.keep(`n${count}.test`, true), true);
  }
  assert.equal(bench.orders.keep('a.test', true), false);
  assert.equal(bench.orders.keep('n0.test', true), true, 'known already');
  assert.deepEqual(bench.forgotten, []);
  assert.equal(bench.log.all('too many names, no certificate for this').length, 1);
});

test('beyond a thousand names those that nobody serves make room', async (t) => {
  const bench = await startBench(t);
  for (let count = 0; count < 1000; count += 1) bench.orders.keep(`n${count}.test`, true);
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', false);
  await bench.pass(0);
  assert.equal(bench.forgotten.length, 1000);
  assert.equal(bench.served.length, 1);
});

/** What was changed is of real time; here it is of the bench's start. */
function age(bench: Bench): void {
  const startSeconds = new PairClock().wallMs() / 1000;
  for (const file of readdirSync(bench.folder.path)) {
    utimesSync(path.join(bench.folder.path, file), startSeconds, startSeconds);
  }
}

test('a host on demand that nobody serves is forgotten a month after its end', async (t) => {
  const bench = await startBench(t);
  bench.orders.startSweeps();
  bench.issuer.answers.push(PAIR_90_DAYS);
  bench.orders.keep('a.test', true);
  await bench.pass(0);
  age(bench);
  bench.wanted.delete('a.test');
  // A day of them was over when it was ordered.
  for (let day = 0; day < 118; day += 1) await bench.pass(DAY_MS);
  assert.deepEqual(bench.forgotten, []);
  assert.deepEqual(readdirSync(bench.folder.path).sort(), ['a.test.orders', 'a.test.pem']);
  for (let day = 0; day < 3; day += 1) await bench.pass(DAY_MS);
  assert.deepEqual(bench.forgotten, ['a.test']);
  assert.deepEqual(readdirSync(bench.folder.path), []);
  assert.equal(bench.log.all('certificates that ended long ago are removed')[0]?.names, 1);
  bench.wanted.add('a.test');
  bench.issuer.answers.push(new AcmeError('SLW_ACME_REFUSED', 'no', 0));
  bench.orders.keep('a.test', true);
  await bench.pass(0);
  assert.equal(bench.issuer.requests.length, 2);
});

test('a host that is served or configured keeps its files, however long it was not renewed', async (t) => {
  for (const isOnDemand of [true, false]) {
    const bench = await startBench(t);
    bench.orders.startSweeps();
    bench.issuer.answers.push(PAIR_90_DAYS);
    bench.orders.keep('a.test', isOnDemand);
    await bench.pass(0);
    const down = new AcmeError('SLW_ACME_UNREACHABLE', 'ECONNREFUSED', 0);
    for (let count = 0; count < 1000; count += 1) bench.issuer.answers.push(down);
    for (let day = 0; day < 125; day += 1) {
      age(bench);
      await bench.pass(DAY_MS);
    }
    assert.deepEqual(bench.forgotten, []);
    assert.ok(readdirSync(bench.folder.path).includes('a.test.pem'));
  }
});

test('a sweep that fails is tried again', async (t) => {
  const bench = await startBench(t);
  bench.orders.startSweeps();
  renameSync(bench.folder.path, `${bench.folder.path}.away`);
  await bench.pass(6 * HOUR_MS);
  const failures = bench.log.all('old certificates cannot be removed, trying later');
  assert.equal(failures.length, 1);
  renameSync(`${bench.folder.path}.away`, bench.folder.path);
  writeFileSync(path.join(bench.folder.path, 'n.test.orders'), '[]');
  utimesSync(path.join(bench.folder.path, 'n.test.orders'), 1, 1);
  await bench.pass(6 * HOUR_MS - 1);
  assert.deepEqual(readdirSync(bench.folder.path), ['n.test.orders']);
  await bench.pass(1);
  assert.deepEqual(readdirSync(bench.folder.path), []);
});

test('two processes on one folder make one order', async (t) => {
  const dir = scratchFolder(t);
  const clock = new PairClock();
  const first = await startBench(t, { dir, clock });
  const second = await startBench(t, { dir, clock });
  first.issuer.answers.push(PAIR_90_DAYS);
  second.issuer.answers.push(PAIR_90_DAYS);
  first.orders.keep('a.test', false);
  second.orders.keep('a.test', false);
  clock.advance(0);
  await Promise.all([first.orders.settled(), second.orders.settled()]);
  await first.pass(6000);
  await second.pass(6000);
  assert.equal(first.issuer.requests.length + second.issuer.requests.length, 1);
  assert.deepEqual([first.served.length, second.served.length], [1, 1]);
});
