// Goal: a server's CA is believed when it is pinned, known or new, and refused with a message that
// says which server, what is wrong and what to do. Method: real TLS servers on loopback.

import assert from 'node:assert/strict';
import { createHash, X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, readFileSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { SluicewayError } from '../../src/base/errors.ts';
import { Masked } from '../../src/base/masked.ts';
import { KnownServers } from '../../src/client/known-servers.ts';
import { fetchServerCa, type ServerCa } from '../../src/client/server-ca.ts';
import type { TrustConfig } from '../../src/config/config.ts';
import { undoAfter } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { startPassingProxy } from '../support/passing-proxy.ts';
import { DAY_MS, leafOf, newAuthority, serveCa } from '../support/private-pki.ts';
import { scratchFolder } from '../support/programs.ts';
import { startRefusingProxy } from '../support/refusing-proxy.ts';

function fingerprintOf(cert: string): string {
  return `sha256:${createHash('sha256').update(new X509Certificate(cert).raw).digest('hex')}`;
}

class Bench {
  readonly knownServers: string;

  constructor(t: TestContext) {
    this.knownServers = path.join(scratchFolder(t), 'state', 'known-servers');
  }

  fetch(port: number, more: Partial<TrustConfig> = {}, host = '127.0.0.1'): Promise<ServerCa> {
    const trust: TrustConfig = {
      autoTls: 'on',
      fingerprints: [],
      knownServers: this.knownServers,
      ...more,
    };
    return fetchServerCa({ url: `wss://${host}:${port}/connect`, trust, clock: systemClock });
  }

  async refusal(...args: Parameters<Bench['fetch']>): Promise<string> {
    try {
      await this.fetch(...args);
    } catch (error) {
      assert.ok(error instanceof SluicewayError, String(error));
      assert.equal(error.code, 'SLW_TLS_REFUSED', error.message);
      return error.message;
    }
    return assert.fail('was not refused');
  }
}

test('a new server is remembered, and the same CA accepted from then on', async (t) => {
  const bench = new Bench(t);
  const ca = await newAuthority();
  const port = await serveCa(t, await leafOf(ca), ca.cert);
  const first = await bench.fetch(port);
  assert.deepEqual(first, { ca: ca.cert, fingerprint: fingerprintOf(ca.cert), isNew: true });
  const lines = readFileSync(bench.knownServers, 'utf8').split('\n');
  assert.equal(lines[1], `127.0.0.1:${port} ${first.fingerprint}`);
  assert.equal(statSync(bench.knownServers).mode & 0o777, 0o600);
  assert.equal((await bench.fetch(port)).isNew, false);
  assert.equal(readFileSync(bench.knownServers, 'utf8').split('\n').length, lines.length);
});

test('a changed CA is refused: server, both fingerprints, file, line, way out', async (t) => {
  const bench = new Bench(t);
  const [ca, other] = await Promise.all([newAuthority(), newAuthority()]);
  const port = await serveCa(t, await leafOf(ca), ca.cert);
  await new KnownServers(bench.knownServers).remember('other.example:1', 'sha256:00');
  await new KnownServers(bench.knownServers).remember(
    `127.0.0.1:${port}`,
    fingerprintOf(other.cert),
  );
  const message = await bench.refusal(port);
  assert.ok(message.startsWith(`127.0.0.1:${port}: its CA has changed`), message);
  assert.ok(
    message.includes(fingerprintOf(ca.cert)) && message.includes(fingerprintOf(other.cert)),
  );
  assert.ok(message.includes(`${bench.knownServers} line 3`), message);
  assert.match(message, /remove that line$/);
});

test('a line that names the server and cannot be read is not "unknown"', async (t) => {
  const bench = new Bench(t);
  const ca = await newAuthority();
  const port = await serveCa(t, await leafOf(ca), ca.cert);
  mkdirSync(path.dirname(bench.knownServers), { recursive: true });
  writeFileSync(bench.knownServers, `127.0.0.1:${port}\n`);
  assert.match(await bench.refusal(port), /its CA has changed/);
});

test('a pin accepts that CA alone, and remembers nothing', async (t) => {
  const bench = new Bench(t);
  const ca = await newAuthority();
  const port = await serveCa(t, await leafOf(ca), ca.cert);
  const fingerprints = [fingerprintOf(ca.cert)];
  assert.equal((await bench.fetch(port, { fingerprints })).isNew, false);
  assert.throws(() => statSync(bench.knownServers), /ENOENT/);
  const wrong = `sha256:${'0'.repeat(64)}`;
  const message = await bench.refusal(port, { fingerprints: [wrong] });
  assert.ok(message.includes(wrong) && message.includes(fingerprints[0] ?? '-'), message);
});

test('a CA that did not sign the server itself counts for nothing', async (t) => {
  const bench = new Bench(t);
  const [ca, other] = await Promise.all([newAuthority(), newAuthority()]);
  const port = await serveCa(t, await leafOf(other), ca.cert);
  const fingerprints = [fingerprintOf(ca.cert)];
  assert.match(await bench.refusal(port, { fingerprints }), /not signed by the CA that it offers/);
  assert.match(await bench.refusal(port), /not signed by the CA that it offers/);
  assert.throws(() => statSync(bench.knownServers), /ENOENT/);
});

test('an expired leaf, one of the future and a wrong name are each told apart', async (t) => {
  const bench = new Bench(t);
  const ca = await newAuthority();
  const old = await leafOf(ca, { madeMs: Date.now() - 100 * DAY_MS });
  assert.match(await bench.refusal(await serveCa(t, old, ca.cert)), /its certificate expired on /);
  const early = await leafOf(ca, { madeMs: Date.now() + 5 * DAY_MS });
  const future = await bench.refusal(await serveCa(t, early, ca.cert));
  assert.match(future, /its certificate is valid from .* only: check the clocks/);
  const named = await leafOf(ca, { names: ['exit.example.com', '192.0.2.1'] });
  const wrong = await bench.refusal(await serveCa(t, named, ca.cert));
  assert.match(wrong, /its certificate is for exit\.example\.com, 192\.0\.2\.1, and not for/);
  assert.match(wrong, /--auto-tls-san/);
  assert.throws(() => statSync(bench.knownServers), /ENOENT/);
});

test('what is no CA is refused: none, noise, a leaf, two, too much', async (t) => {
  const bench = new Bench(t);
  const ca = await newAuthority();
  const leaf = await leafOf(ca);
  const none = await serveCa(t, leaf, 'gone', 404);
  assert.match(await bench.refusal(none), /it has no CA at .*--no-auto-tls/);
  for (const body of ['', 'noise', leaf.cert, `${ca.cert}${ca.cert}`, `${ca.cert}${leaf.key}`]) {
    const port = await serveCa(t, leaf, body);
    assert.match(await bench.refusal(port), /is not the certificate of a CA/);
  }
  const much = await serveCa(t, leaf, ca.cert + ' '.repeat(100_000));
  await assert.rejects(bench.fetch(much), { code: 'SLW_DIAL_FAILED' });
  const busy = await serveCa(t, leaf, ca.cert, 503);
  await assert.rejects(bench.fetch(busy), { code: 'SLW_DIAL_FAILED' });
});

test('what a proxy answers is its own, and nobody there is not the server', async (t) => {
  const bench = new Bench(t);
  const via = (proxy: string) => ({
    proxies: { 'wss://127.0.0.1:8123/connect': new Masked(proxy) },
  });
  const statuses = [
    [403, /the proxy http:\/\/127\.0\.0\.1:\d+ answered 403: it lets nobody through/],
    [404, /the proxy http:\/\/127\.0\.0\.1:\d+ answered 404: can it reach the server/],
    [407, /answered 407: give it a login/],
  ] as const;
  for (const [status, message] of statuses) {
    const proxy = await startRefusingProxy(t, status);
    await assert.rejects(bench.fetch(8123, via(proxy)), { code: 'SLW_DIAL_FAILED', message });
  }
  const nobody = `127.0.0.1:${await freePort()}`;
  await assert.rejects(bench.fetch(8123, via(`http://${nobody}`)), {
    ...{ code: 'SLW_DIAL_FAILED', message: new RegExp(`nobody listens at ${nobody}: .*--proxy`) },
  });
  const own = await startPassingProxy(t, 9, { pair: await leafOf(await newAuthority()) });
  await assert.rejects(bench.fetch(8123, via(`https://127.0.0.1:${own}`)), {
    ...{ code: 'SLW_DIAL_FAILED', message: /the certificate of the proxy .* is refused here/ },
  });
});

test('a server that is silent is a timeout', async (t) => {
  const bench = new Bench(t);
  const silent = net.createServer((socket) => t.after(() => socket.destroy()));
  t.after(() => silent.close());
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  const url = `wss://127.0.0.1:${(silent.address() as net.AddressInfo).port}/connect`;
  const { knownServers } = bench;
  const trust = { autoTls: 'on', fingerprints: [], knownServers } as const;
  const fetching = fetchServerCa({ url, trust, clock: systemClock, timeoutMs: 200 });
  await assert.rejects(fetching, { code: 'SLW_TIMEOUT', message: /: cannot fetch its CA: no ans/ });
});

test('a file that cannot be read or written is a refusal, and never "unknown"', async (t) => {
  const bench = new Bench(t);
  const ca = await newAuthority();
  const port = await serveCa(t, await leafOf(ca), ca.cert);
  mkdirSync(bench.knownServers, { recursive: true });
  assert.match(await bench.refusal(port), /--known-servers .*EISDIR/);
  const blocked = path.join(bench.knownServers, 'file');
  writeFileSync(blocked, '');
  const message = await bench.refusal(port, { knownServers: path.join(blocked, 'known') });
  assert.match(message, /ENOTDIR/);
});

test('clients that remember at once lose none of their lines', async (t) => {
  const bench = new Bench(t);
  const known = new KnownServers(bench.knownServers);
  const servers = Array.from({ length: 12 }, (_, index) => `server-${index}.example:8123`);
  await Promise.all(servers.map((server) => known.remember(server, 'sha256:aa')));
  for (const server of servers) assert.equal((await known.find(server)).length, 1, server);
});

test('of two CAs that a server shows at first, one is believed, whoever asks at once', async (t) => {
  const bench = new Bench(t);
  const cas = await Promise.all([newAuthority(), newAuthority()]);
  const ports = await Promise.all(cas.map(async (ca) => serveCa(t, await leafOf(ca), ca.cert)));
  // One address, behind which every other connection has another server.
  let count = 0;
  const front = net.createServer((socket) => {
    const back = net.connect(ports[count % 2] ?? 0, '127.0.0.1');
    count += 1;
    socket.on('error', () => back.destroy()).pipe(back);
    back.on('error', () => socket.destroy()).pipe(socket);
  });
  undoAfter(t, () => {
    front.close();
  });
  front.listen(0, '127.0.0.1');
  await once(front, 'listening');
  const { port } = front.address() as net.AddressInfo;
  const both = await Promise.allSettled([bench.fetch(port), bench.fetch(port)]);
  const reasons = both.flatMap((one) => (one.status === 'rejected' ? [String(one.reason)] : []));
  assert.equal(reasons.length, 1, 'one of the two is refused');
  assert.match(reasons[0] ?? '', /its CA has changed/);
  const known = await new KnownServers(bench.knownServers).find(`127.0.0.1:${port}`);
  assert.equal(known.length, 1);
});

test('what another client remembered meanwhile is not joined by another CA', async (t) => {
  const known = new KnownServers(new Bench(t).knownServers);
  assert.deepEqual(await known.remember('first:1', 'sha256:aa'), []);
  assert.deepEqual(await known.remember('first:1', 'sha256:aa'), []);
  const [{ fingerprint } = assert.fail('was joined')] = await known.remember(
    'first:1',
    'sha256:bb',
  );
  assert.equal(fingerprint, 'sha256:aa');
  assert.equal((await known.find('first:1')).length, 1);
});

test('a lock that a killed client left is taken over', async (t) => {
  const bench = new Bench(t);
  const known = new KnownServers(bench.knownServers);
  await known.remember('first:1', 'sha256:00');
  const lock = `${bench.knownServers}.lock`;
  writeFileSync(lock, '');
  utimesSync(lock, 1, 1);
  await known.remember('second:1', 'sha256:00');
  assert.equal((await known.find('second:1')).length, 1);
});
