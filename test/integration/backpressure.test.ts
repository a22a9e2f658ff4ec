// Goal: a reader that stops holds back its own sender and nobody else, and a stream that was
// stalled in both directions goes on without a byte lost. Method: one link for everything, real
// sockets; whoever is not to be slowed is held against a reader of a tunnel that is left alone, by
// the bytes that each has got at the same time: what else the machine does takes from both.

import assert from 'node:assert/strict';
import type net from 'node:net';
import { type TestContext, test } from 'node:test';
import { eventually, within } from '../support/deadline.ts';
import { seededNoise, sha256 } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { queuedBytes } from '../support/kernel-queues.ts';
import { type LocalNode, startLocalClient, startNode } from '../support/local-tunnel.ts';
import { connectTo, startTcp } from '../support/upstream.ts';

const MIB = 1024 * 1024;
const DONE_MS = 20_000;
const READ_BYTES = 96 * MIB;
/** One shard at each end and one link: everything shares it. */
const ONE_LINK = { shards: '1' } as const;
/** `--window-max`, and some reads. */
const HELD_BYTES_MAX = 9 * MIB;

async function startTunnelTo(
  t: TestContext,
  upstream: number,
  flags: Readonly<Record<string, string>> = {},
): Promise<{ node: LocalNode; port: number }> {
  const port = await freePort();
  const node = await startNode(t, { flags: { ...ONE_LINK, ...flags } });
  await startLocalClient(t, node, {
    flags: { tcp: `${port}=127.0.0.1:${upstream}`, ...flags },
  });
  return { node, port };
}

/** Sends zeros without end, as fast as the other side takes them. */
function flood(socket: net.Socket): void {
  const piece = Buffer.alloc(64 * 1024);
  const write = (): void => {
    while (!socket.destroyed && socket.write(piece));
  };
  socket.on('drain', write);
  write();
}

/** Reads both until the first has got `bytes`; gives what the second has got by then. */
async function readBeside(bytes: number, first: net.Socket, second: net.Socket): Promise<number> {
  let got = 0;
  let besideGot = 0;
  const count = (piece: Buffer): void => {
    besideGot += piece.length;
  };
  const whole = new Promise<void>((resolve) => {
    first.on('data', function take(piece: Buffer): void {
      got += piece.length;
      if (got < bytes) return;
      first.off('data', take);
      resolve();
    });
  });
  second.on('data', count);
  for (const socket of [first, second]) socket.resume();
  await within(DONE_MS, `${bytes} bytes`, whole);
  second.off('data', count);
  for (const socket of [first, second]) socket.pause();
  return besideGot;
}

/** Waits until a number no longer changes between two questions. */
async function settled(what: string, read: () => number): Promise<number> {
  let before = -1;
  await eventually(DONE_MS, `${what} stands still`, async () => {
    const now = read();
    const isStill = now === before;
    before = now;
    assert.ok(isStill, `${what} is ${now}`);
  });
  return before;
}

test('a visitor who never reads does not slow another on the same link', async (t) => {
  const floods: net.Socket[] = [];
  const upstream = await startTcp(t, (socket) => {
    floods.push(socket);
    flood(socket);
  });
  const { node, port } = await startTunnelTo(t, upstream);
  const { port: otherPort } = await startTunnelTo(t, await startTcp(t, flood));
  const [reader, leftAlone] = [await connectTo(t, port), await connectTo(t, otherPort)];
  await readBeside(16 * MIB, leftAlone, reader);
  const before = await readBeside(READ_BYTES, leftAlone, reader);
  const pairs: (readonly [upstream: net.Socket, visitor: net.Socket])[] = [];
  for (let count = 1; count <= 4; count += 1) {
    const visitor = await connectTo(t, port);
    visitor.pause();
    await eventually(DONE_MS, 'its upstream', async () => assert.equal(floods.length, count + 1));
    pairs.push([floods[count] as net.Socket, visitor]);
  }
  const stalled = 'sluiceway_streams_stalled{reason="visitor"}';
  await node.untilMetric(stalled, (count) => count >= 4);
  const beside = await readBeside(READ_BYTES, leftAlone, reader);
  const shares = [before, beside].map((bytes) => (bytes / READ_BYTES).toFixed(2));
  t.diagnostic(`of a reader left alone it had ${shares[0]}, and ${shares[1]} beside 4 stalled`);
  assert.ok(beside >= 0.5 * before, `${beside} bytes beside stalled visitors, ${before} before`);
  assert.equal(floods.length, 5);
  // Each stalled upstream is held back: a window, and what is in hand at either end of it.
  for (const [upstream, visitor] of pairs) {
    await settled('a stalled upstream', () => upstream.bytesWritten);
    const held = upstream.bytesWritten - upstream.writableLength;
    const ours = held - queuedBytes(upstream) - queuedBytes(visitor);
    t.diagnostic(`${held} bytes were sent, ${ours} of them are with us`);
    assert.ok(ours < HELD_BYTES_MAX, `${ours} bytes of a stalled upstream are with us`);
  }
});

for (const window of ['4KiB', '256KiB']) {
  test(`both directions stalled, then read, are complete: window ${window}`, async (t) => {
    const seed = 7;
    // More than the sockets on the way can hold, so that both directions do stall.
    const down = seededNoise(seed, 24 * MIB);
    const up = seededNoise(seed + 1, 24 * MIB);
    const accepted = Promise.withResolvers<net.Socket>();
    const upstream = await startTcp(t, (socket) => {
      socket.pause();
      accepted.resolve(socket);
    });
    const { node, port } = await startTunnelTo(t, upstream, { 'window-initial': window });
    const visitor = await connectTo(t, port);
    visitor.pause();
    visitor.end(up);
    const server = await within(DONE_MS, 'the upstream is reached', accepted.promise);
    server.end(down);
    const sent = await settled('the visitor', () => unsent(visitor));
    assert.ok(sent > 0, 'the visitor did not stall');
    assert.ok((await settled('the upstream', () => unsent(server))) > 0, 'nor the upstream');
    const [gotUp, gotDown] = await within(
      DONE_MS,
      `both directions end, seed ${seed}`,
      Promise.all([readAll(server), readAll(visitor)]),
    );
    assert.equal(sha256(gotUp), sha256(up), 'to the upstream');
    assert.equal(sha256(gotDown), sha256(down), 'to the visitor');
    const ended = `sluiceway_streams_total{tunnel="tcp:${port}",result="ok"}`;
    await node.untilMetric(ended, (count) => count === 1);
  });
}

/** Bytes that the kernel has not taken yet. */
function unsent(socket: net.Socket): number {
  return socket.writableLength;
}

/** By events: an iterator would destroy the socket at its end, and with it the other direction. */
function readAll(socket: net.Socket): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    socket.on('data', (piece: Buffer) => pieces.push(piece));
    socket.once('end', () => resolve(Buffer.concat(pieces)));
    socket.once('error', reject);
    socket.resume();
  });
}
