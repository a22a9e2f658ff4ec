// A client written in another language from docs/protocol.md alone, against the real server.
//
// Goal: the document is enough, and the server leans on no habit of our own client: this one uses
// random masks, fragmented messages, smaller frames and windows, one link to two shards.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import type net from 'node:net';
import path from 'node:path';
import test, { type TestContext } from 'node:test';
import { within } from '../support/deadline.ts';
import { seededNoise, sha256 } from '../support/digest.ts';
import { freePort } from '../support/free-port.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { requirePrograms } from '../support/programs.ts';
import { environment, startServer, type TestServer, TOKEN } from '../support/tunnel.ts';
import { connectTo, startTcp } from '../support/upstream.ts';

const PEER = path.resolve(import.meta.dirname, '../fixtures/peer.py');
const BYTES = 8 * 1024 * 1024;
const TRANSFER_MS = 60_000;

interface Running {
  readonly server: TestServer;
  readonly peer: TestProcess;
  /** Public ports, one for each upstream port. */
  readonly ports: readonly number[];
}

function startPeer(
  t: TestContext,
  python: string,
  options: { controlPort: number; tunnels: readonly string[]; token?: string; endCode?: number },
): TestProcess {
  return startProcess(t, {
    name: 'peer',
    command: python,
    args: ['-u', PEER, String(options.controlPort), ...options.tunnels],
    env: environment({ SLUICEWAY_TOKEN: options.token ?? TOKEN }),
    ...(options.endCode === undefined ? { endCode: 0 } : { endsItself: true }),
  });
}

async function run(t: TestContext, upstreams: readonly number[]): Promise<Running | undefined> {
  const programs = requirePrograms(t, ['python3']);
  if (programs === undefined) return undefined;
  const server = await startServer(t);
  const ports = await Promise.all(upstreams.map(() => freePort()));
  const tunnels = ports.map((port, index) => `tcp:${port}=127.0.0.1:${upstreams[index]}`);
  const peer = startPeer(t, programs.python3, { controlPort: server.controlPort, tunnels });
  for (const port of ports) {
    await peer.line(`tunnel ${port} is up`, (line) => line === `ready tcp:${port}`);
  }
  return { server, peer, ports };
}

/** Everything until the other side ends. */
async function readAll(socket: net.Socket): Promise<Buffer> {
  const pieces: Buffer[] = [];
  socket.on('data', (piece: Buffer) => pieces.push(piece));
  await once(socket, 'end');
  return Buffer.concat(pieces);
}

test('a client in Python carries 8 MiB each way at once, and each direction ends by itself', async (t) => {
  const down = seededNoise(1, BYTES);
  const up = seededNoise(2, BYTES);
  // Sends at once; answers with the digest of what it got only after the visitor's end.
  const upstream = await startTcp(t, (socket) => {
    const hash = createHash('sha256');
    socket.on('data', (piece: Buffer) => hash.update(piece));
    socket.on('end', () => socket.end(hash.digest('hex')));
    socket.write(down);
  });
  const running = await run(t, [upstream]);
  if (running === undefined) return;
  const visitor = await connectTo(t, running.ports[0] ?? 0);
  const answer = readAll(visitor);
  visitor.end(up);
  const got = await within(TRANSFER_MS, 'both directions end', answer);
  assert.equal(sha256(got.subarray(0, BYTES)), sha256(down));
  assert.equal(got.subarray(BYTES).toString(), sha256(up));
});

test('an upstream that ends first still gets what the visitor sends', async (t) => {
  const up = seededNoise(3, BYTES);
  let onDigest = (_digest: string): void => {};
  const digest = new Promise<string>((resolve) => {
    onDigest = resolve;
  });
  const upstream = await startTcp(t, (socket) => {
    socket.end('only this');
    const hash = createHash('sha256');
    socket.on('data', (piece: Buffer) => hash.update(piece));
    socket.on('end', () => onDigest(hash.digest('hex')));
  });
  const running = await run(t, [upstream]);
  if (running === undefined) return;
  const visitor = await connectTo(t, running.ports[0] ?? 0);
  assert.equal(String(await within(TRANSFER_MS, 'the end', readAll(visitor))), 'only this');
  visitor.end(up);
  assert.equal(await within(TRANSFER_MS, 'the upload', digest), sha256(up));
});

