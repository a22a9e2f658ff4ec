// Goal: what control remembers of hosts on demand is bounded as their certificates are. Method:
// nobody is served when time passes, so that nothing is ordered; who is asked about says what is
// remembered.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, utimesSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { VisitorTls } from '../../src/control/visitor-tls.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';

/** As `Orders` has it. */
const NAMES_MAX = 1000;
const WAIT_MS = 5000;

function createTls(t: TestContext, names: Partial<Record<'files' | 'domains', string[]>> = {}) {
  const served = new Set<string>();
  const asked: string[] = [];
  const clock = new FakeClock();
  const dir = scratchFolder(t);
  const letsEncrypt = {
    domains: names.domains ?? [],
    onDemand: ['*.test'],
    issuer: 'https://ca.test/dir',
    dir,
    challenge: 'auto',
  } as const;
  const addr = { host: '127.0.0.1', port: 0 };
  const certificates = (names.files ?? []).map((name) => ({ name, cert: '', key: '' }));
  const tls = new VisitorTls({
    config: { addr, certificates, redirect: false, hstsMaxAgeSeconds: 0, letsEncrypt },
    hasHttp: true,
    bridges: () => [],
    isServed: (tunnel) => {
      asked.push(tunnel);
      return served.has(tunnel);
    },
    dnsHook: undefined,
    agent: 'test',
    reloads: new Map(),
    log: new LogLines('control').log,
    clock,
  });
  undoAfter(t, () => tls.stop());
  const serve = (tunnel: string): void => {
    served.add(tunnel);
    tls.onTunnel(tunnel);
  };
  return { served, asked, serve, tls, clock, dir };
}

test('a host beyond a thousand is not remembered, and has its place once there is one', (t) => {
  const { served, asked, serve } = createTls(t);
  for (let count = 0; count < NAMES_MAX; count += 1) serve(`n${count}.test`);
  const isOfLate = (tunnel: string): boolean => tunnel.startsWith('late.test');
  for (const path of ['/a', '/b', '/c']) serve(`late.test${path}`);
  assert.deepEqual(asked.filter(isOfLate), []);
  served.delete('n0.test');
  for (const path of ['/d', '/e']) serve(`late.test${path}`);
  assert.deepEqual(asked.filter(isOfLate), ['late.test/d'], 'one that has a place is');
});

test('what is left of a name that nobody serves goes six hours after the start', async (t) => {
  const { tls, clock, dir } = createTls(t);
  await tls.load();
  const [folder = ''] = readdirSync(dir);
  const file = path.join(dir, folder, 'n0.test.orders');
  writeFileSync(file, '[]');
  utimesSync(file, 1, 1);
  tls.start();
  clock.advance(6 * 3_600_000);
  await eventually(WAIT_MS, 'it is removed', async () => assert.ok(!existsSync(file)));
});

test('only hosts whose TLS ends here, and that may be in a certificate, are visited', async (t) => {
  const { served, asked, serve, clock } = createTls(t);
  for (const tunnel of ['tls:a.test', 'tls:*.test', 'a_b.test', '*.test', '*', 'b.test/c']) {
    serve(tunnel);
  }
  served.clear();
  clock.advance(0);
  await eventually(WAIT_MS, 'the visits', async () => assert.ok(asked.includes('b.test/c')));
  assert.deepEqual(new Set(asked), new Set(['b.test/c']));
});

test('a tunnel is reached by HTTPS when its name has a certificate, or will have one', (t) => {
  const files = ['shop.example', '*.wild.example'];
  const { tls } = createTls(t, { files, domains: ['www.example'] });
  const isFor = (tunnel: string): boolean => tls.isFor(tunnel);
  const right = ['shop.example', 'shop.example/api', 'a.wild.example', '*.wild.example'];
  assert.deepEqual(
    [...right, 'www.example', 'any.test'].filter((name) => !isFor(name)),
    [],
  );
  const none = [
    '*',
    'other.example',
    'a.b.wild.example',
    'wild.example',
    '*.www.example',
    '*.test',
  ];
  assert.deepEqual(
    [...none, 'tls:shop.example', 'tls:a.wild.example', 'tcp:443', 'a_b.test'].filter(isFor),
    [],
  );
});
