// Goal: each limit alone does what docs/operating/limits.md says, over real threads and sockets, by
// whichever way it was set. Method: one shard, so that limits are exact; rates are looked at within
// wide bounds, as the clock is real.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { encodeProxyHeader } from '../../src/edge/proxy-writer.ts';
import { undoAfter } from '../support/cleanup.ts';
import type { Flags } from '../support/configs.ts';
import { eventually } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import {
  connectTo,
  echoBytes,
  get,
  openGet,
  sendRaw,
  startEcho,
  startHttp,
  startTcp,
} from '../support/upstream.ts';

const HOST = 'site.example.com';
const REQUEST = `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n\r\n`;
const ARRIVED = { address: '203.0.113.5', port: 443 };
const MIB = 1024 * 1024;

interface Scene {
  readonly node: LocalNode;
  readonly tcpPort: number;
}

/** An exit node of one shard, with an HTTP tunnel and a TCP tunnel that echoes. */
async function scene(t: TestContext, flags: Flags, env = {}, complains = false): Promise<Scene> {
  const echo = await startEcho(t);
  const site = await startHttp(t, (request, response) => {
    request.resume();
    if (request.url !== '/hold') response.end('hello');
    else response.write('h');
  });
  const tcpPort = await freePort();
  const node = await startNode(t, { flags: { shards: '1', ...flags }, env, complains });
  await startLocalClient(t, node, {
    flags: { tcp: `${tcpPort}=127.0.0.1:${echo}`, upstream: `${HOST}=http://127.0.0.1:${site}` },
  });
  return { node, tcpPort };
}

function ask(t: TestContext, { node }: Scene) {
  return get(t, { port: node.httpPort, host: HOST });
}

async function isCut(port: number): Promise<boolean> {
  return (await sendRaw(port, Buffer.from('hello'))) === '';
}

async function limited(node: LocalNode, limit: string): Promise<number> {
  return await node.metric(`sluiceway_limited_total{limit="${limit}"}`);
}

/** Holds an HTTP and a TCP connection, one stream each. */
async function holdTwo(t: TestContext, on: Scene): Promise<net.Socket> {
  const socket = await connectTo(t, on.tcpPort);
  await echoBytes(socket, Buffer.from('hi'));
  await openGet(t, { port: on.node.httpPort, host: HOST, path: '/hold' });
  return socket;
}

test('HTTP and TCP visitors together are within --visitor-connections-max', async (t) => {
  const on = await scene(t, { 'visitor-connections-max': '2' });
  const socket = await holdTwo(t, on);
  const refused = await ask(t, on);
  assert.deepEqual([refused.status, refused.headers['retry-after']], [503, '5']);
  assert.equal(await isCut(on.tcpPort), true);
  assert.ok((await limited(on.node, 'visitor-connections')) >= 2);
  socket.destroy();
  await on.node.untilMetric(
    `sluiceway_streams_open{tunnel="tcp:${on.tcpPort}"}`,
    (open) => open === 0,
  );
});

test('--visitor-connections-per-ip-max: 429 for HTTP, a cut for TCP', async (t) => {
  const on = await scene(t, {}, { SLUICEWAY_VISITOR_CONNECTIONS_PER_IP_MAX: '2' });
  await holdTwo(t, on);
  const refused = await ask(t, on);
  assert.deepEqual([refused.status, refused.headers['retry-after']], [429, '1']);
  assert.equal(await isCut(on.tcpPort), true);
  assert.equal(await limited(on.node, 'visitor-connections-per-ip'), 2);
});

/** What comes back, where a visitor that is served ends by itself. */
async function echoOnce(port: number): Promise<string> {
  return await sendRaw(port, Buffer.from('hello'), { halfClose: true });
}

const RATE = 'connections-per-second-per-ip';

