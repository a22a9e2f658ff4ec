// Goal: an identity is what the provider signed for this login, and nothing else is one: not what
// another key, login, audience or issuer says, not what is cut, huge, late or elsewhere. Method: an
// issuer, and a GitHub, that answer as a test says.

import assert from 'node:assert/strict';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import { SignJWT } from 'jose';
import { Masked } from '../../src/base/masked.ts';
import type { LoginProvider } from '../../src/config/login-providers.ts';
import { gitHubApiOf, LoginIssuer, type LoginProofs } from '../../src/control/login-issuer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { createKey } from '../support/oidc-issuer.ts';

const CALLBACK = 'https://site.example.com/.well-known/sluiceway/callback';
const CLIENT_ID = 'application';
const SECRET = 'secret:of+the application%';

interface Said {
  status?: number;
  headers?: Readonly<Record<string, string>>;
  body?: string;
}

/** RFC 6749 5.2. */
const UNKNOWN_CLIENT: Said = { status: 401, body: '{"error":"invalid_client"}' };

/** An issuer whose answers a test may replace, by path. */
class Issuer {
  url = '';
  nonce = '';
  claims: Record<string, unknown> = {};
  userinfo: Record<string, unknown> | undefined;
  discovery: Record<string, unknown> = {};
  said: Readonly<Record<string, Said>> = {};
  asked: { path: string; authorization: string | undefined; body: string }[] = [];
  key: Awaited<ReturnType<typeof createKey>> | undefined;
  wrongKey: Awaited<ReturnType<typeof createKey>> | undefined;
  /** By what it says at the token endpoint. */
  knows: (form: URLSearchParams) => boolean = () => true;
  token: (jwt: string) => unknown = (jwt) => ({
    ...{ access_token: 'at', token_type: 'Bearer', id_token: jwt, expires_in: 60 },
  });

  async answer(path: string): Promise<unknown> {
    switch (path) {
      case '/.well-known/openid-configuration':
        return {
          ...{ issuer: this.url, authorization_endpoint: `${this.url}/auth` },
          ...{ token_endpoint: `${this.url}/token`, jwks_uri: `${this.url}/keys` },
          id_token_signing_alg_values_supported: ['ES256'],
          ...(this.userinfo === undefined ? {} : { userinfo_endpoint: `${this.url}/me` }),
          ...this.discovery,
        };
      case '/keys':
        return { keys: [this.key?.jwk] };
      case '/token':
        return this.token(await this.sign());
      case '/me':
        return this.userinfo;
      default:
        return undefined;
    }
  }

  async sign(): Promise<string> {
    const now = Math.floor(Date.now() / 1000);
    const common = { iss: this.url, aud: CLIENT_ID, sub: 'ann', nonce: this.nonce };
    const claims = { ...common, iat: now, exp: now + 60, ...this.claims };
    const key = this.wrongKey ?? this.key;
    assert.ok(key !== undefined);
    const jwt = new SignJWT(claims).setProtectedHeader({ alg: key.alg, kid: 'key' });
    return jwt.sign(key.privateKey);
  }
}

async function serve(
  issuer: Issuer,
  request: http.IncomingMessage,
  response: http.ServerResponse,
): Promise<void> {
  let body = '';
  for await (const piece of request) body += String(piece);
  const path = request.url ?? '';
  issuer.asked.push({ path, authorization: request.headers.authorization, body });
  const isKnown = path !== '/token' || issuer.knows(new URLSearchParams(body));
  const said = isKnown ? issuer.said[path] : UNKNOWN_CLIENT;
  const answer = said === undefined ? await issuer.answer(path) : {};
  const status = said?.status ?? (answer === undefined ? 404 : 200);
  response.writeHead(status, { 'content-type': 'application/json', ...said?.headers });
  response.end(said?.body ?? JSON.stringify(answer));
}

function startIssuer(t: TestContext): Promise<Issuer> {
  return start(t, new Issuer());
}

async function start<T extends Issuer>(t: TestContext, issuer: T): Promise<T> {
  issuer.key = await createKey('key', 'ES256');
  const server = http.createServer((request, response) => void serve(issuer, request, response));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  issuer.url = `http://127.0.0.1:${address.port}`;
  return issuer;
}

function loginAt(
  issuer: Issuer,
  more: Partial<LoginProvider> = {},
  { log } = new LogLines('control'),
): LoginIssuer {
  const provider: LoginProvider = {
    ...{ name: 'company', kind: 'oidc', issuer: issuer.url, clientId: CLIENT_ID },
    ...{ scopes: ['openid'], loginClaim: 'sub', trustsEmail: false, sessionMaxMs: 1000 },
    ...more,
  };
  const clock = new FakeClock();
  return new LoginIssuer({ provider, secret: new Masked(SECRET), clock, log });
}

