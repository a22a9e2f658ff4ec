// A balancer of HTTP as one stands before exit nodes: it asks each for its health, and sends a
// request to those in turn that said 200 last, on connections that it keeps.
//
// Invariant: a request is sent once; what fails is an answer of 502, and without anybody to send it
// to of 503. Must not know: why a node is not ready, or what is asked for.

import { once } from 'node:events';
import http from 'node:http';
import type { TestContext } from 'node:test';
import { setTimeout as pass } from 'node:timers/promises';
import { undoAfter } from './cleanup.ts';

const LOOPBACK = '127.0.0.1';
/** Between two questions for health. */
const CHECK_MS = 100;

export interface BackendOptions {
  readonly httpPort: number;
  readonly controlPort: number;
}

export class Backend {
  /** What its health check said last. */
  health: 'up' | 'down' = 'down';
  /** Requests that it was sent since it came up. */
  requests = 0;
  readonly #options: BackendOptions;
  readonly #checkPath: string;
  #agent = new http.Agent({ keepAlive: true });

  constructor(options: BackendOptions, checkPath: string) {
    this.#options = options;
    this.#checkPath = checkPath;
  }

  async check(signal: AbortSignal): Promise<void> {
    const url = `http://${LOOPBACK}:${this.#options.controlPort}${this.#checkPath}`;
    const options = { signal, headers: { connection: 'close' } };
    const status = await fetch(url, options).then(
      (answer) => answer.status,
      () => 0,
    );
    const health = status === 200 ? 'up' : 'down';
    if (health === this.health) return;
    this.health = health;
    this.requests = 0;
    this.close();
    this.#agent = new http.Agent({ keepAlive: true });
  }

  pass(request: http.IncomingMessage, response: http.ServerResponse): void {
    this.requests += 1;
    const { method, url, headers } = request;
    const port = this.#options.httpPort;
    const onward = http.request(
      { host: LOOPBACK, port, agent: this.#agent, method, path: url, headers },
      (answer) => {
        response.writeHead(answer.statusCode ?? 502, answer.headers);
        answer.once('error', () => response.destroy());
        answer.pipe(response);
      },
    );
    onward.once('error', (error) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(502).end(String(error));
    });
    request.pipe(onward);
  }

  /** What runs goes on; what is idle is not used again. */
  close(): void {
    for (const socket of Object.values(this.#agent.freeSockets).flat()) socket?.destroy();
  }
}

export class Balancer {
  port = 0;
  readonly backends: readonly Backend[];
  #next = 0;

  constructor(backends: readonly Backend[]) {
    this.backends = backends;
  }

  serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    const up = this.backends.filter(({ health }) => health === 'up');
    this.#next += 1;
    const backend = up[this.#next % up.length];
    if (backend === undefined) response.writeHead(503).end('nobody is ready');
    else backend.pass(request, response);
  }
}

/** Before `nodes`, whose health is what `checkPath` of their control ports answers. */
export async function startBalancer(
  t: TestContext,
  nodes: readonly BackendOptions[],
  checkPath: string,
): Promise<Balancer> {
  const balancer = new Balancer(nodes.map((node) => new Backend(node, checkPath)));
  const server = http.createServer((request, response) => balancer.serve(request, response));
  server.listen(0, LOOPBACK);
  await once(server, 'listening');
  const address = server.address();
  balancer.port = address !== null && typeof address === 'object' ? address.port : 0;
  const stop = new AbortController();
  const checks = balancer.backends.map(async (backend) => {
    while (!stop.signal.aborted) {
      await backend.check(stop.signal);
      await pass(CHECK_MS);
    }
  });
  undoAfter(t, async () => {
    stop.abort();
    await Promise.all(checks);
    for (const backend of balancer.backends) backend.close();
    server.closeAllConnections();
    server.close();
  });
  return balancer;
}
