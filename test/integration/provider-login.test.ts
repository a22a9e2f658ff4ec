// Goal: a tunnel whose client asks for a login at a provider serves whom the client names and
// nobody else, whatever a visitor shows, and whatever goes wrong on the way; the upstream learns
// who it is and gets nothing that opens the exit node. Method: a real issuer on loopback, a node of
// two shards and clients in this process, a visitor with cookies.

import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import type http from 'node:http';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { CookieVisitor, type Step } from '../support/cookie-visitor.ts';
import { eventually } from '../support/deadline.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import {
  CLIENT_ID,
  CLIENT_SECRET,
  type LoginProvider,
  startLoginProvider,
} from '../support/login-provider.ts';
import { scratchFolder } from '../support/programs.ts';
import { sendRaw, startHttp } from '../support/upstream.ts';

const HOST = 'site.example.com';
const OTHER = 'other.example.com';
const CALLBACK = '/.well-known/sluiceway/callback';
const LOGOUT = '/.well-known/sluiceway/logout';
const SESSION = /^slw-login-[0-9a-f]{8}$/u;

interface Site {
  readonly provider: LoginProvider;
  readonly node: LocalNode;
  readonly file: string;
  /** What reached the upstream. */
  readonly seen: http.IncomingMessage[];
  readonly upstream: string;
  url(path?: string, host?: string): string;
}

interface Wanted {
  /** Behind the upstream of HOST. */
  readonly rules?: string;
  readonly more?: readonly string[];
  readonly isClosed?: boolean;
  readonly flags?: Readonly<Record<string, string>>;
}

function writeProviders(t: TestContext, url: string, more = ''): string {
  const folder = scratchFolder(t);
  const secret = path.join(folder, 'secret');
  writeFileSync(secret, `${CLIENT_SECRET}\n`);
  const file = path.join(folder, 'providers.yaml');
  const entry = `name: company, issuer: "${url}", client-id: ${CLIENT_ID}`;
  writeFileSync(file, `providers:\n  - {${entry}, client-secret-file: ${secret}${more}}\n`);
  return file;
}

async function startSite(t: TestContext, wanted: Wanted = {}, more = ''): Promise<Site> {
  const provider = await startLoginProvider(t);
  const file = writeProviders(t, provider.url, more);
  const config = { loginProviders: file };
  const node = await startNode(t, { flags: wanted.flags ?? {}, config, complains: true });
  const url = (target = '/', host = HOST): string => `http://${host}:${node.httpPort}${target}`;
  if (wanted.isClosed !== true) await provider.open([url(CALLBACK), url(CALLBACK, OTHER)]);
  const seen: http.IncomingMessage[] = [];
  const port = await startHttp(t, (request, response) => {
    seen.push(request);
    response.end(`inside ${String(request.url)}`);
  });
  const upstream = `http://127.0.0.1:${port}`;
  const rules = wanted.rules ?? ';login=company;login-allow=ann@example.com';
  const flags = { upstream: [`${HOST}=${upstream}${rules}`, ...(wanted.more ?? [])] };
  await startLocalClient(t, node, { flags: { upstream: withPort(flags.upstream, upstream) } });
  return { provider, node, file, seen, upstream, url };
}

const withPort = (all: readonly string[], upstream: string): string[] =>
  all.map((one) => one.replace('UPSTREAM', upstream));