async function logIn(issuer: Issuer, login: LoginIssuer) {
  const begun = await login.begin(CALLBACK, false);
  if (begun === undefined) return 'unavailable';
  issuer.nonce = begun.nonce;
  const proofs: LoginProofs = begun;
  return login.end(`${CALLBACK}?code=c&state=${begun.state}`, proofs);
}

test('who it is, by signed claims, with PKCE and the secret as the issuer takes it', async (t) => {
  const issuer = await startIssuer(t);
  issuer.claims = { email: 'Ann@Example.com', email_verified: true };
  const login = loginAt(issuer);
  assert.deepEqual(await logIn(issuer, login), {
    ...{ user: 'ann', login: 'ann', email: 'ann@example.com' },
  });
  const [basic] = issuer.asked.filter(({ path }) => path === '/token');
  assert.match(basic?.authorization ?? '', /^Basic /u);
  assert.match(basic?.body ?? '', /code_verifier=[\w-]{43}/u);
  issuer.discovery = { token_endpoint_auth_methods_supported: ['client_secret_post'] };
  issuer.asked = [];
  await logIn(issuer, loginAt(issuer));
  const [post] = issuer.asked.filter(({ path }) => path === '/token');
  assert.equal(new URLSearchParams(post?.body).get('client_secret'), SECRET);
  assert.equal(post?.authorization, undefined);
});

test('an issuer that takes the secret one way alone is shown it as the operator says', async (t) => {
  const issuer = await startIssuer(t);
  const both = ['client_secret_basic', 'client_secret_post'];
  issuer.discovery = { token_endpoint_auth_methods_supported: both };
  issuer.knows = (form) => !form.has('client_secret');
  const lines = new LogLines('control');
  assert.equal(await logIn(issuer, loginAt(issuer, {}, lines)), 'unavailable');
  assert.match(String(lines.lines[0]?.hint), /client-auth/u);
  assert.equal(typeof (await logIn(issuer, loginAt(issuer, { clientAuth: 'basic' }))), 'object');
  const shown = issuer.asked.filter(({ path }) => path === '/token').at(-1);
  assert.match(shown?.authorization ?? '', /^Basic /u);
  // The other way round, where the list lacks what is taken.
  issuer.discovery = { token_endpoint_auth_methods_supported: ['client_secret_basic'] };
  issuer.knows = (form) => form.has('client_secret');
  assert.equal(await logIn(issuer, loginAt(issuer)), 'unavailable');
  assert.equal(typeof (await logIn(issuer, loginAt(issuer, { clientAuth: 'post' }))), 'object');
});

test('an address counts when the issuer has verified it, or the operator trusts it', async (t) => {
  const issuer = await startIssuer(t);
  const emailOf = async (more: Partial<LoginProvider> = {}): Promise<string> => {
    const found = await logIn(issuer, loginAt(issuer, more));
    assert.ok(typeof found === 'object', String(found));
    return found.email;
  };
  const email = 'ann@example.com';
  issuer.claims = { email };
  assert.equal(await emailOf(), '');
  assert.equal(await emailOf({ trustsEmail: true }), email);
  for (const [word, wanted] of [
    [true, email],
    ['true', email],
    [false, ''],
    ['yes', ''],
    [1, ''],
  ]) {
    issuer.claims = { email, email_verified: word };
    assert.equal(await emailOf(), wanted, String(word));
  }
  // The word of one place is no word for the address of another.
  issuer.claims = { email: 'root@example.com', email_verified: false };
  issuer.userinfo = { sub: 'ann', email, email_verified: true };
  assert.equal(await emailOf(), email);
  for (const odd of ['', '@example.com', 'ann@', 'a b@example.com', 'ä@example.com', 7, ['x@y']]) {
    issuer.claims = { email: odd, email_verified: true };
    issuer.userinfo = undefined;
    assert.equal(await emailOf(), '', String(odd));
  }
});