test('--connections-per-second-per-ip-max: 429 for HTTP, then a cut, and a cut for TCP', async (t) => {
  const on = await scene(t, {}, { SLUICEWAY_CONNECTIONS_PER_SECOND_PER_IP_MAX: '3' });
  const answers = await Promise.all(
    Array.from({ length: 40 }, () => sendRaw(on.node.httpPort, Buffer.from(REQUEST))),
  );
  const [served, refused, cut] = [/^HTTP\/1\.1 200 /, /^HTTP\/1\.1 429 /, /^$/].map((kind) =>
    answers.filter((answer) => kind.test(answer)),
  ) as [string[], string[], string[]];
  assert.equal(served.length + refused.length + cut.length, 40);
  // Three at once, and three more for each second that forty connections took.
  assert.ok(served.length >= 3 && served.length <= 15, `${served.length} were served`);
  assert.ok(refused.length >= 16 && cut.length > 0, `${refused.length} told, ${cut.length} cut`);
  for (const answer of refused) assert.match(answer, /\r\nRetry-After: 1\r\n/);
  assert.equal(await limited(on.node, RATE), refused.length + cut.length);
  const echoes = await Promise.all(Array.from({ length: 20 }, () => echoOnce(on.tcpPort)));
  assert.ok(echoes.includes(''), 'HTTP and TCP together');
});

test('--connections-per-second-per-ip-max counts by the address of a PROXY header', async (t) => {
  const on = await scene(t, { [`${RATE}-max`]: '1', 'accept-proxy-protocol': '127.0.0.1' });
  const from = (address: string): Promise<string> => {
    const header = encodeProxyHeader('v2', { address, port: 50_123 }, ARRIVED);
    return sendRaw(on.node.httpPort, Buffer.concat([header, Buffer.from(REQUEST)]));
  };
  const visitors = Array.from({ length: 8 }, (_, index) => `192.0.2.${index + 1}`);
  for (const answer of await Promise.all(visitors.map(from))) assert.match(answer, /^HTTP.* 200 /);
  assert.equal(await limited(on.node, RATE), 0);
  const again = await Promise.all(Array.from({ length: 8 }, () => from('198.51.100.7')));
  assert.ok(again.some((answer) => answer.startsWith('HTTP/1.1 429 ')));
});

test('--connections-per-second-per-ip-max is not for a trusted proxy, but on its TCP', async (t) => {
  const on = await scene(t, { [`${RATE}-max`]: '1', 'trusted-proxies': '127.0.0.1' });
  const answers = await Promise.all(
    Array.from({ length: 8 }, () => sendRaw(on.node.httpPort, Buffer.from(REQUEST))),
  );
  for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 200 /);
  assert.equal(await limited(on.node, RATE), 0);
  const echoes = await Promise.all(Array.from({ length: 8 }, () => echoOnce(on.tcpPort)));
  assert.ok(echoes.includes('hello') && echoes.includes(''), `${echoes}`);
});

test('--tunnel-connections-max: 503 for HTTP, a close for TCP, each tunnel for itself', async (t) => {
  const on = await scene(t, { 'tunnel-connections-max': '1' });
  await holdTwo(t, on);
  const refused = await ask(t, on);
  assert.deepEqual([refused.status, refused.headers['retry-after']], [503, '5']);
  assert.equal(await isCut(on.tcpPort), true);
  assert.equal(await limited(on.node, 'tunnel-connections'), 2);
  const held = `sluiceway_http_requests_in_flight{tunnel="${HOST}"}`;
  assert.equal(await on.node.metric(held), 1);
});

for (const limit of [
  'requests-per-second',
  'requests-per-second-per-ip',
  'tunnel-requests-per-second',
]) {
  test(`--${limit}-max: 429 with Retry-After beyond it`, async (t) => {
    const variable = `SLUICEWAY_${limit.toUpperCase().replaceAll('-', '_')}_MAX`;
    const on = await scene(t, {}, { [variable]: '3' });
    const answers = await Promise.all(Array.from({ length: 30 }, () => ask(t, on)));
    const refused = answers.filter(({ status }) => status === 429);
    const served = answers.filter(({ status }) => status === 200);
    assert.equal(refused.length + served.length, 30);
    // Three at once, and three more for each second that thirty connections took.
    assert.ok(served.length >= 3 && served.length <= 15, `${served.length} were served`);
    for (const { headers } of refused) assert.equal(headers['retry-after'], '1');
    assert.equal(await limited(on.node, limit), refused.length);
  });
}

