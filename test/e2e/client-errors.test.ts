// Goal: a client that cannot work says why in one line on stderr, in words that say what to do,
// with the right exit code and nothing on stdout. Method: the program, against what people meet:
// nobody, an SSH server, a web site, a WebSocket of somebody else, TLS where there is none and the
// other way round, a wrong CA, clock or token, proxies that are not there.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { createServer as createHttp } from 'node:http';
import { createServer as createTcp, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, startServer } from '../support/tunnel.ts';
import { startHttp, startTcp } from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const GUID = '258EAFA5-E914-47DA-95CA-C5AB0DC85B11';

interface Case {
  readonly url: string;
  readonly code: number;
  readonly wanted: RegExp;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

async function check(t: TestContext, { url, code, wanted, args = [], env = {} }: Case) {
  const run = await runProgram(t, {
    command: process.execPath,
    args: [
      ...[ENTRY, 'client', '--url', url, '--once', '--log-level', 'silent'],
      ...['--upstream', 'site.example.com=http://127.0.0.1:1', ...args],
    ],
    env: environment({ SLUICEWAY_KNOWN_SERVERS: `${scratchFolder(t)}/known`, ...env }),
  });
  const lines = run.stderr
    .split('\n')
    .filter((line) => line !== '' && !/^sluiceway: warning: /u.test(line));
  assert.equal(lines.length, 1, `one line, not\n${run.stderr}`);
  assert.match(lines[0] ?? '', wanted);
  assert.ok((lines[0] ?? '').startsWith(`sluiceway: ${url}`), run.stderr);
  assert.equal(run.code, code, run.stderr);
  assert.equal(run.stdout, '');
}

/** A WebSocket server that speaks something else. */
async function startOtherWebSocket(t: TestContext): Promise<number> {
  const server = createHttp();
  const sockets = new Set<Socket>();
  server.on('upgrade', (request, socket) => {
    sockets.add(socket as Socket);
    const key = `${request.headers['sec-websocket-key']}${GUID}`;
    const accept = createHash('sha1').update(key).digest('base64');
    const fields = `Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}`;
    socket.write(`HTTP/1.1 101 Switching Protocols\r\n${fields}\r\n\r\n`);
    socket.on('error', () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, LOOPBACK, resolve));
  undoAfter(t, () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

test('whoever answers in place of a server is told apart', async (t) => {
  const ssh = await startTcp(t, (socket) => socket.end('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'));
  const mute = await startTcp(t, (socket) => socket.destroy());
  const answering = (status: number): Promise<number> =>
    startHttp(t, (_request, response) => {
      const date = new Date(Date.now() + 7_200_000).toUTCString();
      response.writeHead(status, { location: 'https://elsewhere.example/', date }).end('a page');
    });
  const [site, missing, moved, away, denied] = [
    await answering(200),
    await answering(404),
    await answering(301),
    await answering(503),
    await answering(401),
  ];
  const nobody = await freePort();
  const other = await startOtherWebSocket(t);
  const ws = (port: number): string => `ws://${LOOPBACK}:${port}/connect`;
  const cases: readonly Case[] = [
    { url: ws(nobody), code: 1, wanted: /nobody listens at 127\.0\.0\.1:\d+: .*ECONNREFUSED/u },
    {
      url: 'ws://name.invalid:1/connect',
      code: 1,
      wanted: /name\.invalid has no address: .*|name server does not answer/u,
    },
    { url: ws(ssh), code: 1, wanted: /what answers speaks no HTTP: is this the control port/u },
    { url: ws(mute), code: 1, wanted: /closed the connection before it answered: check wss:/u },
    { url: ws(site), code: 1, wanted: /answered 200, not a WebSocket: is this the control port/u },
    { url: ws(missing), code: 1, wanted: /answered 404, not a WebSocket: is this the control/u },
    { url: ws(moved), code: 1, wanted: /answered 301, not a WebSocket: it sends elsewhere/u },
    { url: ws(away), code: 1, wanted: /answered 503, not a WebSocket: it is shutting down/u },
    { url: ws(other), code: 1, wanted: /a WebSocket, and not of sluiceway/u },
    {
      url: ws(denied),
      code: 3,
      wanted:
        /answered 401; the clock of this machine, .* is 2 hours behind the server's: set it right: check --token/u,
    },
    { url: `wss://localhost:${site}/connect`, code: 1, wanted: /does not speak TLS: check wss:/u },
    {
      url: `wss://${LOOPBACK}:${site}/connect`,
      code: 1,
      wanted: /cannot fetch its CA: .* does not speak TLS/u,
    },
  ];
  await Promise.all(cases.map((one) => check(t, one)));
});

test('a real server says what is wrong with the token, the CA and the scheme', async (t) => {
  const plain = await startServer(t);
  const folder = scratchFolder(t);
  const secured = await startServer(t, {
    args: ['--auto-tls', '--auto-tls-dir', folder],
  });
  const at = (scheme: string, host: string, port: number): string =>
    `${scheme}://${host}:${port}/connect`;
  const wrong = `sha256:${'0'.repeat(64)}`;
  const cases: readonly Case[] = [
    {
      url: at('ws', LOOPBACK, plain.controlPort),
      ...{ code: 3, env: { SLUICEWAY_TOKEN: 'not-the-right-token' } },
      wanted: /authentication refused, the server answered 401: check --token/u,
    },
    {
      url: at('wss', 'localhost', secured.controlPort),
      ...{
        code: 3,
        wanted: /not signed by a CA that is trusted here: give --auto-tls-fingerprint/u,
      },
    },
    {
      url: at('wss', LOOPBACK, secured.controlPort),
      ...{ code: 3, args: ['--auto-tls-fingerprint', wrong] },
      wanted: /its CA has the fingerprint sha256:[0-9a-f]{64}, and --auto-tls-fingerprint is/u,
    },
    {
      url: at('ws', LOOPBACK, secured.controlPort),
      ...{ code: 1, wanted: /closed the connection before it answered: check wss:/u },
    },
  ];
  for (const one of cases) await check(t, one);
});

test('a proxy that is not there, is none, or refuses is named, and not the server', async (t) => {
  const nobody = await freePort();
  const ssh = await startTcp(t, (socket) => socket.end('SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n'));
  const strict = createTcp((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n'));
  });
  await new Promise<void>((resolve) => strict.listen(0, LOOPBACK, resolve));
  undoAfter(t, () => {
    strict.close();
  });
  const address = strict.address();
  const strictPort = address !== null && typeof address === 'object' ? address.port : 0;
  const url = 'ws://exit.example:8123/connect';
  const through = (scheme: string, port: number): readonly string[] => [
    ...['--proxy', `${scheme}://${LOOPBACK}:${port}`],
  ];
  const cases: readonly Case[] = [
    {
      ...{ url, code: 1, args: through('http', nobody) },
      wanted: /through http:\/\/127\.0\.0\.1:\d+: nobody listens at .* in --proxy or the environ/u,
    },
    {
      ...{ url, code: 1, args: through('http', strictPort) },
      wanted: /the proxy http:\/\/127\.0\.0\.1:\d+ answered 407: give it a login/u,
    },
    { ...{ url, code: 1, args: through('http', ssh) }, wanted: /through http:\/\/127\.0\.0\.1/u },
    { ...{ url, code: 1, args: through('socks5', ssh) }, wanted: /through socks5h:\/\/127\.0/u },
  ];
  await Promise.all(cases.map((one) => check(t, one)));
});
