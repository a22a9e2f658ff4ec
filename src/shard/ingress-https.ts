// HTTPS visitors, from the first byte to a finished handshake.
//
//   hello --read whole--> handshake --done--> the HTTP ingress
//     any --not TLS, unknown name, deadline--> closed, or a fatal alert
//
// The ClientHello is read here, before TLS: a name that nobody serves costs no handshake, and who
// passes TLS through by name finds the socket with nothing taken from it (`#decide`).
//
// Invariant: every socket is in one of two maps until it is handed on or closed, each stage has a
// deadline, and nothing is kept, ordered or logged above debug for a name that is not known. Must
// not know: requests, or where certificates come from.

import type { Socket } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { Clock } from '../base/clock.ts';
import { plainAddress } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import type { CertificateChange } from '../bridge/messages.ts';
import { canonicalHost } from '../http/host.ts';
import { ACME_PROTOCOL, type AcmeChallenges } from './acme-challenges.ts';
import type { Arrival } from './arrivals.ts';
import { CertificateStore, HANDSHAKE_TIMEOUT_MS } from './certificate-store.ts';
import { type ClientHello, ClientHelloReader } from './client-hello.ts';
import type { HttpIngress } from './ingress-http.ts';
import { cutSocket } from './socket-relay.ts';
import type { VisitorLedger } from './visitor-ledger.ts';

/** RFC 6066 3, RFC 8446 6: alert record, TLS 1.0 on the outside, fatal, unrecognized_name. */
const UNRECOGNIZED_NAME = Buffer.from([21, 3, 1, 0, 2, 2, 112]);
/** The same for no name, or none that could be one. */
const HANDSHAKE_FAILURE = Buffer.from([21, 3, 1, 0, 2, 2, 40]);

export interface HttpsIngressOptions {
  readonly http: HttpIngress;
  readonly challenges: AcmeChallenges;
  /** Shared with the other ingresses. */
  readonly ledger: VisitorLedger;
  readonly clock: Clock;
  readonly log: Logger;
}

/** One that the HTTP ingress does not have yet. */
interface Entered {
  readonly arrival: Arrival;
  readonly deadlineMs: number;
  /** In the ledger, until the HTTP ingress takes it over. */
  readonly place: string;
}

interface Heard {
  readonly hello: ClientHello | 'invalid';
  readonly bytes: Buffer;
  readonly entered: Entered;
}

interface Refusal {
  readonly reason: string;
  readonly alert?: Buffer;
}

interface Shaking extends Entered {
  /** Canonical. */
  readonly serverName: string;
}

