// Goal: a rule fits whom it names, whole, and nobody who is only alike. Method: a table.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fitsRule, type Identity, identityText, readLoginRule } from '../../src/base/login-rule.ts';
import {
  declareProviderLogin,
  loginProblem,
  loginsProblem,
  VisitorLogins,
} from '../../src/base/visitor-login.ts';

const ann: Identity = { user: '1', login: 'ann', email: 'ann@example.com' };
const nobody: Identity = { user: '2', login: '', email: '' };

const FITS: readonly (readonly [rule: string, identity: Identity, fits: boolean])[] = [
  ['ann@example.com', ann, true],
  ['Ann@EXAMPLE.com', ann, true],
  ['@example.com', ann, true],
  ['@Example.Com', ann, true],
  ['login:ann', ann, true],
  ['anyone', ann, true],
  ['anyone', nobody, true],
  ['login:Ann', ann, false],
  ['login:an', ann, false],
  ['login:1', ann, false],
  ['nn@example.com', ann, false],
  ['@ample.com', ann, false],
  ['@com', ann, false],
  ['@sub.example.com', ann, false],
  ['@example.com', { ...ann, email: 'ann@sub.example.com' }, false],
  ['@example.com', { ...ann, email: 'ann@example.com.evil.test' }, false],
  ['@example.com', { ...ann, email: '"ann@example.com"@evil.test' }, false],
  ['ann@example.com', { ...ann, email: 'ann@example.com@evil.test' }, false],
  ['ann@example.com', nobody, false],
  ['@example.com', nobody, false],
  ['login:ann', nobody, false],
];

for (const [text, identity, fits] of FITS) {
  test(`${text} ${fits ? 'fits' : 'does not fit'} ${identity.login} ${identity.email}`, () => {
    const rule = readLoginRule(text);
    assert.ok(typeof rule === 'object');
    assert.equal(fitsRule(rule, identity), fits);
    const logins = new VisitorLogins([declareProviderLogin('a', text)]);
    assert.equal(logins.admitsIdentity(identity), fits);
    assert.equal(logins.admits('Basic eDp5'), false);
  });
}

test('what is no rule is refused, and lets nobody in', () => {
  for (const text of [
    ...['', '*', 'ann', 'example.com', '@', '@.', '@a..b', 'a@', 'a b@example.com', 'login:'],
    ...['login:a b', '@exa mple.com', `${'x'.repeat(65)}@a.b`, `@${'x'.repeat(300)}`, 'a@b@c.d'],
    ...['ANYONE', 'any', 'ann@example.com\n', '@example.com,@other.com'],
  ]) {
    assert.equal(typeof readLoginRule(text), 'string', text);
    const declared = declareProviderLogin('a', text);
    assert.notEqual(loginProblem(declared), undefined, text);
    assert.equal(new VisitorLogins([declared]).admitsIdentity(ann), false, text);
  }
});

test('logins of two providers are no logins of one tunnel', () => {
  const of = (name: string): string => declareProviderLogin(name, 'anyone');
  assert.equal(loginsProblem([of('a'), of('a')]), undefined);
  assert.match(loginsProblem([of('a'), of('b')]) ?? '', /several providers/u);
  for (const name of ['', 'a b', 'a:b', 'x'.repeat(65)]) {
    assert.notEqual(loginProblem(of(name)), undefined, name);
  }
});

test('what a header cannot hold is no part of an identity', () => {
  assert.equal(identityText(42), '42');
  for (const value of [
    undefined,
    null,
    '',
    'a b',
    'a\r\nX: y',
    'ä',
    {},
    ['x'],
    true,
    'x'.repeat(255),
  ]) {
    assert.equal(identityText(value), '', String(value));
  }
});
