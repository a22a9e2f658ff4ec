// The control port in a shard: link upgrades, and plain requests that control answers.
//
// Invariant: no frame is read before control has allowed the token, and none of an address that is
// not on the list when its link begins; what is refused gets a constant body; heads, times and
// bodies are bounded, as Node's defaults are wrong for an edge.
// Must not know: tokens, or what the plain answers say.

import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { httpTimeOf, systemClock } from '../base/clock.ts';
import { HttpCallers } from '../base/http-callers.ts';
import { http } from '../base/http-modules.ts';
import type { Endpoint } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import { LOGIN_RETRY_SECONDS } from '../base/login-throttle.ts';
import type { Bridge } from '../bridge/calls.ts';
import type { ExitControlMethods, ExitShardMethods, LinkPort } from '../bridge/exit-messages.ts';
import { acceptUpgrade, offersSubprotocol, type Upgraded } from '../link/ws-handshake.ts';
import type { Knock } from './link-door.ts';
import { ControlPortTls } from './port-tls.ts';

/** A head that takes longer is an attack (design: B1). */
export const HEAD_TIMEOUT_MS = 10_000;
/** Plain requests have no body to speak of. */
const REQUEST_TIMEOUT_MS = 10_000;
/** Above the idle time of every cloud balancer's health checks. */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;
/** How often Node looks for slow heads; its default is 30 s. */
const CHECK_INTERVAL_MS = 2000;
const HEAD_BYTES_MAX = 16 * 1024;
const HEADERS_MAX = 100;
/** Connections of a shard, links included. Guess: 8,000 clients with two links each. */
export const CONNECTIONS_MAX = 16_384;

const HEALTH_PATHS: ReadonlySet<string> = new Set(['/healthz', '/readyz']);

/** Constant, whatever was asked for. */
const REFUSALS: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  401: 'Unauthorized',
  404: 'Not Found',
  408: 'Request Timeout',
  426: 'Upgrade Required',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  503: 'Service Unavailable',
};

/** Of Node's errors; any other is a 400. */
const STATUS_OF_ERROR: Readonly<Record<string, number>> = {
  HPE_HEADER_OVERFLOW: 431,
  ERR_HTTP_REQUEST_TIMEOUT: 408,
};

const MORE_FIELDS: Readonly<Record<number, string>> = {
  401: 'WWW-Authenticate: Bearer\r\n',
  429: `Retry-After: ${LOGIN_RETRY_SECONDS}\r\n`,
};

export interface LinkPeer {
  readonly remoteAddress: string;
  /** The name in its certificate; absent when a token let it in. */
  readonly identity?: string;
  /** Names the token that let it in, where there are several. */
  readonly credential?: string;
  /** Absent: the control port. */
  readonly port?: LinkPort;
}

export interface ControlPortOptions {
  readonly tls: ControlPortTls;
  readonly bridge: Bridge<ExitShardMethods, ExitControlMethods>;
  readonly log: Logger;
  /** Is an address on the list of clients? */
  readonly isAllowed: (address: string | undefined) => boolean;
  readonly onLink: (upgraded: Upgraded, peer: LinkPeer) => void;
}

/** Of connections that came in by the ports of visitors. */
const knocks = new WeakMap<Socket, Knock>();

export function createControlPort(options: ControlPortOptions): Server {
  const settings = {
    headersTimeout: HEAD_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    connectionsCheckingInterval: CHECK_INTERVAL_MS,
    maxHeaderSize: HEAD_BYTES_MAX,
  };
  const secure = options.tls.createServer(settings);
  const server = secure ?? http.createServer(settings);
  const arrival = secure === undefined ? 'connection' : 'secureConnection';
  const callers = new HttpCallers(server, arrival, systemClock);
  server.maxHeadersCount = HEADERS_MAX;
  server.maxConnections = CONNECTIONS_MAX;
  server.on('request', (request, response) => void answer(options, request, response));
  server.on('upgrade', (request, socket, head) => {
    callers.onUpgrade(request);
    void upgrade(options, { request, socket, head });
  });
  server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
    if (isTurnedAway(options, socket)) return;
    // Nothing can be said before a handshake is done, and Node leaves its socket open.
    if (error.code === 'ERR_TLS_HANDSHAKE_TIMEOUT') socket.destroy();
    else refuse(options, socket, STATUS_OF_ERROR[error.code ?? ''] ?? 400, '_other');
  });
  return server;
}