const HOSTILE: Readonly<Record<string, (issuer: Issuer) => unknown>> = {
  'another nonce': (it) => (it.claims = { nonce: 'other' }),
  'no nonce': (it) => (it.claims = { nonce: undefined }),
  'another audience': (it) => (it.claims = { aud: 'other' }),
  'another issuer': (it) => (it.claims = { iss: 'https://other.example' }),
  'a token that is over': (it) => (it.claims = { exp: 1000 }),
  'no subject': (it) => (it.claims = { sub: undefined }),
  'a subject that is two lines': (it) => (it.claims = { sub: 'ann\r\nX-Auth-Request-User: root' }),
  'no signed token': (it) => (it.token = () => ({ access_token: 'at', token_type: 'Bearer' })),
  'a token without a signature': (it) =>
    (it.token = (jwt) => {
      const [, claims = ''] = jwt.split('.');
      const none = Buffer.from('{"alg":"none"}').toString('base64url');
      return { access_token: 'at', token_type: 'Bearer', id_token: `${none}.${claims}.` };
    }),
  'userinfo of somebody else': (it) => (it.userinfo = { sub: 'bob', email: 'b@c.d' }),
  'discovery of another issuer': (it) => (it.discovery = { issuer: 'https://other.example' }),
  'an internal token endpoint': (it) => (it.discovery = { token_endpoint: 'http://192.0.2.1/t' }),
  'an internal place for keys': (it) => (it.discovery = { jwks_uri: 'http://192.0.2.1/k' }),
  'a place to log in without TLS': (it) =>
    (it.discovery = { authorization_endpoint: 'http://a.example/' }),
  'a place to log in that is a script': (it) =>
    (it.discovery = { authorization_endpoint: 'javascript:alert(1)' }),
  'a redirect in place of a token': (it) =>
    (it.said = { '/token': { status: 302, headers: { location: '/keys' } } }),
  'a failure in place of a token': (it) => (it.said = { '/token': { status: 500 } }),
  'a page in place of a token': (it) =>
    (it.said = { '/token': { headers: { 'content-type': 'text/html' }, body: '<p>' } }),
  'half a document': (it) => (it.said = { '/token': { body: '{"access_token":' } }),
  'a token of a megabyte': (it) => (it.said = { '/token': { body: 'x'.repeat(1024 * 1024) } }),
  'no content': (it) => (it.said = { '/token': { status: 204 } }),
  'discovery that is no object': (it) =>
    (it.said = { '/.well-known/openid-configuration': { body: 'null' } }),
  'no keys': (it) => (it.said = { '/keys': { body: '{"keys":[]}' } }),
};

for (const [what, spoil] of Object.entries(HOSTILE)) {
  test(`${what} lets nobody in`, async (t) => {
    const issuer = await startIssuer(t);
    spoil(issuer);
    assert.equal(await logIn(issuer, loginAt(issuer)), 'unavailable');
  });
}

test('what another key has signed lets nobody in', async (t) => {
  const issuer = await startIssuer(t);
  issuer.wrongKey = await createKey('key', 'ES256');
  assert.equal(await logIn(issuer, loginAt(issuer)), 'unavailable');
});

test('a person who was refused is told apart from an issuer that fails', async (t) => {
  const issuer = await startIssuer(t);
  const login = loginAt(issuer);
  for (const [error, wanted] of [
    ['access_denied', 'refused'],
    ['login_required', 'refused'],
    ['server_error', 'unavailable'],
    ['invalid_request', 'refused'],
    ['x', 'refused'],
  ] as const) {
    const begun = await login.begin(CALLBACK, false);
    assert.ok(begun !== undefined);
    const url = `${CALLBACK}?error=${error}&state=${begun.state}`;
    assert.equal(await login.end(url, begun), wanted, error);
  }
});

test('what a visitor brings back cannot have the log blame the issuer', async (t) => {
  const issuer = await startIssuer(t);
  const lines = new LogLines('control');
  const levels = () => lines.lines.map(({ level }) => level);
  const login = loginAt(issuer, {}, lines);
  const begun = await login.begin(CALLBACK, false);
  assert.ok(begun !== undefined);
  const end = (query: string) => login.end(`${CALLBACK}?state=${begun.state}${query}`, begun);
  issuer.said = { '/token': { status: 400, body: '{"error":"invalid_grant"}' } };
  for (const [query, wanted] of [
    ['&error=x%0Aforged', 'refused'],
    ['&error=server_error', 'unavailable'],
    ['&code=made-up', 'lost'],
    ['', 'lost'],
    ['&code=', 'lost'],
    ['&code=a&code=b', 'lost'],
    ['&code=a&iss=https%3A%2F%2Fother.example', 'lost'],
    ['&code=a&iss=a&iss=b', 'lost'],
    ['&code=a&id_token=b', 'lost'],
    ['&response=a', 'lost'],
  ] as const) {
    assert.equal(await end(query), wanted, query);
  }
  assert.deepEqual(levels(), ['info'], 'once in a while, and no error');
  assert.match(String(lines.lines[0]?.reason), /\(x\?forged\)$/u);
  // The real reason is told at once all the same.
  issuer.said = { '/token': UNKNOWN_CLIENT };
  assert.equal(await end('&code=a'), 'unavailable');
  assert.deepEqual(levels(), ['info', 'error']);
  assert.match(String(lines.lines[1]?.reason), /\(invalid_client\)$/u);
});

