// A cloud's API on loopback: routes, and request bodies held against the provider's own schema.
//
// Invariant: a request that the provider would not take, for a field it does not know, one that is
// missing or a credential that is wrong, is refused and fails the test. Must not know: who asks.

import assert from 'node:assert/strict';
import { createServer, type IncomingHttpHeaders } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import type { z } from 'zod';
import { undoAfter } from '../support/cleanup.ts';

export interface Asked {
  readonly method: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

export interface Answer {
  readonly status: number;
  readonly json?: unknown;
}

/** What a stub of a provider is. */
export interface CloudApi {
  readonly answer: (asked: Asked, ports: { readonly origin: string }) => Answer | undefined;
  /** Whatever would still be paid for, or be in the way. */
  readonly left: () => readonly string[];
  /** A machine gets its address and runs. */
  readonly boot: () => void;
  /** The next machine is refused, as for a quota. */
  readonly refuse: () => void;
  /** User data of the machine that was made, as it would reach cloud-init. */
  readonly userData: () => string;
}

export const STUB_ADDRESS = '127.0.0.1';

export interface Stub {
  readonly url: string;
  readonly asked: readonly Asked[];
}

export async function startStub(t: TestContext, api: CloudApi): Promise<Stub> {
  const asked: Asked[] = [];
  const problems: string[] = [];
  let url = '';
  const server = createServer((request, response) => {
    const pieces: Buffer[] = [];
    request.on('data', (piece: Buffer) => pieces.push(piece));
    request.on('end', () => {
      const { pathname, searchParams } = new URL(request.url ?? '', 'http://stub');
      const { method = '', headers } = request;
      const body = Buffer.concat(pieces).toString('utf8');
      const one = { method, path: pathname, query: searchParams, headers, body };
      asked.push(one);
      let answer: Answer;
      try {
        answer = api.answer(one, { origin: url }) ?? { status: 404, json: NOT_FOUND };
        if (answer.json === NOT_FOUND && !/\/(?:absent|gone)/u.test(pathname)) {
          if (!KNOWN_ABSENT.test(method)) problems.push(`no route: ${method} ${pathname}`);
        }
      } catch (error) {
        problems.push(`${method} ${pathname}: ${String(error)}`);
        answer = { status: 500, json: NOT_FOUND };
      }
      response.writeHead(answer.status, { 'content-type': 'application/json' });
      response.end(answer.json === undefined ? '' : JSON.stringify(answer.json));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, STUB_ADDRESS, resolve));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
    assert.deepEqual(problems, [], 'the provider would not take this');
  });
  url = `http://${STUB_ADDRESS}:${(server.address() as AddressInfo).port}`;
  return { url, asked };
}

const NOT_FOUND = { message: 'not found', error: { message: 'not found' } };
/** What is looked up or deleted may be gone. */
const KNOWN_ABSENT = /^(?:GET|DELETE)$/u;

/** A JSON body by a strict schema; throws for what the provider does not take. */
export function readBody<T>(asked: Asked, schema: z.ZodType<T>): T {
  assert.match(asked.headers['content-type'] ?? '', /^application\/json/u);
  return schema.parse(JSON.parse(asked.body));
}
