// What stands before TLS: visitors of the HTTPS port, until they have said whom they want.
//
//   accepted --limit--> cut
//            --> waiting --hello whole--> a passthrough tunnel's name: a stream to its client
//                                         any other: who terminates TLS, if it wants it
//                                         neither: alert, closed
//                    --not TLS, FIN, deadline--> cut      --malformed--> alert, closed
//
// Invariant: each waits in the ledger and for one deadline, and leaves both before the socket goes
// on, with every byte that was read; of a name that nobody serves nothing is kept, and nothing is
// logged above debug. Must not know: certificates, streams, or who terminates.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { plainAddress } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import { type ClientHello, ClientHelloReader, type HelloRefusal } from '../edge/client-hello.ts';
import { encodeTlsAlert, TLS_ALERT, type TlsAlert } from '../edge/tls-alert.ts';
import type { Arrival } from './arrivals.ts';
import { turnAway } from './socket-relay.ts';
import type { TlsRefusal } from './tls-refusals.ts';
import type { VisitorLedger } from './visitor-ledger.ts';
import { type Settled, WaitingRoom } from './waiting-room.ts';

/** For a whole hello, however slowly it comes. As long as for the head of a request (design). */
export const HELLO_TIMEOUT_MS = 10_000;

/** Who ends TLS, for names that have a certificate. */
export interface Terminator {
  /**
   * Takes a visitor of whom only a hello was read; `arrival.first` has all bytes so far, and nobody
   * reads the socket: `socket.unshift(first)` makes it as good as new for `tls.Server`. False
   * leaves the socket as it is, to be refused.
   */
  accept(socket: Socket, hello: ClientHello, arrival: Arrival): boolean;
  /** Is there something for just this name, and not only for a wildcard above it? */
  hasExactly(hello: ClientHello): boolean;
}

export interface TlsFrontOptions {
  /** The registered passthrough tunnel for a canonical name, undefined for none. */
  readonly matchServerName: (serverName: string) => string | undefined;
  /** Carries the visitor as bytes, `arrival.first` before all others. */
  readonly pass: (tunnel: string, socket: Socket, arrival: Arrival) => void;
  readonly terminator: Terminator;
  /** As whom the ledger counts a plain address. */
  readonly countedAs: (address: string) => string;
  readonly ledger: VisitorLedger;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onRefused: (reason: TlsRefusal) => void;
}

const DIRECT: Arrival = {};

type Hello = ClientHello | HelloRefusal;

export class TlsFront {
  readonly #options: TlsFrontOptions;
  readonly #waiting: WaitingRoom<Hello>;

  constructor(options: TlsFrontOptions) {
    this.#options = options;
    this.#waiting = new WaitingRoom(options.clock, () => HELLO_TIMEOUT_MS);
  }

  /** Those of whom no hello is known yet; all others are another's. */
  get connectionsCount(): number {
    return this.#waiting.size;
  }

  /** Takes `socket`, which must be `allowHalfOpen` and is read by nobody. */
  accept(socket: Socket, arrival: Arrival = DIRECT): void {
    const { ledger, countedAs, clock } = this.#options;
    const address = arrival.visitor?.address ?? socket.remoteAddress;
    const counted = address === undefined ? undefined : countedAs(plainAddress(address));
    // No answer can be given before a handshake, so beyond a limit there is only a cut. Without an
    // address the visitor is gone already.
    if (counted === undefined || ledger.arrive(counted, clock.nowMs()).code !== 'SLW_NONE') {
      turnAway(socket);
      return;
    }
    const place = ledger.enter(counted);
    const reader = new ClientHelloReader();
    const settle = (outcome: Settled<Hello>): void => {
      // Whoever takes the socket enters it anew.
      ledger.leave(place);
      const seen = { ...arrival, first: reader.bytes, isRated: counted !== '' };
      this.#settle(socket, outcome, seen);
    };
    this.#waiting.enter(socket, reader, settle, arrival.first);
  }

  /** About once a second: deadlines. */
  sweep(nowMs: number): void {
    this.#waiting.sweep(nowMs);
  }

  #settle(socket: Socket, outcome: Settled<Hello>, arrival: Arrival): void {
    if (outcome === 'closed') return;
    if (outcome === 'silent') this.#refuse(socket, 'no-hello', undefined);
    else if (outcome.kind === 'hello') this.#route(socket, outcome, arrival);
    else {
      const { fault, alert } = outcome;
      this.#refuse(socket, fault === 'bad-name' ? 'unknown-name' : fault, alert);
    }
  }

  #route(socket: Socket, hello: ClientHello, arrival: Arrival): void {
    const { pass, terminator } = this.#options;
    const { serverName } = hello;
    const tunnel = this.#passthroughFor(hello);
    // A hello is no PROXY header, and what comes behind it is not the beginning.
    const known = { ...arrival, refusesProxy: false };
    if (tunnel !== undefined) {
      pass(tunnel, socket, known);
      return;
    }
    // So that nothing is lost before TLS reads.
    socket.pause();
    if (terminator.accept(socket, hello, known)) return;
    // RFC 8446 9.2 names the one, RFC 6066 3 the other.
    if (serverName === undefined) this.#refuse(socket, 'no-name', TLS_ALERT.MISSING_EXTENSION);
    else this.#refuse(socket, 'unknown-name', TLS_ALERT.UNRECOGNIZED_NAME);
  }

  /** Who is named passes, or ends here, before who is meant by a wildcard. */
  #passthroughFor(hello: ClientHello): string | undefined {
    const { matchServerName, terminator } = this.#options;
    if (hello.serverName === undefined) return undefined;
    const tunnel = matchServerName(hello.serverName);
    const isWildcard = tunnel?.startsWith('tls:*') === true;
    return isWildcard && terminator.hasExactly(hello) ? undefined : tunnel;
  }

  #refuse(socket: Socket, reason: TlsRefusal, alert: TlsAlert | undefined): void {
    const { log, onRefused } = this.#options;
    onRefused(reason);
    log.debug({ peer: socket.remoteAddress, reason }, 'no TLS for a visitor');
    if (alert === undefined) {
      turnAway(socket);
      return;
    }
    socket.on('error', ignoreError);
    // Read and dropped, as a socket that closes with bytes unread resets what was just sent.
    socket.resume();
    socket.end(encodeTlsAlert(alert), () => socket.destroySoon());
  }
}

function ignoreError(): void {
  // 'close' follows, and says all that there is to do.
}
