// Goal: the dashboard in a real Chromium: a login where there must be one, numbers that move under
// load, nothing that a page complains of, nobody else that is asked, no serious fault for axe in
// light and dark, and pictures at three sizes. Method: a server, a client, three upstreams and
// visitors; SLUICEWAY_PICTURES names a folder to keep the pictures in, for docs/images.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Page } from 'playwright-core';
import { openPage, startBrowser } from '../support/browser.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startClient, startServer, type TestServer, TOKEN } from '../support/tunnel.ts';
import { connectTo, startEcho, startHttp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const PICTURES = process.env.SLUICEWAY_PICTURES;
/** For pictures: so that charts have something to show. */
const LOAD_MS = Number(process.env.SLUICEWAY_PICTURES_MS ?? 3000);
const HOSTS = ['shop.example.com', 'api.example.com', '*.preview.example.com'];
const VISITS = ['shop.example.com', 'api.example.com', 'pr-41.preview.example.com'];
const SIZES = [
  { name: 'phone', width: 390, height: 844 },
  { name: 'tablet', width: 820, height: 1180 },
  { name: 'desktop', width: 1440, height: 900 },
] as const;
/** A proxy on this machine says for whom it asks, who is then not this machine itself. */
const ELSEWHERE = { 'x-forwarded-for': '192.0.2.7' };
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const WAIT_MS = 15_000;

async function startScene(t: TestContext): Promise<TestServer> {
  const server = await startServer(t);
  const site = await startHttp(t, (request, response) => {
    request.resume();
    const isBad = request.url === '/bad';
    const bytes = 2000 + Math.floor(Math.random() * 30_000);
    const answer = () => response.writeHead(isBad ? 500 : 200).end(Buffer.alloc(bytes, 'x'));
    setTimeout(answer, Math.random() ** 4 * 60);
  });
  const echo = await startEcho(t);
  const tcpPort = await freePort();
  const upstreams = HOSTS.flatMap((host) => ['--upstream', `${host}=http://${LOOPBACK}:${site}`]);
  await startClient(t, server, {
    args: [...upstreams, '--id', 'shop-frankfurt-1', '--tcp', `${tcpPort}=${LOOPBACK}:${echo}`],
  });
  await startClient(t, server, {
    args: [...upstreams.slice(0, 2), '--id', 'shop-frankfurt-2'],
  });
  const socket = await connectTo(t, tcpPort);
  socket.on('data', () => {});
  const pinging = setInterval(() => socket.write(Buffer.alloc(8000)), 100);
  undoAfter(t, () => clearInterval(pinging));
  return server;
}

/** Visitors who come until the test is over: more and fewer of them, as on a real day. */
function visit(t: TestContext, { httpPort }: TestServer): void {
  let state: 'open' | 'over' = 'open';
  let count = 0;
  const agent = new http.Agent({ keepAlive: true });
  const one = async (): Promise<void> => {
    while (state === 'open') {
      count += 1;
      const host = VISITS[Math.floor(Math.random() ** 2 * VISITS.length)] ?? HOSTS[0] ?? '';
      const target = { port: httpPort, path: count % 400 === 7 ? '/bad' : '/' };
      const headers = { host };
      const request = http.get({ host: LOOPBACK, ...target, headers, agent });
      const [response] = (await once(request, 'response')) as [http.IncomingMessage];
      await once(response.resume(), 'end');
      await sleep(20 + 25 * (1 + Math.sin(performance.now() / 9000)));
    }
  };
  const all = Promise.all(Array.from({ length: 4 }, one));
  undoAfter(t, () => agent.destroy());
  undoAfter(t, async () => {
    state = 'over';
    await all;
  });
}

/** A tile's number. */
async function figure(page: Page, id: string): Promise<string> {
  return (await page.locator(`#${id}`).textContent()) ?? '';
}

/** Asked from outside: the page's own policy forbids what would be evaluated in it. */
async function untilFigure(page: Page, id: string, pattern: RegExp): Promise<void> {
  await eventually(WAIT_MS, `#${id} is ${pattern}`, async () => {
    assert.match(await figure(page, id), pattern);
  });
}

interface Violation {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string }[];
}

