// Goal: what was sealed opens with its key and is what it was; nothing else opens, whatever it is.
// Method: sessions, each octet of one changed, other keys, and texts in every wrong form.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  type LoginSession,
  openSession,
  SESSION_LENGTH_MAX,
  sealSession,
} from '../../src/base/login-session.ts';

const KEY = { id: 'g1e', key: Buffer.alloc(32, 1) };
const OTHER = { id: 'g1e', key: Buffer.alloc(32, 2) };
const SESSION: LoginSession = {
  ...{ host: 'site.example.com', tunnel: '*.example.com/app', provider: 'p-1_x' },
  ...{ user: 'auth0|1"2', login: 'ann', email: 'ann@example.com', endsS: 2_000_000_000 },
};
const SEALED = sealSession(SESSION, KEY) ?? '';

test('a sealed session opens with its key, among others, and is the same', () => {
  assert.deepEqual(openSession(SEALED, [KEY]), SESSION);
  assert.deepEqual(openSession(SEALED, [{ id: 'g1d', key: OTHER.key }, OTHER, KEY]), SESSION);
  assert.match(SEALED, /^[A-Za-z0-9_.-]+$/u, 'is a cookie as it is');
});

test('without its key it does not', () => {
  for (const keys of [[], [OTHER], [{ ...KEY, id: 'g1d' }]]) {
    assert.equal(openSession(SEALED, keys), undefined);
  }
});

test('no octet can be another one', () => {
  for (let at = 0; at < SEALED.length; at += 1) {
    for (const octet of ['A', 'B', '.', '=', '\u0000']) {
      if (SEALED[at] === octet) continue;
      const text = SEALED.slice(0, at) + octet + SEALED.slice(at + 1);
      // The last digit of base64url has bits that say nothing.
      const isSame = Buffer.from(text, 'base64url').equals(Buffer.from(SEALED, 'base64url'));
      if (!isSame || octet === '.') assert.equal(openSession(text, [KEY]), undefined, text);
    }
  }
});

test('what is no sealed session is none', () => {
  const [version, id, payload, seal] = SEALED.split('.');
  for (const text of [
    ...['', '.', '....', `${SEALED}.`, `.${SEALED}`, ` ${SEALED}`, SEALED.slice(1)],
    ...[`2.${id}.${payload}.${seal}`, `${version}.${id}.${seal}.${payload}`],
    ...[`${version}.${id}.${payload}`, `${SEALED}${'A'.repeat(5000)}`],
  ]) {
    assert.equal(openSession(text, [KEY]), undefined, text.slice(0, 80));
  }
});

test('what a cookie cannot hold is not sealed', () => {
  const long = 'x'.repeat(SESSION_LENGTH_MAX);
  assert.equal(sealSession({ ...SESSION, tunnel: long }, KEY), undefined);
});
