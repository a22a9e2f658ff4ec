// Goal: what was declared opens, and nothing else does; no declared text gives a secret away.
// Method: logins of both schemes, fields in every wrong form.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { declareLogin, loginProblem, VisitorLogins } from '../../src/base/visitor-login.ts';

const SALT = '0123456789abcdef0123456789abcdef';
const TOKEN = 'a-token-of-32-letters-0123456789';
const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`;

const LOGINS = new VisitorLogins([
  declareLogin('basic', 'ann:pass word:x', SALT),
  declareLogin('basic', 'bär:größe', SALT),
  declareLogin('bearer', TOKEN, SALT),
]);

for (const field of [
  basic('ann:pass word:x'),
  basic('bär:größe'),
  `Bearer ${TOKEN}`,
  `bearer  ${TOKEN} `,
  `BASIC ${Buffer.from('ann:pass word:x').toString('base64')}`,
]) {
  test(`${field.slice(0, 20)}… opens`, () => assert.equal(LOGINS.admits(field), true));
}

for (const field of [
  undefined,
  '',
  'Basic',
  'Basic ',
  basic(''),
  basic('ann'),
  basic('ann:'),
  basic('ann:pass word'),
  basic('ann:pass word:x '),
  basic('Ann:pass word:x'),
  basic(':pass word:x'),
  basic(`${SALT}:ann:pass word:x`),
  `Bearer ${TOKEN}x`,
  `Bearer ${TOKEN.slice(1)}`,
  `Bearer ${Buffer.from(TOKEN).toString('base64')}`,
  // The other scheme with the same secret.
  basic(TOKEN),
  `Bearer ${Buffer.from('ann:pass word:x').toString('base64')}`,
  `Basic ${TOKEN}`,
  `Digest ${TOKEN}`,
  `${basic('ann:pass word:x')}, ${basic('ann:pass word:x')}`,
  `Bearer ${'x'.repeat(9000)}`,
  `\nBearer ${TOKEN}`,
]) {
  test(`${JSON.stringify(field?.slice(0, 40))} opens nothing`, () => {
    assert.equal(LOGINS.admits(field), false);
  });
}

test('a list without a login that can be read opens nothing', () => {
  for (const texts of [[], [''], ['basic:x:y'], [`basic:${SALT}:`]]) {
    const logins = new VisitorLogins(texts);
    for (const field of [undefined, '', basic(''), 'Bearer x']) {
      assert.equal(logins.admits(field), false);
    }
  }
});

test('what is declared says nothing of the secret, and each time something else', () => {
  const one = declareLogin('basic', 'ann:secret', SALT);
  const other = declareLogin('basic', 'ann:secret', SALT.replace('0', '1'));
  assert.notEqual(one.split(':')[2], other.split(':')[2]);
  assert.doesNotMatch(`${one}${other}`, /ann|secret/u);
  assert.equal(loginProblem(one), undefined);
  for (const text of ['', 'basic', `digest:${SALT}:${'0'.repeat(64)}`, `${one} `, one.slice(1)]) {
    assert.ok(loginProblem(text) !== undefined, text);
  }
});
