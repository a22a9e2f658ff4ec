// Goal: the admin address answers its own people and no page that a browser was sent here by.
// Method: a real listener, requests with every header that gives a foreign page away.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import { connect } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import type { PlainRequest } from '../../src/bridge/exit-messages.ts';
import { openAdminPort } from '../../src/control/admin-port.ts';
import { Answers } from '../../src/control/answers.ts';
import { Dashboard } from '../../src/control/dashboard.ts';
import { RequestInspector } from '../../src/control/inspector.ts';
import { LogLines } from '../support/log-lines.ts';
import { sendRaw } from '../support/upstream.ts';

const INSPECT_OFF = { tunnels: [], requestsMax: 1, bodyBytesMax: 0 };

interface Seen {
  readonly request: PlainRequest;
  readonly isTrusted: boolean;
}

/** Notes what it was asked. */
class NotingAnswers extends Answers {
  readonly seen: Seen[] = [];
  failure: Error | undefined;

  constructor() {
    super({
      judge: () => 'refused',
      isReady: () => true,
      isServed: () => false,
      status: () => Promise.reject(new Error('not asked')),
      metrics: async () => ({ contentType: 'text/plain', text: 'page\n' }),
      onAnswer: () => {},
    });
  }

  override async answer(request: PlainRequest, isTrusted: boolean) {
    this.seen.push({ request, isTrusted });
    if (this.failure !== undefined) throw this.failure;
    return super.answer(request, isTrusted);
  }
}

function createDashboard(log: LogLines): Dashboard {
  return new Dashboard({
    judge: () => 'refused',
    mayLook: () => false,
    look: () => Promise.reject(new Error('not asked')),
    inspector: new RequestInspector({ bridges: () => [], settings: () => INSPECT_OFF }),
    clock: systemClock,
    log: log.log,
  });
}

async function startAdmin(t: TestContext) {
  const answers = new NotingAnswers();
  const log = new LogLines('control');
  const dashboard = createDashboard(log);
  const at = { host: '127.0.0.1', port: 0 };
  const admin = await openAdminPort({ ...at, answers, dashboard, log: log.log });
  t.after(() => admin.close());
  return { answers, log, port: admin.port, admin };
}

function ask(port: number, headers: Record<string, string>, method = 'GET', path = '/metrics') {
  return new Promise<{ status: number; body: string }>((resolve, reject) => {
    const request = http.request(
      { host: '127.0.0.1', port, path, method, headers, agent: false },
      (response) => {
        let body = '';
        response.setEncoding('utf8').on('data', (text: string) => {
          body += text;
        });
        response.once('end', () => resolve({ status: response.statusCode ?? 0, body }));
      },
    );
    request.once('error', reject);
    request.end();
  });
}

test('answers on addresses and localhost, trusting loopback', async (t) => {
  const { answers, port } = await startAdmin(t);
  for (const host of [`127.0.0.1:${port}`, 'localhost', '[::1]:9123', '10.1.2.3', '[fe80::1]']) {
    assert.deepEqual(await ask(port, { host }), { status: 200, body: 'page\n' }, host);
  }
  assert.ok(answers.seen.every(({ isTrusted }) => isTrusted));
  assert.equal((await ask(port, { host: 'localhost' }, 'HEAD')).body, '');
});

test('refuses what a foreign page could make a browser send, before anything is asked', async (t) => {
  const { answers, port } = await startAdmin(t);
  const own = `127.0.0.1:${port}`;
  const foreign: readonly Record<string, string>[] = [
    { host: 'evil.example' },
    { host: 'localhost.evil.example' },
    { host: '127.0.0.1.evil.example' },
    { host: 'evil.example:9123' },
    { host: own, origin: 'http://evil.example' },
    { host: own, origin: 'null' },
    { host: own, origin: `https://${own}` },
    { host: own, 'sec-fetch-site': 'cross-site' },
    { host: own, 'sec-fetch-site': 'same-site' },
  ];
  for (const headers of foreign) {
    assert.equal((await ask(port, headers)).status, 403, JSON.stringify(headers));
  }
  const nameless = 'GET / HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n';
  assert.match(await sendRaw(port, Buffer.from(nameless)), /^HTTP\/1.1 40[03] /);
  assert.deepEqual(answers.seen, []);
  for (const site of ['same-origin', 'none']) {
    const headers = { host: own, origin: `http://${own}`, 'sec-fetch-site': site };
    assert.equal((await ask(port, headers)).status, 200, site);
  }
});

