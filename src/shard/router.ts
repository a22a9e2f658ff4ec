// Which link carries a visitor: tunnels by name, and who serves each of them now.
//
// Invariant: only what control said is routed, newest number wins; a link that is gone is never
// chosen; a known tunnel without a client is told apart from an unknown one. Must not know:
// sockets, who of several serves a visitor (route-choice.ts), or how routes are kept
// (route-table.ts).

import type { ErrorCode } from '../base/errors.ts';
import { isPortName } from '../base/port-name.ts';
import type { VisitorLogins } from '../base/visitor-login.ts';
import type { RouteChange } from '../bridge/exit-messages.ts';
import type { OpenRequest } from '../mux/session-options.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { Affinity } from './affinity.ts';
import { HostTable, type TargetRange } from './host-table.ts';
import type { Meters } from './meters.ts';
import { RefusingClients } from './refusing-clients.ts';
import { type LinkStates, type OpenWish, RouteChoice, refusalOf } from './route-choice.ts';
import { type Route, RouteTable, type Tunnel, type Way } from './route-table.ts';
import type { TokenBudgets } from './token-budgets.ts';
import type { TunnelLimits } from './tunnel-limits.ts';

/** Who is visiting. */
export interface VisitorInfo {
  readonly address: string;
  readonly port: number;
  /** Where it arrived, both or neither. */
  readonly toAddress?: string;
  readonly toPort?: number;
}

/** Opens streams on links: this shard's own by key, others' by their shard. */
export interface StreamOpener extends LinkStates {
  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode;
}

/** A stream, and what holds for the way to the client that was chosen for it. */
export interface OpenedStream {
  readonly stream: Stream;
  readonly way: Way;
}

/** What an ingress asks. */
export interface Router {
  /** The registered tunnel for a canonical host and a request's path, undefined for none. */
  matchHost(host: string, target?: TargetRange): string | undefined;
  /**
   * Does a client serve the tunnel? While none does nobody says who may visit it: what `admits` and
   * `loginsOf` answer then is no leave to let anyone in.
   */
  isServed(tunnel: string): boolean;
  /** Do all clients of the tunnel let this address in? */
  admits(tunnel: string, address: string): boolean;
  openStream(
    tunnel: string,
    visitor: VisitorInfo,
    sink: StreamSink,
    wish?: OpenWish,
  ): OpenedStream | ErrorCode;
  /** What visitors of a tunnel must show, to each of its clients; undefined: nothing. */
  loginsOf(tunnel: string): readonly VisitorLogins[] | undefined;
  /** By what visitors of a tunnel stay with a client; undefined: by nothing. */
  affinityOf(tunnel: string): Affinity | undefined;
  /**
   * May the next request of the visitor with `key` go the way that the last one went? Not when the
   * route is withdrawn: nobody was asked what that client demands.
   */
  mayStay(tunnel: string, way: Way, key: string | undefined): boolean;
  /** With what a stream ended that went this way: whoever refuses is passed over for a while. */
  noteEnd(tunnel: string, way: Way, code: ErrorCode): void;
}

/** Begins the names of passthrough tunnels. */
const PASSTHROUGH = 'tls:';

export class ShardRouter implements Router {
  readonly #shard: number;
  readonly #opener: StreamOpener;
  readonly #meters: Meters;
  /** Undefined when tunnels may use what there is. */
  #limits: TunnelLimits | undefined;
  readonly #routes = new RouteTable();
  readonly #choice: RouteChoice;
  readonly #refusing = new RefusingClients();
  readonly #hosts = new HostTable();
  /** Passthrough tunnels, by what follows `tls:`. */
  readonly #serverNames = new HostTable();
  #number = 0;

  constructor(shard: number, opener: StreamOpener, meters: Meters, limits?: TunnelLimits) {
    this.#shard = shard;
    this.#opener = opener;
    this.#choice = new RouteChoice(shard, opener);
    this.#meters = meters;
    this.#limits = limits;
  }

  /** For streams from now on; those that live keep theirs. */
  setLimits(limits: TunnelLimits | undefined): void {
    this.#limits?.countWaits();
    this.#limits = limits;
  }

  /** From now on, and for the routes that there are: called again when other tokens are limited. */
  setBudgets(budgets: TokenBudgets): void {
    this.#routes.setBudgets(budgets);
  }

  countWaits(): void {
    this.#limits?.countWaits();
  }