test('visitors of several tunnels share the link, each with its own bytes', async (t) => {
  const echo = (socket: net.Socket): void => void socket.pipe(socket);
  const running = await run(t, [await startTcp(t, echo), await startTcp(t, echo)]);
  if (running === undefined) return;
  const { ports } = running;
  const sent = Array.from({ length: 24 }, (_, index) => seededNoise(index, 40_000 * (index + 1)));
  const echoed = sent.map(async (bytes, index) => {
    const visitor = await connectTo(t, ports[index % 2] ?? 0);
    const answer = readAll(visitor);
    visitor.end(bytes);
    return sha256(await answer);
  });
  assert.deepEqual(await within(TRANSFER_MS, 'all echoes', Promise.all(echoed)), sent.map(sha256));
});

test('a refused dial and a reset upstream cut the visitor, and nobody else', async (t) => {
  const closed = await freePort();
  const resetting = await startTcp(t, (socket) => {
    socket.once('data', () => socket.resetAndDestroy());
  });
  const echo = await startTcp(t, (socket) => void socket.pipe(socket));
  const running = await run(t, [closed, resetting, echo]);
  if (running === undefined) return;
  const bystander = await connectTo(t, running.ports[2] ?? 0);
  for (const port of running.ports.slice(0, 2)) {
    const visitor = await connectTo(t, port);
    const error = once(visitor, 'error');
    visitor.write('hello');
    visitor.resume();
    const [failure] = (await within(TRANSFER_MS, 'the cut', error)) as NodeJS.ErrnoException[];
    assert.equal(failure?.code, 'ECONNRESET');
  }
  const answer = readAll(bystander);
  bystander.end('still here');
  assert.equal(String(await within(TRANSFER_MS, 'the echo', answer)), 'still here');
});

test('a port that is not allowed is refused by name, and the others are up', async (t) => {
  const programs = requirePrograms(t, ['python3']);
  if (programs === undefined) return;
  const { controlPort } = await startServer(t);
  const allowed = await freePort();
  const tunnels = ['tcp:80=127.0.0.1:1', `tcp:${allowed}=127.0.0.1:1`, 'No Host=127.0.0.1:1'];
  const peer = startPeer(t, programs.python3, { controlPort, tunnels });
  for (const wanted of [
    'refused SLW_TUNNEL_PORT_NOT_ALLOWED tcp:80',
    `ready tcp:${allowed}`,
    'refused SLW_TUNNEL_NAME No Host',
  ]) {
    await peer.line(wanted, (line) => line === wanted);
  }
});

test('a wrong token gets 401 before any frame', async (t) => {
  const programs = requirePrograms(t, ['python3']);
  if (programs === undefined) return;
  const { controlPort } = await startServer(t);
  const options = { controlPort, tunnels: ['tcp:2222=127.0.0.1:1'], token: 'wrong', endCode: 1 };
  const peer = startPeer(t, programs.python3, options);
  await peer.line('the refusal', (line) => line.includes('HTTP/1.1 401'));
  assert.equal((await peer.ended).code, 1);
});

test('a server that stops says goodbye to the client', async (t) => {
  const echo = await startTcp(t, (socket) => void socket.pipe(socket));
  const running = await run(t, [echo]);
  if (running === undefined) return;
  const { peer, server } = running;
  const end = peer.expectEnd();
  const stopped = server.process.stop();
  await peer.line('the goodbye', (line) => line === 'goaway 17');
  await stopped;
  await end;
});