test('a link from elsewhere leads to the page, and nowhere else', async (t) => {
  const { answers, port } = await startAdmin(t);
  const host = `127.0.0.1:${port}`;
  const link = { host, 'sec-fetch-mode': 'navigate', 'sec-fetch-dest': 'document' };
  const proxied = { ...link, 'x-forwarded-for': '192.0.2.9' };
  for (const site of ['cross-site', 'same-site']) {
    const followed = { ...link, 'sec-fetch-site': site };
    assert.equal((await ask(port, followed, 'GET', '/?from=wiki')).status, 200, site);
    assert.equal((await ask(port, followed, 'HEAD', '/login')).status, 200, site);
    const away = await ask(port, { ...proxied, 'sec-fetch-site': site }, 'GET', '/');
    assert.equal(away.status, 303, 'to the login');
    for (const [target, method, more] of [
      ['/', 'POST', {}],
      ['/login', 'POST', {}],
      ['/logout', 'POST', {}],
      ['/metrics', 'GET', {}],
      ['/api/requests', 'GET', {}],
      ['/assets/app.js', 'GET', {}],
      ['/', 'GET', { 'sec-fetch-dest': 'iframe' }],
      ['/', 'GET', { 'sec-fetch-mode': 'no-cors' }],
      ['/', 'GET', { 'sec-fetch-mode': 'no-cors', 'sec-fetch-dest': 'image' }],
      ['/', 'GET', { 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' }],
      ['/', 'GET', { origin: 'http://evil.example' }],
      ['/', 'GET', { host: 'evil.example' }],
    ] as const) {
      const { status } = await ask(port, { ...followed, ...more }, method, target);
      assert.equal(status, 403, `${method} ${target} ${JSON.stringify(more)}`);
    }
  }
  assert.deepEqual(answers.seen, []);
});

test('a failing answer is 500 without a word of it, and logged', async (t) => {
  const { answers, log, port } = await startAdmin(t);
  answers.failure = new Error('secret detail');
  assert.deepEqual(await ask(port, { host: 'localhost' }), { status: 500, body: '' });
  await log.line('admin answer failed');
});

test('who was accepted before a successor has the address is answered', async (t) => {
  const { port, admin } = await startAdmin(t);
  const visitor = connect(port, '127.0.0.1');
  t.after(() => visitor.destroy());
  // Accepted behind it, so that it was, too.
  await once(visitor, 'connect');
  assert.equal((await ask(port, {})).status, 200);
  admin.leave();
  const heard = visitor.setEncoding('latin1').toArray();
  visitor.write('GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.match((await heard).join(''), /^HTTP\/1.1 200 .*connection: close/isu);
  await assert.rejects(ask(port, {}), { code: 'ECONNREFUSED' });
});

test('who asks for an upgrade is answered as anybody', async (t) => {
  const { port } = await startAdmin(t);
  const upgrade = { connection: 'upgrade', upgrade: 'websocket', host: 'localhost' };
  assert.deepEqual(await ask(port, upgrade), { status: 200, body: 'page\n' });
});

test('garbage is refused', async (t) => {
  const { port } = await startAdmin(t);
  assert.match(await sendRaw(port, Buffer.alloc(70_000, 0x41)), /^HTTP\/1.1 4/);
});

test('a port in use is refused, naming the option', async (t) => {
  const { port } = await startAdmin(t);
  const answers = new NotingAnswers();
  const log = new LogLines('control');
  const dashboard = createDashboard(log);
  const opening = openAdminPort({ host: '127.0.0.1', port, answers, dashboard, log: log.log });
  await assert.rejects(opening, (error: Error & { code: string }) => {
    assert.equal(error.code, 'SLW_LISTEN_FAILED');
    assert.match(error.message, /--admin-addr/);
    return true;
  });
});
