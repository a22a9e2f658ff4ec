// From nothing to a page over HTTPS, against Pebble: half of the nonces refused, slow validation,
// renewal, Pebble gone for a while, and every kind of challenge.

import assert from 'node:assert/strict';
import { chmodSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { get } from 'node:https';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { type Pebble, startPebble } from '../support/pebble.ts';
import { scratchFolder } from '../support/programs.ts';
import { startClient, startServer, type TestServer, TOKEN } from '../support/tunnel.ts';

const ISSUE_MS = 60_000;
const LOOPBACK = '127.0.0.1';

interface Site {
  readonly server: TestServer;
  readonly httpsPort: number;
  readonly pebble: Pebble;
  readonly dir: string;
}

async function startUpstream(t: TestContext): Promise<number> {
  const port = await freePort();
  const upstream = createServer((request, response) => {
    response.end(`hello ${request.headers['x-forwarded-proto']}`);
  }).listen(port, LOOPBACK);
  undoAfter(t, () => {
    upstream.closeAllConnections();
    upstream.close();
  });
  return port;
}

async function startSite(
  t: TestContext,
  pebble: Pebble,
  args: readonly string[],
  dir = scratchFolder(t),
): Promise<Site> {
  const httpsPort = pebble.tlsPort;
  const server = await startServer(t, {
    ports: { control: 0, http: pebble.httpPort, admin: 0 },
    args: [
      ...['--letsencrypt-issuer', pebble.directory, '--letsencrypt-ca-file', pebble.caFile],
      ...['--letsencrypt-dir', dir, '--https-addr', `${LOOPBACK}:${httpsPort}`],
      ...args,
    ],
  });
  return { server, httpsPort, pebble, dir };
}

interface Page {
  readonly status: number;
  readonly text: string;
  readonly hsts: string | undefined;
  readonly fingerprint: string;
}

/** A page, from a visitor that trusts Pebble's root and nobody else. */
async function visit({ httpsPort, pebble }: Site, host: string): Promise<Page> {
  const ca = await pebble.root();
  return new Promise((resolve, reject) => {
    const request = get(
      `https://${host}:${httpsPort}/`,
      { ca, agent: false, servername: host, lookup: toLoopback, headers: { host } },
      (answer) => {
        const { socket } = request;
        const peer = socket !== null && 'getPeerX509Certificate' in socket ? socket : undefined;
        const certificate = (
          peer as { getPeerX509Certificate?: () => { fingerprint256: string } | undefined }
        )?.getPeerX509Certificate?.();
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (piece: string) => {
          text += piece;
        });
        answer.on('end', () =>
          resolve({
            status: answer.statusCode ?? 0,
            text,
            hsts: answer.headers['strict-transport-security'],
            fingerprint: certificate?.fingerprint256 ?? '',
          }),
        );
      },
    );
    request.on('error', reject);
  });
}

type Found = (error: null, found: { address: string; family: number }[]) => void;

function toLoopback(_host: string, _options: object, found: Found): void {
  found(null, [{ address: LOOPBACK, family: 4 }]);
}

async function metric(server: TestServer, series: string): Promise<number> {
  const answer = await fetch(`http://${LOOPBACK}:${server.adminPort}/metrics`, {
    headers: { authorization: `Bearer ${TOKEN}`, connection: 'close' },
  });
  const line = (await answer.text()).split('\n').find((one) => one.startsWith(`${series} `));
  return line === undefined ? 0 : Number(line.slice(line.lastIndexOf(' ') + 1));
}

const orders = (site: Site, result: string): Promise<number> =>
  metric(site.server, `sluiceway_acme_orders_total{result="${result}"}`);

function served(site: Site, name: string): Promise<string> {
  return site.server.process.line(
    `a certificate for ${name}`,
    (line) => line.includes('"certificate in use"') && line.includes(`"${name}"`),
    ISSUE_MS,
  );
}

test('from nothing to a page over HTTPS, with half of the nonces refused', async (t) => {
  const pebble = await startPebble(t, { nonceRejects: 50, sleepSeconds: 2 });
  if (pebble === undefined) return;
  const site = await startSite(t, pebble, [
    ...['--letsencrypt-domain', 'a.test', '--letsencrypt-domain', 'b.test'],
    ...['--hsts', '600', '--https-redirect', '--letsencrypt-email', 'admin@a.test'],
  ]);
  const upstream = `http://${LOOPBACK}:${await startUpstream(t)}`;
  await startClient(t, site.server, {
    args: ['--upstream', `a.test=${upstream}`, '--upstream', `b.test=${upstream}`],
  });
  await served(site, 'a.test');
  await served(site, 'b.test');
  const page = await visit(site, 'a.test');
  assert.deepEqual([page.status, page.text, page.hsts], [200, 'hello https', 'max-age=600']);
  assert.equal((await visit(site, 'b.test')).text, 'hello https');
  const plain = await fetch(`http://${LOOPBACK}:${site.server.httpPort}/x?y`, {
    redirect: 'manual',
    headers: { connection: 'close' },
  });
  assert.equal(plain.status, 404, 'no tunnel for this host');
  assert.equal(await orders(site, 'ok'), 2);
  const notAfter = await metric(
    site.server,
    'sluiceway_certificate_not_after_seconds{name="a.test"}',
  );
  assert.ok(notAfter > Date.now() / 1000 + 80 * 24 * 3600);
  const [folder = ''] = readdirSync(site.dir);
  for (const file of readdirSync(path.join(site.dir, folder))) {
    const { mode } = statSync(path.join(site.dir, folder, file));
    assert.equal(mode & 0o777, 0o600, file);
    assert.doesNotMatch(file, /\.(?:lock|tmp|stale|broken)$/u);
  }
});

