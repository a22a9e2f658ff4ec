// HTTPS visitors, from a ClientHello that was read (tls-front.ts) to a finished handshake.
//
//   hello --has a certificate--> handshake --done--> the HTTP ingress
//                                         --deadline, fault--> closed
//
// Invariant: every socket is in the ledger and in one map until it is handed on or closed, and has
// a deadline; nothing is kept, ordered or logged above debug for a name that is not known. Must not
// know: requests, passthrough, or where certificates come from.

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { plainAddress } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import type { CertificateChange } from '../bridge/exit-messages.ts';
import type { ClientHello } from '../edge/client-hello.ts';
import { ACME_PROTOCOL, type AcmeChallenges } from './acme-challenges.ts';
import type { Arrival } from './arrivals.ts';
import { CertificateStore } from './certificate-store.ts';
import type { HttpIngress } from './ingress-http.ts';
import { layTls } from './socket-relay.ts';
import type { Terminator } from './tls-front.ts';
import type { VisitorLedger } from './visitor-ledger.ts';

export interface HttpsIngressOptions {
  readonly http: HttpIngress;
  readonly challenges: AcmeChallenges;
  /** Shared with the other ingresses. */
  readonly ledger: VisitorLedger;
  readonly log: Logger;
}

/** One that the HTTP ingress does not have yet. */
interface Shaking {
  readonly arrival: Arrival;
  /** Canonical. */
  readonly serverName: string;
  /** In the ledger, until the HTTP ingress takes it over. */
  readonly place: string;
  /** Below TLS. */
  readonly wire: Socket;
}

export class HttpsIngress implements Terminator {
  readonly store: CertificateStore;
  readonly challenges: AcmeChallenges;
  readonly #options: HttpsIngressOptions;
  /** By both addresses, which name a TCP connection: TLS gives another socket back. In a place
   * that is emptied: what a Map has dropped may live on (base/roster.ts). */
  readonly #handshakes = new Map<string, { shaking: Shaking | undefined }>();

  constructor(options: HttpsIngressOptions) {
    this.#options = options;
    this.challenges = options.challenges;
    this.store = new CertificateStore({
      onSecure: (socket) => this.#onSecure(socket),
      onFailed: (code) => options.log.debug({ code }, 'handshake failed'),
    });
  }

  setCertificates(change: CertificateChange): void {
    for (const [name, reason] of this.store.apply(change)) {
      this.#options.log.error(
        { tunnel: name, reason },
        'certificate cannot be used, the old stays',
      );
    }
  }

  /** Those that are not yet the HTTP ingress' own. */
  get connectionsCount(): number {
    return this.#handshakes.size;
  }

  hasExactly({ serverName, protocols }: ClientHello): boolean {
    if (serverName === undefined) return false;
    if (protocols.includes(ACME_PROTOCOL))
      return this.challenges.serverFor(serverName) !== undefined;
    return this.store.hasExactly(serverName);
  }

  /** Shakes hands when there is a certificate; the socket must be `allowHalfOpen`, and no read. */
  accept(socket: Socket, { serverName, protocols }: ClientHello, arrival: Arrival): boolean {
    const { http, ledger } = this.#options;
    const address = arrival.visitor?.address ?? socket.remoteAddress;
    if (serverName === undefined || address === undefined) return false;
    const isChallenge = protocols.includes(ACME_PROTOCOL);
    const server = (isChallenge ? this.challenges : this.store).serverFor(serverName);
    if (server === undefined) return false;
    socket.on('error', ignoreError);
    const place = ledger.enter(http.countedAs(plainAddress(address)));
    this.#expect(socket, { arrival, serverName, place, wire: socket });
    if (arrival.first !== undefined) socket.unshift(arrival.first);
    // Half a handshake is of no use: a visitor's FIN ends it. TLS takes this over from the socket.
    socket.allowHalfOpen = false;
    server.emit('connection', socket);
    return true;
  }

  /** About once a second. Node keeps the deadlines of handshakes. */
  sweep(nowMs: number): void {
    this.challenges.sweep(nowMs);
  }

  #expect(socket: Socket, shaking: Shaking): void {
    const key = connectionKey(socket);
    const place = { shaking };
    // The kernel gives addresses again before we have heard that a connection is gone.
    this.#leave(key);
    this.#handshakes.set(key, place);
    socket.once('close', () => {
      if (this.#handshakes.get(key) === place) this.#leave(key);
    });
  }

  /** Without a finished handshake. */
  #leave(key: string): void {
    const shaking = this.#forget(key);
    if (shaking !== undefined) this.#options.ledger.leave(shaking.place);
  }

  #onSecure(socket: TLSSocket): void {
    const key = connectionKey(socket);
    const shaking = this.#forget(key);
    if (shaking === undefined) {
      // Gone amid its last message.
      socket.destroy();
      return;
    }
    const { http, ledger } = this.#options;
    const { serverName, place, arrival } = shaking;
    layTls(socket, shaking.wire);
    ledger.leave(place);
    socket.allowHalfOpen = true;
    // What came first has been read.
    const { first: _first, refusesProxy: _refuses, ...seen } = arrival;
    http.accept(socket, { ...seen, scheme: 'https', serverName });
  }

  /** What was expected there. */
  #forget(key: string): Shaking | undefined {
    const place = this.#handshakes.get(key);
    if (place === undefined) return undefined;
    this.#handshakes.delete(key);
    const { shaking } = place;
    place.shaking = undefined;
    return shaking;
  }
}

function connectionKey(socket: Socket): string {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function ignoreError(): void {
  // 'close' follows, and says all that there is to do.
}
