// Goal: what changes while a server starts, behind the reading of a file and before anybody follows
// it, is noticed: a token revoked then would stay good without end. Method: each part that follows
// files, with a change between its loading and its watch; the clock is moved by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ServerReading } from '../../src/config/config.ts';
import { CertificateFiles } from '../../src/control/certificate-files.ts';
import { ConfigReload } from '../../src/control/config-reload.ts';
import { openControlTls } from '../../src/control/control-tls.ts';
import { LoginDesk } from '../../src/control/login-desk.ts';
import { undoAfter } from '../support/cleanup.ts';
import { PAIR_A, PAIR_B } from '../support/test-pairs.ts';
import { FileBench, readNow, tokensOf } from './file-bench.ts';

test('a token that is revoked then opens nothing', async (t) => {
  const bench = new FileBench(t);
  const access = bench.access(t, bench.put('tokens.yaml', tokensOf('alpha', 'beta')));
  await access.load();
  bench.put('tokens.yaml', tokensOf('alpha'));
  await access.watch();
  const attempt = { authorization: 'Bearer beta', remoteAddress: '127.0.0.1:1' };
  await bench.until('beta is refused', () => assert.equal(access.identify(attempt), 'refused'));
});

test('a certificate of the operator’s that is changed then is used', async (t) => {
  const bench = new FileBench(t);
  const { clock, log, reloads } = bench;
  const cert = bench.put('cert.pem', PAIR_A.cert);
  const key = bench.put('key.pem', PAIR_A.key);
  const used: string[] = [];
  const files = new CertificateFiles({
    ...{ entries: [{ name: 'a.test', cert, key }], clock, log, reloads },
    onPair: (pair) => used.push(pair.cert),
  });
  undoAfter(t, () => files.close());
  await files.load();
  bench.put('cert.pem', PAIR_B.cert);
  bench.put('key.pem', PAIR_B.key);
  await files.watch();
  await bench.until('the other one is used', () => assert.equal(used.at(-1), PAIR_B.cert));
});

test('a certificate of the control port that is changed then is used', async (t) => {
  const bench = new FileBench(t);
  const { clock, log } = bench;
  const tlsCert = bench.put('cert.pem', PAIR_A.cert);
  const tlsKey = bench.put('key.pem', PAIR_A.key);
  const tls = await openControlTls({ config: { tlsCert, tlsKey }, clock, log });
  undoAfter(t, () => tls.close());
  bench.put('cert.pem', PAIR_B.cert);
  bench.put('key.pem', PAIR_B.key);
  const told: string[] = [];
  await tls.watch(({ cert }) => told.push(cert));
  await bench.until('the other one is told', () => assert.equal(told.at(-1), PAIR_B.cert));
});

test('a login provider that is removed then is none', async (t) => {
  const bench = new FileBench(t);
  const { clock, log, reloads } = bench;
  const secret = bench.put('secret', 'secret-of-the-application-0123456789\n');
  const provider = (name: string): string =>
    `  - name: ${name}\n    kind: github\n    client-id: x\n    client-secret-file: ${secret}\n`;
  const file = bench.put('logins.yaml', `providers:\n${provider('one')}${provider('two')}`);
  const desk = new LoginDesk({ file, bridges: () => [], reloads, clock, log });
  undoAfter(t, () => desk.close());
  await desk.load();
  bench.put('logins.yaml', `providers:\n${provider('one')}`);
  await desk.watch();
  await bench.until('it is none', () => assert.ok(!desk.hasProvider('two')));
  assert.ok(desk.hasProvider('one'));
});

test('a list of addresses that is changed then is taken over, and once', async (t) => {
  const bench = new FileBench(t);
  const { clock, log, reloads } = bench;
  const list = bench.put('clients', '192.0.2.0/24\n');
  const config = bench.put('config.yaml', `control-allow-ips: "@${list}"\n`);
  const source = { started: readNow(config), read: () => readNow(config) };
  const applied: unknown[] = [];
  const apply = (now: ServerReading['config']): number => applied.push(now.controlAllowIps);
  const reload = new ConfigReload({ source, clock, log, reloads, apply });
  undoAfter(t, () => reload.close());
  bench.put('clients', '198.51.100.0/24\n');
  await reload.watch();
  await bench.until('it is taken over', () => assert.equal(applied.length, 1));
  assert.match(JSON.stringify(applied[0]), /198\.51\.100\.0/u);
  assert.deepEqual(Object.fromEntries(reloads), { ok: 1 });
});

test('a configuration that nobody has changed is not read again', async (t) => {
  const bench = new FileBench(t);
  const { clock, log, reloads } = bench;
  const config = bench.put('config.yaml', 'drain-delay: 1s\n');
  const source = { started: readNow(config), read: () => readNow(config) };
  const reload = new ConfigReload({ source, clock, log, reloads, apply: () => {} });
  undoAfter(t, () => reload.close());
  await reload.watch();
  assert.equal(reloads.size, 0);
});
