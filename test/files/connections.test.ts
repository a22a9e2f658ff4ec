// Goal: a file server that is told to end sends what it has begun, to the last byte, and waits for
// nobody who has nothing to get. Method: an HTTP server that answers when the test says so.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { Connections } from '../../src/files/connections.ts';
import { listen, stop } from '../../src/files/listening.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { connectTo } from '../support/upstream.ts';

const GET = 'GET / HTTP/1.1\r\nHost: site.example\r\n\r\n';
const WAIT_MS = 5000;
/** More than the kernel takes for who does not read. */
const LARGE_BYTES = 32 * 1024 * 1024;

class Scene {
  readonly connections: Connections;
  readonly #server: http.Server;
  readonly #port: number;

  private constructor(server: http.Server, connections: Connections, port: number) {
    this.#server = server;
    this.connections = connections;
    this.#port = port;
  }

  static async start(t: TestContext): Promise<Scene> {
    // As that of the file server, longer than any test waits.
    const server = http.createServer({ keepAliveTimeout: 90_000 });
    const connections = new Connections(server);
    const port = await listen(server, { host: '127.0.0.1', port: 0, name: 'test' });
    undoAfter(t, () => stop(server));
    return new Scene(server, connections, port);
  }

  /** A connection that the server knows of. */
  async visit(t: TestContext): Promise<Socket> {
    const accepted = once(this.#server, 'connection');
    const visitor = await connectTo(t, this.#port);
    await within(WAIT_MS, 'it is accepted', accepted);
    return visitor;
  }

  /** Asks, and gives the response that is to be sent. */
  async ask(visitor: Socket): Promise<http.ServerResponse> {
    const asked = once(this.#server, 'request') as Promise<[unknown, http.ServerResponse]>;
    visitor.write(GET);
    const [, response] = await within(WAIT_MS, 'a request', asked);
    return response;
  }

  /** Asks, and reads the answer. */
  async get(visitor: Socket): Promise<string> {
    const response = await this.ask(visitor);
    const answered = once(visitor, 'data');
    response.end('page');
    const [bytes] = (await within(WAIT_MS, 'an answer', answered)) as [Buffer];
    return bytes.toString();
  }

  drained(): Promise<void> {
    return within(WAIT_MS, 'the end of the drain', this.connections.drain());
  }
}

async function readAll(visitor: Socket): Promise<number> {
  let bytes = 0;
  visitor.on('data', (piece: Buffer) => {
    bytes += piece.length;
  });
  visitor.resume();
  await within(WAIT_MS, 'the end', once(visitor, 'end'));
  visitor.end();
  return bytes;
}

test('an idle connection ends at once', async (t) => {
  const scene = await Scene.start(t);
  const visitor = await scene.visit(t);
  assert.doesNotMatch(await scene.get(visitor), /^connection: close\r$/im);
  const end = once(visitor, 'end');
  const drained = scene.drained();
  await within(WAIT_MS, 'the end', end);
  visitor.end();
  await drained;
});

test('one that becomes idle during the drain ends then, and what is slow comes whole', async (t) => {
  const scene = await Scene.start(t);
  const [quick, slow] = [await scene.visit(t), await scene.visit(t)];
  const response = await scene.ask(quick);
  response.writeHead(200, { 'content-length': 4 });
  response.write('pa');
  slow.pause();
  const body = Buffer.alloc(LARGE_BYTES);
  (await scene.ask(slow)).writeHead(200, { 'content-length': body.length }).end(body);
  const drained = scene.drained();
  response.end('ge');
  await readAll(quick);
  assert.ok((await readAll(slow)) > LARGE_BYTES);
  await drained;
});

test('a request that comes during the drain is the last of its connection, and is told so', async (t) => {
  const scene = await Scene.start(t);
  const fresh = await scene.visit(t);
  const drained = scene.drained();
  assert.match(await scene.get(fresh), /^connection: close\r$/im);
  await readAll(fresh);
  await drained;
});
