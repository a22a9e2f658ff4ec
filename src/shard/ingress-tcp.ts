// TCP visitors: a connection on a tunnel's port becomes a stream to a client.
//
// Invariant: a visitor whom nobody can serve is closed at once, without a byte of ours; beyond the
// limit of connections likewise; a client that gave a stream up unanswered is passed over for a
// while, and by that visitor for good. Must not know: which ports there are; the listeners call it.

import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import { plainAddress } from '../base/ip.ts';
import { Roster } from '../base/roster.ts';
import type { Stream } from '../mux/stream.ts';
import { type AccessLog, noteEnd } from './access-log.ts';
import type { Arrival } from './arrivals.ts';
import { GivenUp } from './given-up.ts';
import type { Holding } from './orphaned-bytes.ts';
import { ProxyGuard } from './proxy-guard.ts';
import type { Router, VisitorInfo } from './router.ts';
import { type RelayLimits, SocketRelay, turnAway } from './socket-relay.ts';
import type { VisitorLedger } from './visitor-ledger.ts';

export interface TcpIngressOptions {
  readonly router: Router;
  readonly limits: RelayLimits;
  readonly clock: Clock;
  /** Shared with the HTTP ingress. */
  readonly ledger: VisitorLedger;
  /** Undefined: it is off. */
  readonly access: AccessLog | undefined;
  /** Counts whom a tunnel's clients keep out. */
  readonly onDenied?: () => void;
}

const DIRECT: Arrival = {};

export class TcpIngress {
  readonly #options: TcpIngressOptions;
  readonly #relays = new Roster<SocketRelay>();

  constructor(options: TcpIngressOptions) {
    this.#options = options;
  }

  get connectionsCount(): number {
    return this.#relays.size;
  }

  get holdings(): Iterable<Holding> {
    return this.#relays;
  }

  accept(tunnel: string, socket: Socket, arrival: Arrival = DIRECT): void {
    const { router, limits, clock, ledger, access } = this.#options;
    const visitor = visitorOf(socket, arrival);
    const nowMs = clock.nowMs();
    // Without an address the visitor is gone already.
    if (visitor === undefined || !this.#hasRoom(visitor, arrival, nowMs)) {
      turnAway(socket);
      return;
    }
    if (!this.#admits(tunnel, visitor)) {
      turnAway(socket);
      return;
    }
    const place = ledger.enter(visitor.address);
    socket.on('close', () => ledger.leave(place));
    const origin = { tunnel, visitor: visitor.address };
    const onEnd = access === undefined ? undefined : noteEnd(access, clock, origin);
    const relays = this.#relays;
    let givenUp: GivenUp | undefined;
    const onGivenUp = (code: ErrorCode): void => router.noteEnd(tunnel, way, code);
    const reopen = (code: ErrorCode): Stream | undefined => {
      // Whoever serves the tunnel by now may keep out whom the first let in.
      if (!this.#admits(tunnel, visitor)) return undefined;
      givenUp ??= new GivenUp();
      const others = givenUp.next(way, code);
      if (others === undefined) return undefined;
      const again = router.openStream(tunnel, visitor, relay, others);
      if (typeof again === 'string') return undefined;
      way = again.way;
      return again.stream;
    };
    const relay = new SocketRelay({
      ...{ socket, limits, state: 'open', nowMs, relays, onEnd, reopen, onGivenUp },
    });
    const opened = router.openStream(tunnel, visitor, relay);
    if (typeof opened === 'string') {
      relay.abort(opened);
      return;
    }
    let { way } = opened;
    const reads = relay.join(opened.stream);
    if (arrival.refusesProxy === true) {
      new ProxyGuard(reads, () => relay.abort('SLW_STREAM_CANCELLED'));
    }
    if (arrival.first !== undefined) relay.begin(arrival.first);
  }

  #hasRoom({ address }: VisitorInfo, { isRated }: Arrival, nowMs: number): boolean {
    const { ledger } = this.#options;
    const { code } = isRated === true ? ledger.judge(address) : ledger.arrive(address, nowMs);
    return code === 'SLW_NONE';
  }

  #admits(tunnel: string, { address }: VisitorInfo): boolean {
    const { router, onDenied } = this.#options;
    const isAdmitted = router.admits(tunnel, address);
    if (!isAdmitted) onDenied?.();
    return isAdmitted;
  }

  sweep(nowMs: number): void {
    for (const relay of this.#relays) relay.sweep(nowMs);
  }

  /** The thread ends. */
  cutUnsent(): void {
    for (const relay of this.#relays) relay.cutUnsent();
  }
}

function visitorOf(socket: Socket, arrival: Arrival): VisitorInfo | undefined {
  const { remoteAddress, remotePort, localAddress = '', localPort = 0 } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  const from = arrival.visitor ?? { address: remoteAddress, port: remotePort };
  const to = arrival.destination ?? { address: localAddress, port: localPort };
  return {
    address: plainAddress(from.address),
    port: from.port,
    toAddress: plainAddress(to.address),
    toPort: to.port,
  };
}
