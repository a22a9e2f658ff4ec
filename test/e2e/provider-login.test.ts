// Goal: a person with a real browser logs in at a real issuer and gets to the page that it wanted,
// over HTTPS; its pages may then fetch and open WebSockets; who may not visit, who logs out, and
// who comes while the issuer is down, sees a page that says so. Method: `sluiceway server` and
// `client` as processes, oidc-provider, Chromium.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { Page } from 'playwright-core';
import { WebSocketServer } from 'ws';
import { openPage, startBrowser, type WatchedPage } from '../support/browser.ts';
import { undoAfter } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import {
  CLIENT_ID,
  CLIENT_SECRET,
  type LoginProvider,
  startLoginProvider,
} from '../support/login-provider.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { scratchFolder } from '../support/programs.ts';
import { startClient, startServer } from '../support/tunnel.ts';

const HOST = 'site.example.com';
const RESOLVER = '--host-resolver-rules=MAP *.example.com 127.0.0.1';
const SESSION = /^__Host-slw-login-[0-9a-f]{8}$/u;

/** Pages, and a WebSocket that says who was told of. */
async function startUpstream(t: TestContext): Promise<number> {
  const server = http.createServer((request, response) => {
    const who = String(request.headers['x-auth-request-email']);
    const cookies = String(request.headers.cookie);
    response.setHeader('content-type', 'text/html');
    response.end(`<title>Inside</title><p id=where>${request.url}</p><p>${who} ${cookies}</p>`);
  });
  const sockets = new WebSocketServer({ server });
  sockets.on('connection', (socket, request) => {
    socket.send(String(request.headers['x-auth-request-user']));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    for (const socket of sockets.clients) socket.terminate();
    server.closeAllConnections();
    server.close();
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('not a TCP server');
  return address.port;
}

interface Scene {
  readonly provider: LoginProvider;
  readonly url: string;
  readonly watched: WatchedPage;
}

async function startScene(t: TestContext): Promise<Scene | undefined> {
  const browser = await startBrowser(t, [RESOLVER]);
  if (browser === undefined) return undefined;
  const provider = await startLoginProvider(t);
  const folder = scratchFolder(t);
  const write = (name: string, text: string): string => {
    const file = path.join(folder, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  };
  const leaf = await leafOf(await newAuthority(), { names: [HOST] });
  const pair = `${HOST}=${write('cert.pem', leaf.cert)},${write('key.pem', leaf.key)}`;
  const secret = write('secret', CLIENT_SECRET);
  const entry = `name: company, issuer: "${provider.url}", client-id: ${CLIENT_ID}`;
  const providers = `providers:\n  - {${entry}, client-secret-file: ${secret}}\n`;
  const port = await freePort();
  const server = await startServer(t, {
    args: [
      ...['--https-addr', `127.0.0.1:${port}`, '--https-cert', pair],
      ...['--login-providers', write('providers.yaml', providers)],
    ],
  });
  const rules = 'login=company;login-allow=@example.com';
  const upstream = `${HOST}=http://127.0.0.1:${await startUpstream(t)};${rules}`;
  await startClient(t, server, { args: ['--upstream', upstream] });
  const url = `https://${HOST}:${port}`;
  await provider.open([`${url}/.well-known/sluiceway/callback`]);
  const size = { width: 800, height: 600 };
  const watched = await openPage(browser, { ...size, trustsEveryCertificate: true });
  return { provider, url, watched };
}

async function logIn(page: Page, name: string): Promise<void> {
  await page.fill('input[name=login]', name);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
}

test('a person logs in with a browser, visits, logs out, and is kept out', async (t) => {
  const scene = await startScene(t);
  if (scene === undefined) return;
  const { provider, url, watched } = scene;
  const { page, context } = watched;

  await page.goto(`${url}/deep/page?x=1`);
  assert.ok(page.url().startsWith(`${provider.url}/interaction/`), page.url());
  await logIn(page, 'ann');
  await page.waitForURL(`${url}/deep/page?x=1`);
  assert.equal(await page.title(), 'Inside');
  assert.equal(await page.textContent('#where'), '/deep/page?x=1');
  // The upstream saw who it is, and no cookie.
  assert.match(await page.content(), /ann@example\.com undefined/u);

  const cookies = await context.cookies(url);
  const session = cookies.filter(({ name }) => SESSION.test(name));
  assert.equal(session.length, 1, JSON.stringify(cookies.map(({ name }) => name)));
  const [{ httpOnly, secure, sameSite, path: at, domain } = {}] = session;
  assert.deepEqual([httpOnly, secure, sameSite, at, domain], [true, true, 'Lax', '/', HOST]);
  assert.equal(await page.evaluate('document.cookie'), '');

  // Of the issuer's own pages, which want fonts of elsewhere.
  watched.complaints.length = 0;
  const fetched = (): Promise<unknown> => page.evaluate(`fetch('/api').then((it) => it.status)`);
  const told = (): Promise<unknown> =>
    page.evaluate(`new Promise((resolve) => {
      const socket = new WebSocket(location.origin.replace('https', 'wss') + '/live');
      socket.onmessage = (event) => resolve(event.data);
      socket.onerror = () => resolve('refused');
    })`);
  assert.equal(await fetched(), 200);
  assert.equal(await told(), 'ann');
  assert.deepEqual(watched.complaints, []);

  await context.clearCookies({ name: SESSION });
  assert.equal(await fetched(), 401);
  assert.equal(await told(), 'refused');

  // The issuer knows her still: without being asked she is inside again.
  await page.goto(`${url}/again`);
  assert.equal(await page.textContent('#where'), '/again');

  await page.goto(`${url}/.well-known/sluiceway/logout`);
  assert.equal(await page.textContent('h1'), 'Logged out');
  assert.deepEqual(
    (await context.cookies(url)).filter(({ name }) => SESSION.test(name)),
    [],
  );
  await page.click('text=Log in again');
  assert.ok(page.url().startsWith(`${provider.url}/interaction/`), page.url());
  await logIn(page, 'bob');
  await page.waitForURL(`${url}/`);
  assert.equal(await page.textContent('h1'), '403 Forbidden');
  assert.match(await page.content(), /this login may not visit this site/u);
  await page.click('text=Log out');
  assert.equal(await page.textContent('h1'), 'Logged out');

  await context.clearCookies();
  provider.stop();
  const down = await page.goto(`${url}/.well-known/sluiceway/callback?code=x&state=y`);
  assert.equal(down?.status(), 400);
  assert.match(await page.content(), /began in another browser/u);
});

test('while the issuer is down a person sees a page that says so', async (t) => {
  const scene = await startScene(t);
  if (scene === undefined) return;
  const { provider, url, watched } = scene;
  provider.stop();
  const answer = await watched.page.goto(url);
  assert.equal(answer?.status(), 503);
  assert.match(await watched.page.content(), /Nobody can log in at the moment/u);
});