test('a valid certificate is used again, and nothing ordered, over five starts', async (t) => {
  const pebble = await startPebble(t);
  if (pebble === undefined) return;
  const dir = scratchFolder(t);
  const upstreamPort = await startUpstream(t);
  const first = await startSite(t, pebble, ['--letsencrypt-domain', 'a.test'], dir);
  await served(first, 'a.test');
  await first.server.process.stop();
  for (let start = 0; start < 5; start += 1) {
    const site = await startSite(t, pebble, ['--letsencrypt-domain', 'a.test'], dir);
    const args = ['--upstream', `a.test=http://${LOOPBACK}:${upstreamPort}`];
    const client = await startClient(t, site.server, { args });
    assert.equal((await visit(site, 'a.test')).status, 200);
    assert.equal(await orders(site, 'ok'), 0);
    await client.stop();
    await site.server.process.stop();
  }
  const ordered = pebble.process.stdout.filter((line) => line.includes('POST /order-plz'));
  assert.equal(ordered.length, 1);
});

test('proves a host over HTTP where a list turns the issuer and everybody away', async (t) => {
  const pebble = await startPebble(t);
  if (pebble === undefined) return;
  const site = await startSite(t, pebble, [
    ...['--letsencrypt-domain', 'a.test', '--allow-ips', '192.0.2.0/24'],
    ...['--deny-ips', '127.0.0.0/8'],
  ]);
  await served(site, 'a.test');
  assert.equal(await orders(site, 'ok'), 1);
  await assert.rejects(visit(site, 'a.test'), { code: 'ECONNRESET' });
  const path = '/.well-known/acme-challenge/x';
  await assert.rejects(fetch(`http://${LOOPBACK}:${site.server.httpPort}${path}`), TypeError);
  assert.equal(await metric(site.server, 'sluiceway_denied_total{list="visitors"}'), 2);
});

test('proves a host over TLS when there is no HTTP', async (t) => {
  const pebble = await startPebble(t);
  if (pebble === undefined) return;
  const challenge = ['--letsencrypt-challenge', 'tls-alpn-01'];
  const site = await startSite(t, pebble, ['--letsencrypt-domain', 'a.test', ...challenge]);
  await served(site, 'a.test');
  assert.equal((await visit(site, 'a.test')).status, 404, 'nobody serves it');
});

test('proves a wildcard with the DNS hook', async (t) => {
  const pebble = await startPebble(t);
  if (pebble === undefined) return;
  const hook = path.join(scratchFolder(t), 'hook.sh');
  const server = `http://${LOOPBACK}:${pebble.dnsManagementPort}`;
  writeFileSync(
    hook,
    `#!/bin/sh\nset -e\ncase "$ACTION" in\n` +
      `present) curl -sf -d "{\\"host\\":\\"$NAME.\\",\\"value\\":\\"$VALUE\\"}" ${server}/set-txt;;\n` +
      `cleanup) curl -sf -d "{\\"host\\":\\"$NAME.\\"}" ${server}/clear-txt;;\nesac\n`,
  );
  chmodSync(hook, 0o755);
  const site = await startSite(t, pebble, [
    ...['--letsencrypt-domain', '*.wild.test', '--letsencrypt-dns-hook', hook],
  ]);
  const upstream = `http://${LOOPBACK}:${await startUpstream(t)}`;
  await startClient(t, site.server, { args: ['--upstream', `x.wild.test=${upstream}`] });
  await served(site, '*.wild.test');
  assert.equal((await visit(site, 'x.wild.test')).text, 'hello https');
});

test('orders on demand for hosts that a client serves, and for no name that is asked', async (t) => {
  const pebble = await startPebble(t);
  if (pebble === undefined) return;
  const site = await startSite(t, pebble, ['--letsencrypt-on-demand', '*.demand.test']);
  const upstream = `http://${LOOPBACK}:${await startUpstream(t)}`;
  for (const host of ['y.demand.test', 'x.demand.test']) await assert.rejects(visit(site, host));
  await startClient(t, site.server, {
    args: ['--upstream', `x.demand.test=${upstream}`, '--upstream', `other.test=${upstream}`],
  });
  await served(site, 'x.demand.test');
  assert.equal((await visit(site, 'x.demand.test')).text, 'hello https');
  for (const host of ['y.demand.test', 'other.test']) await assert.rejects(visit(site, host));
  assert.equal(await orders(site, 'ok'), 1);
});

test('renews in time, and serves on while Pebble is gone', async (t) => {
  const pebble = await startPebble(t, { validitySeconds: 36 });
  if (pebble === undefined) return;
  const site = await startSite(t, pebble, ['--letsencrypt-domain', 'a.test']);
  const upstream = `http://${LOOPBACK}:${await startUpstream(t)}`;
  await startClient(t, site.server, { args: ['--upstream', `a.test=${upstream}`] });
  await served(site, 'a.test');
  const root = await pebble.root();
  const first = await visit(site, 'a.test');
  await pebble.process.stop();
  await site.server.process.line(
    'renewal fails',
    (line) => line.includes('SLW_ACME_UNREACHABLE') && line.includes('"warn"'),
    ISSUE_MS,
  );
  const meanwhile = await visit(
    { ...site, pebble: { ...pebble, root: async () => root } },
    'a.test',
  );
  assert.equal(meanwhile.fingerprint, first.fingerprint);
  await pebble.restart();
  await eventually(ISSUE_MS, 'a renewed certificate', async () => {
    const page = await visit(site, 'a.test');
    assert.notEqual(page.fingerprint, first.fingerprint);
  });
  assert.ok((await orders(site, 'unreachable')) > 0);
});