async function seriousFaults(page: Page): Promise<string[]> {
  // Through the debugger, which the page's own policy does not hold for.
  await page.evaluate(AXE);
  const found = (await page.evaluate('axe.run()')) as { readonly violations: Violation[] };
  return found.violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`);
}

async function picture(page: Page, name: string): Promise<void> {
  if (PICTURES === undefined) return;
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: path.join(PICTURES, `${name}.png`), fullPage: true });
}

/** Nothing may be wider than the screen, but what scrolls by itself. */
async function isTooWide(page: Page): Promise<boolean> {
  return page.evaluate('document.documentElement.scrollWidth > window.innerWidth');
}

async function look(browser: Browser, url: string, size: (typeof SIZES)[number]): Promise<void> {
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page, context, complaints, hosts } = await openPage(browser, { ...size, colorScheme });
    await page.goto(url);
    await untilFigure(page, 'requests', /[1-9]/u);
    if (PICTURES !== undefined) await sleep(LOAD_MS);
    await picture(page, `dashboard-${size.name}${colorScheme === 'dark' ? '-dark' : ''}`);
    assert.deepEqual(await seriousFaults(page), [], `${size.name}, ${colorScheme}`);
    assert.equal(await isTooWide(page), false, `${size.name} scrolls sideways`);
    assert.deepEqual([...hosts], [new URL(url).host]);
    assert.deepEqual(complaints, []);
    await context.close();
  }
}

test('numbers move under load, at three sizes, in light and dark', async (t) => {
  const browser = await startBrowser(t);
  if (browser === undefined) return;
  const server = await startScene(t);
  const url = `http://${LOOPBACK}:${server.adminPort}/`;
  const { page, complaints } = await openPage(browser, { width: 1440, height: 900 });
  await page.goto(url);
  await untilFigure(page, 'requests', /^0/u);
  await untilFigure(page, 'clients-figure', /^2$/u);
  assert.equal(await figure(page, 'latency'), '–', 'what was not measured is no number');
  assert.equal(await page.locator('#logout').isHidden(), true, 'there is no session to end');
  visit(t, server);
  await untilFigure(page, 'requests', /[1-9]/u);
  await untilFigure(page, 'latency', /ms$/u);
  await page.locator('#tunnels tbody th', { hasText: 'api.example.com' }).waitFor();
  await page.locator('#clients tbody th', { hasText: 'shop-frankfurt-2' }).waitFor();
  await eventually(WAIT_MS, 'four charts are drawn', async () => {
    assert.equal(await page.locator('#charts canvas').count(), 4);
  });
  assert.deepEqual(complaints, []);
  await page.context().close();
  await Promise.all(SIZES.map((size) => look(browser, url, size)));
});

test('the inspector shows a request and repeats it', async (t) => {
  const browser = await startBrowser(t);
  if (browser === undefined) return;
  const server = await startServer(t, { args: ['--inspect', '*', '--inspect-body-max', '64KiB'] });
  const seen: string[] = [];
  const site = await startHttp(t, (request, response) => {
    seen.push(`${request.method} ${request.url} ${request.headers.authorization}`);
    request.resume();
    const answer = JSON.stringify({ order: 4711, state: 'paid', lines: 3 }, undefined, 2);
    response.setHeader('content-type', 'application/json');
    response.setHeader('set-cookie', 'sid=hidden; HttpOnly');
    response.writeHead(request.url === '/bad' ? 500 : 200).end(answer);
  });
  const upstream = ['--upstream', `shop.example.com=http://${LOOPBACK}:${site}`];
  await startClient(t, server, { args: upstream });
  const ask = async (method: string, target: string, body = ''): Promise<void> => {
    const headers = {
      ...{ host: 'shop.example.com', authorization: 'Bearer hidden', accept: 'application/json' },
      ...{ 'user-agent': 'shop-app/3.2', 'content-length': body.length },
    };
    const at = { host: LOOPBACK, port: server.httpPort, path: target, method, headers };
    const request = http.request({ ...at, agent: false });
    request.end(body);
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    await once(response.resume(), 'end');
  };
  for (const target of ['/', '/cart', '/orders/4711?token=hidden', '/bad'])
    await ask('GET', target);
  await ask('POST', '/orders', '{"article":"A-17","count":2}');
  const size = { width: 1440, height: 900 };
  const { page, complaints } = await openPage(browser, size);
  await page.goto(`http://${LOOPBACK}:${server.adminPort}/`);
  await page.locator('#to-requests').click();
  await page.locator('#requests-view tbody th', { hasText: '/cart' }).waitFor();
  assert.deepEqual(await seriousFaults(page), []);
  await page.locator('#requests-view tbody th a', { hasText: 'POST /orders' }).click();
  await page.locator('.detail pre', { hasText: 'A-17' }).waitFor();
  await page.locator('.detail dd', { hasText: 'Bearer •••' }).waitFor();
  assert.deepEqual(await seriousFaults(page), []);
  await picture(page, 'inspector-desktop');
  const before = seen.length;
  await page.locator('.detail button', { hasText: 'Replay' }).click();
  await page.locator('.detail dt', { hasText: 'Replay of' }).waitFor();
  assert.deepEqual(seen.slice(before), ['POST /orders Bearer hidden']);
  assert.doesNotMatch(await page.content(), /hidden;|Bearer hidden|token=hidden/u);
  await page.setViewportSize({ width: 390, height: 844 });
  assert.equal(await isTooWide(page), false);
  await picture(page, 'inspector-phone');
  await page.locator('.detail a', { hasText: 'Close' }).click();
  // The page hears of its new address in a task of its own, after the click.
  await page.locator('.detail').waitFor({ state: 'hidden' });
  assert.deepEqual(complaints, []);
});