/** Goes to the site and logs in by name. */
async function visitAs(site: Site, name: string, target = '/', visitor = new CookieVisitor()) {
  const form = await visitor.follow(site.url(target));
  assert.match(form.url, /\/interaction\//u, `no form: ${form.status} ${form.body}`);
  const step = await visitor.logIn(form, name);
  return { visitor, step };
}

/** What a program is answered that shows these cookies. */
async function statusWith(site: Site, cookie: string, host = HOST, target = '/'): Promise<number> {
  const visitor = new CookieVisitor();
  const headers = { cookie };
  return (await visitor.ask(site.url(target, host), { headers })).status;
}

function sessionOf(visitor: CookieVisitor, host = HOST): readonly [name: string, value: string] {
  const found = [...(visitor.cookies.get(host) ?? [])].find(([name]) => SESSION.test(name));
  assert.ok(found !== undefined, 'no session');
  return found;
}

test('a browser is sent to the issuer, logs in, comes back to its page, and stays', async (t) => {
  const site = await startSite(t);
  const visitor = new CookieVisitor();
  const first = await visitor.ask(site.url('/deep/page?x=1&y=%2F'));
  assert.equal(first.status, 302);
  const where = new URL(first.headers.location ?? '');
  assert.equal(where.origin, site.provider.url);
  assert.equal(where.searchParams.get('redirect_uri'), site.url(CALLBACK));
  assert.equal(where.searchParams.get('code_challenge_method'), 'S256');
  for (const name of ['state', 'nonce', 'code_challenge']) {
    assert.ok((where.searchParams.get(name) ?? '').length >= 43, name);
  }
  assert.match(
    first.setCookies[0] ?? '',
    /^slw-login-browser=\S{22}; Path=\/; Max-Age=600; HttpOnly; SameSite=Lax$/u,
  );
  const { step } = await visitAs(site, 'ann', '/deep/page?x=1&y=%2F', visitor);
  assert.equal(step.body, 'inside /deep/page?x=1&y=%2F');
  assert.equal(step.url, site.url('/deep/page?x=1&y=%2F'));
  const [name, value] = sessionOf(visitor);
  assert.equal(await statusWith(site, `${name}=${value}`), 200);
  // Nothing of the login reached the upstream.
  assert.deepEqual(
    site.seen.map((one) => one.url),
    ['/deep/page?x=1&y=%2F', '/'],
  );
});

test('the upstream learns who it is, and gets no cookie of ours and no name of the visitor’s', async (t) => {
  const site = await startSite(t);
  const { visitor } = await visitAs(site, 'ann');
  const [name, value] = sessionOf(visitor);
  const cookie = `a=1; ${name}=${value}; slw-login-browser=x; b="2; c=3`;
  const headers = {
    ...{ cookie, 'x-auth-request-user': 'root', X_Auth_Request_Email: 'root@example.com' },
    ...{ 'x-auth-request-groups': 'admins', authorization: 'Bearer of-the-app' },
  };
  const sent = await new CookieVisitor().ask(site.url('/x'), { headers });
  assert.equal(sent.status, 200, sent.body);
  const { headers: got, rawHeaders } = site.seen.at(-1) as http.IncomingMessage;
  assert.equal(got.cookie, 'a=1; b="2; c=3');
  assert.equal(got['x-auth-request-user'], 'ann');
  assert.equal(got['x-auth-request-email'], 'ann@example.com');
  assert.equal(got['x-auth-request-preferred-username'], 'ann');
  assert.equal(got.authorization, 'Bearer of-the-app');
  const names = rawHeaders.filter((_text, index) => index % 2 === 0);
  const ours = names.filter((one) => /auth.request/iu.test(one));
  assert.equal(ours.length, 3, String(ours));
});

test('who is not named gets 403 and a page that says so, and logs in as somebody else', async (t) => {
  const site = await startSite(t);
  const { visitor, step } = await visitAs(site, 'bob');
  assert.equal(step.status, 403);
  assert.match(step.body, /this login may not visit this site/u);
  assert.ok(step.body.includes(`href="${LOGOUT}"`));
  assert.equal(site.seen.length, 0);
  // Without going round in circles.
  assert.equal((await visitor.ask(site.url('/again'))).status, 403);
  const out = await visitor.ask(site.url(LOGOUT));
  assert.equal(out.status, 200);
  assert.match(out.body, /Logged out/u);
  // The issuer still knows bob, and is to ask all the same; once.
  const promptOf = async (): Promise<string | null> => {
    const { headers } = await visitor.ask(site.url());
    return new URL(headers.location ?? '').searchParams.get('prompt');
  };
  assert.equal(await promptOf(), 'login');
  visitor.cookies.delete('127.0.0.1');
  const { step: page } = await visitAs(site, 'ann', '/', visitor);
  assert.equal(page.body, 'inside /');
  assert.equal(visitor.cookies.get(HOST)?.has('slw-login-again'), false);
});

const RULES: Readonly<Record<string, readonly string[]>> = {
  'ann@example.com': ['ann'],
  'ANN@EXAMPLE.COM': ['ann'],
  '@example.com': ['ann'],
  'login:bob': ['bob'],
  anyone: ['ann', 'bob', 'eve', 'sub'],
  '@mail.example.com': ['sub'],
  'login:ann.b': [],
};

for (const [rule, who] of Object.entries(RULES)) {
  test(`login-allow=${rule} lets in ${who.join(' ') || 'nobody'}`, async (t) => {
    const site = await startSite(t, { rules: `;login=company;login-allow=${rule}` });
    for (const name of ['ann', 'bob', 'eve', 'sub']) {
      const { step } = await visitAs(site, name);
      assert.equal(step.status, who.includes(name) ? 200 : 403, name);
    }
  });
}

test('programs, fetches, uploads and WebSockets get 401 and are sent nowhere', async (t) => {
  const site = await startSite(t);
  const html = { accept: 'text/html' };
  const asks = [
    { headers: {} },
    { headers: { accept: 'application/json' } },
    { headers: { accept: '*/*' } },
    { method: 'HEAD', headers: html },
    { method: 'POST', headers: html, body: 'x' },
    { method: 'PUT', headers: html },
    { headers: { ...html, 'sec-fetch-mode': 'cors' } },
    { headers: { ...html, 'sec-fetch-mode': 'websocket' } },
  ];
  for (const ask of asks) {
    const step = await new CookieVisitor().ask(site.url(), ask);
    assert.equal(step.status, 401, JSON.stringify(ask));
    assert.equal(step.headers.location, undefined);
    assert.equal(step.headers['www-authenticate'], 'Cookie realm="sluiceway"');
    assert.deepEqual(step.setCookies, []);
  }
  const upgrade = {
    ...{ ...html, connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13' },
    'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
  };
  const refused = await new CookieVisitor().ask(site.url(), { headers: upgrade });
  assert.equal(refused.status, 401);
  assert.equal(site.seen.length, 0);
  const { visitor } = await visitAs(site, 'ann');
  // The upstream does not switch, and says so: it was reached.
  assert.equal((await visitor.ask(site.url(), { headers: upgrade })).status, 200);
  assert.equal(site.seen.at(-1)?.headers.upgrade, 'websocket');
});

test('a session is of one host, one tunnel and one end, and nobody can write one', async (t) => {
  const rules = ';login=company;login-allow=anyone';
  const more = [`${OTHER}=UPSTREAM${rules}`, `${HOST}/own=UPSTREAM${rules}`];
  const site = await startSite(t, { rules, more }, ', session-max: 60s');
  const { visitor } = await visitAs(site, 'ann');
  const [name, value] = sessionOf(visitor);
  assert.equal(await statusWith(site, `${name}=${value}`), 200);
  const { visitor: elsewhere } = await visitAs(site, 'ann', '/own', new CookieVisitor());
  const [ownName, ownValue] = sessionOf(elsewhere);
  assert.notEqual(ownName, name);
  assert.equal(await statusWith(site, `${ownName}=${ownValue}`, HOST, '/own/x'), 200);
  const opens = async (cookie: string, host = HOST, target = '/'): Promise<void> =>
    assert.equal(await statusWith(site, cookie, host, target), 401, cookie.slice(0, 60));
  // Of another host, and of another tunnel of the same one, under any name.
  for (const one of [name, ownName]) {
    for (const text of [value, ownValue]) {
      await opens(`${one}=${text}`, OTHER);
      if (text === value) await opens(`${one}=${text}`, HOST, '/own');
      else await opens(`${one}=${text}`);
    }
  }
  const [version, key, payload = '', seal = ''] = value.split('.');
  const fields = JSON.parse(Buffer.from(payload, 'base64url').toString()) as unknown[];
  const forged = Buffer.from(JSON.stringify([...fields.slice(0, 6), 9e9])).toString('base64url');
  for (const wrong of [
    ...['', '.', '...', `${version}.${key}.${payload}.`, `${version}.${key}.${payload}`],
    `${version}.${key}.${forged}.${seal}`,
    `2.${key}.${payload}.${seal}`,
    `${version}.${Number.parseInt(key ?? '', 36) + 1}.${payload}.${seal}`,
    `${version}.${key}.${payload}.${seal.slice(0, -2)}${seal.endsWith('A') ? 'B' : 'A'}A`,
    `${version}.${key}.${payload}.${'A'.repeat(43)}`,
    `${version}.${key}.${payload.slice(0, -4)}.${seal}`,
    `${value}${'A'.repeat(5000)}`,
  ]) {
    await opens(`${name}=${wrong}`);
  }
  // Over plain HTTP the name for https says nothing.
  await opens(`__Host-${name}=${value}`);
  assert.equal(await statusWith(site, `${name}=${value}`), 200);
});

test('the way back works once, in the browser that left, on the host that it left', async (t) => {
  const rules = ';login=company;login-allow=anyone';
  const site = await startSite(t, { rules, more: [`${OTHER}=UPSTREAM${rules}`] });
  const atCallback = (url: string): boolean => url.includes(CALLBACK);
  const comeBack = async (): Promise<{ visitor: CookieVisitor; step: Step }> => {
    const visitor = new CookieVisitor();
    const form = await visitor.follow(site.url('/wanted'));
    return { visitor, step: await visitor.logIn(form, 'ann', atCallback) };
  };
  const refused = async (visitor: CookieVisitor, url: string): Promise<void> => {
    const step = await visitor.ask(url);
    assert.equal(step.status, 400, url);
    assert.match(step.body, /has ended, was used already, or began in another browser/u);
    assert.ok(!step.setCookies.some((line) => /^slw-login-[0-9a-f]{8}=/u.test(line)));
  };
  const good = await comeBack();
  const done = await good.visitor.ask(good.step.url);
  assert.deepEqual([done.status, done.headers.location], [303, site.url('/wanted')]);
  await refused(good.visitor, good.step.url);

  const stranger = await comeBack();
  await refused(new CookieVisitor(), stranger.step.url);
  // And it is spent by that: whoever knew it cannot try again.
  await refused(stranger.visitor, stranger.step.url);

  const moved = await comeBack();
  const cookies = moved.visitor.cookies.get(HOST) ?? new Map<string, string>();
  moved.visitor.cookies.set(OTHER, cookies);
  await refused(moved.visitor, moved.step.url.replace(HOST, OTHER));

  const twice = await comeBack();
  await refused(twice.visitor, `${twice.step.url}&state=x`);
  for (const query of ['', '?state=', '?state=x&code=y', `?${'x'.repeat(8000)}`]) {
    await refused(new CookieVisitor(), site.url(`${CALLBACK}${query}`));
  }
  const posted = await comeBack();
  assert.equal((await posted.visitor.ask(posted.step.url, { method: 'POST' })).status, 400);
  // A code that the issuer does not know.
  const forged = await comeBack();
  await refused(forged.visitor, forged.step.url.replace(/code=[^&]+/u, 'code=x'));
  // And one that says of itself to be of another issuer.
  const mixed = await comeBack();
  const url = mixed.step.url.replace(/iss=[^&]+/u, 'iss=http%3A%2F%2Felsewhere.example');
  await refused(mixed.visitor, url);
  assert.equal(site.seen.length, 0);
});

test('the way back never leads to another host', async (t) => {
  const site = await startSite(t);
  for (const target of [
    '//evil.example/',
    '/.//evil.example',
    '/%2F%2Fevil.example',
    '/?next=//evil',
  ]) {
    const visitor = new CookieVisitor();
    // As it is: URL would take the host of a target with two slashes for another one.
    const head = `GET ${target} HTTP/1.1\r\nHost: ${HOST}:${site.node.httpPort}\r\nAccept: text/html\r\n\r\n`;
    const answer = await sendRaw(site.node.httpPort, Buffer.from(head));
    const location = /^location: (.*)\r$/imu.exec(answer)?.[1] ?? '';
    const cookie = /^set-cookie: (slw-login-browser=[^;]*)/imu.exec(answer)?.[1] ?? '';
    assert.ok(location.startsWith(site.provider.url), answer);
    visitor.cookies.set(HOST, new Map([cookie.split('=') as [string, string]]));
    const form = await visitor.follow(location);
    const step = await visitor.logIn(
      form,
      'ann',
      (url) => !url.includes('127.0.0.1') && !url.includes(CALLBACK),
    );
    assert.equal(new URL(step.url).host, `${HOST}:${site.node.httpPort}`, target);
    const back = step.headers.location ?? '';
    assert.equal(back, `http://${HOST}:${site.node.httpPort}${target}`);
  }
  // Longer than a way back is kept.
  const { step } = await visitAs(site, 'ann', `/${'x'.repeat(3000)}`);
  assert.equal(step.url, site.url('/'));
});

test('a login that the issuer does not grant is 403', async (t) => {
  const site = await startSite(t);
  const visitor = new CookieVisitor();
  const form = await visitor.follow(site.url());
  const abort = await visitor.follow(`${form.url}/abort`);
  assert.equal(abort.status, 403, abort.body);
  assert.match(abort.body, /not granted/u);
});

test('without the issuer nobody comes in: 503 and a page, at the beginning and at the end', async (t) => {
  const site = await startSite(t, { isClosed: true });
  const down = await new CookieVisitor().ask(site.url());
  assert.equal(down.status, 503);
  assert.match(down.body, /Nobody can log in at the moment/u);
  assert.equal(down.headers['retry-after'], '5');
  // Left alone for a while: it is not asked for each visitor.
  const askedCount = site.provider.asked.length;
  for (let visit = 0; visit < 5; visit += 1) {
    assert.equal((await new CookieVisitor().ask(site.url())).status, 503);
  }
  assert.equal(site.provider.asked.length, askedCount);
  assert.equal(await statusWith(site, 'a=1'), 401);
  await site.provider.open([site.url(CALLBACK)]);
  const visitor = new CookieVisitor();
  const form = await eventually(20_000, 'the issuer is asked again', async () => {
    const step = await visitor.follow(site.url());
    assert.equal(step.status, 200);
    return step;
  });
  const back = await visitor.logIn(form, 'ann', (url) => url.includes(CALLBACK));
  site.provider.stop();
  const lost = await visitor.ask(back.url);
  assert.equal(lost.status, 503);
  assert.match(lost.body, /Nobody can log in at the moment/u);
  assert.equal(site.seen.length, 0);
});

test('a password or a token opens as well, and a session of each client is asked for', async (t) => {
  const rules = ';login=company;login-allow=@example.com;basic-auth=robot:secret';
  const site = await startSite(t, { rules, flags: { shards: '1' } });
  const authorization = `Basic ${btoa('robot:secret')}`;
  const robot = await new CookieVisitor().ask(site.url(), {
    headers: { authorization, 'x-auth-request-user': 'root' },
  });
  assert.equal(robot.status, 200);
  assert.equal(site.seen.at(-1)?.headers['x-auth-request-user'], undefined);
  assert.equal(site.seen.at(-1)?.headers.authorization, undefined);
  const asked = await new CookieVisitor().ask(site.url(), { headers: {} });
  assert.match(asked.headers['www-authenticate'] ?? '', /^Basic /u);
  const { visitor, step } = await visitAs(site, 'ann');
  assert.equal(step.status, 200);
  // Whoever guesses passwords is counted, as a browser too.
  const guesses: number[] = [];
  for (let guess = 0; guess < 14; guess += 1) {
    const headers = { accept: 'text/html', authorization: `Basic ${btoa(`robot:${guess}`)}` };
    guesses.push((await new CookieVisitor().ask(site.url(), { headers })).status);
  }
  assert.deepEqual(guesses.slice(0, 10), new Array(10).fill(401));
  assert.ok(guesses.includes(429), String(guesses));
  // A second client without a login opens nothing, and one with other people narrows it.
  await startLocalClient(t, site.node, { flags: { upstream: `${HOST}=${site.upstream}` } });
  for (let visit = 0; visit < 4; visit += 1) {
    assert.equal((await new CookieVisitor().ask(site.url(), { headers: {} })).status, 401);
  }
  const narrow = `${HOST}=${site.upstream};login=company;login-allow=login:bob`;
  await startLocalClient(t, site.node, { flags: { upstream: narrow } });
  assert.equal((await visitor.ask(site.url())).status, 403);
});

test('a provider that the exit node does not have is refused with the tunnel', async (t) => {
  const site = await startSite(t);
  const upstream = `third.example.com=${site.upstream};login=nobody;login-allow=anyone`;
  const options = { flags: { upstream }, waits: false, complains: true };
  const client = await startLocalClient(t, site.node, options);
  const line = await client.log.line('tunnel refused');
  assert.equal(line.code, 'SLW_TUNNEL_OPTION');
  assert.match(String(line.reason), /the provider nobody, which this exit node does not have/u);
  const step = await new CookieVisitor().ask(site.url('/', 'third.example.com'));
  assert.equal(step.status, 404);
});

test('a provider that is another one now, or is gone, takes its sessions with it', async (t) => {
  const site = await startSite(t);
  const { visitor } = await visitAs(site, 'ann');
  const [name, value] = sessionOf(visitor);
  assert.equal(await statusWith(site, `${name}=${value}`), 200);
  const entry = (id: string): string => `providers: [{name: ${id}, issuer: "${site.provider.url}"`;
  writeFileSync(site.file, `${entry('company')}, client-id: another}]\n`);
  site.node.node.reload();
  await eventually(10_000, 'the session is over', async () => {
    assert.equal(await statusWith(site, `${name}=${value}`), 401);
  });
  writeFileSync(site.file, `${entry('company')}, clientid: x}]\n`);
  site.node.node.reload();
  await site.node.log.line('the login providers cannot be used, they stay as they were');
  writeFileSync(site.file, `${entry('third')}, client-id: another}]\n`);
  site.node.node.reload();
  await eventually(10_000, 'nobody can log in', async () => {
    assert.equal((await new CookieVisitor().ask(site.url())).status, 503);
  });
  assert.equal(await statusWith(site, `${name}=${value}`), 401);
});

test('a tunnel without a login keeps what is said of its visitors, and gets no cookie of ours', async (t) => {
  const site = await startSite(t, { more: [`${HOST}/open=UPSTREAM`] });
  const { visitor } = await visitAs(site, 'ann');
  const [name, value] = sessionOf(visitor);
  const headers = { cookie: `x=1; ${name}=${value}`, 'x-auth-request-user': 'of-a-proxy' };
  await new CookieVisitor().ask(site.url('/open/1'), { headers });
  const { headers: got } = site.seen.at(-1) as http.IncomingMessage;
  assert.deepEqual([got.cookie, got['x-auth-request-user']], ['x=1', 'of-a-proxy']);
  await new CookieVisitor().ask(site.url('/open/2'), { headers: { cookie: `${name}=${value}` } });
  assert.equal(site.seen.at(-1)?.headers.cookie, undefined);
});

test('behind a trusted proxy that ends TLS cookies are Secure, of one host, and the way is https', async (t) => {
  const site = await startSite(t, { flags: { 'trusted-proxies': '127.0.0.1' } });
  const https = `https://${HOST}:${site.node.httpPort}`;
  const headers = { accept: 'text/html', 'x-forwarded-proto': 'https' };
  const step = await new CookieVisitor().ask(site.url('/'), { headers });
  const where = new URL(step.headers.location ?? '');
  assert.equal(where.searchParams.get('redirect_uri'), `${https}${CALLBACK}`);
  assert.match(
    step.setCookies[0] ?? '',
    /^__Host-slw-login-browser=\S+; Path=\/; Max-Age=600; HttpOnly; SameSite=Lax; Secure$/u,
  );
});
