// Goal: what a drain runs out of time for is cut, and never looks whole. Method: a first
// connection, of which nobody reads, shows what the kernel and a window hold; others carry a little
// less, each less than the one before, which only their ends delimit, so that some are all read by
// us and not all taken by the kernel when the process ends.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { type TestContext, test } from 'node:test';
import { undoAfter } from '../support/cleanup.ts';
import { eventually, within } from '../support/deadline.ts';
import { freePort } from '../support/free-port.ts';
import { listeningPort, startClient, startServer, TOKEN } from '../support/tunnel.ts';
import { connectTo, startTcp } from '../support/upstream.ts';

const HOST = 'site.example.com';
/** More than the kernel takes for a connection whose end does not read, and a window. */
const MUCH = Buffer.alloc(64 * 1024 * 1024, 'x');
/** By which the others are less than the first; a window is 256 KiB, and what the kernel takes
 * differs by some of it. */
const LESS_BYTES = Array.from({ length: 12 }, (_, at) => (at + 1) * 48 * 1024);
const BEARER = { authorization: `Bearer ${TOKEN}` };
/** Nothing more has come for so long. */
const STILL_MS = 700;

interface Status {
  readonly clients: readonly { readonly bytesOut: number }[];
}

type Count = () => Promise<number>;

async function whenStill(count: Count): Promise<number> {
  let [last, sinceMs] = [0, performance.now()];
  await eventually(20_000, 'it stands still', async () => {
    const bytes = await count();
    if (bytes !== last) [last, sinceMs] = [bytes, performance.now()];
    assert.ok(last > 0 && performance.now() - sinceMs > STILL_MS);
  });
  return last;
}

/** Reads `socket` from now on: all of `sentBytes` and a FIN, or less and a reset. */
async function isCut(socket: net.Socket, sentBytes: number): Promise<boolean> {
  let bytes = 0;
  const { promise, resolve } = Promise.withResolvers<string>();
  socket.once('end', () => resolve('FIN'));
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
  socket.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  socket.resume();
  const end = await within(20_000, 'the end of what was sent', promise);
  const isWhole = bytes === sentBytes;
  assert.equal(end, isWhole ? 'FIN' : 'ECONNRESET', `${bytes} of ${sentBytes} bytes`);
  return !isWhole;
}

async function assertCut(all: readonly (readonly [net.Socket, number])[]): Promise<void> {
  const cuts = await Promise.all(all.map(([socket, bytes]) => isCut(socket, bytes)));
  assert.ok(cuts.includes(true), 'all of it had arrived: the test shows nothing');
}

/** An upstream that says `body()` behind `head`, and ends. */
function startSender(t: TestContext, head: string, bodies: readonly Buffer[]): Promise<number> {
  let count = 0;
  return startTcp(t, (socket) => {
    socket.once('data', () => {
      socket.write(head);
      socket.end(bodies[count] ?? MUCH);
      count += 1;
    });
  });
}

for (const { kind, head, ask } of [
  { kind: 'a TCP tunnel', head: '', ask: 'x' },
  {
    kind: 'an answer of HTTP/1.0',
    head: 'HTTP/1.0 200 OK\r\n\r\n',
    ask: `GET / HTTP/1.0\r\nHost: ${HOST}\r\n\r\n`,
  },
] as const) {
  test(`a download by ${kind} that a visitor has not taken is cut`, async (t) => {
    const bodies = [MUCH];
    const upstreamPort = await startSender(t, head, bodies);
    const tcpPort = await freePort();
    const server = await startServer(t, { shards: 1, drainTimeout: '1s' });
    const args = [
      ...['--tcp', `${tcpPort}=127.0.0.1:${upstreamPort}`],
      ...['--upstream', `${HOST}=http://127.0.0.1:${upstreamPort}`],
    ];
    await startClient(t, server, { args });
    const received: Count = async () => {
      const url = `http://127.0.0.1:${server.controlPort}/status`;
      const status = await (await fetch(url, { headers: BEARER })).json();
      return Number((status as Status).clients[0]?.bytesOut);
    };
    const visit = async (): Promise<net.Socket> => {
      const visitor = await connectTo(t, head === '' ? tcpPort : server.httpPort);
      visitor.pause().write(ask);
      return visitor;
    };
    const first = await visit();
    const before = await whenStill(received);
    first.destroy();
    const all: [net.Socket, number][] = [];
    for (const less of LESS_BYTES) {
      const bytes = before - less;
      bodies.push(MUCH.subarray(0, bytes - head.length));
      const visitor = await visit();
      all.push([visitor, bytes]);
    }
    await whenStill(received);
    assert.equal((await server.process.stop()).code, 0);
    await assertCut(all);
  });
}

test('an upload that an upstream has not taken is cut, and not stored as if it were whole', async (t) => {
  const takers: net.Socket[] = [];
  const upstreamPort = await startTcp(t, (socket) => takers.push(socket.pause()));
  const tcpPort = await freePort();
  const server = await startServer(t, { shards: 1 });
  const client = await startClient(t, server, {
    args: [
      ...['--tcp', `${tcpPort}=127.0.0.1:${upstreamPort}`, '--drain-timeout', '1s'],
      ...['--metrics-addr', '127.0.0.1:0'],
    ],
  });
  const metricsPort = await listeningPort(client, 'metrics');
  const received: Count = async () => {
    const page = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
    return Number(/^sluiceway_client_bytes_total\{.*direction="in"\} (\d+)$/mu.exec(page)?.[1]);
  };
  const visit = async (body: Buffer): Promise<net.Socket> => {
    const visitor = net.connect({ port: tcpPort, host: '127.0.0.1', allowHalfOpen: true });
    undoAfter(t, () => void visitor.destroy());
    visitor.on('error', () => {
      // Reset with its tunnel.
    });
    await once(visitor, 'connect');
    visitor.end(body);
    return visitor;
  };
  const first = await visit(MUCH);
  const before = await whenStill(received);
  first.resetAndDestroy();
  for (const less of LESS_BYTES) await visit(MUCH.subarray(0, before - less));
  await whenStill(received);
  assert.equal((await client.stop()).code, 0);
  await assertCut(takers.slice(1).map((taker, at) => [taker, before - (LESS_BYTES[at] ?? 0)]));
});