/** A GitHub Enterprise site, whose API lies below it. */
class GitHub extends Issuer {
  user: Record<string, unknown> = { id: 583231, login: 'Octo-Cat', email: 'wrong@example.com' };
  emails: unknown = [
    { email: 'old@example.com', primary: false, verified: true },
    { email: 'Octo@Example.com', primary: true, verified: true },
  ];

  override async answer(path: string): Promise<unknown> {
    if (path === '/login/oauth/access_token') {
      return { access_token: 'gho', token_type: 'bearer', scope: 'read:user,user:email' };
    }
    if (path === '/api/v3/user') return this.user;
    return path === '/api/v3/user/emails' ? this.emails : undefined;
  }
}

test('the API of GitHub is where its site has it', () => {
  for (const [site, api] of [
    ['https://github.com', 'https://api.github.com'],
    ['https://octocorp.ghe.com', 'https://api.octocorp.ghe.com'],
    ['https://Octo-Corp.GHE.com', 'https://api.octo-corp.ghe.com'],
    ['https://github.example.com', 'https://github.example.com/api/v3'],
    // Names that only look like the cloud's, and a path, are a site of somebody's own.
    ['https://ghe.com', 'https://ghe.com/api/v3'],
    ['https://octocorp.ghe.com.example', 'https://octocorp.ghe.com.example/api/v3'],
    ['https://notghe.com', 'https://notghe.com/api/v3'],
    ['https://octocorp.ghe.com/git', 'https://octocorp.ghe.com/git/api/v3'],
  ] as const) {
    assert.equal(gitHubApiOf(site), api);
  }
});

test('GitHub says who it is, by its API, and only of verified addresses', async (t) => {
  const github = await start(t, new GitHub());
  const scopes = ['read:user', 'user:email'];
  const login = loginAt(github, { kind: 'github', scopes });
  const begun = await login.begin(CALLBACK, true);
  assert.ok(begun !== undefined);
  const where = new URL(begun.location);
  assert.equal(where.href.split('?')[0], `${github.url}/login/oauth/authorize`);
  assert.equal(where.searchParams.get('scope'), 'read:user user:email');
  assert.equal(where.searchParams.get('prompt'), 'select_account');
  assert.equal(where.searchParams.get('nonce'), null);
  // As GitHub names itself.
  const iss = encodeURIComponent(`${github.url}/login/oauth`);
  const url = `${CALLBACK}?code=c&state=${begun.state}&iss=${iss}`;
  const octocat = { user: '583231', login: 'Octo-Cat', email: 'octo@example.com' };
  assert.deepEqual(await login.end(url, begun), octocat);
  const other = `${CALLBACK}?code=c&state=${begun.state}&iss=https%3A%2F%2Fother.example`;
  assert.equal(await login.end(other, begun), 'lost');
  assert.equal(github.asked.at(-1)?.authorization, 'Bearer gho');
  const wrong = { status: 200, body: '{"error":"bad_verification_code"}' };
  github.said = { '/login/oauth/access_token': wrong };
  assert.equal(await login.end(url, begun), 'lost');
  github.said = {};
  github.emails = [{ email: 'octo@example.com', primary: true, verified: false }];
  assert.deepEqual(await login.end(url, begun), { ...octocat, email: '' });
  github.emails = { message: 'no' };
  assert.deepEqual(await login.end(url, begun), { ...octocat, email: '' });
  // Without the scope `user:email`, or the permission of a GitHub App: somebody without an address.
  for (const status of [403, 404]) {
    github.said = { '/api/v3/user/emails': { status, body: '{"message":"no"}' } };
    assert.deepEqual(await login.end(url, begun), { ...octocat, email: '' }, String(status));
  }
  for (const [path, status] of [
    ['/api/v3/user/emails', 500],
    ['/api/v3/user/emails', 401],
    ['/api/v3/user', 403],
  ] as const) {
    github.said = { [path]: { status } };
    assert.equal(await login.end(url, begun), 'unavailable', `${path} ${status}`);
  }
  github.said = {};
  for (const user of [{}, { id: 1 }, { login: 'x' }, { id: 1, login: 'a b' }]) {
    github.user = user;
    assert.equal(await login.end(url, begun), 'unavailable', JSON.stringify(user));
  }
});
