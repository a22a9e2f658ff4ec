// Goal: the operator believes an exit node and nobody in its place. Method: control ports with CAs
// of the test's own.

import assert from 'node:assert/strict';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import type { KeyPair } from '../../src/control/private-ca.ts';
import { ExitNodeProbe } from '../../src/operator/exit-node-probe.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { startTcp } from '../support/upstream.ts';

interface Port {
  readonly url: string;
  /** What was asked, in order. */
  readonly asked: string[];
  served: ReadonlySet<string>;
  use(pair: KeyPair, ca: string): void;
}

async function startPort(t: TestContext): Promise<Port> {
  const authority = await newAuthority();
  let { cert: ca } = authority;
  const asked: string[] = [];
  const server = createServer({ ...(await leafOf(authority)) }, (request, response) => {
    const url = new URL(request.url ?? '/', 'https://any');
    asked.push(`${url.pathname}${url.search}`);
    const tunnel = url.searchParams.get('tunnel');
    const isRight = tunnel === null || port.served.has(tunnel);
    if (url.pathname === '/.well-known/ca.crt') response.end(ca);
    else response.writeHead(url.pathname === '/readyz' && isRight ? 200 : 503).end();
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.close();
    server.closeAllConnections();
  });
  const port: Port = {
    ...{ url: `wss://127.0.0.1:${(server.address() as AddressInfo).port}`, asked },
    served: new Set<string>(),
    use: (pair, next) => {
      server.setSecureContext(pair);
      ca = next;
    },
  };
  return port;
}

test('the CA of the first answer is told, and is the only one from then on', async (t) => {
  const port = await startPort(t);
  const probe = new ExitNodeProbe(systemClock);
  const first = await probe.reach({ url: port.url });
  assert.equal(first.is, 'ready');
  const caFingerprint = first.is === 'ready' ? first.caFingerprint : undefined;
  assert.match(caFingerprint ?? '', /^sha256:[0-9a-f]{64}$/);
  assert.equal((await probe.reach({ url: port.url, caFingerprint })).is, 'ready');

  const other = await newAuthority();
  port.use(await leafOf(other), other.cert);
  const second = await probe.reach({ url: port.url, caFingerprint });
  assert.equal(second.is, 'away');
  // Its connection failed, so what was known is forgotten; the pin still says no.
  const third = await probe.reach({ url: port.url, caFingerprint });
  assert.match(third.is === 'away' ? third.message : '', /fingerprint/);
});

test('names that are not served are named', async (t) => {
  const port = await startPort(t);
  port.served = new Set(['tcp:80', '*.example.com/a b']);
  const probe = new ExitNodeProbe(systemClock);
  const names = ['tcp:80', 'tcp:443', '*.example.com/a b'];
  assert.deepEqual(await probe.served({ url: port.url }, names), { missing: ['tcp:443'] });
  assert.equal(await probe.served({ url: port.url }, ['tcp:80']), 'all');
  assert.ok(!port.asked.some((path) => path.includes('token')));
});

test('one that does not answer is left alone for ten seconds', async (t) => {
  let dials = 0;
  const port = await startTcp(t, (socket) => {
    dials += 1;
    socket.destroy();
  });
  const clock = new FakeClock();
  const probe = new ExitNodeProbe(clock);
  const target = { url: `ws://127.0.0.1:${port}` };
  assert.equal(await probe.served(target, ['tcp:80']), 'unknown');
  const first = dials;
  assert.ok(first > 0, 'it was asked');
  clock.advance(9_999);
  for (let times = 0; times < 1000; times += 1) await probe.served(target, ['tcp:80']);
  assert.equal(dials, first);
  clock.advance(1);
  await probe.served(target, ['tcp:80']);
  assert.ok(dials > first, 'then it is asked again');
});

test('why one is away is said while it is left alone, too', async () => {
  const probe = new ExitNodeProbe(systemClock);
  const target = { url: 'ws://127.0.0.1:1' };
  assert.equal(await probe.served(target, ['tcp:80']), 'unknown');
  const reach = await probe.reach(target);
  assert.match(reach.is === 'away' ? reach.message : '', /ECONNREFUSED/);
});

test('what is no URL of a server is away, and ends nothing', async () => {
  const probe = new ExitNodeProbe(systemClock);
  assert.equal((await probe.reach({ url: 'https://a.example' })).is, 'away');
  assert.equal(await probe.served({ url: '' }, ['tcp:80']), 'unknown');
});
