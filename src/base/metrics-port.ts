// Where the operator says how it is: /metrics, /healthz and /readyz over plain HTTP.
//
// Invariant: says nothing about any object but counts, so that it needs no login; a slow reader
// holds a connection of its own and nothing else. Must not know: what is counted.

import type { ServerResponse } from 'node:http';
import { SluicewayError } from '../base/errors.ts';
import { http } from '../base/http-modules.ts';
import type { Logger } from '../base/log.ts';
import type { Address } from '../config/config.ts';

const TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 64;

export interface MetricsPortOptions {
  readonly address: Address;
  readonly isReady: () => boolean;
  readonly render: () => Promise<string>;
  readonly contentType: string;
  readonly log: Logger;
}

export interface MetricsPort {
  readonly port: number;
  close(): void;
}

/** Rejects with SLW_LISTEN_FAILED. */
export function openMetricsPort(options: MetricsPortOptions): Promise<MetricsPort> {
  const server = http.createServer({ headersTimeout: TIMEOUT_MS, requestTimeout: TIMEOUT_MS });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => {
    request.resume();
    response.on('error', (error) => options.log.debug({ err: error.message }, 'answer was cut'));
    answer(options, request.url ?? '/', response).catch((error: unknown) => {
      options.log.error({ err: String(error) }, 'metrics failed');
      response.destroy();
    });
  });
  const { host, port } = options.address;
  return new Promise((resolve, reject) => {
    server.once('error', (cause) => {
      const detail = `cannot listen on --metrics-addr ${host}:${port}: ${cause.message}`;
      reject(new SluicewayError('SLW_LISTEN_FAILED', detail, { cause }));
    });
    server.listen({ host, port }, () => {
      const address = server.address();
      const actual = address !== null && typeof address === 'object' ? address.port : port;
      server.on('error', (error) => options.log.warn({ err: error.message }, 'metrics address'));
      const close = (): void => {
        server.close();
        server.closeAllConnections();
      };
      resolve({ port: actual, close });
    });
  });
}

async function answer(
  { isReady, render, contentType }: MetricsPortOptions,
  target: string,
  response: ServerResponse,
): Promise<void> {
  const [path] = target.split('?', 1);
  const say = (status: number, text: string, type = 'text/plain'): void => {
    response.writeHead(status, { 'content-type': type }).end(text);
  };
  if (path === '/healthz') say(200, 'ok\n');
  else if (path === '/readyz') say(isReady() ? 200 : 503, isReady() ? 'ok\n' : 'not ready\n');
  else if (path === '/metrics') say(200, await render(), contentType);
  else say(404, 'Not Found\n');
}
