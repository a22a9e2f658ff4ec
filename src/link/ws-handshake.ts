// The WebSocket handshake, both sides, by `ws`; the socket is ours afterwards.
//
// Invariant: `ws` never reads a frame. Its documented `WebSocket` option and subclass hook
// `setSocket` are where it would begin to; ours takes the socket there instead. Must not know:
// tokens' meaning, sessions. Checked by the link's tests, so a changed `ws` fails there first.

import type { Agent, IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { WebSocket, WebSocketServer } from 'ws';
import { systemClock } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import {
  describeDialAnswer,
  describeDialFailure,
  describeNoUpgrade,
  describeRefusedLogin,
} from '../base/dial-failure.ts';
import { SluicewayError } from '../base/errors.ts';
import { trustIn } from '../base/own-authorities.ts';
import {
  createProxyAgent,
  describeProxy,
  describeProxyAnswer,
  identityBehindProxy,
} from '../base/proxy-agent.ts';
import { describeTlsRefusal } from '../base/tls-refusal.ts';

/** The subprotocol of version 1 (contract). */
export const SUBPROTOCOL = 'sluiceway.1';
/** TCP, TLS and HTTP of one dial. Guess: slower networks than this serve nobody. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** With the way through a proxy. Guess. */
const DIAL_TIMEOUT_MS = 15_000;

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
  /** Through which to dial; absent: directly. */
  readonly proxy?: string | undefined;
}

export interface DialEvents {
  onUpgraded(upgraded: Upgraded): void;
  /**
   * SLW_AUTH_REFUSED for 401 and 403, SLW_TLS_REFUSED for a certificate, else SLW_DIAL_FAILED.
   * Once, and instead of onUpgraded.
   */
  onFailure(error: SluicewayError): void;
}

export type GiveUp = () => void;

/** Dials `url`. */
export function dialWebSocket(options: DialOptions, events: DialEvents): GiveUp {
  const dial = new Dial(options, events);
  return () => dial.giveUp();
}

/** One dial, settled once. */
class Dial {
  readonly #options: DialOptions;
  readonly #events: DialEvents;
  /** Absent until the agent for a proxy is there. */
  #socket: HandshakeSocket | undefined;
  /** To the proxy, which `ws` does not end. */
  readonly #way = new AbortController();
  /** The timeout of `ws` begins when there is a connection, and a proxy may never make one. */
  readonly #timer: NodeJS.Timeout;
  /** What the proxy has answered. */
  #proxyStatus = 200;
  #state: 'dialling' | 'settled' = 'dialling';

  constructor(options: DialOptions, events: DialEvents) {
    this.#options = options;
    this.#events = events;
    this.#timer = setTimeout(() => this.#expire(), DIAL_TIMEOUT_MS);
    if (options.proxy === undefined) this.#open(undefined);
    else this.#openThrough(options.proxy);
  }

  giveUp(): void {
    if (this.#settle()) this.#end();
  }

  #openThrough(proxy: string): void {
    const onAnswer = (status: number): void => {
      this.#proxyStatus = status;
    };
    const { signal } = this.#way;
    createProxyAgent({ proxy, signal, onAnswer, timeoutMs: HANDSHAKE_TIMEOUT_MS }).then(
      (way) => {
        if (this.#state === 'dialling') this.#open(way);
      },
      (cause: Error) => this.#fail(this.#failure(cause)),
    );
  }

  #open(way: Agent | undefined): void {
    const socket = this.#createSocket(way);
    this.#socket = socket;
    socket.on('upgraded', (upgraded: Upgraded) => {
      if (this.#settle()) this.#events.onUpgraded(upgraded);
    });
    socket.on('unexpected-response', (request, response) => {
      request.destroy();
      this.#fail(this.#refusal(response.statusCode ?? 0, response.headers.date));
    });
    socket.on('error', (cause) => this.#fail(this.#failure(cause)));
  }

  #createSocket(way: Agent | undefined): HandshakeSocket {
    const { url, token, agent, ca, own } = this.#options;
    return new HandshakeSocket(url, [SUBPROTOCOL], {
      ...(way === undefined ? {} : { agent: way, ...identityBehindProxy(url) }),
      perMessageDeflate: false,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      ...attemptsWithin(HANDSHAKE_TIMEOUT_MS),
      maxRedirects: 0,
      // Whatever NODE_TLS_REJECT_UNAUTHORIZED says: the token goes over this connection.
      rejectUnauthorized: true,
      headers: {
        'user-agent': agent,
        ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      },
      ...trustIn(ca),
      ...own,
    });
  }

  #settle(): boolean {
    if (this.#state === 'settled') return false;
    this.#state = 'settled';
    clearTimeout(this.#timer);
    return true;
  }

  #end(): void {
    this.#socket?.terminate();
    this.#way.abort();
  }

  #expire(): void {
    const text = `no answer within ${DIAL_TIMEOUT_MS / 1000} s`;
    this.#fail(new SluicewayError('SLW_DIAL_FAILED', `${this.#through}${text}`));
  }

  #fail(error: SluicewayError): void {
    if (!this.#settle()) return;
    // A failure may be of our own, with the connection to the proxy open.
    this.#end();
    this.#events.onFailure(error);
  }

  /** What a proxy answers is no word of the server's. */
  #refusal(status: number, date: string | undefined): SluicewayError {
    const { proxy } = this.#options;
    const isServers = proxy === undefined || this.#proxyStatus === 200;
    if (isServers) return refusal(status, date);
    return new SluicewayError('SLW_DIAL_FAILED', describeProxyAnswer(proxy, this.#proxyStatus));
  }

  #failure(cause: Error): SluicewayError {
    // The proxy's own certificate, which is told already.
    if (cause instanceof SluicewayError) return cause;
    const refused = describeTlsRefusal(cause);
    const code = refused === undefined ? 'SLW_DIAL_FAILED' : 'SLW_TLS_REFUSED';
    const { url, proxy } = this.#options;
    const why = describeNoUpgrade(cause.message) ?? describeDialFailure(cause, url, proxy);
    const detail = refused ?? `${this.#through}${why}`;
    return new SluicewayError(code, detail, { cause });
  }

  get #through(): string {
    const { proxy } = this.#options;
    return proxy === undefined ? '' : `through ${describeProxy(proxy)}: `;
  }
}

function refusal(status: number, date: string | undefined): SluicewayError {
  if (status === 401 || status === 403) {
    const detail = describeRefusedLogin(status, date, systemClock.wallMs());
    return new SluicewayError('SLW_AUTH_REFUSED', detail);
  }
  return new SluicewayError('SLW_DIAL_FAILED', describeDialAnswer(status));
}
