// Goal: a session is worth what its token is, ends by time and logout, and there are so many.
// Method: a clock moved by hand, cookies as browsers send them and as others might.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DashboardSessions } from '../../src/control/dashboard-sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';

const CREDENTIAL = 'ops#1';
const ADDRESS = '192.0.2.1:7';
const ELSEWHERE = '198.51.100.1:7';
const HERE = { authority: 'dash.example.com:9123', scheme: 'http' } as const;
const SECURE = { ...HERE, scheme: 'https' } as const;
const HOUR_MS = 3_600_000;

class Bench {
  readonly clock = new FakeClock();
  isGood = true;
  readonly sessions = new DashboardSessions({
    mayLook: ({ credential, remoteAddress }) =>
      this.isGood && credential === CREDENTIAL && remoteAddress === ADDRESS,
    clock: this.clock,
  });

  isOpen(cookie: string | undefined, remoteAddress = ADDRESS): boolean {
    return this.sessions.isOpen(cookie, remoteAddress);
  }

  /** What the browser sends from now on. */
  open(): string {
    return this.sessions.open(CREDENTIAL, HERE).split(';')[0] ?? '';
  }
}

test('a cookie is kept from scripts and other sites, and opens its session alone', () => {
  const bench = new Bench();
  const field = bench.sessions.open(CREDENTIAL, HERE);
  assert.match(
    field,
    /^sluiceway_session_9123=[\w-]{43}; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict$/u,
  );
  const cookie = field.split(';')[0] ?? '';
  for (const sent of [cookie, `a=b; ${cookie}`, `${cookie}; c=d`]) {
    assert.equal(bench.isOpen(sent), true, sent);
  }
  const id = cookie.slice(cookie.indexOf('=') + 1);
  const wrong = ['', id, `x${cookie}`, cookie.slice(0, -1), `${cookie}A`];
  const odd = [`sluiceway_session=${'A'.repeat(43)}`, `${'a=b; '.repeat(2000)}${cookie}`];
  assert.equal(bench.isOpen(undefined), false);
  for (const sent of [...wrong, ...odd]) assert.equal(bench.isOpen(sent), false, sent);
});

test('a cookie has the name of its port, and one of another port is not in the way', () => {
  const bench = new Bench();
  const cookie = bench.open();
  assert.equal(bench.isOpen(`sluiceway_session=${'A'.repeat(43)}; ${cookie}`), true);
  assert.equal(bench.isOpen(`${cookie}; sluiceway_session_9=${'A'.repeat(43)}`), true);
  for (const authority of ['dash.example.com', '[::1]']) {
    const field = bench.sessions.open(CREDENTIAL, { authority, scheme: 'http' });
    assert.match(field, /^sluiceway_session=/u);
  }
});

test('over https a cookie never goes in the clear; a logout is of both schemes', () => {
  const bench = new Bench();
  const field = bench.sessions.open(CREDENTIAL, SECURE);
  const [cookie = ''] = field.split(';');
  assert.match(cookie, /^__Host-sluiceway_session_9123=[\w-]{43}$/u);
  assert.match(field, /; Max-Age=43200; Path=\/; HttpOnly; SameSite=Strict; Secure$/u);
  assert.doesNotMatch(field, /domain/iu);
  assert.equal(bench.isOpen(cookie), true);
  const plain = bench.open();
  const gone = bench.sessions.close(`${plain}; ${cookie}`, SECURE);
  assert.deepEqual(
    gone.map((line) => line.split(';')[0]),
    ['sluiceway_session_9123=', '__Host-sluiceway_session_9123='],
  );
  assert.match(gone[1] ?? '', /; Max-Age=0; Path=\/; .*; Secure$/u);
  assert.deepEqual(
    [bench.isOpen(cookie), bench.isOpen(plain), bench.sessions.count],
    [false, false, 0],
  );
});

test('it ends after twelve hours, by logout, and with its token', () => {
  const bench = new Bench();
  const first = bench.open();
  bench.clock.advance(12 * HOUR_MS - 1);
  assert.equal(bench.isOpen(first), true);
  bench.clock.advance(2);
  assert.equal(bench.isOpen(first), false);
  const second = bench.open();
  assert.match(
    bench.sessions.close(second, HERE)[0] ?? '',
    /^sluiceway_session_9123=; Max-Age=0;/u,
  );
  assert.equal(bench.isOpen(second), false);
  const third = bench.open();
  bench.isGood = false;
  assert.equal(bench.isOpen(third), false);
  bench.isGood = true;
  assert.equal(bench.isOpen(third), false, 'once over is over');
  assert.equal(bench.sessions.count, 0);
});

test('it is no better than its token at the address that a request comes from', () => {
  const bench = new Bench();
  const cookie = bench.open();
  assert.equal(bench.isOpen(cookie), true);
  assert.equal(bench.isOpen(cookie, ELSEWHERE), false);
  assert.equal(bench.isOpen(cookie), false, 'somebody else has it: it is over');
});

test('the oldest goes when there are too many', () => {
  const bench = new Bench();
  const cookies = Array.from({ length: 65 }, () => bench.open());
  assert.equal(bench.sessions.count, 64);
  assert.deepEqual(
    [0, 1, 64].map((index) => bench.isOpen(cookies[index])),
    [false, true, true],
  );
});
