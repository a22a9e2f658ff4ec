// Goal: a file of login providers is what it says, or nothing: each mistake is a problem with its
// place, and none leaves a provider. Method: files that are right, and a table of wrong ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ConfigError } from '../../src/base/errors.ts';
import { resolveConfig } from '../../src/config/config.ts';
import { readLoginProviders, readSecret, secretFilesOf } from '../../src/config/login-providers.ts';
import { Problems } from '../../src/config/problems.ts';
import { configInput, problemsOf } from './input.ts';

function read(text: string) {
  const problems = new Problems();
  const found = readLoginProviders({ path: 'p.yaml', text }, problems);
  let lines: readonly string[] = [];
  try {
    problems.throwIfAny();
  } catch (error) {
    lines = (error as ConfigError).problems;
  }
  return { found, lines };
}

test('an issuer and GitHub, with defaults and without', () => {
  const { found, lines } = read(`
providers:
  - name: company
    issuer: https://id.example.com/realms/a
    client-id: sluiceway
    client-secret-file: /run/secrets/company
    client-auth: basic
    scopes: [openid, email]
    login-claim: upn
    trust-email: true
    session-max: 1h
  - {name: github, kind: github, client-id: Iv1.x}
cookie-secret-file: /run/secrets/cookies
`);
  assert.deepEqual(lines, []);
  const [company, github] = found.providers;
  assert.deepEqual(company, {
    ...{ name: 'company', kind: 'oidc', issuer: 'https://id.example.com/realms/a' },
    ...{ clientId: 'sluiceway', clientSecretFile: '/run/secrets/company' },
    ...{ clientAuth: 'basic', scopes: ['openid', 'email'], loginClaim: 'upn', trustsEmail: true },
    sessionMaxMs: 3_600_000,
  });
  assert.equal(github?.issuer, 'https://github.com');
  assert.deepEqual(github?.scopes, ['read:user', 'user:email']);
  assert.equal(github?.sessionMaxMs, 12 * 3_600_000);
  assert.deepEqual(
    secretFilesOf(found).map(({ path, lengthMin }) => [path, lengthMin]),
    [
      ['/run/secrets/company', 1],
      ['/run/secrets/cookies', 32],
    ],
  );
});

const GOOD = 'name: a, issuer: "https://a.example", client-id: x';
const WRONG: Readonly<Record<string, RegExp>> = {
  '': /must list one or more/u,
  'providers: []': /must list one or more/u,
  'providers: [a]': /a provider must be a map/u,
  'provider: [{}]': /is neither providers nor cookie-secret-file/u,
  'providers: [{}]': /has no name/u,
  'providers: [{name: a, client-id: x}]': /has no issuer/u,
  'providers: [{name: a, issuer: "https://a.example"}]': /has no client-id/u,
  [`providers: [{${GOOD}, client-idd: x}]`]: /did you mean client-id/u,
  [`providers: [{${GOOD}}, {${GOOD}}]`]: /'a' is given twice/u,
  [`providers: [{${GOOD}, name: b}]`]: /'name' is given twice/u,
  [`providers: [{${GOOD}, kind: saml}]`]: /'kind' is no kind/u,
  [`providers: [{${GOOD}, scopes: []}]`]: /'scopes' is an empty list/u,
  [`providers: [{${GOOD}, trust-email: maybe}]`]: /neither true nor false/u,
  [`providers: [{${GOOD}, session-max: 1s}]`]: /'session-max' /u,
  [`providers: [{${GOOD}, client-secret-file: ""}]`]: /is no path/u,
  'providers: [{name: "a b", issuer: "https://a.example", client-id: x}]': /is no name/u,
  'providers: [{name: a, issuer: "http://a.example", client-id: x}]': /is no issuer/u,
  'providers: [{name: a, issuer: "http://127.example.com", client-id: x}]': /is no issuer/u,
  'providers: [{name: a, issuer: "https://u:p@a.example", client-id: x}]': /is no issuer/u,
  'providers: [{name: a, issuer: "https://a.example/?x", client-id: x}]': /is no issuer/u,
  'providers: [{name: a, kind: github, client-id: x, trust-email: true}]': /is for an OpenID/u,
  [`providers: [{${GOOD}, client-secret-file: /x, client-auth: jwt}]`]: /neither basic nor post/u,
  [`providers: [{${GOOD}, client-auth: basic}]`]: /needs client-secret-file/u,
  'providers: [{name: a, kind: github, client-id: x, client-secret-file: /x, client-auth: post}]':
    /client-auth is for an OpenID/u,
  'providers: [': /p\.yaml line/u,
  'cookie-secret-file: /x': /must list one or more/u,
};

for (const [text, wanted] of Object.entries(WRONG)) {
  test(`${text === '' ? 'an empty file' : text} is refused`, () => {
    const { found, lines } = read(text);
    assert.match(lines.join('\n'), wanted);
    assert.deepEqual(found.providers, []);
  });
}

test('a secret is one line, long enough, and no part of a message', () => {
  assert.equal((readSecret('abc\r\n', 1) as { reveal(): string }).reveal(), 'abc');
  for (const [text, least] of [
    ['', 1],
    ['\n', 1],
    ['secret', 32],
    ['se\ncret', 1],
    ['x'.repeat(5000), 1],
  ] as const) {
    const wrong = readSecret(text, least);
    assert.ok(typeof wrong === 'string');
    assert.doesNotMatch(wrong, /secret|xxx/u);
  }
});

test('a file that is not there is named once', () => {
  const flags = { 'login-providers': 'nope.yaml' };
  assert.deepEqual(
    problemsOf(() => resolveConfig(configInput('server', { flags }))),
    ['--login-providers (flag): the file nope.yaml does not exist'],
  );
});
