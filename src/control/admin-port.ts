// The admin address: the dashboard, and the control port's plain answers, by the main thread.
//
// Invariant: answers while shards are stuck or gone; refuses what a foreign page could make a
// browser send (a Host that is no address of ours, a foreign Origin or Sec-Fetch-Site), but a link
// to the dashboard's page that somebody follows. Must not know: what the answers say.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { systemClock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import { HttpCallers } from '../base/http-callers.ts';
import { http } from '../base/http-modules.ts';
import type { Logger } from '../base/log.ts';
import { isLoopbackHost } from '../base/target.ts';
import type { Answers } from './answers.ts';
import type { Dashboard } from './dashboard.ts';
import type { InheritedSocket } from './inheritance.ts';

const HEAD_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
const CHECK_INTERVAL_MS = 2000;
const CONNECTIONS_MAX = 256;
const LOCAL_HOST = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$/i;
/** What proxies add. */
const FORWARDED_FIELDS = ['forwarded', 'x-forwarded-for', 'x-real-ip', 'via'] as const;
/** Of the dashboard: where a link may lead, and where that leads without a session. */
const LINKED_PATHS: ReadonlySet<string> = new Set(['/', '/login']);
const ADDRESS_HOST = /^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:.]+\])(:\d+)?$/i;

export interface AdminPortOptions {
  readonly host: string;
  readonly port: number;
  readonly answers: Answers;
  readonly dashboard: Dashboard;
  readonly log: Logger;
  /** A listening socket of a predecessor. */
  readonly inherited?: number | undefined;
}

export interface AdminPort {
  readonly port: number;
  /** For a successor; its descriptor is -1 where the platform has none. */
  readonly socket: InheritedSocket;
  /** Whoever comes is a successor's; who was accepted is answered. */
  leave(): void;
  close(): void;
}

/** Listens; rejects with SLW_LISTEN_FAILED. */
export function openAdminPort(options: AdminPortOptions): Promise<AdminPort> {
  const server = http.createServer({
    headersTimeout: HEAD_TIMEOUT_MS,
    requestTimeout: HEAD_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
  });
  server.maxConnections = CONNECTIONS_MAX;
  new HttpCallers(server, 'connection', systemClock);
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
      const leave = (): void => {
        options.dashboard.close();
        server.close();
      };
      const close = (): void => {
        leave();
        server.closeAllConnections();
      };
      resolve({ port: portOf(server), socket, leave, close });
    });
  });
}

async function answer(
  { answers, dashboard, log }: AdminPortOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  response.on('error', (error) => log.debug({ err: error.message }, 'answer was cut'));
  const isTrusted = isOwn(request);
  if (isForeign(request, isTrusted)) {
    response.writeHead(403, { 'content-type': 'text/plain' }).end('Forbidden\n');
    return;
  }
  const { remoteAddress: address = '', remotePort = 0 } = request.socket;
  const remoteAddress = `${address}:${remotePort}`;
  const { method = 'GET', url: target = '/' } = request;
  try {
    const [path = ''] = target.split('?', 1);
    if (await dashboard.visit({ request, response, path, isTrusted, remoteAddress })) return;
    request.resume();
    const { authorization } = request.headers;
    const plain = { method, target, authorization, remoteAddress };
    const { status, headers, body } = await answers.answer(plain, isTrusted);
    response.writeHead(status, headers).end(method === 'HEAD' ? undefined : body);
  } catch (error) {
    log.error({ err: error }, 'admin answer failed');
    if (!response.headersSent) response.writeHead(500);
    response.end();
  }
}

/** From this machine, and not passed on by a proxy on it for somebody else. */
function isOwn({ socket, headers }: IncomingMessage): boolean {
  const isForwarded = FORWARDED_FIELDS.some((name) => headers[name] !== undefined);
  return isLoopbackHost(socket.remoteAddress ?? '') && !isForwarded;
}

/** A browser that was sent here by another site, or by a name that somebody rebound to us. */
function isForeign(request: IncomingMessage, isTrusted: boolean): boolean {
  const { host = '', origin, 'sec-fetch-site': site } = request.headers;
  // A name may be anybody's; who must show a token gains nothing by one.
  if (isTrusted && !LOCAL_HOST.test(host) && !ADDRESS_HOST.test(host)) return true;
  const isFromElsewhere = site !== undefined && site !== 'same-origin' && site !== 'none';
  if (isFromElsewhere && !isFollowedLink(request)) return true;
  // TLS may end at a proxy, which says that it is one.
  const schemes = isTrusted ? ['http'] : ['http', 'https'];
  return origin !== undefined && schemes.every((scheme) => origin !== `${scheme}://${host}`);
}

/** As from a wiki, or back from the login of a proxy in front: who has sent the browser here cannot
 * read the page, nor frame it, and it is without the session's cookie. */
function isFollowedLink({ method, url = '/', headers }: IncomingMessage): boolean {
  const { 'sec-fetch-mode': mode, 'sec-fetch-dest': destination } = headers;
  const isPage = mode === 'navigate' && destination === 'document';
  const [path = ''] = url.split('?', 1);
  return isPage && (method === 'GET' || method === 'HEAD') && LINKED_PATHS.has(path);
}

function portOf(server: Server): number {
  const address = server.address();
  return address !== null && typeof address === 'object' ? address.port : 0;
}