async function answer(
  options: ControlPortOptions,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  // Balancers ask these, from addresses of their own.
  if (!HEALTH_PATHS.has(path) && isTurnedAway(options, request.socket)) return;
  // A body has no meaning here; reading it to nowhere keeps the connection usable.
  request.resume();
  response.on('error', (error) => options.log.debug({ err: error.message }, 'answer was cut'));
  try {
    const { status, headers, body } = await options.bridge.call('request', {
      method: request.method ?? 'GET',
      target: request.url ?? '/',
      authorization: request.headers.authorization,
      ...peerOf(options, request.socket),
    });
    // Kept alive it would be refused for ever, with a certificate that is good.
    if (options.tls.isOutdated(request.socket)) response.setHeader('connection', 'close');
    response.writeHead(status, headers).end(request.method === 'HEAD' ? undefined : body);
  } catch (error) {
    options.log.warn({ err: String(error) }, 'control did not answer');
    response.writeHead(503, { connection: 'close' }).end();
  }
}

async function upgrade(
  options: ControlPortOptions,
  { request, socket, head }: { request: IncomingMessage; socket: Duplex; head: Buffer },
): Promise<void> {
  if (isTurnedAway(options, request.socket)) return;
  const onError = (error: Error): void => {
    options.log.debug({ err: error.message }, 'upgrade was cut');
  };
  socket.on('error', onError);
  // A request with a body: Node puts a stream of its own before the socket, to read that first.
  if (socket !== request.socket) return refuse(options, socket, 400, '_other');
  const path = (request.url ?? '').split('?', 1)[0];
  if (path !== '/connect') return refuse(options, socket, 404, '_other');
  let peer = peerOf(options, request.socket);
  try {
    const { authorization } = request.headers;
    const answer = await options.bridge.call('authorize', { authorization, ...peer });
    if (answer.access === 'throttled') return refuse(options, socket, 429, '/connect');
    if (answer.access === 'unavailable') return refuse(options, socket, 503, '/connect');
    if (answer.access !== 'allowed') {
      // A client ends at a 401, and this one has only to come again.
      const status = options.tls.isOutdated(request.socket) ? 503 : 401;
      return refuse(options, socket, status, '/connect');
    }
    const { credential } = answer;
    if (credential !== undefined) peer = { ...peer, credential };
  } catch (error) {
    options.log.warn({ err: String(error) }, 'control did not answer');
    return refuse(options, socket, 503, '/connect');
  }
  if (socket.destroyed) return;
  // The list may have changed since, and who had no link then was not cut.
  if (isTurnedAway(options, request.socket)) return;
  if (!offersSubprotocol(request)) return refuse(options, socket, 426, '/connect');
  acceptUpgrade(request, socket, head, (upgraded) => {
    socket.off('error', onError);
    const knock = knocks.get(request.socket);
    knock?.onUpgraded();
    options.bridge.tell('answered', { path: '/connect', status: 101 });
    options.onLink(upgraded, { ...peer, port: knock === undefined ? 'control' : 'visitors' });
  });
}

/** Ends a client that is not on the list, without a word. */
function isTurnedAway(options: ControlPortOptions, socket: Duplex): boolean {
  const { address } = endpointOf(socket as Socket);
  if (options.isAllowed(address)) return false;
  options.log.debug({ peer: address, list: 'clients' }, 'denied');
  socket.destroy();
  return true;
}

function refuse(options: ControlPortOptions, socket: Duplex, status: number, path: string): void {
  options.bridge.tell('answered', { path, status });
  const text = REFUSALS[status] ?? 'Error';
  const body = `${text}\n`;
  socket.end(
    `HTTP/1.1 ${status} ${text}\r\nConnection: close\r\nContent-Type: text/plain\r\n` +
      // By which a client finds that its clock is wrong.
      `Date: ${httpTimeOf(systemClock.wallMs())}\r\n${MORE_FIELDS[status] ?? ''}` +
      `Content-Length: ${body.length}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

/**
 * A server for connections that are handed to it, whose TLS is not the control port's. It does not
 * listen, so Node looks at no time and no count of it: whoever hands them over has to.
 */
export function createHandedPort(
  options: Omit<ControlPortOptions, 'tls'>,
): (socket: Socket, knock: Knock) => void {
  const server = createControlPort({ ...options, tls: new ControlPortTls(undefined) });
  // Each was handed over for one request, which is known to be an upgrade, or wrong.
  server.maxRequestsPerSocket = 1;
  return (socket, knock) => {
    knocks.set(socket, knock);
    server.emit('connection', socket);
  };
}

function endpointOf(socket: Socket): Endpoint {
  const { remoteAddress: address = '', remotePort: port = 0 } = socket;
  return knocks.get(socket)?.visitor ?? { address, port };
}

function peerOf({ tls }: ControlPortOptions, socket: Socket): LinkPeer {
  const { address, port } = endpointOf(socket);
  const remoteAddress = `${address}:${port}`;
  const identity = tls.identityOf(socket);
  return { remoteAddress, ...(identity === undefined ? {} : { identity }) };
}
