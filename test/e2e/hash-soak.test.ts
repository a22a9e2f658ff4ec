// 64 TCP streams at once, both directions of each at once, by hash.
//
// Goal: no byte is lost, doubled, reordered or mixed into another stream, under backpressure and
// with half-closes. Method: there is no echo; each side sends noise of its own, cut into chunks of
// 1 B to 1 MiB, and hashes what it sends and what it gets. On half of the streams the visitor ends
// first and the upstream goes on sending, on the other half the other way round.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type net from 'node:net';
import test from 'node:test';
import { within } from '../support/deadline.ts';
import { randomSize, seededNoise, seededRandom } from '../support/digest.ts';
import { isCi } from '../support/programs.ts';
import { tcpTunnel } from '../support/tunnel.ts';
import { connectTo, startTcp } from '../support/upstream.ts';

const STREAMS = 64;
const SECONDS = Number(process.env.SLUICEWAY_SOAK_SECONDS ?? (isCi() ? 20 : 5));
const CHUNK_BYTES_MAX = 1024 * 1024;
const NOISE_BYTES = 4 * CHUNK_BYTES_MAX;
/** Chunks that the side which ends last still sends after it has seen the other's end. */
const CHUNKS_AFTER_END = 8;
const FINISH_MS = 60_000;
const SEED = Number(process.env.SLUICEWAY_SEED ?? 20_260_807);
const NOISE = seededNoise(SEED, NOISE_BYTES);

interface Side {
  readonly sent: string;
  readonly received: string;
  readonly bytes: number;
}

interface Plan {
  readonly seed: number;
  /** Bytes sent before all others: the visitor tells the upstream which stream this is. */
  readonly prefix: Buffer;
  readonly endsFirst: boolean;
  readonly deadline: number;
}

/** Sends and receives on one socket until both directions have ended. */
async function exchange(socket: net.Socket, plan: Plan, first: Buffer): Promise<Side> {
  const received = createHash('sha256').update(first);
  socket.on('data', (piece: Buffer) => received.update(piece)).resume();
  const ended = once(socket, 'end');
  ended.catch(() => {
    // Cut: whatever waits on the socket next says so.
  });
  const sent = createHash('sha256');
  const random = seededRandom(plan.seed);
  let bytes = 0;
  async function send(piece: Buffer): Promise<void> {
    sent.update(piece);
    bytes += piece.length;
    if (!socket.write(piece)) await once(socket, 'drain');
  }
  function chunk(): Buffer {
    const size = randomSize(random, CHUNK_BYTES_MAX);
    const from = Math.floor(random() * (NOISE_BYTES - size));
    return NOISE.subarray(from, from + size);
  }
  await send(plan.prefix);
  while (performance.now() < plan.deadline) await send(chunk());
  if (!plan.endsFirst) {
    await ended;
    for (let left = CHUNKS_AFTER_END; left > 0; left -= 1) await send(chunk());
  }
  socket.end();
  await ended;
  return { sent: sent.digest('hex'), received: received.digest('hex'), bytes };
}

function prefixOf(index: number): Buffer {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(index);
  return prefix;
}

/** Reads the four bytes that name the stream, and gives back what came behind them. */
async function readPrefix(socket: net.Socket): Promise<Buffer> {
  let got = Buffer.alloc(0);
  while (got.length < 4) {
    const [piece] = (await once(socket, 'data')) as [Buffer];
    got = Buffer.concat([got, piece]);
  }
  socket.pause();
  return got;
}

interface UpstreamSide extends Side {
  readonly index: number;
}

async function serve(socket: net.Socket, deadline: number): Promise<UpstreamSide> {
  const got = await readPrefix(socket);
  const index = got.readUInt32LE();
  const endsFirst = index % 2 === 1;
  const plan = { seed: SEED + STREAMS + index, prefix: prefixOf(index), endsFirst, deadline };
  return { index, ...(await exchange(socket, plan, got)) };
}

test(`${STREAMS} streams keep every byte for ${SECONDS} s (seed ${SEED})`, async (t) => {
  let deadline = 0;
  const upstreamSides: Promise<UpstreamSide>[] = [];
  const port = await startTcp(t, (socket) => {
    upstreamSides.push(serve(socket, deadline));
  });
  const publicPort = await tcpTunnel(t, port);
  deadline = performance.now() + SECONDS * 1_000;

  const visitorSides = Array.from({ length: STREAMS }, async (_, index) => {
    const socket = await connectTo(t, publicPort);
    const endsFirst = index % 2 === 0;
    const plan = { seed: SEED + index, prefix: prefixOf(index), endsFirst, deadline };
    return await exchange(socket, plan, Buffer.alloc(0));
  });
  const limitMs = SECONDS * 1_000 + FINISH_MS;
  const visitors = await within(limitMs, 'all visitors finish', Promise.all(visitorSides));
  const upstreams = await within(limitMs, 'all upstreams finish', Promise.all(upstreamSides));

  assert.equal(upstreams.length, STREAMS);
  let bytes = 0;
  for (const upstream of upstreams) {
    const visitor = visitors[upstream.index];
    assert.ok(visitor !== undefined);
    assert.equal(upstream.received, visitor.sent, `stream ${upstream.index}: toward upstream`);
    assert.equal(visitor.received, upstream.sent, `stream ${upstream.index}: toward visitor`);
    bytes += upstream.bytes + visitor.bytes;
  }
  t.diagnostic(`${Math.round(bytes / 2 ** 20)} MiB, all hashes equal`);
});
