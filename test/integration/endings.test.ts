// Goal: an end is what it was: FIN per direction, RST as ECONNRESET, a drain that lets streams
// finish, a shard that falls alone. Method: one process, real threads and sockets; a shard that is
// told what its code cannot take, as a bug of ours would.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { ShardPool } from '../../src/bridge/pool.ts';
import { eventually, within } from '../support/deadline.ts';
import { seededNoise, sha256 } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import {
  type LocalNode,
  startLocalClient,
  startNode,
  untilCovered,
  untilLinks,
} from '../support/local-tunnel.ts';
import { connectTo, echoBytes, startEcho, startHttp, startTcp } from '../support/upstream.ts';

const EVENT_MS = 10_000;
const MIB = 1024 * 1024;

interface Pair {
  readonly visitor: net.Socket;
  readonly upstream: net.Socket;
  readonly node: LocalNode;
  readonly port: number;
}

/** A visitor and the upstream's socket that serves it; over the mesh or not, as it happens. */
async function startPair(t: TestContext, flags: Record<string, string> = {}): Promise<Pair> {
  const accepted = Promise.withResolvers<net.Socket>();
  const upstreamPort = await startTcp(t, (socket) => accepted.resolve(socket));
  const port = await freePort();
  const node = await startNode(t, { flags });
  await startLocalClient(t, node, {
    flags: { links: '1', tcp: `${port}=127.0.0.1:${upstreamPort}` },
  });
  const visitor = await connectTo(t, port);
  const upstream = await within(EVENT_MS, 'the upstream is reached', accepted.promise);
  return { visitor, upstream, node, port };
}

/** How a socket ends, and what it got before. */
function ending(socket: net.Socket): Promise<{ how: string; bytes: Buffer }> {
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  const ended = new Promise<{ how: string; bytes: Buffer }>((resolve) => {
    const end = (how: string): void => resolve({ how, bytes: Buffer.concat(pieces) });
    socket.once('end', () => end('FIN'));
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'unknown'));
  });
  return within(EVENT_MS, 'the socket ends', ended);
}

function ordered(
  { visitor, upstream }: Pick<Pair, 'visitor' | 'upstream'>,
  first: 'visitor' | 'upstream',
): [net.Socket, net.Socket] {
  return first === 'visitor' ? [visitor, upstream] : [upstream, visitor];
}

for (const first of ['visitor', 'upstream'] as const) {
  test(`the ${first} half-closes, and the other direction still carries 8 MiB`, async (t) => {
    const { node, port, ...pair } = await startPair(t);
    const [early, late] = ordered(pair, first);
    const noise = seededNoise(3, 8 * MIB);
    const [earlyEnd, lateEnd] = [ending(early), ending(late)];
    early.end('all I have');
    assert.deepEqual(await lateEnd, { how: 'FIN', bytes: Buffer.from('all I have') });
    late.end(noise);
    const { how, bytes } = await earlyEnd;
    assert.equal(how, 'FIN');
    assert.equal(sha256(bytes), sha256(noise));
    const ok = `sluiceway_streams_total{tunnel="tcp:${port}",result="ok"}`;
    await node.untilMetric(ok, (count) => count === 1);
  });

  test(`a reset of the ${first} amid a transfer is a reset on the other side`, async (t) => {
    const { node, port, ...pair } = await startPair(t);
    const [cutter, other] = ordered(pair, first);
    const end = ending(other);
    cutter.write(Buffer.alloc(MIB));
    other.write(Buffer.alloc(MIB));
    await once(cutter, 'data');
    cutter.resetAndDestroy();
    assert.equal((await end).how, 'ECONNRESET');
    const open = `sluiceway_streams_open{tunnel="tcp:${port}"}`;
    await node.untilMetric(open, (count) => count === 0);
  });
}

test('an upstream that refuses resets its visitor', async (t) => {
  const port = await freePort();
  const nobody = await freePort();
  const node = await startNode(t);
  await startLocalClient(t, node, { flags: { tcp: `${port}=127.0.0.1:${nobody}` } });
  const visitor = net.connect({ port, host: '127.0.0.1' });
  t.after(() => visitor.destroy());
  assert.equal((await ending(visitor)).how, 'ECONNRESET');
  const refused = `sluiceway_streams_total{tunnel="tcp:${port}",result="SLW_STREAM_REFUSED"}`;
  await node.untilMetric(refused, (count) => count === 1);
});

