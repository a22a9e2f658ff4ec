// Goal: each limit of a token alone does what docs/operating/tokens.md says, follows its file, and
// leaves everybody else alone. Method: one shard where limits are exact, two where they are shared;
// rates are looked at within bounds, as the clock is real.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { isoTimeOf, systemClock } from '../../src/base/clock.ts';
import { Masked } from '../../src/base/masked.ts';
import type { ServerConfig } from '../../src/config/config.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { scratchFolder } from '../support/programs.ts';
import { RawVisitor } from '../support/raw-visitor.ts';
import {
  type Answer,
  connectTo,
  echoBytes,
  get,
  openGet,
  sendRaw,
  startEcho,
  startHttp,
  startTcp,
} from '../support/upstream.ts';

const LOOPBACK = '127.0.0.1';
const HOST = 'site.example.com';
const SECRET = 'limited-secret';
const MIB = 1024 * 1024;
/** The file is followed within seconds. */
const RELOAD_MS = 10_000;

function entry(name: string, limits: Readonly<Record<string, string>>): string {
  const hash = createHash('sha256').update(name).digest('hex');
  const lines = Object.entries(limits).map(([key, value]) => `    ${key}: ${value}\n`);
  const scope = '    hosts: ["*"]\n    ports: [1-65535]\n';
  return `  - name: ${name}\n    hashes: [sha256:${hash}]\n${scope}${lines.join('')}`;
}

interface Scene {
  readonly node: LocalNode;
  readonly file: string;
  readonly tcpPort: number;
  /** Of the HTTP tunnel's upstream. */
  readonly site: number;
  limit(limits: Readonly<Record<string, string>>): void;
}

/** A node whose client came with a limited token, with an HTTP tunnel and a TCP tunnel. */
async function scene(
  t: TestContext,
  limits: Readonly<Record<string, string>>,
  more: {
    serve?: (socket: net.Socket) => void;
    shards?: string;
    config?: Partial<ServerConfig>;
  } = {},
): Promise<Scene> {
  const { serve, shards = '1', config } = more;
  const file = path.join(scratchFolder(t), 'tokens.yaml');
  const write = (to: Readonly<Record<string, string>>): void =>
    writeFileSync(file, `tokens:\n${entry(SECRET, to)}${entry('other', {})}`);
  write(limits);
  const tcp = serve === undefined ? await startEcho(t) : await startTcp(t, serve);
  const site = await startHttp(t, (request, response) => {
    request.resume();
    if (request.url !== '/hold') response.end('hello');
    else response.write('h');
  });
  const tcpPort = await freePort();
  const options = { tokensFile: file, ...config };
  const node = await startNode(t, { flags: { shards }, config: options, complains: true });
  await startLocalClient(t, node, {
    flags: { tcp: `${tcpPort}=${LOOPBACK}:${tcp}`, upstream: `${HOST}=http://${LOOPBACK}:${site}` },
    config: { token: new Masked(SECRET) },
    complains: true,
  });
  return { node, file, tcpPort, site, limit: write };
}

function ask(t: TestContext, { node }: Scene, host = HOST): Promise<Answer> {
  return get(t, { port: node.httpPort, host });
}

async function isCut(port: number): Promise<boolean> {
  return (await sendRaw(port, Buffer.from('hello'))) === '';
}

/** Reports come about once a second. */
async function untilLimited({ node }: Scene, limit: string): Promise<void> {
  await eventually(RELOAD_MS, `${limit} is counted`, async () => {
    const { body } = await node.ask('/metrics');
    const series = `sluiceway_token_limited_total{token="${SECRET}",limit="${limit}"}`;
    assert.ok(body.includes(series), `no ${series}`);
  });
}

/** The same upstream by another token: with another one it would be refused. */
async function startOther(t: TestContext, { node, site }: Scene, name: string): Promise<void> {
  await startLocalClient(t, node, {
    flags: { upstream: `${name}=http://${LOOPBACK}:${site}` },
    config: { token: new Masked('other') },
    complains: true,
  });
}

test('streams-max: 429 for HTTP, a close for TCP, and room again when one ends', async (t) => {
  const on = await scene(t, { 'streams-max': '2' });
  const socket = await connectTo(t, on.tcpPort);
  await echoBytes(socket, Buffer.from('hi'));
  await openGet(t, { port: on.node.httpPort, host: HOST, path: '/hold' });
  const refused = await ask(t, on);
  assert.deepEqual([refused.status, refused.headers['retry-after']], [429, '1']);
  assert.equal(await isCut(on.tcpPort), true);
  await untilLimited(on, 'streams-max');
  socket.destroy();
  await eventually(RELOAD_MS, 'there is room', async () => {
    assert.equal((await ask(t, on)).status, 200);
  });
});

