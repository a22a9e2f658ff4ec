// Stands in front of a cloud's API: lets requests through, holds them up, loses their answers, or
// answers itself.
//
// Invariant: what is decided of a request is decided once it is whole; every connection ends with
// the test. Must not know: which cloud.

import { createServer, request, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { undoAfter } from './cleanup.ts';

export interface Passing {
  readonly method: string;
  readonly path: string;
  readonly body: string;
}

export type Fate =
  | 'pass'
  /** Never arrives, and is never answered. */
  | 'stop'
  /** Arrives, and its answer does not; neither do the words that it was lost. */
  | 'mute'
  /** Does not arrive, and the connection is cut. */
  | 'cut'
  /** Arrives, and the connection is cut in place of an answer. */
  | 'lose'
  | { readonly status: number; readonly body: string };

export interface CloudRelay {
  readonly url: string;
  /** Of each request; may wait. */
  decide: (passing: Passing) => Fate | Promise<Fate>;
  /** Of each answer that passes. */
  rewrite: (body: string) => string;
  /** What arrived, in order. */
  readonly arrived: readonly Passing[];
  /** What the cloud answered, whether that was passed on or not. */
  readonly answered: readonly (Passing & { readonly status: number })[];
}

export async function startCloudRelay(t: TestContext, target: string): Promise<CloudRelay> {
  const arrived: Passing[] = [];
  const answered: (Passing & { readonly status: number })[] = [];
  const relay = {
    url: '',
    decide: (): Fate | Promise<Fate> => 'pass',
    rewrite: (body: string) => body,
    arrived,
    answered,
  } satisfies CloudRelay as { -readonly [K in keyof CloudRelay]: CloudRelay[K] };
  const server = createServer((incoming, response) => {
    const pieces: Buffer[] = [];
    incoming.on('error', () => response.destroy());
    incoming.on('data', (piece: Buffer) => pieces.push(piece));
    incoming.on('end', () => {
      const { method = '', url: path = '', headers } = incoming;
      const body = Buffer.concat(pieces);
      const passing = { method, path, body: body.toString('utf8') };
      void (async () => {
        const fate = await relay.decide(passing);
        if (fate === 'stop') return;
        if (fate === 'cut') return void response.destroy();
        if (typeof fate === 'object') {
          response.writeHead(fate.status, { 'content-type': 'text/plain' }).end(fate.body);
          return;
        }
        arrived.push(passing);
        const forwarded = request(new URL(path, target), { method, headers, agent: false });
        forwarded.on('error', () => response.destroy());
        forwarded.on('response', (answer) => {
          const parts: Buffer[] = [];
          answer.on('error', () => response.destroy());
          answer.on('data', (piece: Buffer) => parts.push(piece));
          answer.on('end', () => {
            const text = Buffer.concat(parts).toString('utf8');
            const status = answer.statusCode ?? 0;
            answered.push({ ...passing, status });
            finish(response, fate, { status, text: relay.rewrite(text) });
          });
        });
        forwarded.end(body);
      })();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  relay.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return relay;
}

function finish(
  response: ServerResponse,
  fate: Fate,
  { status, text }: { readonly status: number; readonly text: string },
): void {
  if (fate === 'lose') response.destroy();
  else if (fate === 'pass') response.writeHead(status).end(text);
}
