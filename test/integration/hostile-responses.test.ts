// Goal: a broken response never looks whole, and what an upstream says too much reaches nobody.
// Method: every vector of test/fixtures/hostile-responses.ts through a real tunnel, followed by a
// stray answer, in one write and split in two; the visitor asks for something else behind it.

import assert from 'node:assert/strict';
import type net from 'node:net';
import { test } from 'node:test';
import { RESPONSE_VECTORS, type ResponseVector, STRAY } from '../fixtures/hostile-responses.ts';
import { startLocalClient, startNode } from '../support/local-tunnel.ts';
import { RequestReader } from '../support/raw-requests.ts';
import { RawVisitor } from '../support/raw-visitor.ts';
import { startTcp } from '../support/upstream.ts';

const HOST = 'hostile.example';
const VISITORS = 16;
const SPLITS = ['whole', 'split'] as const;

interface Case {
  readonly vector: ResponseVector;
  readonly index: number;
  readonly split: (typeof SPLITS)[number];
}

/** Answers `/vector/INDEX/SPLIT` with the vector and a stray answer, anything else as it should. */
function serve(socket: net.Socket): void {
  socket.setNoDelay(true);
  const reader = new RequestReader({
    onHead: () => {},
    onEnd: ({ target }) => {
      const [, kind, index, split] = target.split('/');
      if (kind === 'vector') sendVector(socket, Number(index), split ?? '');
      else socket.write(`HTTP/1.1 200 OK\r\nContent-Length: ${target.length}\r\n\r\n${target}`);
    },
    onFault: (fault) => assert.fail(fault),
  });
  socket.on('data', (piece: Buffer) => reader.push(piece));
  socket.on('end', () => socket.end());
}

function sendVector(socket: net.Socket, index: number, split: string): void {
  const vector = RESPONSE_VECTORS[index]?.bytes ?? '';
  const bytes = Buffer.from(vector + STRAY, 'latin1');
  // A stray answer by itself, behind the next request, is that request's: nobody could tell.
  const middle = split === 'split' ? Math.floor(vector.length / 2) : bytes.length;
  socket.write(bytes.subarray(0, middle), () => {
    // Its own turn, so that it is likely to arrive by itself.
    if (middle < bytes.length) setImmediate(() => socket.write(bytes.subarray(middle)));
  });
}

async function run(port: number, one: Case): Promise<void> {
  const { vector, index, split } = one;
  const visitor = await RawVisitor.connect(port);
  const ask = (method: string, target: string): string =>
    `${method} ${target} HTTP/1.1\r\nHost: ${HOST}\r\n\r\n`;
  try {
    // The first makes the second one use a stream again.
    visitor.send(Buffer.from(ask('GET', '/first')));
    await visitor.answersCount(1);
    const asked = ask(vector.method, `/vector/${index}/${split}`);
    visitor.send(Buffer.from(asked + ask('GET', `/second/${index}`)));
    visitor.end();
    await visitor.ended();
    check(one, visitor);
  } catch (error) {
    const so = JSON.stringify(visitor.text.slice(0, 600));
    const what = `${vector.name}, ${split}, ended by ${visitor.ending}: ${String(error)}`;
    throw new Error(`${what}; so far ${so}`, { cause: error });
  } finally {
    visitor.destroy();
  }
}

function check({ vector, index }: Case, visitor: RawVisitor): void {
  assert.ok(!visitor.text.includes('stray'), 'the stray answer reached the visitor');
  const { outcome, method } = vector;
  const [first, second, ...others] = visitor.answers(['GET', method, 'GET']);
  assert.equal(first?.body, '/first');
  if (outcome === 'whole') {
    assert.equal(second?.status, vector.status);
    assert.equal(second.body, vector.body);
    assert.deepEqual(
      others.map((answer) => answer.body),
      [`/second/${index}`],
    );
  } else if (outcome === 'refused') {
    assert.equal(second?.status, 502);
    assert.match(second.body, /^<!doctype html><title>502 Bad Gateway/u);
    assert.equal(visitor.ending, 'fin');
    assert.equal(others.length, 0);
  } else {
    assert.equal(second, undefined, 'a broken answer looks whole');
    assert.equal(visitor.ending, 'cut');
  }
}

test('a hostile response is a 502 or a cut, and its rest reaches nobody', async (t) => {
  const upstream = await startTcp(t, serve);
  const node = await startNode(t);
  await startLocalClient(t, node, { flags: { upstream: `${HOST}=http://127.0.0.1:${upstream}` } });
  const names = new Set(RESPONSE_VECTORS.map(({ name }) => name));
  assert.equal(names.size, RESPONSE_VECTORS.length, 'names are unique');
  t.diagnostic(`${RESPONSE_VECTORS.length} vectors`);
  const cases = RESPONSE_VECTORS.flatMap((vector, index) =>
    SPLITS.map((split): Case => ({ vector, index, split })),
  ).values();
  const visit = async (): Promise<void> => {
    for (const one of cases) await run(node.httpPort, one);
  };
  await Promise.all(Array.from({ length: VISITORS }, visit));
});
