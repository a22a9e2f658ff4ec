// What visitors and clients get when something is wrong: unknown hosts, dead upstreams, absent
// clients, refused tokens, wrong options, refused ports, and garbage on every port.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import test from 'node:test';
import { within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { runProgram, type TestProcess } from '../support/process.ts';
import {
  ENTRY,
  environment,
  spawnClient,
  startClient,
  startServer,
  startTunnel,
  TOKEN,
  tunnelReadiness,
} from '../support/tunnel.ts';
import {
  connectTo,
  echoBytes,
  echoOnce,
  get,
  sendRaw,
  startEcho,
  startHttp,
} from '../support/upstream.ts';

const HOST = 'site.example.com';

test('visitors get the status of what is wrong', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const echo = await startEcho(t);
  const [tcpPort, deadPort] = [await freePort(), await freePort()];
  const tunnel = await startTunnel(t, [
    ...['--upstream', `${HOST}=http://127.0.0.1:${upstream}`],
    ...['--upstream', `dead.example.com=http://127.0.0.1:${deadPort}`],
    ...['--tcp', `${tcpPort}=127.0.0.1:${echo}`],
  ]);
  const port = tunnel.httpPort;

  await t.test('an unknown host: 404, always the same page, nothing reflected', async (t) => {
    const marker = 'reflected-marker';
    const one = await get(t, { port, host: `${marker}.example.com`, path: `/${marker}?${marker}` });
    const headers = { 'User-Agent': marker, 'X-Test': marker, Cookie: marker };
    const two = await get(t, { port, host: 'other.example.net', headers });
    assert.equal(one.status, 404);
    assert.equal(two.status, 404);
    assert.equal(one.body, two.body);
    assert.ok(!JSON.stringify([one, two]).includes(marker), 'something of the request came back');
  });

  await t.test('an upstream that refuses: 502, and the other tunnel works', async (t) => {
    assert.equal((await get(t, { port, host: 'dead.example.com' })).status, 502);
    assert.equal((await get(t, { port, host: HOST })).body, 'hello');
  });

  await t.test('a client that has gone: 503 with Retry-After, and a closed TCP port', async (t) => {
    const visitor = await connectTo(t, tcpPort);
    assert.equal(await echoOnce(visitor, 'still here'), 'still here');
    visitor.destroy();
    assert.equal((await tunnel.client.stop()).code, 0);
    await tunnelReadiness(tunnel, HOST, 503);
    const answer = await get(t, { port, host: HOST });
    assert.equal(answer.status, 503);
    assert.equal(answer.headers['retry-after'], '5');
    assert.equal(await sendRaw(tcpPort, Buffer.from('anyone?')), '', 'no byte from a closed port');
  });
});

test('a client with a wrong token ends with code 3 and one line', async (t) => {
  const server = await startServer(t);
  const wrong = { SLUICEWAY_TOKEN: 'not-the-token' };
  const args = ['--upstream', `${HOST}=http://127.0.0.1:1`];
  const client = spawnClient(t, server, { args, env: wrong });
  assert.equal((await client.expectEnd()).code, 3, client.tail());
  const plain = client.stderr.filter((line) => line.startsWith('sluiceway: '));
  assert.equal(plain.length, 1, client.tail());
  const all = [...client.stderr, ...client.stdout, ...server.process.stderr].join('\n');
  assert.ok(!all.includes('not-the-token') && !all.includes(TOKEN), 'a token was printed');
});

test('an unknown option ends with code 2 and names the nearest', async (t) => {
  for (const [command, wrong, right] of [
    ['server', '--shard', '--shards'],
    ['client', '--upstreem', '--upstream'],
  ] as const) {
    const args = [ENTRY, command, wrong, '1'];
    const run = await runProgram(t, { command: process.execPath, args, env: environment() });
    assert.equal(run.code, 2, run.stderr);
    assert.match(run.stderr, new RegExp(`${right}(?![a-z-])`, 'u'));
    assert.equal(run.stdout, '');
  }
});

async function assertRefused(client: TestProcess, port: number, reason: RegExp): Promise<void> {
  const line = await client.line(
    `tcp:${port} is refused`,
    (text) => text.includes(String(port)) && reason.test(text),
  );
  assert.ok(client.stderr.includes(line), 'a refusal is no answer: it belongs on stderr');
}

