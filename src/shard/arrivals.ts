// What stands before an ingress: visitors whose proxy must first say who they are.
//
//   accepted --peer not listed--> entered at once, PROXY headers refused
//            --peer listed--> waiting --header whole--> entered, with what came behind it
//                               --wrong byte, FIN, deadline--> cut
//
// Invariant: from a listed peer nothing reaches an ingress before a whole header, from any other
// none does; bytes behind a header are handed over in order; no more wait than the visitors' ledger
// has room for, each for one deadline. Must not know: what an ingress does, or which port it is.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Endpoint } from '../base/ip.ts';
import type { Logger } from '../base/log.ts';
import type { AddressSet } from '../base/network-set.ts';
import { type ProxyHeader, readProxyHeader } from '../edge/proxy-header.ts';
import { turnAway } from './socket-relay.ts';
import type { VisitorLedger } from './visitor-ledger.ts';
import { type FirstReader, WaitingRoom } from './waiting-room.ts';

/**
 * For a whole header. The specification asks for 3 s at least, and the sweeps add up to a second,
 * so that silence is closed after 4 to 5 s.
 */
export const PROXY_HEADER_TIMEOUT_MS = 4000;

/** What is known of a connection beyond its socket. */
export interface Arrival {
  /** Who visits, when it is not the socket's peer. */
  readonly visitor?: Endpoint;
  /** Where the visitor arrived, when it is not the socket's own address. */
  readonly destination?: Endpoint;
  /** Read already, and the first to be served. */
  readonly first?: Buffer;
  /** A PROXY header from this visitor is none of a proxy: cut it. */
  readonly refusesProxy?: boolean;
  /** Its address' rate of connections was asked already: each counts once. */
  readonly isRated?: boolean;
}

export type Enter = (socket: Socket, arrival: Arrival) => void;

export interface ArrivalsOptions {
  /** Who must send a header. */
  readonly proxies: AddressSet;
  /** Shared with the ingresses, which enter and leave. */
  readonly ledger: VisitorLedger;
  readonly clock: Clock;
  readonly log: Logger;
  /** Counts those that were cut. */
  readonly onRefused: () => void;
}

const UNLISTED: Arrival = { refusesProxy: true };

export class Arrivals {
  readonly #options: ArrivalsOptions;
  readonly #waiting: WaitingRoom<Outcome>;

  constructor(options: ArrivalsOptions) {
    this.#options = options;
    this.#waiting = new WaitingRoom(options.clock, () => PROXY_HEADER_TIMEOUT_MS);
  }

  get waitingCount(): number {
    return this.#waiting.size;
  }

  /** Lets `socket` in now, or once its header is whole: who visits is judged there. */
  admit(socket: Socket, enter: Enter): void {
    const { proxies, ledger } = this.#options;
    const { remoteAddress } = socket;
    if (remoteAddress !== undefined && !proxies.has(remoteAddress)) {
      enter(socket, UNLISTED);
      return;
    }
    // Without an address the peer is gone already.
    if (remoteAddress === undefined || !ledger.hasRoom(this.#waiting.size)) {
      turnAway(socket);
      return;
    }
    this.#waiting.enter(socket, new HeaderReader(), (outcome) => {
      if (outcome === 'refused' || outcome === 'silent') this.#onRefused(socket);
      else if (outcome !== 'closed') enter(socket, outcome);
    });
  }

  /** About once a second: deadlines. */
  sweep(nowMs: number): void {
    this.#waiting.sweep(nowMs);
  }

  #onRefused(socket: Socket): void {
    const { log, onRefused } = this.#options;
    log.debug({ peer: socket.remoteAddress, code: 'SLW_PROXY_HEADER' }, 'visitor cut');
    onRefused();
    turnAway(socket);
  }
}

type Outcome = Arrival | 'refused';

class HeaderReader implements FirstReader<Outcome> {
  #bytes: Buffer | undefined;

  read(piece: Buffer): Outcome | 'more' {
    // At most one read beyond the longest header, as longer ones are refused.
    const bytes = this.#bytes === undefined ? piece : Buffer.concat([this.#bytes, piece]);
    this.#bytes = bytes;
    const verdict = readProxyHeader(bytes);
    return verdict === 'more' || verdict === 'refused' ? verdict : arrivalOf(verdict, bytes);
  }
}

function arrivalOf({ source, destination, bytes: length }: ProxyHeader, bytes: Buffer): Arrival {
  return {
    ...(source === undefined ? {} : { visitor: source }),
    ...(destination === undefined ? {} : { destination }),
    ...(bytes.length > length ? { first: bytes.subarray(length) } : {}),
  };
}
