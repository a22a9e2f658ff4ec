// The WebSocket handshake, both sides, by `ws`; the socket is ours afterwards.
//
// Invariant: `ws` never reads a frame. Its documented `WebSocket` option and subclass hook
// `setSocket` are where it would begin to; ours takes the socket there instead. Must not know:
// tokens' meaning, sessions. Checked by the link's tests, so a changed `ws` fails there first.

import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { SluicewayError } from '../base/errors.ts';
import { describeTlsRefusal } from '../base/tls-refusal.ts';

/** The subprotocol of version 1 (contract). */
export const SUBPROTOCOL = 'sluiceway.1';
/** TCP, TLS and HTTP of one dial. Guess: slower networks than this serve nobody. */
const HANDSHAKE_TIMEOUT_MS = 10_000;

export interface Upgraded {
  readonly socket: Socket;
  readonly head: Buffer;
}

/** A WebSocket that stops where frames would begin. */
class HandshakeSocket extends WebSocket {
  upgraded: Upgraded | undefined;

  setSocket(socket: Socket, head: Buffer): void {
    this.upgraded = { socket, head };
    this.emit('upgraded', this.upgraded);
  }
}

const server = new WebSocketServer({
  noServer: true,
  clientTracking: false,
  perMessageDeflate: false,
  WebSocket: HandshakeSocket,
  handleProtocols: (protocols) => (protocols.has(SUBPROTOCOL) ? SUBPROTOCOL : false),
});

/** Does the request offer our subprotocol? */
export function offersSubprotocol(request: IncomingMessage): boolean {
  const offered = request.headers['sec-websocket-protocol'] ?? '';
  return offered.split(',').some((protocol) => protocol.trim() === SUBPROTOCOL);
}

/** Answers an upgrade request. `ws` answers a malformed one with a 4xx and closes by itself. */
export function acceptUpgrade(
  request: IncomingMessage,
  socket: Duplex,
  head: Buffer,
  onUpgraded: (upgraded: Upgraded) => void,
): void {
  server.handleUpgrade(request, socket, head, (webSocket) => {
    const { upgraded } = webSocket as HandshakeSocket;
    if (upgraded !== undefined) onUpgraded(upgraded);
  });
}

export interface DialOptions {
  readonly url: string;
  /** Empty: none is sent. */
  readonly token: string;
  readonly agent: string;
  /** PEM of a CA to trust beside none other; the system's store otherwise. */
  readonly ca: string | undefined;
  /** A certificate to show, PEM. */
  readonly own?: { readonly cert: string; readonly key: string } | undefined;
}

export interface DialEvents {
  onUpgraded(upgraded: Upgraded): void;
  /**
   * SLW_AUTH_REFUSED for 401 and 403, SLW_TLS_REFUSED for a certificate, else SLW_DIAL_FAILED.
   * Once, and instead of onUpgraded.
   */
  onFailure(error: SluicewayError): void;
}

/** Dials `url`. Returns a function that gives up. */
export function dialWebSocket(options: DialOptions, events: DialEvents): () => void {
  const socket = new HandshakeSocket(options.url, [SUBPROTOCOL], {
    perMessageDeflate: false,
    handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
    maxRedirects: 0,
    // Whatever NODE_TLS_REJECT_UNAUTHORIZED says: the token goes over this connection.
    rejectUnauthorized: true,
    headers: {
      'user-agent': options.agent,
      ...(options.token === '' ? {} : { authorization: `Bearer ${options.token}` }),
    },
    ...(options.ca === undefined ? {} : { ca: options.ca }),
    ...options.own,
  });
  let isSettled = false;
  const settle = (act: () => void): void => {
    if (isSettled) return;
    isSettled = true;
    act();
  };
  socket.on('upgraded', (upgraded: Upgraded) => settle(() => events.onUpgraded(upgraded)));
  socket.on('unexpected-response', (request, response) => {
    request.destroy();
    settle(() => events.onFailure(refusal(response.statusCode ?? 0)));
  });
  socket.on('error', (cause) => {
    const refused = describeTlsRefusal(cause);
    const code = refused === undefined ? 'SLW_DIAL_FAILED' : 'SLW_TLS_REFUSED';
    const detail = refused ?? describe(cause);
    settle(() => events.onFailure(new SluicewayError(code, detail, { cause })));
  });
  return () => settle(() => socket.terminate());
}

function refusal(status: number): SluicewayError {
  if (status === 401 || status === 403) {
    return new SluicewayError('SLW_AUTH_REFUSED', `the server answered ${status}`);
  }
  return new SluicewayError(
    'SLW_DIAL_FAILED',
    `the server answered ${status}, not a WebSocket: is this a sluiceway control port?`,
  );
}

/** An AggregateError of several addresses has an empty message of its own. */
function describe(cause: Error): string {
  if (cause instanceof AggregateError) {
    return cause.errors.map((error: Error) => error.message).join(', ');
  }
  return cause.message;
}
