// Goal: nothing passes but what the issuer signed for us and now; an issuer that does not answer,
// or answers wrongly, is told apart and asked no more than is fit. Method: a real issuer on
// loopback, keys of each algorithm, a clock that the test moves.

import assert from 'node:assert/strict';
import { createHmac, createPublicKey } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { jwtOf, OidcIssuer } from '../../src/control/oidc-issuer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { AUDIENCE, createKey, startIssuer, type Wrong } from '../support/oidc-issuer.ts';

async function scene(t: TestContext) {
  const issuer = await startIssuer(t);
  const lines = new LogLines('control');
  const clock = new FakeClock();
  const oidc = new OidcIssuer({ issuer: issuer.url, audience: AUDIENCE, clock, log: lines.log });
  return { issuer, oidc, clock, lines };
}

function part(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}

function nowSeconds(): number {
  return Math.floor(systemClock.wallMs() / 1000);
}

test('a JWT of the issuer gives its claims, with each algorithm of a key pair', async (t) => {
  const { issuer, oidc } = await scene(t);
  for (const alg of ['RS256', 'PS256', 'ES256', 'EdDSA']) await issuer.rotate(alg);
  for (const key of issuer.published) {
    const claims = await oidc.verify(await issuer.sign({ key }));
    assert.ok(typeof claims === 'object', `${key.alg}: ${claims}`);
    assert.equal(claims.sub, 'repo:acme/app:ref:main');
  }
  assert.deepEqual([issuer.documentsAsked, issuer.keysAsked], [1, 1]);
});

test('each way of being wrong is refused', async (t) => {
  const { issuer, oidc } = await scene(t);
  const now = nowSeconds();
  const other = await createKey(issuer.key.kid, 'ES256');
  const wrongs: Readonly<Record<string, Wrong>> = {
    'another audience': { payload: { aud: 'else' } },
    'no audience': { payload: { aud: undefined } as never },
    'another issuer': { payload: { iss: 'https://else.example' } },
    'the issuer with a slash': { payload: { iss: `${issuer.url}/` } },
    expired: { payload: { exp: now - 60 } },
    'no end': { payload: { exp: undefined } as never },
    'not yet': { payload: { nbf: now + 120 } },
    'no subject': { payload: { sub: undefined } as never },
    'signed by another': { key: other },
    'an unknown key': { kid: 'nobody' },
    'an algorithm that is not ours': { key: { ...(await createKey('rs512', 'RS512')) } },
  };
  for (const [what, wrong] of Object.entries(wrongs)) {
    assert.equal(await oidc.verify(await issuer.sign(wrong)), 'refused', what);
  }
  const payload = part({ iss: issuer.url, aud: AUDIENCE, sub: 'x', exp: now + 300 });
  assert.equal(await oidc.verify(`${part({ alg: 'none' })}.${payload}.AA`), 'refused');
  const key = createPublicKey({ key: issuer.key.jwk as never, format: 'jwk' });
  for (const secret of [
    key.export({ type: 'spki', format: 'pem' }),
    key.export({ type: 'spki', format: 'der' }),
    JSON.stringify(issuer.key.jwk),
  ]) {
    const head = part({ alg: 'HS256', kid: issuer.key.kid });
    const signature = createHmac('sha256', secret).update(`${head}.${payload}`).digest('base64url');
    assert.equal(await oidc.verify(`${head}.${payload}.${signature}`), 'refused', 'HS256');
  }
  for (const text of [
    'a.b.c',
    '..',
    `${part({})}.${payload}.AA`,
    `${part({ alg: 'ES256' })}.x.y`,
  ]) {
    assert.equal(await oidc.verify(text), 'refused', text);
  }
  const leeway = await oidc.verify(await issuer.sign({ payload: { exp: now - 10 } }));
  assert.ok(typeof leeway === 'object', 'clocks may differ by some seconds');
});

test('a new key is fetched when it is met, and unknown ones do not flood the issuer', async (t) => {
  const { issuer, oidc, clock } = await scene(t);
  await oidc.verify(await issuer.sign());
  const forged = await createKey('forged', 'ES256');
  for (let count = 0; count < 20; count += 1) {
    assert.equal(await oidc.verify(await issuer.sign({ key: forged })), 'refused');
  }
  assert.ok(issuer.keysAsked <= 2, `asked ${issuer.keysAsked} times`);
  const asked = issuer.keysAsked;
  clock.advance(60_000);
  await issuer.rotate();
  assert.ok(typeof (await oidc.verify(await issuer.sign())) === 'object');
  assert.equal(issuer.keysAsked, asked + 1);
});

test('a key that the issuer has withdrawn is forgotten within minutes', async (t) => {
  const { issuer, oidc, clock } = await scene(t);
  const [old] = issuer.published;
  assert.ok(old !== undefined);
  assert.ok(typeof (await oidc.verify(await issuer.sign())) === 'object');
  await issuer.rotate();
  issuer.published.shift();
  clock.advance(11 * 60_000);
  assert.equal(await oidc.verify(await issuer.sign({ key: old })), 'refused');
});