test('a port that may not be had is refused alone, with its reason', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const [open, outside] = [await freePort(), await freePort()];
  const taken = await startEcho(t);
  const server = await startServer(t, { tcpPorts: `${open},${taken}` });
  const client = await startClient(t, server, {
    args: [
      ...['--upstream', `${HOST}=http://127.0.0.1:${upstream}`],
      ...['--tcp', `${open}=127.0.0.1:${upstream}`],
      ...['--tcp', `${outside}=127.0.0.1:${upstream}`],
      ...['--tcp', `${taken}=127.0.0.1:${upstream}`],
    ],
    tunnels: 2,
  });
  await assertRefused(client, outside, /SLW_TUNNEL_PORT_NOT_ALLOWED|outside --tcp-ports/u);
  await assertRefused(client, taken, /SLW_TUNNEL_PORT_TAKEN|in use/u);
  assert.equal((await get(t, { port: server.httpPort, host: HOST })).body, 'hello');
  assert.equal((await get(t, { port: open, host: 'by-port' })).body, 'hello');
  const visitor = await connectTo(t, taken);
  assert.equal(await echoOnce(visitor, 'mine'), 'mine', 'the taken port belongs to its owner');
});

interface Garbage {
  readonly bytes: Buffer;
  /** True for what an ordinary HTTP server answers and then waits for more. */
  readonly isRequest: boolean;
}

function garbage(): Garbage[] {
  const upgrade = (token: string): string =>
    [
      ...['GET /connect HTTP/1.1', 'Host: x', 'Connection: Upgrade', 'Upgrade: websocket'],
      ...['Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=='],
      ...['Sec-WebSocket-Protocol: sluiceway.1', `Authorization: Bearer ${token}`, '', ''],
    ].join('\r\n');
  const malformed = [
    randomBytes(1024),
    Buffer.alloc(64 * 1024),
    Buffer.from('16030100c8010000c40303', 'hex'),
    Buffer.from('POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n'),
    Buffer.from('GET /\0 HTTP/1.1\r\n\r\n'),
  ];
  const requests = [
    Buffer.from('GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n'),
    Buffer.from(upgrade('wrong')),
    Buffer.concat([Buffer.from(upgrade(TOKEN)), randomBytes(4096)]),
  ];
  return [
    ...malformed.map((bytes) => ({ bytes, isRequest: false })),
    ...requests.map((bytes) => ({ bytes, isRequest: true })),
  ];
}

test('garbage is closed or passed on, and everything still works', async (t) => {
  const upstream = await startHttp(t, (_request, response) => response.end('hello'));
  const echo = await startEcho(t);
  const tcpPort = await freePort();
  const tunnel = await startTunnel(t, [
    ...['--upstream', `${HOST}=http://127.0.0.1:${upstream}`],
    ...['--tcp', `${tcpPort}=127.0.0.1:${echo}`],
  ]);
  const survivor = await connectTo(t, tcpPort);
  assert.equal(await echoOnce(survivor, 'before'), 'before');
  for (const { bytes, isRequest } of garbage()) {
    // Unfinished input is held for the head's deadline of 10 s at most, the rest closed at once.
    await Promise.all([
      sendRaw(tunnel.controlPort, bytes, { halfClose: isRequest }),
      sendRaw(tunnel.httpPort, bytes, { halfClose: isRequest }),
      sendRaw(tunnel.adminPort, bytes, { halfClose: isRequest }),
    ]);
    const visitor = await connectTo(t, tcpPort);
    assert.ok((await echoBytes(visitor, bytes)).equals(bytes), 'an upstream gets what was sent');
    const ended = once(visitor, 'end');
    visitor.end();
    await within(10_000, 'the echo ends after the visitor', ended);
  }
  assert.equal(await echoOnce(survivor, 'after'), 'after', 'a stream was lost to garbage');
  assert.equal((await get(t, { port: tunnel.httpPort, host: HOST })).body, 'hello');
  assert.ok(tunnel.process.isRunning && tunnel.client.isRunning);
});
