// What the control port speaks TLS with in this shard: floor, certificate, and clients' identity.
//
// Invariant: nothing below TLS 1.2, no cipher without forward secrecy, no renegotiation; a new
// certificate is for new connections and cuts none; a client is known by its certificate only
// when the CA of --client-ca verified that, which is the one of when its connection came; what an
// older CA said is told apart from a refusal. Must not know: what an identity may do.

import { constants } from 'node:crypto';
import type { Server } from 'node:http';
import type { Server as TlsServer } from 'node:https';
import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { https } from '../base/http-modules.ts';
import type { PortTls } from '../bridge/shard-task.ts';

/** AES-128 first: a fifth faster than AES-256, and out of reach all the same. */
const CIPHERS = [
  ...['TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_256_GCM_SHA384'],
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'],
  ...['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
  ...['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'],
].join(':');
const SECURE_OPTIONS =
  constants.SSL_OP_NO_RENEGOTIATION |
  constants.SSL_OP_NO_COMPRESSION |
  // For devices without AES in hardware, which put ChaCha20 first.
  constants.SSL_OP_PRIORITIZE_CHACHA |
  // A ticket would outlive a change of --client-ca; links are dialled without one anyway.
  constants.SSL_OP_NO_TICKET;
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** What a client may be called: shown in the log and in /status. */
const IDENTITY = /^[A-Za-z0-9._-]{1,64}$/;

export class ControlPortTls {
  /** Which CA a connection's certificate was judged by, well or not. */
  readonly #judgedBy = new WeakMap<Socket, string>();
  /** The CA of those that shake hands, by both addresses: TLS gives another socket back. */
  readonly #shaking = new Map<string, { readonly clientCa: string }>();
  #current: PortTls | undefined;
  #server: TlsServer | undefined;

  constructor(tls: PortTls | undefined) {
    this.#current = tls;
  }

  /**
   * A server that speaks TLS with what is current, now and later; undefined for plain text. The
   * one before must have been closed: it is told of no change any more.
   */
  createServer(settings: object): Server | undefined {
    if (this.#current === undefined) return undefined;
    this.#server = https.createServer({
      ...settings,
      ...contextOf(this.#current),
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      requestCert: this.#current.clientCa !== undefined,
      // A client without a certificate may have a token; `identityOf` looks at the verification.
      rejectUnauthorized: false,
    });
    this.#server.on('connection', (socket) => this.#onBegun(socket));
    this.#server.on('secureConnection', (socket) => {
      const key = connectionKey(socket);
      const clientCa = this.#shaking.get(key)?.clientCa;
      this.#shaking.delete(key);
      if (clientCa !== undefined) this.#judgedBy.set(socket, clientCa);
    });
    return this.#server;
  }

  /** Its handshake goes on with the context that is in use now, whatever replaces that. */
  #onBegun(socket: Socket): void {
    const { clientCa } = this.#current ?? {};
    if (clientCa === undefined) return;
    const key = connectionKey(socket);
    const shaking = { clientCa };
    this.#shaking.set(key, shaking);
    socket.once('close', () => {
      if (this.#shaking.get(key) === shaking) this.#shaking.delete(key);
    });
  }

  replace(tls: PortTls): void {
    this.#current = tls;
    this.#server?.setSecureContext(contextOf(tls));
  }

  /** The name in the client's certificate, or undefined when it has none that counts. */
  identityOf(socket: Socket): string | undefined {
    const { clientCa } = this.#current ?? {};
    if (clientCa === undefined || this.#judgedBy.get(socket) !== clientCa) return undefined;
    if (!(socket instanceof TLSSocket) || !socket.authorized) return undefined;
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return undefined;
    const commonName = valueIn(certificate.subject ?? '', '\n', 'CN=');
    const dnsName = valueIn(certificate.subjectAltName ?? '', ', ', 'DNS:');
    const name = commonName ?? dnsName ?? '';
    return IDENTITY.test(name) ? name : undefined;
  }

  /**
   * True for a certificate that was judged by another CA than the current one: it has no name here,
   * and may have one on a new connection.
   */
  isOutdated(socket: Socket): boolean {
    const judgedBy = this.#judgedBy.get(socket);
    if (judgedBy === undefined || judgedBy === this.#current?.clientCa) return false;
    return socket instanceof TLSSocket && socket.getPeerX509Certificate() !== undefined;
  }
}

function connectionKey(socket: Socket): string {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/** What follows `key` in the first part that begins with it. */
function valueIn(text: string, separator: string, key: string): string | undefined {
  for (const part of text.split(separator)) if (part.startsWith(key)) return part.slice(key.length);
  return undefined;
}

function contextOf({ cert, key, clientCa }: PortTls) {
  return {
    cert,
    key,
    ...(clientCa === undefined ? {} : { ca: clientCa }),
    minVersion: 'TLSv1.2' as const,
    ciphers: CIPHERS,
    honorCipherOrder: true,
    secureOptions: SECURE_OPTIONS,
  };
}
