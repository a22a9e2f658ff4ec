// Goal: who cannot reach a server reads what happened, where, and what to look at, in one line.
// Method: a table of errors as Node makes them, and of answers; clocks that differ.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeClockGap } from '../../src/base/clock-gap.ts';
import {
  describeDialAnswer,
  describeDialFailure,
  describeNoUpgrade,
  describeRefusedLogin,
} from '../../src/base/dial-failure.ts';
import { describeTlsRefusal } from '../../src/base/tls-refusal.ts';

const SERVER_URL = 'wss://exit.example:8123/connect';
const PROXY_URL = 'http://user:secret@proxy.corp:3128';
const failure = (code: string, message = 'as the system has it'): Error =>
  Object.assign(new Error(message), { code });

const WRONG_VERSION =
  'write EPROTO C0A6:error:0A00010B:SSL routines:x:wrong version number:y:78:\n';

const ROWS: readonly (readonly [Error, string])[] = [
  [failure('ENOTFOUND'), 'exit.example has no address: check the name in --url (ENOTFOUND)'],
  [
    failure('EAI_AGAIN'),
    'the name server does not answer for exit.example: check the DNS and the network of this ' +
      'machine (EAI_AGAIN)',
  ],
  [
    failure('ECONNREFUSED'),
    'nobody listens at exit.example:8123: check that it runs, and the port in --url (ECONNREFUSED)',
  ],
  [
    new AggregateError([failure('ECONNREFUSED'), failure('EHOSTUNREACH')]),
    'nobody listens at exit.example:8123: check that it runs, and the port in --url (ECONNREFUSED)',
  ],
  [
    failure('ETIMEDOUT'),
    'exit.example:8123 does not answer: check the address, and firewalls on the way (ETIMEDOUT)',
  ],
  [
    failure('EMFILE', 'connect EMFILE 192.0.2.1:8123 - Local (undefined:undefined)'),
    'no descriptor is left to dial exit.example:8123 with: raise the limit of open files of this ' +
      'process (EMFILE)',
  ],
  [
    failure('ECONNRESET', 'socket hang up'),
    'exit.example:8123 closed the connection before it answered: check wss:// or ws:// in --url ' +
      '(ECONNRESET)',
  ],
  [
    failure('EPROTO', WRONG_VERSION),
    'exit.example:8123 does not speak TLS: check wss:// or ws:// in --url, and the port (EPROTO)',
  ],
  [
    failure('HPE_INVALID_CONSTANT'),
    'what answers speaks no HTTP: is this the control port of a sluiceway server? ' +
      '(HPE_INVALID_CONSTANT)',
  ],
  // What is not known is said as it came, in one line.
  [failure('EODD', 'two\nlines'), 'two?lines'],
  [failure('constructor', 'an odd code'), 'an odd code'],
  [new Error(''), 'no connection'],
];

for (const [cause, wanted] of ROWS) {
  test(`says: ${wanted}`, () => {
    assert.equal(describeDialFailure(cause, SERVER_URL), wanted);
  });
}

test('on the way through a proxy it is the proxy that is not there, and its login is not said', () => {
  const refused = describeDialFailure(failure('ECONNREFUSED'), SERVER_URL, PROXY_URL);
  assert.match(refused, /^nobody listens at proxy\.corp:3128: .* --proxy or the environment/u);
  const unknown = describeDialFailure(failure('ENOTFOUND'), SERVER_URL, PROXY_URL);
  assert.match(unknown, /^proxy\.corp has no address/u);
  const plain = describeDialFailure(failure('EPROTO', WRONG_VERSION), SERVER_URL, PROXY_URL);
  assert.match(plain, /^exit\.example:8123 does not speak TLS/u);
  for (const text of [refused, unknown, plain]) assert.ok(!text.includes('secret'));
});

test('an answer of something else says what it may be', () => {
  const rows = [
    [200, /is this the control port/u],
    [404, /is this the control port/u],
    [301, /sends elsewhere/u],
    [429, /too many logins/u],
    [502, /a proxy in front/u],
    [503, /shutting down or overloaded/u],
  ] as const;
  for (const [status, wanted] of rows) {
    const text = describeDialAnswer(status);
    assert.match(text, wanted);
    assert.ok(text.startsWith(`the server answered ${status}, not a WebSocket`));
  }
  assert.match(describeNoUpgrade('Server sent no subprotocol') ?? '', /not of sluiceway/u);
  assert.equal(describeNoUpgrade('socket hang up'), undefined);
});

const NOW_MS = Date.UTC(2026, 10, 29, 8, 30);

test('a clock that is wrong is named, with how wrong it is', () => {
  const rows = [
    ['Sun, 29 Nov 2026 08:30:30 GMT', ''],
    ['Sun, 29 Nov 2026 08:29:00 GMT', ''],
    [undefined, ''],
    ['nonsense', ''],
    ['Sun, 29 Nov 2026 08:35:00 GMT', "2026-11-29 08:30 UTC, is 5 minutes behind the server's"],
    ['Sun, 29 Nov 2026 05:30:00 GMT', "is 3 hours ahead of the server's: set it right"],
    ['Wed, 29 Nov 2028 08:30:00 GMT', "is 731 days behind the server's"],
  ] as const;
  for (const [date, wanted] of rows) {
    const text = describeClockGap(date, NOW_MS);
    if (wanted === '') assert.equal(text, '', `${date}`);
    else assert.ok(text.startsWith('; the clock of this machine') && text.includes(wanted), text);
  }
  const refused = describeRefusedLogin(401, 'Sun, 29 Nov 2026 10:30:00 GMT', NOW_MS);
  assert.match(refused, /^the server answered 401; the clock .* 2 hours behind the server's/u);
  assert.equal(describeRefusedLogin(403, undefined, NOW_MS), 'the server answered 403');
});

test('a certificate out of its time says what this machine takes for now', () => {
  for (const code of ['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']) {
    const text = describeTlsRefusal(failure(code)) ?? '';
    assert.match(text, /clock.*, which says 20\d\d-\d\d-\d\d \d\d:\d\d UTC here$/u);
  }
  assert.ok(!describeTlsRefusal(failure('CERT_REVOKED'))?.includes('clock'));
  assert.equal(describeTlsRefusal(failure('ECONNREFUSED')), undefined);
});