test('a trusted proxy holds connections for many, and its visitors have a rate each', async (t) => {
  const on = await scene(t, {
    'trusted-proxies': '127.0.0.1',
    'visitor-connections-per-ip-max': '1',
    'requests-per-second-per-ip-max': '1',
  });
  const askAs = (visitor: string): Promise<string> =>
    sendRaw(
      on.node.httpPort,
      Buffer.from(
        `GET / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\nX-Forwarded-For: ${visitor}\r\n\r\n`,
      ),
    );
  await openGet(t, { port: on.node.httpPort, host: HOST, path: '/hold' });
  const visitors = Array.from({ length: 8 }, (_, index) => `192.0.2.${index + 1}`);
  const answers = await Promise.all(visitors.map(askAs));
  for (const answer of answers) assert.match(answer, /^HTTP\/1\.1 200 /);
  const again = await Promise.all(Array.from({ length: 8 }, () => askAs('192.0.2.1')));
  assert.ok(again.some((answer) => answer.startsWith('HTTP/1.1 429 ')));
  assert.equal(await limited(on.node, 'visitor-connections-per-ip'), 0);
});

test('--request-body-max: 413', async (t) => {
  const on = await scene(t, { 'request-body-max': '1KiB' });
  const send = (fields: string, body: string): Promise<string> =>
    sendRaw(
      on.node.httpPort,
      Buffer.from(
        `POST / HTTP/1.1\r\nHost: ${HOST}\r\nConnection: close\r\n${fields}\r\n\r\n${body}`,
      ),
    );
  const text = 'x'.repeat(1024);
  assert.match(await send('Content-Length: 1024', text), /^HTTP\/1\.1 200 /);
  assert.match(await send('Content-Length: 1025', ''), /^HTTP\/1\.1 413 /);
  const chunked = `400\r\n${text}\r\n1\r\nx\r\n0\r\n\r\n`;
  assert.match(await send('Transfer-Encoding: chunked', chunked), /^HTTP\/1\.1 413 /);
  assert.equal(await limited(on.node, 'request-body'), 2);
});

/** A TCP tunnel beside the scene's, whose upstream only sends or only takes `bytes`. */
async function bulk(t: TestContext, flags: Flags, serve: (socket: net.Socket) => void) {
  const upstream = await startTcp(t, serve);
  const echo = await startEcho(t);
  const [port, otherPort] = [await freePort(), await freePort()];
  const node = await startNode(t, { flags: { shards: '1', ...flags } });
  await startLocalClient(t, node, {
    flags: { tcp: [`${port}=127.0.0.1:${upstream}`, `${otherPort}=127.0.0.1:${echo}`] },
  });
  return { node, port, otherPort };
}

/** Bounds: the rate is 1 MiB/s, and a second's worth passes at once. */
function checkDuration(t: TestContext, bytes: number, tookMs: number): void {
  const wantedMs = (bytes / MIB - 1) * 1000;
  t.diagnostic(`${bytes} bytes in ${Math.round(tookMs)} ms, wanted about ${wantedMs}`);
  assert.ok(tookMs > wantedMs / 2, `too fast: ${tookMs} ms`);
  assert.ok(tookMs < wantedMs * 2 + 1000, `too slow: ${tookMs} ms`);
}

test('--tunnel-bytes-out-per-second-max slows a download, loses nothing, and no one else', async (t) => {
  const bytes = 3 * MIB;
  const noise = Buffer.alloc(bytes, 'abcdefg');
  const on = await bulk(t, { 'tunnel-bytes-out-per-second-max': '1MiB' }, (socket) =>
    socket.end(noise),
  );
  const startMs = systemClock.nowMs();
  const socket = await connectTo(t, on.port);
  const pieces: Buffer[] = [];
  let gotBytes = 0;
  socket.on('data', (piece: Buffer) => {
    pieces.push(piece);
    gotBytes += piece.length;
  });
  const ended = once(socket, 'end');
  const other = await connectTo(t, on.otherPort);
  await eventually(10_000, 'what passes at once has', async () => assert.ok(gotBytes > MIB));
  const beforeBytes = gotBytes;
  await echoBytes(other, Buffer.alloc(MIB));
  // It has as much saved up of its own. In turn with the first, that would have had the same.
  const besideBytes = gotBytes - beforeBytes;
  t.diagnostic(`${besideBytes} bytes came while another tunnel had ${MIB}`);
  assert.ok(besideBytes < 0.7 * MIB, `another tunnel waits for ${besideBytes} bytes`);
  await ended;
  checkDuration(t, bytes, systemClock.nowMs() - startMs);
  assert.ok(Buffer.concat(pieces).equals(noise));
  assert.ok((await limited(on.node, 'tunnel-bytes-out-per-second')) > 0);
});

