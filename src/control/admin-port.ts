// The admin address: the control port's plain answers, served by the main thread.
//
// Invariant: answers while shards are stuck or gone; refuses what a foreign page could make a
// browser send (a Host that is no address of ours, a foreign Origin or Sec-Fetch-Site). Must not
// know: what the answers say.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { Answers } from './answers.ts';
import type { InheritedSocket } from './inheritance.ts';

const HEAD_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
const CHECK_INTERVAL_MS = 2000;
const CONNECTIONS_MAX = 256;
const LOOPBACK = /^(::1|127\.|::ffff:127\.)/;
const LOCAL_HOST = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i;
const ADDRESS_HOST = /^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\])(:\d+)?$/i;

export interface AdminPortOptions {
  readonly host: string;
  readonly port: number;
  readonly answers: Answers;
  readonly log: Logger;
  /** A listening socket of a predecessor. */
  readonly inherited?: number | undefined;
}

export interface AdminPort {
  readonly port: number;
  /** For a successor; its descriptor is -1 where the platform has none. */
  readonly socket: InheritedSocket;
  close(): void;
}

/** Listens; rejects with SLW_LISTEN_FAILED. */
export function openAdminPort(options: AdminPortOptions): Promise<AdminPort> {
  const server = createServer({
    headersTimeout: HEAD_TIMEOUT_MS,
    requestTimeout: HEAD_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => void answer(options, request, response));
  return new Promise((resolve, reject) => {
    const { host, port, inherited } = options;
    const target = inherited === undefined ? { host, port } : { fd: inherited };
    server.once('error', (cause) => {
      const detail = `cannot listen on --admin-addr ${host}:${port}: ${cause.message}`;
      reject(new SluicewayError('SLW_LISTEN_FAILED', detail, { cause }));
    });
    server.listen(target, () => {
      server.on('error', (error) => options.log.warn({ err: error.message }, 'admin address'));
      const { _handle: handle } = server as { readonly _handle?: { readonly fd?: number } };
      const socket = { name: 'admin', host, port, fds: [handle?.fd ?? -1] };
      resolve({ port: portOf(server), socket, close: () => closeServer(server) });
    });
  });
}

async function answer(
  { answers, log }: AdminPortOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  request.resume();
  response.on('error', (error) => log.debug({ err: error.message }, 'answer was cut'));
  if (isForeign(request)) {
    response.writeHead(403, { 'content-type': 'text/plain' }).end('Forbidden\n');
    return;
  }
  const { remoteAddress = '' } = request.socket;
  try {
    const { status, headers, body } = await answers.answer(
      {
        method: request.method ?? 'GET',
        target: request.url ?? '/',
        authorization: request.headers.authorization,
        remoteAddress: `${remoteAddress}:${request.socket.remotePort ?? 0}`,
      },
      LOOPBACK.test(remoteAddress),
    );
    response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body);
  } catch (error) {
    log.error({ err: error }, 'admin answer failed');
    response.writeHead(500).end();
  }
}

/** A browser that was sent here by another site, or by a name that somebody rebound to us. */
function isForeign(request: IncomingMessage): boolean {
  const { host = '', origin, 'sec-fetch-site': site } = request.headers;
  const isOwnHost = LOCAL_HOST.test(host) || ADDRESS_HOST.test(host);
  if (!isOwnHost) return true;
  if (site !== undefined && site !== 'same-origin' && site !== 'none') return true;
  return origin !== undefined && origin !== `http://${host}`;
}

function portOf(server: Server): number {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}

function closeServer(server: Server): void {
  server.close();
  server.closeAllConnections();
}
