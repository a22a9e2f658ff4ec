// Goal: a login is taken once and in its time; who begins many loses its own and not others', and
// there are never too many. Method: logins by the thousand, at times of the test's choosing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LOGIN_SECONDS_MAX } from '../../src/base/login-way.ts';
import { KEY_MS, loginKeys } from '../../src/control/login-keys.ts';
import {
  PENDING_MAX,
  PENDING_PER_ADDRESS_MAX,
  PendingLogins,
} from '../../src/control/pending-logins.ts';

const LOGIN_MS_MAX = LOGIN_SECONDS_MAX * 1000;
const LOGIN = {
  ...{ provider: 'a', tunnel: 'a.example', host: 'a.example', site: 'https://a.example' },
  ...{ target: '/', browser: 'b', verifier: 'v', nonce: 'n' },
};

test('a login is taken once, until its time is over', () => {
  const pending = new PendingLogins();
  pending.add('one', LOGIN, '192.0.2.1', 0);
  pending.add('two', LOGIN, '192.0.2.1', 1);
  assert.equal(pending.take('other', 1), undefined);
  assert.equal(pending.take('one', LOGIN_MS_MAX - 1)?.host, 'a.example');
  assert.equal(pending.take('one', LOGIN_MS_MAX - 1), undefined);
  assert.equal(pending.take('two', LOGIN_MS_MAX + 1), undefined);
  assert.equal(pending.count, 0);
});

test('one address loses its own oldest, and all of them the oldest of all', () => {
  const pending = new PendingLogins();
  pending.add('others', LOGIN, '198.51.100.1', 0);
  for (let count = 0; count <= PENDING_PER_ADDRESS_MAX; count += 1) {
    pending.add(`mine-${count}`, LOGIN, '192.0.2.1', 0);
  }
  assert.equal(pending.count, PENDING_PER_ADDRESS_MAX + 1);
  assert.equal(pending.take('mine-0', 0), undefined);
  assert.notEqual(pending.take('mine-1', 0), undefined);
  for (let count = 0; count < PENDING_MAX; count += 1) {
    pending.add(`far-${count}`, LOGIN, `10.0.${count >> 8}.${count & 255}`, 0);
  }
  assert.equal(pending.count, PENDING_MAX);
  assert.equal(pending.take('others', 0), undefined);
  assert.notEqual(pending.take('far-0', 0), undefined);
});

test('keys are others each day and with each secret, and stay as long as sessions can live', () => {
  const at = (day: number, secret = 's', sessionMaxMs = 12 * 3_600_000) =>
    loginKeys(secret, day * KEY_MS + 1, sessionMaxMs);
  const today = at(20_000);
  assert.equal(today.restMs, KEY_MS - 1);
  assert.equal(today.own.key.length, 32);
  assert.notDeepEqual(today.own.key, at(20_000, 'other').own.key);
  assert.notDeepEqual(today.own.key, at(20_001).own.key);
  const has = (keys: ReturnType<typeof loginKeys>): boolean =>
    keys.all.some(
      ({ id, key }) =>
        (id === today.own.id && today.own.key === key) || Buffer.from(key).equals(today.own.key),
    );
  assert.ok(has(at(20_001)));
  assert.ok(!has(at(20_002)));
  assert.ok(has(at(20_030, 's', 30 * KEY_MS)));
  assert.ok(!has(at(20_031, 's', 30 * KEY_MS)));
  // Of a node whose clock is ahead.
  assert.ok(has(at(19_999)));
});