test('--tunnel-bytes-in-per-second-max slows uploads of several streams together', async (t) => {
  let takenBytes = 0;
  const streams = 4;
  const bytes = 3 * MIB;
  const on = await bulk(t, { 'tunnel-bytes-in-per-second-max': '1MiB' }, (socket) => {
    socket.on('data', (piece: Buffer) => {
      takenBytes += piece.length;
    });
    socket.on('end', () => socket.end());
  });
  const startMs = systemClock.nowMs();
  const uploads = Array.from({ length: streams }, async () => {
    const socket = await connectTo(t, on.port);
    socket.resume();
    socket.end(Buffer.alloc(bytes / streams));
    await once(socket, 'end');
  });
  await Promise.all(uploads);
  checkDuration(t, bytes, systemClock.nowMs() - startMs);
  assert.equal(takenBytes, bytes);
  assert.ok((await limited(on.node, 'tunnel-bytes-in-per-second')) > 0);
});

test('the same limits hold over the mesh', async (t) => {
  const bytes = 3 * MIB;
  const on = await bulk(t, { shards: '2', 'tunnel-bytes-out-per-second-max': '2MiB' }, (socket) =>
    socket.end(Buffer.alloc(bytes)),
  );
  const startMs = systemClock.nowMs();
  const socket = await connectTo(t, on.port);
  let got = 0;
  socket.on('data', (piece: Buffer) => {
    got += piece.length;
  });
  await once(socket, 'end');
  // A single connection has one shard's share, 1 MiB/s.
  checkDuration(t, bytes, systemClock.nowMs() - startMs);
  assert.equal(got, bytes);
});

test('--error-pages: visitors get the page of that folder', async (t) => {
  const folder = mkdtempSync(path.join(tmpdir(), 'sluiceway-pages-'));
  undoAfter(t, () => rmSync(folder, { recursive: true }));
  writeFileSync(path.join(folder, '404.html'), '<p>nobody is here</p>');
  const on = await scene(t, { 'error-pages': folder });
  const missed = await get(t, { port: on.node.httpPort, host: 'unknown.example' });
  assert.deepEqual([missed.status, missed.body], [404, '<p>nobody is here</p>']);
});

test('--memory-max: nobody new is let in near it, who is in goes on, and health answers', async (t) => {
  // The exit node lives in the test's own process, which is near its limit when the test says so.
  const maxMiB = Math.ceil(process.memoryUsage.rss() / MIB) + 512;
  const on = await scene(t, {}, { SLUICEWAY_MEMORY_MAX: `${maxMiB}MiB` }, true);
  const socket = await connectTo(t, on.tcpPort);
  await echoBytes(socket, Buffer.from('hi'));
  const ballast = Buffer.alloc(512 * MIB, 1);
  await on.node.untilMetric('sluiceway_memory_pressure', (level) => level === 3);
  const refused = await ask(t, on);
  assert.deepEqual([refused.status, refused.headers['retry-after']], [503, '5']);
  assert.equal(await isCut(on.tcpPort), true);
  assert.equal((await echoBytes(socket, Buffer.from('still'))).toString(), 'still');
  assert.equal(await limited(on.node, 'memory'), 2);
  const health = await fetch(`http://127.0.0.1:${on.node.controlPort}/healthz`);
  assert.equal(health.status, 200);
  assert.equal(ballast.at(-1), 1);
});
