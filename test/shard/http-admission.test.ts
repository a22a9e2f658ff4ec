// Goal: of all who may say no to a request, or answer it, the first in the order of
// `http-admission.ts` has the last word. Method: each of them says what the test chooses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/base/errors.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { type Admission, HttpAdmission } from '../../src/shard/http-admission.ts';
import type { HttpContext } from '../../src/shard/http-context.ts';

const HOST = 'a.example';
/** Whoever comes is a trusted proxy, so that the list of visitors is asked for each request. */
const trusted = { has: () => true };
const CHALLENGE = { status: 200, bytes: Buffer.from('challenge'), bodyBytes: 0 };
const REDIRECT = { status: 308, bytes: Buffer.from('redirect'), bodyBytes: 0 };
const CALLBACK = Promise.resolve<ErrorCode>('SLW_HTTP_LOGIN_LOST');

/** In the order in which they are asked, with what each makes of the request. */
const JUDGES = [
  ['challenge', CHALLENGE],
  ['visitors', 'SLW_HTTP_DENIED'],
  ['tunnels', 'SLW_HTTP_DENIED'],
  ['rate', 'SLW_HTTP_RATE_LIMIT'],
  ['redirect', REDIRECT],
  ['callback', CALLBACK],
  ['client', 'SLW_STREAM_NO_LINK'],
  ['login', 'SLW_HTTP_LOGIN'],
] as const satisfies readonly (readonly [string, Admission])[];
type Judge = (typeof JUDGES)[number][0];

interface Judged {
  readonly admission: Admission;
  readonly tunnel: string | undefined;
  readonly denied: readonly string[];
}

function judge(busy: readonly Judge[], { serverName = HOST, host = HOST } = {}): Judged {
  const says = (name: Judge): boolean => busy.includes(name);
  const denied: string[] = [];
  const login = { admits: () => false, provider: undefined, schemes: new Set(['basic']) };
  const context = {
    router: {
      matchHost: (name: string) => (name === HOST ? HOST : undefined),
      admits: () => !says('tunnels'),
      isServed: () => !says('client'),
      loginsOf: () => (says('login') ? [login] : undefined),
    },
    lists: { allowsVisitor: () => !says('visitors'), deny: (list: string) => denied.push(list) },
    gate: { refusal: () => (says('rate') ? 'SLW_HTTP_RATE_LIMIT' : undefined) },
    front: {
      answerChallenge: () => (says('challenge') ? CHALLENGE : undefined),
      redirect: () => (says('redirect') ? REDIRECT : undefined),
    },
    logins: { answer: () => (says('callback') ? CALLBACK : undefined) },
    sessions: { isOn: false },
  };
  const head = new RequestParser();
  head.push(Buffer.from(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`), 0);
  const origin = { address: '192.0.2.1', scheme: 'https' as const, localAuthority: '', trusted };
  const admission = new HttpAdmission(context as unknown as HttpContext, origin, serverName);
  return { admission: admission.judge(head, 0), tunnel: admission.tunnel, denied };
}

for (const [at, [name, answer]] of JUDGES.entries()) {
  test(`${name} has the last word before all behind it`, () => {
    const { admission, tunnel, denied } = judge(JUDGES.slice(at).map(([judge]) => judge));
    assert.equal(admission, answer);
    assert.equal(tunnel, name === 'challenge' || name === 'callback' ? undefined : HOST);
    const isList = name === 'visitors' || name === 'tunnels';
    assert.deepEqual(denied, isList ? [name] : []);
  });
}

test('where nobody says anything, the request goes to its tunnel', () => {
  assert.deepEqual(judge([]), { admission: undefined, tunnel: HOST, denied: [] });
});

test('a host without a tunnel is told so, but what is about a login is answered there too', () => {
  const elsewhere = { host: 'b.example', serverName: 'b.example' };
  assert.equal(judge([], elsewhere).admission, 'SLW_HTTP_NO_TUNNEL');
  assert.equal(judge(['redirect', 'tunnels', 'login'], elsewhere).admission, 'SLW_HTTP_NO_TUNNEL');
  assert.equal(judge(['callback'], elsewhere).admission, CALLBACK);
});

test('a name that is not that of the handshake is nobody’s: before a redirect or a login', () => {
  const other = { serverName: 'b.example' };
  const late = judge(['tunnels', 'redirect', 'callback', 'login'], other);
  assert.deepEqual(late, { admission: 'SLW_HTTP_MISDIRECTED', tunnel: undefined, denied: [] });
  assert.equal(judge(['rate'], other).admission, 'SLW_HTTP_RATE_LIMIT');
  assert.equal(judge(['visitors'], other).admission, 'SLW_HTTP_DENIED');
  assert.equal(judge(['challenge'], other).admission, CHALLENGE);
});
