import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { SluicewayError } from '../../src/base/errors.ts';
import { Masked } from '../../src/base/masked.ts';
import { askForText, formatStatus, type Status } from '../../src/cli/commands/status.ts';
import { CERT, KEY } from '../config/tls-pair.ts';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { startPassingProxy } from '../support/passing-proxy.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { scratchFolder } from '../support/programs.ts';
import { startRefusingProxy } from '../support/refusing-proxy.ts';
import { ENTRY, run } from './run.ts';

const BUILD = { version: '0.1.0', commit: 'a1b2c3d' };
const STATUS: Status = {
  info: {
    version: '0.1.0',
    mode: 'http,tcp',
    hostname: 'unruffled-banzai4',
    startTime: '2026-08-01T10:00:00.000Z',
  },
  clients: [
    {
      clientID: '730aa1bb96474cbc9f7e76c135e81da8',
      remoteAddr: '81.99.136.188:58102',
      since: '2026-08-01T10:34:00Z',
      upstreams: ['localhost:443', 'localhost:80'],
    },
  ],
};
const TOKEN = 'secret-of-the-test';

async function serve(t: TestContext, server: Server): Promise<number> {
  t.after(() => server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

/** A server that wants the token and gives `body`. */
function answering(body: string): RequestListener {
  return (request, response) => {
    const isAllowed = request.headers.authorization === `Bearer ${TOKEN}`;
    response.writeHead(request.url === '/status' ? (isAllowed ? 200 : 401) : 404).end(body);
  };
}

test('the table is that of the contract', () => {
  assert.equal(
    formatStatus(STATUS, BUILD, { nowMs: Date.parse('2026-08-01T10:49:30Z'), isWide: false }),
    `Querying server status. Version 0.1.0 - a1b2c3d
Hostname: unruffled-banzai4
Started: 49 minutes
Mode: http,tcp
Version:        0.1.0

Client ID                         Remote Address        Connected    Upstreams
730aa1bb96474cbc9f7e76c135e81da8  81.99.136.188:58102   15 minutes   localhost:443, localhost:80
`,
  );
});

test('the wide table has what the server knows of each client, and a dash for what it does not', () => {
  const [first] = STATUS.clients;
  assert.ok(first !== undefined);
  const known = { links: 2, streams: 3, bytesIn: 1536, bytesOut: 5_000_000_000, version: '0.1.0' };
  const clients = [{ ...first, ...known, rttMs: 12.34, restarts: 1 }, first];
  const nowMs = Date.parse('2026-08-01T10:49:30Z');
  const text = formatStatus({ ...STATUS, clients }, BUILD, { nowMs, isWide: true });
  const [titles, one, other] = text.split('\n').slice(-4);
  assert.match(
    titles ?? '',
    /Connected +Version +Links +Streams +In +Out +RTT +Restarts +Upstreams/,
  );
  assert.match(one ?? '', /0\.1\.0 +2 +3 +1\.5 KiB +4\.7 GiB +12\.34 ms +1 +localhost/);
  assert.match(other ?? '', /minutes +- +- +- +- +- +- +- +localhost/);
});

test('without clients the heading alone stands there', () => {
  const text = formatStatus({ ...STATUS, clients: [] }, BUILD, { nowMs: 0, isWide: false });
  assert.match(text, /\n\nClient ID {2}Remote Address {3}Connected {3}Upstreams\n$/);
});

describe('the command', { concurrency: 2 }, () => {
  test('prints the table, and with --json the answer as it came', async (t) => {
    const body = JSON.stringify({ ...STATUS, more: [1] });
    const port = await serve(t, createServer(answering(body)));
    const env = { SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_URL: `ws://127.0.0.1:${port}` };
    const plain = await run(['status'], env);
    assert.match(plain.stdout, /^Querying server status\. Version [\s\S]*730aa1bb/);
    assert.equal(plain.code, 0, plain.stderr);
    assert.deepEqual(await run(['status', '--json'], env), {
      code: 0,
      stdout: `${body}\n`,
      stderr: '',
    });
  });

  test("the client's forwards in the environment mean nothing to it", async (t) => {
    const port = await serve(t, createServer(answering(JSON.stringify(STATUS))));
    const args = ['status', '--url', `ws://127.0.0.1:${port}`];
    const env = { SLUICEWAY_TOKEN: TOKEN, SLUICEWAY_LOCAL: '4222:nats:4222\n5432:db:5432' };
    const { code, stderr } = await run(args, env);
    assert.deepEqual([code, stderr], [0, '']);
    const folder = scratchFolder(t);
    const local = await run(args, {
      ...env,
      SLUICEWAY_LOCAL: 'true',
      SLUICEWAY_STATUS_DIR: folder,
    });
    assert.doesNotMatch(local.stdout, /^Querying server/u, 'as a switch it still counts');
  });

  test('warns of a secret on the command line, in a line of ours', async () => {
    const args = ['status', '--url', `ws://127.0.0.1:${await freePort()}`, '--token', TOKEN];
    const { stderr } = await run(args);
    assert.match(stderr, /^sluiceway: warning: --token shows the token/m);
    assert.ok(stderr.split('\n').every((line) => line === '' || line.startsWith('sluiceway: ')));
  });

  test('ends with code 3 and a hint when the token is refused', async (t) => {
    const port = await serve(t, createServer(answering('{}')));
    const args = ['status', '--url', `ws://127.0.0.1:${port}`];
    assert.deepEqual(await run(args, { SLUICEWAY_TOKEN: 'another' }), {
      code: 3,
      stdout: '',
      stderr: `sluiceway: 127.0.0.1:${port} refused the token; check that it is the one the server was started with\n`,
    });
    const entry = await serve(
      t,
      createServer((_, response) => response.writeHead(403).end()),
    );
    const { code, stderr } = await run(['status', '--url', `ws://127.0.0.1:${entry}`], {
      SLUICEWAY_TOKEN: TOKEN,
    });
    const why = 'answered 403: this wants a token with "admin: true" in its tokens file';
    assert.deepEqual([code, stderr], [3, `sluiceway: 127.0.0.1:${entry} ${why}\n`]);
  });

  test('ends with code 1 when nobody is there, or somebody else', async (t) => {
    const port = await serve(t, createServer(answering('<html>')));
    const env = { SLUICEWAY_TOKEN: TOKEN };
    const other = await run(['status', '--url', `ws://127.0.0.1:${port}`], env);
    assert.match(other.stderr, /^sluiceway: what answered is not a sluiceway server\n$/);
    assert.equal(other.code, 1);
    const path = await run(['status', '--url', `ws://127.0.0.1:${port}/elsewhere`], env);
    assert.match(path.stderr, /^sluiceway: http:.*\/elsewhere\/status answered 404, not 200\n$/);
    const nobody = await run(['status', '--url', 'ws://127.0.0.1:1'], env);
    assert.match(nobody.stderr, /^sluiceway: cannot ask 127\.0\.0\.1:1: .*ECONNREFUSED/);
    assert.equal(nobody.code, 1);
  });

  test('trusts --tls-ca, and without it no certificate of its own making', async (t) => {
    const folder = mkdtempSync(join(tmpdir(), 'sluiceway-'));
    t.after(() => rmSync(folder, { recursive: true }));
    writeFileSync(join(folder, 'ca.pem'), CERT);
    const secure = createTlsServer({ cert: CERT, key: KEY }, answering(JSON.stringify(STATUS)));
    const port = await serve(t, secure);
    const args = ['status', '--url', `wss://127.0.0.1:${port}`];
    // Node's own way to switch the check off must not work.
    const env = { SLUICEWAY_TOKEN: TOKEN, [`NODE_TLS_${'REJECT_UNAUTHORIZED'}`]: '0' };
    const trusted = await run([...args, '--tls-ca', join(folder, 'ca.pem')], env);
    assert.equal(trusted.code, 0, trusted.stderr);
    const untrusted = await run([...args, '--no-auto-tls'], env);
    assert.equal(untrusted.code, 3);
    assert.match(
      untrusted.stderr,
      /^sluiceway: 127\.0\.0\.1:\d+: its certificate is not signed by/m,
    );
    // An address without a CA option is asked for its private CA, and this server has none.
    const asked = await run(args, env);
    assert.equal(asked.code, 3);
    assert.match(asked.stderr, /it has no CA at .*--no-auto-tls/);
  });
});

test('--watch asks again, and ends once the token is refused', async (t) => {
  const codes = [200, 200, 500, 401];
  const server = createServer((_request, response) => {
    response.writeHead(codes.shift() ?? 401).end(JSON.stringify(STATUS));
  });
  const port = await serve(t, server);
  const args = ['status', '--watch', '--url', `ws://127.0.0.1:${port}`];
  const { code, stdout, stderr } = await run(args, { SLUICEWAY_TOKEN: TOKEN });
  assert.equal(code, 3);
  assert.match(
    stdout,
    /^Client ID[\s\S]*\n\nQuerying[\s\S]*\nClient ID/mu,
    'an empty line between',
  );
  assert.match(stderr, /^sluiceway: .* answered 500, not 200\nsluiceway: .* refused the token;/);
  assert.equal(codes.length, 0);
});

test('--watch ends with whoever reads it', async (t) => {
  const port = await serve(t, createServer(answering(JSON.stringify(STATUS))));
  const url = `ws://127.0.0.1:${port}`;
  const args = ['status', '--watch', '--watch-interval', '200ms', '--json', '--url', url];
  const child = spawn(process.execPath, [ENTRY, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: process.env.PATH, SLUICEWAY_TOKEN: TOKEN },
  });
  t.after(() => child.kill('SIGKILL'));
  await within(30_000, 'the first answer', once(child.stdout, 'data'));
  const ended = once(child, 'close');
  child.stdout.destroy();
  assert.deepEqual(await within(10_000, 'it ends', ended), [0, null]);
});

/** What `status` is told of itself when nobody says more. */
const CONFIG = {
  token: new Masked(TOKEN),
  trust: { autoTls: 'off', fingerprints: [], knownServers: '' },
  json: false,
  watch: false,
  local: false,
  ready: false,
  adminAddr: 'off',
  watchIntervalMs: 2000,
  wide: false,
} as const;

test('a server that never answers is a timeout', async (t) => {
  const port = await serve(t, createServer());
  const url = `ws://127.0.0.1:${port}/connect`;
  await assert.rejects(
    askForText({ ...CONFIG, url }, BUILD, 20),
    (error) => error instanceof SluicewayError && error.code === 'SLW_TIMEOUT',
  );
});

test('what a proxy answers is its own, and nobody there is not the server', async (t) => {
  const url = 'ws://127.0.0.1:8123/connect';
  const via = (proxy: string): Promise<string> => {
    const trust = { ...CONFIG.trust, proxies: { [url]: new Masked(proxy) } };
    return askForText({ ...CONFIG, url, trust }, BUILD);
  };
  for (const status of [401, 403, 404, 407, 502]) {
    await assert.rejects(via(await startRefusingProxy(t, status)), {
      code: 'SLW_DIAL_FAILED',
      message: new RegExp(
        `^cannot ask 127\\.0\\.0\\.1:8123: the proxy http://.* answered ${status}: `,
      ),
    });
  }
  const nobody = `127.0.0.1:${await freePort()}`;
  await assert.rejects(via(`http://${nobody}`), {
    ...{ code: 'SLW_DIAL_FAILED', message: new RegExp(`nobody listens at ${nobody}: .*--proxy`) },
  });
});

test('through a proxy, a server given by address is believed under that address alone', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluiceway-status-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const authority = await newAuthority();
  const tlsCa = join(folder, 'ca.pem');
  writeFileSync(tlsCa, authority.cert);
  const ask = async (name: string): Promise<string> => {
    const leaf = await leafOf(authority, { names: [name] });
    const server = createTlsServer({ ...leaf }, answering(JSON.stringify(STATUS)));
    const port = await serve(t, server);
    t.after(() => server.closeAllConnections());
    const url = `wss://127.0.0.1:${port}/connect`;
    const proxy = new Masked(`http://localhost:${await startPassingProxy(t, port)}`);
    const trust = { ...CONFIG.trust, tlsCa, proxies: { [url]: proxy } };
    return askForText({ ...CONFIG, url, trust }, BUILD);
  };
  assert.match(await ask('127.0.0.1'), /unruffled-banzai4/);
  await assert.rejects(ask('localhost'), { code: 'SLW_TLS_REFUSED' });
  const own = await startPassingProxy(t, 9, { pair: await leafOf(authority) });
  const url = 'wss://server.example/connect';
  const proxies = { [url]: new Masked(`https://localhost:${own}`) };
  const trust = { ...CONFIG.trust, tlsCa, proxies };
  await assert.rejects(askForText({ ...CONFIG, url, trust }, BUILD), {
    ...{ code: 'SLW_DIAL_FAILED', message: /the certificate of the proxy .* is refused here/ },
  });
});