test('a request that is read stays while its shard is busy, and goes when it is gone', async (t) => {
  const browser = await startBrowser(t);
  if (browser === undefined) return;
  const server = await startServer(t, { args: ['--inspect', '*', '--inspect-body-max', '64KiB'] });
  const site = await startHttp(t, (_request, response) => response.end('to be read'));
  const upstream = ['--upstream', `shop.example.com=http://${LOOPBACK}:${site}`];
  await startClient(t, server, { args: upstream });
  const headers = { host: 'shop.example.com' };
  const at = { host: LOOPBACK, port: server.httpPort, path: '/cart', headers };
  const [response] = (await once(http.get(at), 'response')) as [http.IncomingMessage];
  await once(response.resume(), 'end');
  const { page } = await openPage(browser, { width: 1440, height: 900 });
  await page.goto(`http://${LOOPBACK}:${server.adminPort}/#/requests`);
  await page.locator('#requests-view tbody th a', { hasText: '/cart' }).click();
  const body = page.locator('.detail pre', { hasText: 'to be read' });
  await body.waitFor();
  // Of this very node: one that is drawn anew is another.
  const node = await body.elementHandle();
  const failWith = (status: number, problem: string) =>
    page.route('**/api/requests/*', (route) => route.fulfill({ status, json: { problem } }));
  await failWith(504, 'its shard does not answer');
  const note = page.locator('#requests-view p', { hasText: 'No answer: its shard' });
  await note.waitFor();
  assert.equal(await node?.isVisible(), true);
  await page.unroute('**/api/requests/*');
  await note.waitFor({ state: 'detached' });
  assert.equal(await node?.isVisible(), true);
  await failWith(404, 'not kept');
  await page.locator('.detail p', { hasText: 'no longer kept' }).waitFor();
  assert.equal(await node?.isVisible(), false);
});

test('from elsewhere a token is asked for, and a session ends when it is told to', async (t) => {
  const browser = await startBrowser(t);
  if (browser === undefined) return;
  const server = await startServer(t, { shards: 1 });
  const url = `http://${LOOPBACK}:${server.adminPort}/`;
  const size = SIZES[2];
  const { page, context, complaints } = await openPage(browser, { ...size, headers: ELSEWHERE });
  await page.goto(url);
  assert.equal(new URL(page.url()).pathname, '/login');
  assert.deepEqual(await seriousFaults(page), []);
  await picture(page, 'dashboard-login');
  await page.fill('#token', 'wrong');
  await page.press('#token', 'Enter');
  await page.locator('[role=alert]').waitFor();
  assert.deepEqual(await seriousFaults(page), []);
  // The refusal itself.
  assert.equal(complaints.filter((text) => !text.includes('401')).length, 0, complaints.join());
  await page.fill('#token', TOKEN);
  await page.press('#token', 'Enter');
  await untilFigure(page, 'requests', /^0/u);
  const [cookie] = await context.cookies();
  assert.deepEqual([cookie?.httpOnly, cookie?.sameSite], [true, 'Strict']);
  await page.locator('#logout button').click();
  await page.waitForURL('**/login');
  await page.goto(url);
  assert.equal(new URL(page.url()).pathname, '/login');
  const events = await page.request.get(`${url}api/events`);
  assert.equal(events.status(), 401);
});
