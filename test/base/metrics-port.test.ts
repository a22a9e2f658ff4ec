// What the metrics address answers, and what it refuses.

import assert from 'node:assert/strict';
import net from 'node:net';
import { networkInterfaces } from 'node:os';
import { text } from 'node:stream/consumers';
import test, { type TestContext } from 'node:test';
import { type MetricsPortOptions, openMetricsPort } from '../../src/base/metrics-port.ts';
import { undoAfter } from '../support/cleanup.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const ADDRESS = { host: '127.0.0.1', port: 0 };

async function open(t: TestContext, more: Partial<MetricsPortOptions> = {}): Promise<string> {
  const port = await openMetricsPort({
    address: ADDRESS,
    whyNotReady: (tunnel) => (tunnel === 'elsewhere' ? 'not served' : undefined),
    metrics: async () => ({ contentType: 'text/plain; version=0.0.4', text: 'a_metric 1\n' }),
    log: SILENT_LOG,
    ...more,
  });
  undoAfter(t, () => port.close());
  return `http://127.0.0.1:${port.port}`;
}

async function ask(url: string, method = 'GET'): Promise<[status: number, body: string]> {
  const response = await fetch(url, { method });
  return [response.status, await response.text()];
}

test('it has three pages, with any query, and no other', async (t) => {
  const url = await open(t);
  assert.deepEqual(await ask(`${url}/healthz`), [200, 'ok\n']);
  assert.deepEqual(await ask(`${url}/readyz?x=1`), [200, 'ok\n']);
  assert.deepEqual(await ask(`${url}/readyz?tunnel=elsewhere`), [503, 'not served\n']);
  assert.deepEqual(await ask(`${url}/metrics`), [200, 'a_metric 1\n']);
  const page = await fetch(`${url}/metrics`);
  assert.equal(page.headers.get('content-type'), 'text/plain; version=0.0.4');
  assert.deepEqual(await ask(`${url}/`), [404, 'Not Found\n']);
  assert.deepEqual(await ask(`${url}/metrics/`), [404, 'Not Found\n']);
});

test('it answers reads alone', async (t) => {
  const url = await open(t);
  assert.deepEqual(await ask(`${url}/metrics`, 'HEAD'), [200, '']);
  assert.deepEqual(await ask(`${url}/readyz`, 'POST'), [405, 'Method Not Allowed\n']);
  assert.deepEqual(await ask(`${url}/metrics`, 'DELETE'), [405, 'Method Not Allowed\n']);
});

test('what is not ready is still alive, and says why', async (t) => {
  const url = await open(t, { whyNotReady: () => 'is connected to no server' });
  assert.deepEqual(await ask(`${url}/readyz`), [503, 'is connected to no server\n']);
  assert.deepEqual(await ask(`${url}/healthz`), [200, 'ok\n']);
});

test('a page that fails costs its own connection alone', async (t) => {
  const url = await open(t, { metrics: () => Promise.reject(new Error('no')) });
  await assert.rejects(ask(`${url}/metrics`));
  assert.deepEqual(await ask(`${url}/healthz`), [200, 'ok\n']);
});

/** What it answers over plain HTTP at an address of loopback; fetch would choose the family. */
async function healthBy(host: string, port: number): Promise<string> {
  const socket = net.connect({ host, port });
  socket.end('GET /healthz HTTP/1.1\r\nhost: probe\r\nconnection: close\r\n\r\n');
  return (await text(socket)).split('\r\n', 1)[0] ?? '';
}

test('[::] answers probes of either family', async (t) => {
  const url = await open(t, { address: { host: '::', port: 0 } });
  const port = Number(new URL(url).port);
  assert.equal(await healthBy('127.0.0.1', port), 'HTTP/1.1 200 OK');
  const hasIpv6 = Object.values(networkInterfaces())
    .flat()
    .some((one) => one?.address === '::1');
  if (hasIpv6) assert.equal(await healthBy('::1', port), 'HTTP/1.1 200 OK');
});

/** The kernel of a machine whose IPv6 is off. */
function refuseIpv6(t: TestContext, code: string): void {
  const { listen } = net.Server.prototype;
  t.mock.method(
    net.Server.prototype,
    'listen',
    function refuse(this: net.Server, ...given: unknown[]) {
      const [{ host }] = given as [net.ListenOptions];
      if (host !== '::') return listen.apply(this, given as never);
      process.nextTick(() => this.emit('error', Object.assign(new Error(code), { code })));
      return this;
    },
  );
}

for (const code of ['EAFNOSUPPORT', 'EADDRNOTAVAIL']) {
  test(`[::] is every IPv4 address where the kernel says ${code}`, async (t) => {
    refuseIpv6(t, code);
    const url = await open(t, { address: { host: '::', port: 0 } });
    assert.deepEqual(await ask(`${url}/healthz`), [200, 'ok\n']);
  });
}

test('an address that is taken is taken, and no other family is tried', async (t) => {
  refuseIpv6(t, 'EADDRINUSE');
  await assert.rejects(open(t, { address: { host: '::', port: 0 } }), {
    message: /cannot listen on --metrics-addr \[::\]:0: EADDRINUSE/u,
  });
});

test('an address that is taken is named', async (t) => {
  const taken = net.createServer();
  undoAfter(t, () => void taken.close());
  await new Promise<void>((resolve) => taken.listen(0, '127.0.0.1', resolve));
  const { port } = taken.address() as net.AddressInfo;
  const address = { host: '127.0.0.1', port };
  await assert.rejects(open(t, { address }), {
    code: 'SLW_LISTEN_FAILED',
    message: new RegExp(
      `cannot listen on --metrics-addr 127\\.0\\.0\\.1:${port}: .*EADDRINUSE`,
      'u',
    ),
  });
});
