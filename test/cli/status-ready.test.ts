// `status --ready` as a health check runs it: the exit code, and whose word decides.

import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import type { LocalServer, LocalStatus } from '../../src/client/local-status.ts';
import { openStatusSocket } from '../../src/client/status-socket.ts';
import { undoAfter } from '../support/cleanup.ts';
import { scratchFolder } from '../support/programs.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { run } from './run.ts';

/** A server's port; it serves one tunnel, and says on `asked` what it was asked. */
async function serve(t: TestContext, status: number, asked: string[] = []): Promise<number> {
  const server = createServer((request, response) => {
    asked.push(`${request.url} ${request.headers.authorization ?? ''}`);
    const isServed = [null, 'example.com'].includes(
      new URLSearchParams(request.url?.split('?')[1]).get('tunnel'),
    );
    response.writeHead(isServed ? status : 503).end('ok');
  });
  undoAfter(t, () => void server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

function clientServer(state: string, more: Partial<LocalServer> = {}): LocalServer {
  const tunnels = [{ name: 'example.com', label: '', state }];
  return { url: 'ws://a', state: 'connected', lastError: '', links: [], tunnels, ...more };
}

/** A client's socket in `folder`. */
async function tell(
  t: TestContext,
  { folder, pid }: { readonly folder: string; readonly pid: number },
  status: Partial<LocalStatus>,
): Promise<void> {
  const whole = { clientID: `c${pid}`, pid, version: '', since: '', state: 'running', ...status };
  const socket = await openStatusSocket({
    ...{ folder, pid, log: SILENT_LOG },
    tell: async () => ({ forwards: [], ...whole }),
  });
  assert.ok(socket !== undefined);
  undoAfter(t, () => socket.close());
}

test('a server is asked on /readyz, without a token', async (t) => {
  const asked: string[] = [];
  const ready = ['status', '--ready', '--url', `ws://127.0.0.1:${await serve(t, 200, asked)}`];
  const yes = await run(ready);
  assert.deepEqual([yes.code, yes.stderr], [0, '']);
  assert.match(yes.stdout, /^ready: 127\.0\.0\.1:\d+\n$/u);
  assert.equal((await run([...ready, '--tunnel', 'example.com', '--json'])).code, 0);
  assert.equal((await run([...ready, '--tunnel', 'tcp:2222'])).code, 1);
  assert.deepEqual(asked, [
    '/readyz ',
    '/readyz?tunnel=example.com ',
    '/readyz?tunnel=tcp%3A2222 ',
  ]);
  const url = `ws://127.0.0.1:${await serve(t, 503)}`;
  const no = await run(['status', '--ready', '--url', url]);
  assert.equal(no.code, 1);
  assert.match(no.stderr, /readyz answered 503, not 200/u);
  assert.equal((await run(['status', '--ready', '--url', 'ws://127.0.0.1:1'])).code, 1);
});

test('what the options leave open is a usage error', async () => {
  assert.equal((await run(['status', '--ready'])).code, 2);
  const stray = await run(['status', '--local', '--tunnel', 'example.com']);
  assert.equal(stray.code, 2);
  assert.match(stray.stderr, /--tunnel \(flag\): needs --ready too/u);
});

test('without a client the server of the machine decides, whatever else is configured', async (t) => {
  const env = {
    SLUICEWAY_STATUS_DIR: scratchFolder(t),
    SLUICEWAY_ADMIN_ADDR: `0.0.0.0:${await serve(t, 200)}`,
    // Of a client or a server in the same container, and none of them fits `status`.
    SLUICEWAY_URL: 'wss://a.example:8123,wss://b.example:8123',
    SLUICEWAY_LOCAL: '4222:nats:4222',
    SLUICEWAY_CONFIG: '/nowhere/server.yaml',
    SLUICEWAY_TOKEN_FILE: '/nowhere/token',
  };
  const args = ['status', '--local', '--ready'];
  const yes = await run(args, env);
  assert.equal(yes.code, 0, yes.stderr);
  assert.equal((await run(args, { ...env, SLUICEWAY_ADMIN_ADDR: '127.0.0.1:1' })).code, 1);
  const off = await run(args, { ...env, SLUICEWAY_ADMIN_ADDR: 'off' });
  assert.equal(off.code, 1);
  assert.match(off.stderr, /no client of this user runs here, and the admin address is off/u);
});

const CLIENTS: readonly {
  readonly of: string;
  readonly told: Partial<LocalStatus>;
  readonly code: number;
  readonly says?: RegExp;
}[] = [
  { of: 'one whose tunnels are up', told: { servers: [clientServer('up')] }, code: 0 },
  {
    of: 'one without a server',
    told: {
      servers: [clientServer('waiting', { state: 'connecting', lastError: 'ECONNREFUSED' })],
    },
    code: 1,
    says: /client c1: ECONNREFUSED/u,
  },
  {
    of: 'one with a refused tunnel',
    told: { servers: [clientServer('SLW_TUNNEL_TAKEN')] },
    code: 1,
    says: /example\.com is SLW_TUNNEL_TAKEN/u,
  },
  {
    of: 'one that another server refuses',
    told: { servers: [clientServer('up'), clientServer('waiting', { state: 'connecting' })] },
    code: 0,
  },
  { of: 'one with an ill upstream', told: { servers: [clientServer('unhealthy')] }, code: 0 },
  {
    of: 'one that has not looked at its upstream yet',
    told: { servers: [clientServer('checking')] },
    code: 1,
    says: /example\.com is checking/u,
  },
  {
    of: 'one that drains',
    told: { state: 'draining', servers: [clientServer('up')] },
    code: 1,
    says: /drains/u,
  },
];
for (const { of, told, code, says } of CLIENTS) {
  test(`a client decides: ${of}`, async (t) => {
    const folder = path.join(scratchFolder(t), 'run');
    await tell(t, { folder, pid: 1 }, told);
    const found = await run(['status', '--local', '--ready', '--status-dir', folder]);
    assert.equal(found.code, code, found.stderr);
    if (says !== undefined) assert.match(found.stderr, says);
  });
}

test('all clients must be ready, but for those on their way out', async (t) => {
  const folder = path.join(scratchFolder(t), 'run');
  const args = ['status', '--local', '--ready', '--status-dir', folder];
  await tell(t, { folder, pid: 1 }, { servers: [clientServer('up')] });
  await tell(t, { folder, pid: 2 }, { state: 'draining', servers: [clientServer('waiting')] });
  assert.equal((await run(args)).code, 0);
  assert.equal((await run([...args, '--tunnel', 'example.com'])).code, 0);
  assert.equal((await run([...args, '--tunnel', 'other.example.com'])).code, 1);
  await tell(t, { folder, pid: 3 }, { servers: [clientServer('waiting')] });
  assert.equal((await run(args)).code, 1);
});
