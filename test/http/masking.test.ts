// Goal: what is shown of a head lets nobody in, and leaves the rest readable. Method: tables of
// fields and URLs as programs send them, and a property: a secret under a telling name never shows.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MASK, showFields, showTarget } from '../../src/http/masking.ts';

function shown(name: string, value: string): string {
  const fields = showFields(Buffer.from(`GET / HTTP/1.1\r\n${name}: ${value}\r\n\r\n`, 'latin1'));
  assert.equal(fields.length, 1, name);
  assert.equal(fields[0]?.[0], name);
  return fields[0]?.[1] ?? '';
}

test('fields that are secrets are masked, with what says which kind', () => {
  const rows: readonly (readonly [name: string, value: string, shown: string])[] = [
    ['Authorization', 'Bearer abc.def', `Bearer ${MASK}`],
    ['authorization', 'Basic dXNlcjpwYXNz', `Basic ${MASK}`],
    ['AUTHORIZATION', 'abc', MASK],
    ['Proxy-Authorization', 'Digest username="u", response="r"', `Digest ${MASK}`],
    ['Cookie', 'a=1; theme=dark; sid=2', `a=${MASK}; theme=${MASK}; sid=${MASK}`],
    ['Cookie', 'hunter', MASK],
    ['Cookie', 'a=1; hunter;  hunter ; ', `a=${MASK}; ${MASK};  ${MASK} ;`],
    ['Set-Cookie', 'sid=x=y; Path=/; HttpOnly', `sid=${MASK}; Path=/; HttpOnly`],
    ['Set-Cookie', 'bare; Path=/', `=${MASK}; Path=/`],
    ['X-Api-Key', 'k', MASK],
    ['X-Auth-Token', 'k', MASK],
    ['X-CSRF-Token', 'k', MASK],
    ['X-Hub-Signature-256', 'sha256=00', MASK],
    ['X-Amz-Security-Token', 'k', MASK],
    ['Sec-WebSocket-Key', 'dGhl', MASK],
    ['AccessKey', 'k', MASK],
    ['X-AuthKey', 'k', MASK],
    ['SigningKey', 'k', MASK],
    ['X-Serverless-Authorization', 'Bearer k', `Bearer ${MASK}`],
    ['X-Forwarded-Authorization', 'Basic YTpi', `Basic ${MASK}`],
    ['X-MS-Authorization-Auxiliary', 'Bearer k', `Bearer ${MASK}`],
    ['X-Original-Authorization', 'k', MASK],
    ['Authentication', 'k', MASK],
    ['X-Bearer', 'k', MASK],
    ['X-Pass', 'k', MASK],
    ['X-Anything', 'bearer k', `bearer ${MASK}`],
    [
      'Referer',
      'https://u:p@a.example/x?token=1&page=2',
      `https://${MASK}@a.example/x?token=${MASK}&page=2`,
    ],
    ['Location', '/cb#access_token=1&state=2', `/cb#access_token=${MASK}&state=2`],
    ['X-Original-URI', '/a?api_key=1', `/a?api_key=${MASK}`],
  ];
  for (const [name, value, wanted] of rows) assert.equal(shown(name, value), wanted, name);
});

test('of the subprotocols of a WebSocket those are masked that are a token or hold one', () => {
  const jwt = 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl';
  const rows = [
    ['graphql-transport-ws', 'graphql-transport-ws'],
    ['v12.stomp, v11.stomp,mqtt', 'v12.stomp, v11.stomp,mqtt'],
    ['ocpp2.0.1, MBWS.huawei.com', 'ocpp2.0.1, MBWS.huawei.com'],
    ['v4.channel.k8s.io, base64.binary.k8s.io', 'v4.channel.k8s.io, base64.binary.k8s.io'],
    [
      'base64url.bearer.authorization.k8s.io.c2VjcmV0, base64.binary.k8s.io',
      `base64url.bearer${MASK}, ${MASK}`,
    ],
    ['bearer, hunter', `bearer, ${MASK}`],
    ['graphql-ws, access_token,hunter', `graphql-ws, access_token,${MASK}`],
    ['Authorization, hunter', `Authorization, ${MASK}`],
    [`graphql-ws, ${jwt}`, `graphql-ws, ${MASK}`],
    ['realtime, openai-insecure-api-key.sk-x', `realtime, openai-insecure-api-key${MASK}`],
    ['chat, 550e8400-e29b-41d4-a716-446655440000', `chat, ${MASK}`],
    ['token.hunter', `token${MASK}`],
    ['aB3dE5fG7.token', MASK],
    ['', ''],
  ] as const;
  for (const [value, wanted] of rows) {
    assert.equal(shown('Sec-WebSocket-Protocol', value), wanted, value);
  }
});

test('fields that are none are shown as they came', () => {
  const rows = [
    ['Host', 'a.example'],
    ['Accept', 'text/html;q=0.9, */*;q=0.1'],
    ['Content-Type', 'multipart/form-data; boundary=x=y'],
    ['User-Agent', 'curl/8 (key press)'],
    ['X-Forwarded-For', '192.0.2.1'],
    ['ETag', '"abc"'],
    ['X-Empty', ''],
    ['WWW-Authenticate', 'Basic realm="site"'],
    ['X-Authenticated-User', 'ann'],
  ] as const;
  for (const [name, value] of rows) assert.equal(shown(name, value), value, name);
});