export class HttpsIngress {
  readonly store: CertificateStore;
  readonly challenges: AcmeChallenges;
  readonly #options: HttpsIngressOptions;
  readonly #hellos = new Map<Socket, Entered>();
  /** By both addresses, which name a TCP connection: TLS gives another socket back. */
  readonly #handshakes = new Map<string, Shaking>();

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
    return this.#hellos.size + this.#handshakes.size;
  }

  /** Serves `socket`, which must be `allowHalfOpen`. */
  accept(socket: Socket, arrival: Arrival = {}): void {
    const { http, ledger, clock } = this.#options;
    socket.on('error', ignoreError);
    const address = arrival.visitor?.address ?? socket.remoteAddress;
    const counted = address === undefined ? undefined : http.countedAs(plainAddress(address));
    // No answer can be given before a handshake, so beyond a limit there is only a cut. Without an
    // address the visitor is gone already.
    if (counted === undefined || ledger.judge(counted).code !== 'SLW_NONE') {
      cutSocket(socket);
      return;
    }
    const deadlineMs = clock.nowMs() + HANDSHAKE_TIMEOUT_MS;
    this.#readHello(socket, { arrival, deadlineMs, place: ledger.enter(counted) });
  }

  #readHello(socket: Socket, entered: Entered): void {
    const reader = new ClientHelloReader();
    const read = (chunk: Buffer): void => {
      const progress = reader.push(chunk);
      if (progress === 'more') return;
      socket.off('readable', onReadable);
      socket.off('close', onClose);
      socket.off('end', onEnd);
      this.#hellos.delete(socket);
      this.#decide(socket, { hello: progress, bytes: reader.bytes, entered });
    };
    const onReadable = (): void => {
      const chunk: Buffer | null = socket.read();
      if (chunk !== null) read(chunk);
    };
    const onEnd = (): void => cutSocket(socket);
    const onClose = (): void => {
      this.#hellos.delete(socket);
      this.#options.ledger.leave(entered.place);
    };
    this.#hellos.set(socket, entered);
    socket.on('readable', onReadable);
    socket.on('end', onEnd);
    socket.on('close', onClose);
    if (entered.arrival.first !== undefined) read(entered.arrival.first);
  }

  /** About once a second: deadlines of hellos. Node keeps those of handshakes. */
  sweep(nowMs: number): void {
    for (const [socket, { deadlineMs }] of this.#hellos) {
      if (nowMs >= deadlineMs) cutSocket(socket);
    }
    this.challenges.sweep(nowMs);
  }

  /** `bytes` are all that was read of the socket: whoever gets it next reads them first. */
  #decide(socket: Socket, { hello, bytes, entered }: Heard): void {
    if (hello === 'invalid') {
      this.#refuse(socket, entered, { reason: 'not a ClientHello' });
      return;
    }
    const serverName = readName(hello.serverName);
    if (serverName === undefined) {
      this.#refuse(socket, entered, { reason: 'no server name', alert: HANDSHAKE_FAILURE });
      return;
    }
    const isChallenge = hello.protocols.includes(ACME_PROTOCOL);
    const server = (isChallenge ? this.challenges : this.store).serverFor(serverName);
    if (server === undefined) {
      this.#refuse(socket, entered, { reason: 'unknown server name', alert: UNRECOGNIZED_NAME });
      return;
    }
    socket.unshift(bytes);
    // Half a handshake is of no use: a visitor's FIN ends it. TLS takes this over from the socket.
    socket.allowHalfOpen = false;
    this.#expect(socket, { ...entered, serverName });
    server.emit('connection', socket);
  }

  #expect(socket: Socket, shaking: Shaking): void {
    const key = connectionKey(socket);
    this.#handshakes.set(key, shaking);
    socket.once('close', () => {
      if (this.#handshakes.get(key) !== shaking) return;
      this.#handshakes.delete(key);
      this.#options.ledger.leave(shaking.place);
    });
  }

  #onSecure(socket: TLSSocket): void {
    const key = connectionKey(socket);
    const shaking = this.#handshakes.get(key);
    if (shaking === undefined) {
      // Gone amid its last message.
      socket.destroy();
      return;
    }
    this.#handshakes.delete(key);
    const { http, ledger } = this.#options;
    const { serverName, place, arrival } = shaking;
    ledger.leave(place);
    socket.allowHalfOpen = true;
    // What came first has been read.
    const { first: _first, refusesProxy: _refuses, ...seen } = arrival;
    http.accept(socket, { ...seen, scheme: 'https', serverName });
  }

  #refuse(socket: Socket, { place }: Entered, { reason, alert }: Refusal): void {
    const { log, ledger } = this.#options;
    log.debug({ reason }, 'no handshake');
    ledger.leave(place);
    if (alert === undefined) {
      cutSocket(socket);
      return;
    }
    // What the visitor still sends is dropped, so that our alert is not lost to a reset.
    socket.resume();
    socket.end(alert, () => socket.destroySoon());
  }
}

/** A canonical host, of a name alone: the port that `canonicalHost` would take is none of SNI. */
function readName(text: string | undefined): string | undefined {
  return text === undefined || text.includes(':') ? undefined : canonicalHost(text);
}

function connectionKey(socket: Socket): string {
  const { remoteAddress, remotePort, localAddress, localPort } = socket;
  return `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

function ignoreError(): void {
  // 'close' follows, and says all that there is to do.
}
