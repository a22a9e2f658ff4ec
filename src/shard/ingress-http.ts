// HTTP visitors: every connection on the HTTP ports, and the upgraded ones that they became.
//
// Invariant: beyond the limit a visitor is told so, and far beyond it is cut; every socket that
// was accepted is in one of the two sets until it is closed. Must not know: what a request looks
// like, or which tunnels there are.

import type { Socket } from 'node:net';
import { plainAddress } from '../base/ip.ts';
import { Roster } from '../base/roster.ts';
import type { ReadSink } from '../link/socket-reads.ts';
import { noteEnd } from './access-log.ts';
import type { Arrival } from './arrivals.ts';
import { HttpContext, type HttpIngressOptions } from './http-context.ts';
import { type HttpArrival, HttpVisitor, type Switched, type VisitorHome } from './http-visitor.ts';
import type { Inspector } from './inspector.ts';
import type { LinkDoor } from './link-door.ts';
import type { OrphanedBytes } from './orphaned-bytes.ts';
import { type Replayed, replay } from './replay.ts';
import type { RequestGate } from './request-gate.ts';
import { SocketRelay, turnAway } from './socket-relay.ts';
import type { Trace } from './trace.ts';
import type { Admission } from './visitor-ledger.ts';

export type { HttpIngressOptions, HttpLimits, HttpMeter } from './http-context.ts';

/** What a listener knows of a connection beyond its socket. */
export interface AcceptOptions extends Arrival {
  readonly scheme?: 'http' | 'https';
  /** The canonical name of the TLS handshake; a request for another host gets 421. */
  readonly serverName?: string;
}

export class HttpIngress implements VisitorHome {
  readonly #context: HttpContext;
  readonly #visitors = new Roster<HttpVisitor>();
  readonly #relays = new Roster<SocketRelay>();

  constructor(options: HttpIngressOptions) {
    this.#context = new HttpContext(options);
    this.orphans.watch(this.#relays);
  }

  /** Swept here, for the whole shard. */
  get orphans(): OrphanedBytes {
    return this.#context.farewells.orphans;
  }

  get connectionsCount(): number {
    const { door } = this.#context;
    return this.#visitors.size + this.#relays.size + (door?.waitingCount ?? 0);
  }

  /** Serves `socket`, which must be `allowHalfOpen`. */
  accept(socket: Socket, options: AcceptOptions = {}): void {
    const { door } = this.#context;
    if (door?.isOpen(options.scheme ?? 'http') === true) this.#look(door, socket, options);
    else this.#serve(socket, options);
  }

  /** It may be a client's; until that is known it counts as a visitor's. */
  #look(door: LinkDoor, socket: Socket, options: AcceptOptions): void {
    const { ledger } = this.#context;
    const address = options.visitor?.address ?? socket.remoteAddress;
    const counted = address === undefined ? undefined : this.countedAs(plainAddress(address));
    const judged = counted === undefined ? undefined : this.#judge(counted, options, 'anybody');
    if (counted === undefined || judged?.code !== 'SLW_NONE') {
      this.#serve(socket, options, judged);
      return;
    }
    const place = ledger.enter(counted);
    const { first: _first, ...rest } = options;
    const seen = { ...rest, isRated: true };
    door.admit(socket, options, {
      onSettled: () => ledger.leave(place),
      onVisitor: (first) => this.#serve(socket, first === undefined ? seen : { ...seen, first }),
    });
  }

  /** `judged` just now: each judgement counts who is refused. */
  #serve(socket: Socket, options: AcceptOptions, judged?: Admission): void {
    const arrival = arrivalOf(socket, options);
    const { ledger } = this.#context;
    const counted = arrival === undefined ? '' : this.countedAs(arrival.visitor.address);
    const admission = arrival === undefined ? undefined : (judged ?? this.#judge(counted, options));
    // Without an address the visitor is gone already.
    if (arrival === undefined || admission?.isTold !== true) {
      turnAway(socket);
      return;
    }
    const place = ledger.enter(counted);
    socket.on('close', () => ledger.leave(place));
    socket.setNoDelay(true);
    const visitor = new HttpVisitor(this.#context, this, socket, arrival);
    visitor.seat = this.#visitors.enter(visitor);
    if (admission.code !== 'SLW_NONE') visitor.refuse(admission.code);
    if (options.first !== undefined) visitor.onRead(options.first);
  }

  #judge(counted: string, { isRated }: AcceptOptions, who?: 'anybody'): Admission {
    const { ledger, clock } = this.#context;
    if (isRated === true) return ledger.judge(counted, who);
    return ledger.arrive(counted, clock.nowMs(), who);
  }

  /** A trusted proxy's connections carry many visitors, and no address is theirs alone. */
  countedAs(address: string): string {
    return this.#context.trustOf(address) === undefined ? address : '';
  }

  /** Undefined: no rate is limited. */
  setGate(gate: RequestGate | undefined): void {
    this.#context.gate = gate;
  }

  /** 0: no limit. */
  setBodyLimit(bytes: number): void {
    this.#context.requestBodyBytesMax = bytes || Number.POSITIVE_INFINITY;
  }

  /** Undefined: no tunnel is inspected. */
  setInspector(inspector: Inspector | undefined): void {
    this.#context.inspector = inspector;
  }

  replay(trace: Trace): Promise<Replayed> {
    return replay(this.#context, trace);
  }

  /** About once a second: deadlines. */
  sweep(): void {
    const nowMs = this.#context.clock.nowMs();
    for (const visitor of this.#visitors) visitor.sweep(nowMs);
    for (const relay of this.#relays) relay.sweep(nowMs);
    this.#context.farewells.sweep(nowMs);
    this.#context.gate?.sweep(nowMs);
    this.#context.door?.sweep(nowMs);
  }

  /**
   * Idle connections close, busy ones after their response; upgraded ones go on. `isUnhurried`:
   * an idle one may ask once more before, as a request may be on its way.
   */
  drain(isUnhurried: boolean): void {
    this.#context.state = 'draining';
    for (const visitor of this.#visitors) visitor.drain(isUnhurried);
  }

  /** The thread ends. */
  cutUnsent(): void {
    for (const visitor of this.#visitors) visitor.cutUnsent();
    for (const relay of this.#relays) relay.cutUnsent();
  }

  onGone(visitor: HttpVisitor): void {
    visitor.seat?.leave();
  }

  onSwitched({ socket, outlet }: HttpVisitor, switched: Switched): ReadSink {
    const { limits, clock, access } = this.#context;
    const { stream, before, rest, reads, tunnel, visitor } = switched;
    const nowMs = clock.nowMs();
    const onEnd = access === undefined ? undefined : noteEnd(access, clock, { tunnel, visitor });
    const relays = this.#relays;
    const own = { socket, outlet, before, limits, relays };
    const relay = new SocketRelay({ ...own, state: 'open', nowMs, onEnd });
    stream.sink = relay;
    relay.join(stream, reads);
    if (rest.length > 0) relay.onData(rest);
    return relay;
  }
}

export function createHttpIngress(options: HttpIngressOptions): HttpIngress {
  return new HttpIngress(options);
}

function arrivalOf(socket: Socket, options: AcceptOptions): HttpArrival | undefined {
  const { remoteAddress, remotePort } = socket;
  if (remoteAddress === undefined || remotePort === undefined) return undefined;
  const seen = options.visitor ?? { address: remoteAddress, port: remotePort };
  return {
    visitor: { address: plainAddress(seen.address), port: seen.port },
    scheme: options.scheme ?? 'http',
    serverName: options.serverName,
  };
}
