// WebSockets of visitors through an HTTP tunnel: a thousand messages of mixed sizes and kinds come
// back in order and equal, and close codes pass both ways.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import test, { type TestContext } from 'node:test';
import { WebSocket, WebSocketServer } from 'ws';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { randomSize, seededNoise, seededRandom, sha256 } from '../support/digest.ts';
import { httpTunnel } from '../support/tunnel.ts';

const HOST = 'ws.example.com';
const MESSAGES = 1_000;
const MESSAGE_BYTES_MAX = 1024 * 1024;
const NOISE_BYTES = 4 * MESSAGE_BYTES_MAX;
const SEED = 20_260_806;

/** Echoes, tells its close codes, and closes with the code that a text `close:N` names. */
async function startEchoServer(t: TestContext): Promise<{ port: number; closes: WebSocketServer }> {
  const server = http.createServer();
  const sockets = new WebSocketServer({ server, maxPayload: 2 * MESSAGE_BYTES_MAX });
  sockets.on('connection', (socket) => {
    socket.on('message', (data, isBinary) => {
      const text = isBinary ? '' : String(data);
      if (text.startsWith('close:')) socket.close(Number(text.slice(6)), 'as asked');
      else socket.send(data, { binary: isBinary });
    });
    socket.on('close', (code, reason) => sockets.emit('closed', code, String(reason)));
  });
  undoAfter(t, () => {
    for (const socket of sockets.clients) socket.terminate();
    server.close();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  return { port: address.port, closes: sockets };
}

async function openVisitor(t: TestContext, httpPort: number): Promise<WebSocket> {
  const socket = new WebSocket(`ws://127.0.0.1:${httpPort}/echo`, { headers: { Host: HOST } });
  undoAfter(t, () => {
    socket.terminate();
  });
  await within(10_000, 'the WebSocket opens', once(socket, 'open'));
  return socket;
}

interface Message {
  readonly data: Buffer | string;
  readonly digest: string;
}

function* messages(): Generator<Message> {
  const random = seededRandom(SEED);
  const noise = seededNoise(SEED, NOISE_BYTES);
  const letters = noise.toString('base64');
  for (let index = 0; index < MESSAGES; index += 1) {
    // The first few have the sizes at which the framing changes.
    const edges = [0, 1, 125, 126, 65_535, 65_536, MESSAGE_BYTES_MAX];
    const size = edges[index] ?? randomSize(random, MESSAGE_BYTES_MAX);
    const from = Math.floor(random() * (NOISE_BYTES - size));
    const isBinary = index % 2 === 0;
    const data = isBinary ? noise.subarray(from, from + size) : letters.slice(from, from + size);
    yield { data, digest: digestOf(Buffer.from(data), isBinary) };
  }
}

function digestOf(bytes: Buffer, isBinary: boolean): string {
  return `${isBinary ? 'binary' : 'text'} ${bytes.length} ${sha256(bytes)}`;
}

test('WebSocket messages and close codes pass through an HTTP tunnel', async (t) => {
  const upstream = await startEchoServer(t);
  const { httpPort } = await httpTunnel(t, HOST, upstream.port);

  await t.test(`${MESSAGES} messages come back in order and equal (seed ${SEED})`, async (t) => {
    const visitor = await openVisitor(t, httpPort);
    const got: string[] = [];
    const all = new Promise<void>((resolve, reject) => {
      visitor.on('message', (data, isBinary) => {
        got.push(digestOf(data as Buffer, isBinary));
        if (got.length === MESSAGES) resolve();
      });
      visitor.once('close', (code) => reject(new Error(`closed with ${code}: ${got.length} came`)));
    });
    const sent: string[] = [];
    for (const message of messages()) {
      sent.push(message.digest);
      await new Promise<void>((resolve, reject) => {
        visitor.send(message.data, (error) => (error ? reject(error) : resolve()));
      });
    }
    await within(60_000, 'all echoes', all);
    assert.deepEqual(got, sent);
  });

  await t.test("the visitor's close code reaches the upstream", async (t) => {
    const visitor = await openVisitor(t, httpPort);
    const closed = once(upstream.closes, 'closed');
    visitor.close(4001, 'visitor leaves');
    assert.deepEqual(await within(10_000, 'upstream closes', closed), [4001, 'visitor leaves']);
  });

  await t.test("the upstream's close code reaches the visitor", async (t) => {
    const visitor = await openVisitor(t, httpPort);
    const closed = once(visitor, 'close');
    visitor.send('close:4002');
    const [code, reason] = await within(10_000, 'visitor closes', closed);
    assert.deepEqual([code, String(reason)], [4002, 'as asked']);
  });
});
