// Where a client or the operator says how it is: /metrics, /healthz and /readyz over plain HTTP.
//
// Invariant: what is said are counts and names of the operator's own, so that it needs no login;
// only reads are answered; a slow reader holds a connection of its own and nothing else. Must not
// know: what is counted.

import type { IncomingMessage, ServerResponse } from 'node:http';
import { SluicewayError } from './errors.ts';
import { http } from './http-modules.ts';
import type { Logger } from './log.ts';

const TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 64;

export interface MetricsPortOptions {
  readonly address: { readonly host: string; readonly port: number };
  /** What keeps it from being ready, or from serving `tunnel`; undefined when nothing does. */
  readonly whyNotReady: (tunnel: string | undefined) => string | undefined;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
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
    answer(options, request, response).catch((error: unknown) => {
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
  { whyNotReady, metrics }: MetricsPortOptions,
  { method, url = '/' }: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const [path, query] = url.split('?', 2);
  const say = (status: number, text: string, fields: Record<string, string> = {}): void => {
    const body = method === 'HEAD' ? undefined : text;
    response.writeHead(status, { 'content-type': 'text/plain', ...fields }).end(body);
  };
  if (path !== '/healthz' && path !== '/readyz' && path !== '/metrics') {
    say(404, 'Not Found\n');
  } else if (method !== 'GET' && method !== 'HEAD') {
    say(405, 'Method Not Allowed\n', { allow: 'GET, HEAD' });
  } else if (path === '/metrics') {
    const { contentType, text } = await metrics();
    say(200, text, { 'content-type': contentType });
  } else {
    const tunnel = new URLSearchParams(query).get('tunnel') ?? undefined;
    const why = path === '/healthz' ? undefined : whyNotReady(tunnel);
    say(why === undefined ? 200 : 503, `${why ?? 'ok'}\n`);
  }
}