test('requests-per-second-max: on new connections and on kept ones, of this token alone', async (t) => {
  const on = await scene(t, { 'requests-per-second-max': '3' });
  await startOther(t, on, 'other.example.com');
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask(t, on)));
  const served = answers.filter(({ status }) => status === 200).length;
  assert.ok(served >= 3 && served <= 15, `${served} were served`);
  const refused = answers.filter(({ status }) => status === 429);
  assert.equal(served + refused.length, 30);
  for (const { headers } of refused) assert.equal(headers['retry-after'], '1');
  for (let count = 0; count < 10; count += 1) {
    assert.equal((await ask(t, on, 'other.example.com')).status, 200);
  }
  const one = `GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
  const kept = await sendRaw(on.node.httpPort, Buffer.from(one.repeat(30)));
  assert.match(kept, /HTTP\/1\.1 429 /);
  await untilLimited(on, 'requests-per-second-max');
});

test('requests-per-second-max holds for a kept connection once the file says it', async (t) => {
  const on = await scene(t, {});
  const visitor = await RawVisitor.connect(on.node.httpPort);
  undoAfter(t, () => visitor.destroy());
  const statuses = async (count: number): Promise<number[]> => {
    visitor.forget();
    visitor.send(Buffer.from(`GET / HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`.repeat(count)));
    await visitor.answersCount(count);
    return visitor.answers().map(({ status }) => status);
  };
  assert.deepEqual(await statuses(5), [200, 200, 200, 200, 200]);
  on.limit({ 'requests-per-second-max': '1' });
  await eventually(RELOAD_MS, 'one too many is refused', async () => {
    assert.deepEqual((await statuses(3)).at(-1), 429);
  });
});

test('a visitor of a host that two tokens serve goes where there is room', async (t) => {
  const on = await scene(t, { 'requests-per-second-max': '1' });
  await startOther(t, on, HOST);
  const answers = await Promise.all(Array.from({ length: 30 }, () => ask(t, on)));
  for (const { status } of answers) assert.equal(status, 200);
});

/** Bounds of issue: a rate of 1 MiB/s over three seconds, behind the second that was saved up. */
function checkRate(t: TestContext, bytes: number, tookMs: number): void {
  const rate = bytes / MIB / (tookMs / 1000);
  t.diagnostic(`${rate.toFixed(3)} MiB/s over ${Math.round(tookMs)} ms`);
  assert.ok(rate > 0.8 && rate < 1.2, `${rate} MiB/s`);
}

/** Takes what comes on each socket: the bytes of each after a second, for `forMs`. */
async function measure(sockets: readonly net.Socket[], forMs: number): Promise<number[]> {
  const counts = sockets.map(() => 0);
  for (const [index, socket] of sockets.entries()) {
    socket.on('data', (piece: Buffer) => {
      counts[index] = (counts[index] ?? 0) + piece.length;
    });
  }
  const after = (ms: number) => new Promise<void>((done) => void systemClock.after(ms, done));
  const keepAlive = setInterval(() => {}, 1000);
  await after(2000);
  const before = [...counts];
  const startMs = systemClock.nowMs();
  await after(forMs);
  clearInterval(keepAlive);
  const scale = forMs / (systemClock.nowMs() - startMs);
  return counts.map((count, index) => (count - (before[index] ?? 0)) * scale);
}

function flood(socket: net.Socket): void {
  const noise = Buffer.alloc(64 * 1024, 'n');
  const more = (): void => {
    while (socket.writable && socket.write(noise));
  };
  socket.on('drain', more);
  more();
}

test('bytes-out-per-second-max: within 20 %, the same for two streams, and live', async (t) => {
  const on = await scene(t, { 'bytes-out-per-second-max': '1MiB' }, { serve: flood });
  const sockets = [await connectTo(t, on.tcpPort), await connectTo(t, on.tcpPort)];
  const [first = 0, second = 0] = await measure(sockets, 3000);
  checkRate(t, first + second, 3000);
  t.diagnostic(`the two had ${Math.round(first)} and ${Math.round(second)} bytes`);
  assert.ok(Math.min(first, second) / Math.max(first, second) > 0.8, 'unfair');
  await untilLimited(on, 'bytes-out-per-second-max');
  on.limit({ 'bytes-out-per-second-max': '8MiB' });
  await eventually(RELOAD_MS, 'the streams that live are faster', async () => {
    const faster = await measure(sockets, 500);
    const rate = (faster.reduce((sum, bytes) => sum + bytes, 0) * 2) / MIB;
    assert.ok(rate > 3, `${rate} MiB/s`);
  });
});

test('bytes-in-per-second-max: slows uploads and loses nothing', async (t) => {
  let takenBytes = 0;
  const serve = (socket: net.Socket): void => {
    socket.on('data', (piece: Buffer) => {
      takenBytes += piece.length;
    });
    socket.on('end', () => socket.end());
  };
  const on = await scene(t, { 'bytes-in-per-second-max': '1MiB' }, { serve });
  const bytes = 4 * MIB;
  const startMs = systemClock.nowMs();
  const uploads = Array.from({ length: 2 }, async () => {
    const socket = await connectTo(t, on.tcpPort);
    socket.resume();
    socket.end(Buffer.alloc(bytes / 2));
    await once(socket, 'end');
  });
  await Promise.all(uploads);
  checkRate(t, bytes - MIB, systemClock.nowMs() - startMs);
  assert.equal(takenBytes, bytes);
});

test('a rate is of all shards together, and goes where it is used', async (t) => {
  const shards = { serve: flood, shards: '2' };
  const on = await scene(t, { 'bytes-out-per-second-max': '1MiB' }, shards);
  const sockets: net.Socket[] = [];
  for (let count = 0; count < 8; count += 1) sockets.push(await connectTo(t, on.tcpPort));
  const counts = await measure(sockets, 3000);
  checkRate(
    t,
    counts.reduce((sum, count) => sum + count, 0),
    3000,
  );
  for (const socket of sockets.slice(1)) socket.destroy();
  // The shard that has the last stream gets the share of the other: not half, but nearly all.
  await eventually(20_000, 'one stream has most of it', async () => {
    const [alone = 0] = await measure(sockets.slice(0, 1), 2000);
    assert.ok(alone / 2 > MIB * 0.75, `${alone / 2} B/s`);
  });
});

test('streams-max with two shards: never more, and all of them in the end', async (t) => {
  const on = await scene(t, { 'streams-max': '8' }, { shards: '2' });
  let open = 0;
  await eventually(20_000, 'eight are open', async () => {
    if (await isAnswered(t, on.tcpPort)) open += 1;
    assert.equal(open, 8);
  });
  for (let count = 0; count < 10; count += 1) {
    assert.equal(await isAnswered(t, on.tcpPort), false);
  }
});

/** Does a new visitor get its byte back? Its connection stays. */
async function isAnswered(t: TestContext, port: number): Promise<boolean> {
  const socket = net.connect(port, LOOPBACK);
  undoAfter(t, () => {
    socket.destroy();
  });
  socket.on('error', ignoreError);
  socket.write('x');
  const answer = new Promise<boolean>((resolve) => {
    socket.once('data', () => resolve(true));
    socket.once('close', () => resolve(false));
  });
  return await within(RELOAD_MS, 'an answer or a close', answer);
}

function ignoreError(): void {
  // 'close' follows.
}

test('bytes-month-max: what lives is cut, nothing begins, until there is more', async (t) => {
  const on = await scene(t, { 'bytes-month-max': '1MiB' }, { serve: flood });
  const socket = await connectTo(t, on.tcpPort);
  socket.on('error', ignoreError);
  socket.resume();
  const cut = new Promise((resolve) => socket.once('close', resolve));
  await within(RELOAD_MS, 'the stream is cut', cut);
  const refused = await ask(t, on);
  assert.deepEqual([refused.status, refused.headers['retry-after']], [429, '3600']);
  assert.equal(await isCut(on.tcpPort), true);
  await untilLimited(on, 'bytes-month-max');
  const lines = on.node.log.lines.filter(({ limit }) => limit === 'bytes-month-max');
  assert.equal(lines.length, 1, 'logged once');
  on.limit({ 'bytes-month-max': '1024GiB' });
  await eventually(RELOAD_MS, 'it is served again', async () => {
    assert.equal((await ask(t, on)).status, 200);
  });
  on.node.node.stop();
  await on.node.node.closed;
  const written = JSON.parse(readFileSync(`${on.file}.usage.json`, 'utf8'));
  assert.ok(written.bytes[SECRET] > MIB, JSON.stringify(written));
});

test('the month that a file says is used up is so after a restart', async (t) => {
  const usage = path.join(scratchFolder(t), 'usage.json');
  const month = isoTimeOf(systemClock.wallMs()).slice(0, 7);
  writeFileSync(usage, JSON.stringify({ month, bytes: { [SECRET]: 2 * MIB } }));
  const config = { tokensUsageFile: usage };
  const on = await scene(t, { 'bytes-month-max': '1MiB' }, { config });
  assert.equal((await ask(t, on)).status, 429);
  on.limit({});
  await eventually(RELOAD_MS, 'without the limit it is served', async () => {
    assert.equal((await ask(t, on)).status, 200);
  });
});
