// Where a client or the operator says how it is: /metrics, /healthz and /readyz over plain HTTP.
//
// Invariant: what is said are counts and names of the operator's own, so that it needs no login;
// only reads are answered; a slow reader holds a connection of its own and nothing else; `[::]` is
// every address that the machine has, also where that is none of IPv6. Must not know: what is
// counted.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { SluicewayError } from './errors.ts';
import { http } from './http-modules.ts';
import type { Logger } from './log.ts';
import { showTarget, type Target } from './target.ts';

const TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 64;
const ANY_OF_BOTH = '::';
const ANY_OF_IPV4 = '0.0.0.0';
/** What the kernel says of `::` where it has no IPv6, or where IPv6 is off. */
const NO_IPV6: ReadonlySet<string | undefined> = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL']);

export interface MetricsPortOptions {
  readonly address: Target;
  /** What keeps it from being ready, or from serving `tunnel`; undefined when nothing does. */
  readonly whyNotReady: (tunnel: string | undefined) => string | undefined;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly log: Logger;
}

export interface MetricsPort {
  readonly port: number;
  /** Where it listens, for a log. */
  readonly shown: string;
  close(): void;
}

/** Rejects with SLW_LISTEN_FAILED. */
export async function openMetricsPort(options: MetricsPortOptions): Promise<MetricsPort> {
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
  const host = await listen(server, options.address);
  const address = server.address();
  const { port } = address !== null && typeof address === 'object' ? address : options.address;
  server.on('error', (error) => options.log.warn({ err: error.message }, 'metrics address'));
  const close = (): void => {
    server.close();
    server.closeAllConnections();
  };
  return { port, shown: showTarget({ host, port }), close };
}

/** Gives the host: probes of a pod come by the family that its cluster has, and that may be one. */
async function listen(server: Server, { host, port }: Target): Promise<string> {
  const refused = await listenOn(server, { host, port });
  if (refused === undefined) return host;
  const isAlone = host === ANY_OF_BOTH && NO_IPV6.has(refused.code);
  const cause = isAlone ? await listenOn(server, { host: ANY_OF_IPV4, port }) : refused;
  if (cause === undefined) return ANY_OF_IPV4;
  const detail = `cannot listen on --metrics-addr ${showTarget({ host, port })}: ${cause.message}`;
  throw new SluicewayError('SLW_LISTEN_FAILED', detail, { cause });
}

/** Gives why not. */
function listenOn(server: Server, target: Target): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    server.once('error', resolve);
    server.listen(target, () => {
      server.off('error', resolve);
      resolve(undefined);
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
