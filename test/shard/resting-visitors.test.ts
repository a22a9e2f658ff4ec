// Goal: a connection that rests or waits keeps nothing of what was read or written for it. A small
// Buffer lies in a block of Node's with others, and one that lives keeps all 64 KiB of it. Method:
// the HTTP ingress on real sockets, blocks that are used up between visitors, and what is left of
// them after a collection.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Forwarding } from '../../src/http/forwarding.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { ResponseParser } from '../../src/http/response-head.ts';
import { Inspector } from '../../src/shard/inspector.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Edge, type Peer, startEdge, turns, type Upstream } from '../support/http-edge.ts';

const VISITORS = 40;
/** A quarter of one block. */
const KEPT_BYTES_MAX = Buffer.poolSize / 4;
const HEAD_END = /\r\n\r\n$/;
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('globalThis.gc') as () => void;

/** Others' requests: the next small Buffer lies in another block. */
function useUpBlock(): void {
  const bytes = Buffer.poolSize / 16;
  for (let used = 0; used < Buffer.poolSize; used += bytes) Buffer.allocUnsafe(bytes - 1).fill(1);
}

/** What `each` visitor or request leaves behind. */
async function keptBytes(each: (index: number) => Promise<void>): Promise<number> {
  const bytesNow = async (): Promise<number> => {
    await turns();
    collect();
    await turns();
    collect();
    return process.memoryUsage().arrayBuffers;
  };
  // The first one makes what all share.
  await each(0);
  const before = await bytesNow();
  for (let index = 1; index <= VISITORS; index += 1) {
    await each(index);
    useUpBlock();
  }
  return ((await bytesNow()) - before) / VISITORS;
}

/** A visitor asks, and its request has come to the upstream. */
async function ask({ visit }: Edge, upstream: Upstream, request: string): Promise<[Peer, Peer]> {
  const visitor = await visit();
  visitor.send(request);
  const peer = await upstream.next();
  await peer.read(HEAD_END);
  return [visitor, peer];
}

async function startPlace(t: TestContext): Promise<[Edge, Upstream]> {
  const edge = await startEdge(t);
  return [edge, await edge.upstream('a.example')];
}

test('between two requests', async (t) => {
  const [edge, upstream] = await startPlace(t);
  const bytes = await keptBytes(async () => {
    const request = 'GET / HTTP/1.1\r\nHost: a.example\r\n\r\n';
    const [visitor, peer] = await ask(edge, upstream, request);
    useUpBlock();
    peer.send(OK);
    await visitor.read('ok');
  });
  assert.ok(bytes < KEPT_BYTES_MAX, `${bytes} bytes a connection`);
});

test('between two requests that name no host', async (t) => {
  const edge = await startEdge(t);
  const upstream = await edge.upstream('*');
  const bytes = await keptBytes(async () => {
    const request = 'GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n';
    const [visitor, peer] = await ask(edge, upstream, request);
    peer.send(OK);
    await visitor.read('ok');
  });
  assert.ok(bytes < KEPT_BYTES_MAX, `${bytes} bytes a connection`);
});

test('while an answer is waited for', async (t) => {
  const [edge, upstream] = await startPlace(t);
  const bytes = await keptBytes(async () => {
    await ask(edge, upstream, 'GET /poll HTTP/1.1\r\nHost: a.example\r\n\r\n');
  });
  assert.ok(bytes < KEPT_BYTES_MAX, `${bytes} bytes a connection`);
});

test('an inspected request keeps no more than it is counted for', async () => {
  const inspector = new Inspector(0, 'a1b2c3', new FakeClock());
  inspector.apply({ tunnels: ['*'], requestsMax: 2 * VISITORS, bodyBytesMax: 0 });
  const origin = { address: '192.0.2.1', scheme: 'http', localAuthority: 'x' } as const;
  const arrived = { tunnel: 'a.example', port: 1, replayOf: '' };
  const bytes = await keptBytes(async () => {
    const request = new RequestParser();
    request.push(Buffer.from('GET / HTTP/1.1\r\nHost: a.example\r\n\r\n'), 0);
    const forwarding = new Forwarding(origin);
    const trace = inspector.begin({ ...arrived, forwarding }, request);
    useUpBlock();
    const response = new ResponseParser();
    response.prepare('GET', false);
    response.push(Buffer.from(OK), 0);
    trace?.answered(response);
  });
  assert.equal(inspector.newest(undefined, 2 * VISITORS).length, VISITORS + 1);
  assert.ok(bytes < KEPT_BYTES_MAX, `${bytes} bytes a request`);
});