  apply(changes: readonly RouteChange[]): void {
    for (const change of changes) {
      if (change.number <= this.#number) continue;
      this.#number = change.number;
      if (change.kind === 'add') this.#add(change);
      else if (change.kind === 'remove') this.#routes.remove(change.tunnel, change.link);
      else this.#forget(change.tunnel);
    }
  }

  /** A link of this shard is gone: at once, before control says so. */
  removeLink(link: string): void {
    this.#routes.removeLink(link);
  }

  matchHost(host: string, target?: TargetRange): string | undefined {
    return this.#hosts.match(host, target);
  }

  /** The passthrough tunnel for a canonical server name: that name, else the longest wildcard. */
  matchServerName(serverName: string): string | undefined {
    const pattern = this.#serverNames.match(serverName);
    return pattern === undefined ? undefined : `${PASSTHROUGH}${pattern}`;
  }

  isServed(name: string): boolean {
    const tunnel = this.#routes.tunnels.get(name);
    return tunnel !== undefined && tunnel.routes.length > 0;
  }

  /**
   * Every list counts, whichever client is chosen later: a stream of HTTP carries many visitors,
   * and no client is to get one that its own list keeps out.
   */
  admits(name: string, address: string): boolean {
    const lists = this.#routes.tunnels.get(name)?.terms.networks;
    if (lists === undefined) return true;
    for (const list of lists) if (!list.has(address)) return false;
    return true;
  }

  openStream(
    name: string,
    visitor: VisitorInfo,
    sink: StreamSink,
    wish: OpenWish = NO_WISH,
  ): OpenedStream | ErrorCode {
    const { requestMs } = wish;
    const tunnel = this.#routes.tunnels.get(name);
    if (tunnel === undefined) return 'SLW_STREAM_NO_LINK';
    const refusal = this.#limits?.refusal(tunnel.meter.streams);
    if (refusal !== undefined) return refusal;
    const route = this.#choice.choose(tunnel, wish, this.#refusing.of(name));
    if (route === undefined) return refusalOf(tunnel, wish);
    const { budget } = route;
    const { address, port, toAddress, toPort } = visitor;
    const { link } = route;
    const windowBytesMax = budget?.windowBytesMax ?? this.#limits?.windowBytesMax;
    const request = { tunnel: name, address, port, toAddress, toPort, link, windowBytesMax };
    const stream = this.#opener.open(route.shard, request, sink);
    if (typeof stream === 'string') return stream;
    this.#limits?.attach(name, stream);
    budget?.attach(stream);
    if (requestMs !== undefined) budget?.spendRequest();
    if (wish.except !== undefined) tunnel.meter.reopened += 1;
    stream.addMeter(tunnel.meter);
    stream.addMeter(route.client.meter);
    stream.addMeter(route.own);
    return { stream, way: route };
  }

  /** A stream for a visitor of another shard, where its tokens were asked and it is counted. */
  openFor(request: OpenRequest, sink: StreamSink): Stream | ErrorCode {
    const asked = this.#routes.routeBy(request.link, request.tunnel);
    // Control's news of the route may have reached that shard before this one.
    if (asked === undefined) return this.#opener.open(this.#shard, request, sink);
    const corrected = this.#choice.correct(asked);
    if (corrected === undefined) return 'SLW_STREAM_NO_LINK';
    const { to, named } = corrected;
    const { link } = named;
    return this.#opener.open(to.shard, link === asked.link ? request : { ...request, link }, sink);
  }

  loginsOf(tunnel: string): readonly VisitorLogins[] | undefined {
    return this.#routes.tunnels.get(tunnel)?.terms.logins;
  }

  affinityOf(tunnel: string): Affinity | undefined {
    return this.#routes.tunnels.get(tunnel)?.terms.affinity;
  }

  mayStay(name: string, way: Way, key: string | undefined): boolean {
    const tunnel = this.#routes.tunnels.get(name);
    if (tunnel === undefined || tunnel.routes[(way as Route).at] !== way) return false;
    return this.#choice.mayStay(tunnel, way.client, key, this.#refusing.of(name));
  }

  noteEnd(tunnel: string, { client }: Way, code: ErrorCode): void {
    this.#refusing.note(tunnel, client, code);
  }

  /** About once a second. */
  sweep(): void {
    this.#refusing.sweep();
  }

  #add(change: RouteChange): void {
    const { tunnel: name, link } = change;
    const tunnel = this.#routes.tunnels.get(name) ?? this.#know(name);
    // The empty link makes a tunnel known to a shard that starts while nobody serves it.
    if (link !== '') this.#routes.add(tunnel, change);
  }

  #know(name: string): Tunnel {
    if (name.startsWith(PASSTHROUGH)) this.#serverNames.add(name.slice(PASSTHROUGH.length));
    else this.#hosts.add(name);
    return this.#routes.know(name, this.#meters.tunnel(name));
  }

  #forget(name: string): void {
    this.#routes.forget(name);
    if (name.startsWith(PASSTHROUGH)) this.#serverNames.delete(name.slice(PASSTHROUGH.length));
    else this.#hosts.delete(name);
    // A port is forgotten each time that nobody serves it, a host when there are too many: what was
    // counted of a port, and what it has used up of its limits, is there when it comes back.
    const over = isPortName(name) ? this.#meters.retire(name) : name;
    if (over === undefined) return;
    this.#meters.forget(over);
    this.#limits?.forget(over);
  }
}

const NO_WISH: OpenWish = {};