test('keys that came while the wall clock was hours ahead last no longer than others', async (t) => {
  const { issuer, oidc, clock } = await scene(t);
  const old = issuer.key;
  t.mock.timers.enable({ apis: ['Date'], now: systemClock.wallMs() + 6 * 3_600_000 });
  assert.ok(typeof (await oidc.verify(await issuer.sign())) === 'object');
  t.mock.timers.reset();
  await issuer.rotate();
  issuer.published.shift();
  clock.advance(31_000);
  assert.ok(typeof (await oidc.verify(await issuer.sign())) === 'object', 'the new key');
  assert.equal(await oidc.verify(await issuer.sign({ key: old })), 'refused', 'the withdrawn one');
});

test('keys that cannot be fetched are asked for again after a while, not with each JWT', async (t) => {
  const { issuer, oidc, clock, lines } = await scene(t);
  issuer.failingPart = 'keys';
  issuer.failing = 500;
  const forged = `${part({ alg: 'ES256', kid: 'x' })}.${part({})}.AAAA`;
  const ask = async (jwt: string): Promise<void> => {
    for (let count = 0; count < 20; count += 1) {
      assert.equal(await oidc.verify(jwt), 'unavailable');
    }
  };
  await ask(forged);
  assert.deepEqual([issuer.documentsAsked, issuer.keysAsked], [1, 1]);
  assert.match(JSON.stringify(lines.complaints()), /answered 500/u);
  clock.advance(11_000);
  await ask(forged);
  assert.equal(issuer.keysAsked, 2);
  issuer.failing = 0;
  clock.advance(11_000);
  const jwt = await issuer.sign();
  assert.ok(typeof (await oidc.verify(jwt)) === 'object');
  issuer.failing = 503;
  clock.advance(31_000);
  await ask(forged);
  assert.equal(issuer.keysAsked, 4, 'one more for a key that may be new');
  assert.ok(typeof (await oidc.verify(jwt)) === 'object', 'known keys go on');
});

test('an issuer that is down is unavailable, is left alone for a while, and comes back', async (t) => {
  const { issuer, oidc, clock, lines } = await scene(t);
  issuer.failing = 500;
  const jwt = await issuer.sign();
  for (let count = 0; count < 20; count += 1) {
    assert.equal(await oidc.verify(jwt), 'unavailable');
  }
  assert.equal(issuer.documentsAsked, 1);
  assert.equal(lines.complaints().length, 1, 'said once');
  issuer.failing = 0;
  clock.advance(11_000);
  assert.ok(typeof (await oidc.verify(jwt)) === 'object');
});

test('an issuer that fails when it is asked again is believed, and its keys are kept', async (t) => {
  const { issuer, oidc, clock, lines } = await scene(t);
  const jwt = await issuer.sign();
  assert.ok(typeof (await oidc.verify(jwt)) === 'object');
  const hour = 3_600_000;
  const minute = 60_000;
  for (const [passedMs, keysAsked] of [
    [hour - 5 * minute, 2],
    [5 * minute, 2],
  ] as const) {
    clock.advance(passedMs);
    assert.ok(typeof (await oidc.verify(jwt)) === 'object');
    assert.equal(issuer.keysAsked, keysAsked);
  }
  assert.equal(issuer.documentsAsked, 2, 'the keys are the same ones');
  issuer.failingPart = 'document';
  issuer.failing = 500;
  clock.advance(hour);
  for (let count = 0; count < 5; count += 1) {
    assert.ok(typeof (await oidc.verify(jwt)) === 'object');
  }
  assert.deepEqual([issuer.documentsAsked, issuer.keysAsked], [3, 3]);
  assert.equal(lines.complaints().length, 1, 'said once');
  clock.advance(24 * hour);
  assert.equal(await oidc.verify(jwt), 'unavailable');
});

test('a document that is not the issuer’s own is not believed', async (t) => {
  for (const document of [
    { issuer: 'https://else.example' },
    { jwks_uri: 'http://else.example/keys' },
    { jwks_uri: 7 },
    { padding: 'x'.repeat(300 * 1024) },
  ]) {
    const { issuer, oidc } = await scene(t);
    issuer.document = document;
    assert.equal(
      await oidc.verify(await issuer.sign()),
      'unavailable',
      JSON.stringify(document).slice(0, 60),
    );
    assert.equal(issuer.keysAsked, 0);
  }
});

test('too many at a time are told to come again', async (t) => {
  const { issuer, oidc } = await scene(t);
  const jwt = await issuer.sign();
  const answers = await Promise.all(Array.from({ length: 100 }, () => oidc.verify(jwt)));
  const refused = answers.filter((answer) => answer === 'unavailable').length;
  assert.equal(refused, 36);
  assert.ok(typeof (await oidc.verify(jwt)) === 'object');
});

test('only what looks like a JWT is looked at', () => {
  assert.equal(jwtOf('Bearer a.b.c'), 'a.b.c');
  assert.equal(jwtOf('bearer  a-_9.b.c '), 'a-_9.b.c');
  for (const text of [
    undefined,
    '',
    'a.b.c',
    'Basic a.b.c',
    'Bearer a.b',
    'Bearer a.b.c.d',
    'Bearer .b.c',
  ]) {
    assert.equal(jwtOf(text), undefined, String(text));
  }
  assert.equal(jwtOf(`Bearer ${'a'.repeat(9000)}.b.c`), undefined);
});