test('an upstream that refuses an upload and closes is heard, with the body on its way', async (t) => {
  // Answers when the head has come, and closes with the rest unread: its reset follows the answer.
  const upstreamPort = await startTcp(t, (socket) => {
    socket.on('error', () => undefined);
    socket.once('data', () => {
      socket.write('HTTP/1.1 413 Too Large\r\nContent-Length: 8\r\n\r\ntoo much');
      socket.resetAndDestroy();
    });
  });
  const node = await startNode(t, {});
  await startLocalClient(t, node, {
    flags: { upstream: `site.example=http://127.0.0.1:${upstreamPort}` },
  });
  const body = Buffer.alloc(4 * MIB);
  const statuses = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const at = { host: '127.0.0.1', port: node.httpPort, method: 'PUT', agent: false as const };
      const headers = { host: 'site.example', 'content-length': body.length };
      const request = http.request({ ...at, headers });
      request.on('error', () => undefined);
      request.end(body);
      const [response] = (await within(EVENT_MS, 'an answer', once(request, 'response'))) as [
        http.IncomingMessage,
      ];
      response.resume();
      return response.statusCode;
    }),
  );
  assert.deepEqual(new Set(statuses), new Set([413]));
});

test('a half-closed stream is reset after its timeout', async (t) => {
  const { visitor, upstream } = await startPair(t, { 'half-close-timeout': '1s' });
  const ends = [ending(visitor), ending(upstream)];
  visitor.end();
  const [atVisitor, atUpstream] = await Promise.all(ends);
  assert.deepEqual([atVisitor?.how, atUpstream?.how], ['ECONNRESET', 'FIN']);
});

test('a drain refuses newcomers, tells clients, lets streams finish and ends with 0', async (t) => {
  const echo = await startEcho(t);
  const port = await freePort();
  const node = await startNode(t, { flags: { shards: '3', 'drain-timeout': '5s' } });
  const client = await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${echo}` },
    complains: true,
  });
  await untilLinks(node, 3);
  const visitors = await Promise.all(Array.from({ length: 12 }, () => connectTo(t, port)));
  for (const visitor of visitors) await echoBytes(visitor, Buffer.from('before'));
  node.node.drain();
  assert.equal((await node.ask('/readyz')).status, 503);
  await client.log.line('server takes no new streams here', { code: 'SLW_LINK_DRAINING' });
  await eventually(EVENT_MS, 'newcomers are refused', () =>
    assert.rejects(connectTo(t, port), { code: 'ECONNREFUSED' }),
  );
  const noise = seededNoise(5, MIB);
  for (const visitor of visitors) {
    assert.equal(sha256(await echoBytes(visitor, noise)), sha256(noise));
  }
  const ends = visitors.map((visitor) => ending(visitor));
  for (const visitor of visitors) visitor.end();
  for (const { how } of await Promise.all(ends)) assert.equal(how, 'FIN');
  assert.deepEqual(await within(EVENT_MS, 'the node ends', node.node.closed), { exitCode: 0 });
});

test('a drain that takes too long cuts what is left, and still ends with 0', async (t) => {
  const { visitor, upstream, node } = await startPairThatComplains(t, { 'drain-timeout': '500ms' });
  const ends = [ending(visitor), ending(upstream)];
  node.node.drain();
  const [atVisitor, atUpstream] = await Promise.all(ends);
  assert.deepEqual([atVisitor?.how, atUpstream?.how], ['ECONNRESET', 'ECONNRESET']);
  assert.deepEqual(await within(EVENT_MS, 'the node ends', node.node.closed), { exitCode: 0 });
});

async function startPairThatComplains(
  t: TestContext,
  flags: Record<string, string>,
): Promise<Omit<Pair, 'port'>> {
  const accepted = Promise.withResolvers<net.Socket>();
  const upstreamPort = await startTcp(t, (socket) => accepted.resolve(socket));
  const port = await freePort();
  const node = await startNode(t, { flags, complains: true });
  await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${upstreamPort}` },
    complains: true,
  });
  const visitor = await connectTo(t, port);
  const upstream = await within(EVENT_MS, 'the upstream is reached', accepted.promise);
  return { visitor, upstream, node };
}

