// The certificates that this shard serves visitors with, by the name that they ask for.
//
// One `tls.Server` a certificate, which never listens and is handed sockets: its ticket keys come
// from the shared key and its own certificate, so that a session of one host is worth nothing at
// another (with one server and SNICallback, OpenSSL decrypts all tickets with one key).
//
// Invariant: an exact name goes before a wildcard, which stands for one label; a certificate is
// compiled once, when it comes, and one that cannot be compiled leaves the old one in place.
// Must not know: where certificates come from, or what follows a handshake.

import { constants, createHmac } from 'node:crypto';
import { createServer, type Server, type TLSSocket } from 'node:tls';
import type { CertificateChange, CertificatePair } from '../bridge/exit-messages.ts';

/** From the hello to a finished handshake (design, section 4.2). */
export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** How long a visitor may resume: as long as a ticket key lives, at most. */
const SESSION_SECONDS = 12 * 3600;
/** Forward secret and authenticated alone (Mozilla's "intermediate", 2025), and all of TLS 1.3. */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
].join(':');

/** The first that is offered. Old programs offer the second alone; a refusal would be an alert. */
const ALPN_PROTOCOLS = ['http/1.1', 'http/1.0'];

export interface StoreOptions {
  /** A handshake is complete. */
  readonly onSecure: (socket: TLSSocket) => void;
  /** A handshake failed; its socket is closed. */
  readonly onFailed: (code: string) => void;
}

interface Entry {
  readonly cert: string;
  readonly server: Server;
}

export class CertificateStore {
  readonly #options: StoreOptions;
  readonly #entries = new Map<string, Entry>();
  #ticketKey: Uint8Array | undefined;

  constructor(options: StoreOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Returns the names whose certificate could not be used, each with the reason. */
  apply({ set, drop }: CertificateChange): readonly (readonly [name: string, reason: string])[] {
    const failures: (readonly [string, string])[] = [];
    for (const pair of set) {
      try {
        this.#entries.set(pair.name, { cert: pair.cert, server: this.#createServer(pair) });
      } catch (error) {
        failures.push([pair.name, error instanceof Error ? error.message : String(error)]);
      }
    }
    for (const name of drop) this.#entries.delete(name);
    return failures;
  }

  /** A new key for session tickets; those of the old one end in a full handshake. */
  setTicketKey(key: Uint8Array): void {
    this.#ticketKey = key;
    for (const { cert, server } of this.#entries.values()) {
      server.setTicketKeys(ticketKeyOf(key, cert));
    }
  }

  /** Is there a certificate for the name itself? */
  hasExactly(serverName: string): boolean {
    return this.#entries.has(serverName);
  }

  /** Shakes hands for whoever asks for `serverName`, a canonical host. */
  serverFor(serverName: string): Server | undefined {
    const exact = this.#entries.get(serverName);
    if (exact !== undefined) return exact.server;
    const dot = serverName.indexOf('.');
    return dot < 0 ? undefined : this.#entries.get(`*${serverName.slice(dot)}`)?.server;
  }

  #createServer({ cert, key }: CertificatePair): Server {
    const server = createServer({
      cert,
      key,
      minVersion: 'TLSv1.2',
      ciphers: CIPHERS,
      ALPNProtocols: ALPN_PROTOCOLS,
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      sessionTimeout: SESSION_SECONDS,
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
      ...(this.#ticketKey === undefined ? {} : { ticketKeys: ticketKeyOf(this.#ticketKey, cert) }),
    });
    server.on('secureConnection', this.#options.onSecure);
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      // Node leaves a socket open whose handshake took too long.
      socket.destroy();
      this.#options.onFailed(error.code ?? 'UNKNOWN');
    });
    return server;
  }
}

/** 48 bytes, as Node wants them, the same in every shard. */
function ticketKeyOf(key: Uint8Array, cert: string): Buffer {
  return createHmac('sha384', key).update(cert).digest();
}