test('of a target parameters with telling names are masked, however they are written', () => {
  const rows = [
    ['/a?b=c', '/a?b=c'],
    ['/a?token=1', `/a?token=${MASK}`],
    ['/a?x=1&ACCESS_TOKEN=2&y=3', `/a?x=1&ACCESS_TOKEN=${MASK}&y=3`],
    ['/a?x=1;password=2', `/a?x=1;password=${MASK}`],
    ['/a?%74oken=1', `/a?%74oken=${MASK}`],
    ['/a?%zzsecret=1', `/a?%zzsecret=${MASK}`],
    ['/a?X-Amz-Signature=1', `/a?X-Amz-Signature=${MASK}`],
    ['/a?sig=1&code=2&key=3', `/a?sig=${MASK}&code=${MASK}&key=${MASK}`],
    ['/a?user[password]=1', `/a?user[password]=${MASK}`],
    ['/a?accessKey=1&sharekey=2', `/a?accessKey=${MASK}&sharekey=${MASK}`],
    ['/a?key[]=1&user[key]=2', `/a?key[]=${MASK}&user[key]=${MASK}`],
    ['/a?keyword=1&hotkey=2&keys=3', '/a?keyword=1&hotkey=2&keys=3'],
    ['/a?design=1&monkey=2&postcode=3', '/a?design=1&monkey=2&postcode=3'],
    ['/token/1', '/token/1'],
    ['/a?authorization=Bearer%20S&x=1', `/a?authorization=${MASK}&x=1`],
    ['/a?bypass=1&compass=2&spin=3', '/a?bypass=1&compass=2&spin=3'],
  ] as const;
  for (const [target, wanted] of rows) assert.equal(showTarget(target), wanted);
});

test('the names that logins and sessions give their parameters tell', () => {
  const names =
    'pass pw userPass dbpass bearer pin ticket hmac SAMLResponse SAMLart assertion authcode ' +
    'accessCode oauthVerifier PHPSESSID sessid authentication Authorization';
  for (const name of names.split(' ')) {
    assert.equal(showTarget(`/a?${name}=S&x=1`), `/a?${name}=${MASK}&x=1`);
  }
  assert.equal(showTarget('/a?h=Bearer%20S&i=Basic+S'), `/a?h=${MASK}&i=${MASK}`);
});

test('a URL that is a parameter of another is looked into, however often it is encoded', () => {
  const rows = [
    ['/login?next=%2Freset%3Ftoken%3DS&x=1', `/login?next=%2Freset%3Ftoken%3D${MASK}&x=1`],
    ['/?u=https%3A%2F%2Fann%3Asecret%40h%2F', `/?u=https%3A%2F%2F${MASK}%40h%2F`],
    ['/?a=1%26token%3DS', `/?a=1%26token%3D${MASK}`],
    ['/?a=token%3DS', `/?a=token%3D${MASK}`],
    ['/?a=%3Fpassword%3Dtwo%20words', `/?a=%3Fpassword%3D${MASK}`],
    ['/?a=%ff%C3%A9%0A%3Ftoken%3DS', `/?a=%FF%C3%A9%0A%3Ftoken%3D${MASK}`],
    ['/?a=%zz%3Ftoken%3DS', `/?a=%25zz%3Ftoken%3D${MASK}`],
    ['/?next=%2Fdeep%2Fpage%3Fx%3D1%26y%3D%252F', '/?next=%2Fdeep%2Fpage%3Fx%3D1%26y%3D%252F'],
    ['/?q=100%25&r=a%20b+c', '/?q=100%25&r=a%20b+c'],
  ] as const;
  for (const [target, wanted] of rows) assert.equal(showTarget(target), wanted);
  let url = '/?token=hidden';
  for (let depth = 0; depth < 8; depth += 1) {
    const shown = showTarget(url);
    assert.ok(shown.includes(MASK) && !shown.includes('hidden'), shown);
    url = `/?next=${encodeURIComponent(url)}`;
  }
});

test('a secret under a telling name never shows', (t) => {
  const seed = Number(process.env.SLUICEWAY_SEED ?? 97);
  t.diagnostic(`seed ${seed}`);
  const secret = fc.stringMatching(/^[A-Za-z0-9]{12,40}$/u);
  const name = fc.constantFrom(
    'token',
    'Session-Id',
    'api_key',
    'client_secret',
    'x-jwt',
    'passwd',
  );
  const around = fc.stringMatching(/^[a-z0-9/=.,-]{0,20}$/u);
  fc.assert(
    fc.property(secret, name, around, around, (value, key, before, after) => {
      const target = showTarget(`/${before}?q=${after}&${key}=${value}&z=${after}`);
      assert.ok(!target.includes(value) || before.includes(value) || after.includes(value));
      assert.equal(shown(`X-${key}`, value), MASK);
    }),
    { seed },
  );
});

test('long and hostile values take no time to mask', () => {
  const startMs = performance.now();
  for (const piece of [
    '?a',
    '&=',
    '://',
    'a=b&',
    '@',
    ';;',
    '?token=',
    'a-1',
    'a, ',
    '&a=%25',
    '%3F25',
  ]) {
    showTarget(piece.repeat(16_384 / piece.length));
    shown('Cookie', piece.repeat(4000));
    shown('Sec-WebSocket-Protocol', piece.repeat(4000));
  }
  assert.ok(performance.now() - startMs < 2000);
});
