// Which failures end a client, with which exit code and words.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ERRORS } from '../../src/base/errors.ts';
import { finalEnding, givingUp, type LinkFailure, reasonOf } from '../../src/client/ending.ts';

const URL_TEXT = 'ws://server.example/connect';
const FOR_EVER = { once: false, maxRetry: 0 };
const LOST: LinkFailure = {
  code: 'SLW_LINK_LOST',
  detail: 'read ECONNRESET',
  attempts: 1,
  linksLeft: 0,
};

test('what trying again cannot cure ends at once, and says what to check', () => {
  const cases = [
    ['SLW_AUTH_REFUSED', 3, '--token'],
    ['SLW_LINK_REVOKED', 3, 'a new token'],
    ['SLW_LINK_REPLACED', 1, '--id'],
    ['SLW_WIRE_VERSION', 1, 'update'],
  ] as const;
  for (const [code, exitCode, advice] of cases) {
    const ending = finalEnding(URL_TEXT, { code, detail: '' });
    const { message = '' } = ending ?? {};
    assert.deepEqual([ending?.exitCode, ending?.code], [exitCode, code]);
    assert.ok(message.startsWith(`${URL_TEXT}: ${ERRORS[code].text}: `), message);
    assert.ok(message.includes(advice), message);
  }
});

test('its detail stands beside what the code means', () => {
  const ending = finalEnding(URL_TEXT, { code: 'SLW_AUTH_REFUSED', detail: 'no such token' });
  assert.match(ending?.message ?? '', new RegExp(`${ERRORS.SLW_AUTH_REFUSED.text}, no such token`));
});

test('anything else is tried again, as often as the user wants', () => {
  assert.equal(finalEnding(URL_TEXT, LOST), undefined);
  assert.equal(givingUp(URL_TEXT, { ...LOST, attempts: 1000 }, FOR_EVER), undefined);
  const thrice = { once: false, maxRetry: 3 };
  assert.equal(givingUp(URL_TEXT, { ...LOST, attempts: 3 }, thrice), undefined);
  assert.deepEqual(givingUp(URL_TEXT, { ...LOST, attempts: 4 }, thrice), {
    exitCode: 1,
    code: LOST.code,
    message: `${URL_TEXT}: gave up after 3 retries: read ECONNRESET`,
  });
});

test('--once ends with the first failure, by exit code 3 for a refused certificate', () => {
  const once = { once: true, maxRetry: 0 };
  assert.deepEqual(givingUp(URL_TEXT, LOST, once), {
    exitCode: 1,
    code: LOST.code,
    message: `${URL_TEXT}: read ECONNRESET (--once)`,
  });
  const refused = givingUp(URL_TEXT, { ...LOST, code: 'SLW_TLS_REFUSED' }, once);
  assert.deepEqual([refused?.exitCode, refused?.code], [3, 'SLW_TLS_REFUSED']);
});

test('no server is given up that has a link, whatever the user wants', () => {
  for (const persistence of [
    { once: true, maxRetry: 0 },
    { once: false, maxRetry: 3 },
  ]) {
    const failure = { ...LOST, attempts: 1000 };
    assert.equal(givingUp(URL_TEXT, { ...failure, linksLeft: 1 }, persistence), undefined);
    assert.equal(givingUp(URL_TEXT, failure, persistence)?.exitCode, 1);
  }
});

test('a failure without a detail is told by what its code means', () => {
  assert.equal(reasonOf(LOST), 'read ECONNRESET');
  assert.equal(reasonOf({ ...LOST, detail: '' }), ERRORS.SLW_LINK_LOST.text);
});