test('a client that drains lets its streams finish and ends with 0', async (t) => {
  const echo = await startEcho(t);
  const port = await freePort();
  const node = await startNode(t);
  const { client, ended } = await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${echo}`, 'drain-timeout': '5s' },
  });
  const visitor = await connectTo(t, port);
  await echoBytes(visitor, Buffer.from('before'));
  client.drain();
  await eventually(EVENT_MS, 'newcomers are cut', async () => {
    const late = net.connect({ port, host: '127.0.0.1' });
    assert.equal((await ending(late)).how, 'ECONNRESET');
  });
  assert.equal((await echoBytes(visitor, Buffer.from('during'))).toString(), 'during');
  const end = ending(visitor);
  visitor.end();
  assert.equal((await end).how, 'FIN');
  assert.deepEqual(await ended(), { exitCode: 0 });
  await untilLinks(node, 0);
});

test('an idle kept-alive HTTP visitor does not hold up a client that drains', async (t) => {
  const site = await startHttp(t, (_request, response) => response.end('page'));
  const node = await startNode(t);
  const flags = { upstream: `idle.example=http://127.0.0.1:${site}`, 'drain-timeout': '60s' };
  const { client, ended } = await startLocalClient(t, node, { flags });
  const visitor = await connectTo(t, node.httpPort);
  const answered = once(visitor, 'data');
  visitor.write('GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n');
  assert.match(String((await answered)[0]), /^HTTP\/1\.1 200 /);
  client.drain();
  assert.deepEqual(await within(EVENT_MS, 'the drain ends', ended()), { exitCode: 0 });
  const refused = once(visitor, 'data');
  visitor.write('GET / HTTP/1.1\r\nHost: idle.example\r\n\r\n');
  assert.match(String((await refused)[0]), /^HTTP\/1\.1 503 /, 'and the visitor is still served');
});

/** Visitors enough that both shards have some: all on one has a chance of 2 in 2^24. */
const VISITORS = 24;

test('a shard that throws costs its own streams only, and is started again', async (t) => {
  const echo = await startEcho(t);
  const port = await freePort();
  const asked = t.mock.method(ShardPool.prototype, 'bridges');
  const node = await startNode(t, { complains: true });
  const pool = asked.mock.calls[0]?.this;
  assert.ok(pool instanceof ShardPool);
  asked.mock.restore();
  await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${echo}` },
    complains: true,
  });
  await untilCovered(node, `tcp:${port}`, 2);
  const fates = new Map<net.Socket, string>();
  const visitors = await Promise.all(Array.from({ length: VISITORS }, () => connectTo(t, port)));
  for (const visitor of visitors) {
    await echoBytes(visitor, Buffer.from('before'));
    visitor.once('end', () => fates.set(visitor, 'FIN'));
    visitor.once('error', (error: NodeJS.ErrnoException) => {
      fates.set(visitor, error.code ?? 'unknown');
    });
  }
  assert.equal(fates.size, 0, 'the fault came too soon');
  // What its code cannot take. A fault by the clock would be too soon on a busy machine.
  pool.bridge(0)?.tell('doubtLinks', undefined);
  await node.log.line('shard restarted');
  const alive = visitors.filter((visitor) => !fates.has(visitor));
  for (const visitor of alive) {
    assert.equal((await echoBytes(visitor, Buffer.from('after'))).toString(), 'after');
  }
  t.diagnostic(`${alive.length} of ${VISITORS} streams live, ${fates.size} were cut`);
  assert.ok(alive.length > 0, 'streams of the other shard were lost');
  assert.ok(fates.size > 0, 'no shard fell');
  assert.deepEqual(new Set(fates.values()), new Set(['ECONNRESET']), 'a cut is no clean end');
  await untilLinks(node, 2);
  for (let visitor = 0; visitor < VISITORS; visitor += 1) {
    const socket = await connectTo(t, port);
    assert.equal((await echoBytes(socket, Buffer.from('again'))).toString(), 'again');
  }
  assert.ok((await node.metric('sluiceway_shard_restarts_total')) >= 1);
  // Nobody had asked before it fell.
  const bytesIn = await node.metric(`sluiceway_bytes_total{tunnel="tcp:${port}",direction="in"}`);
  assert.equal(bytesIn, VISITORS * 'beforeagain'.length + alive.length * 'after'.length);
  const visitorsCount = await node.metric(`tcp_dataplane_connections_total{port="${port}"}`);
  assert.equal(visitorsCount, VISITORS * 2);
});
