// Which link carries a visitor: tunnels by name, and who serves each of them now.
//
// Invariant: only what control said is routed, newest number wins; a link that is gone is never
// chosen; a known tunnel without a client is told apart from an unknown one. Balanced by least
// streams a client for its weight, ties in turn, this shard's links before the mesh; a visitor who
// has a client of its own (affinity.ts) gets that one. Must not know: sockets.

import type { ErrorCode } from '../base/errors.ts';
import { isPortName } from '../base/port-name.ts';
import type { VisitorLogins } from '../base/visitor-login.ts';
import type { RouteChange } from '../bridge/exit-messages.ts';
import { HeaderEdits } from '../http/header-edits.ts';
import type { OpenRequest } from '../mux/session.ts';
import type { Stream, StreamMeter, StreamSink } from '../mux/stream.ts';
import {
  type Affinity,
  addressScore,
  createRouteClient,
  markScore,
  type RouteClient,
} from './affinity.ts';
import { HostTable, type TargetRange } from './host-table.ts';
import type { Meters, TunnelMeter } from './meters.ts';
import type { TokenBudget } from './token-budget.ts';
import type { TokenBudgets } from './token-budgets.ts';
import type { TunnelLimits } from './tunnel-limits.ts';
import { type DeclaredTerms, VisitorTerms } from './visitor-terms.ts';

/** Who is visiting. */
export interface VisitorInfo {
  readonly address: string;
  readonly port: number;
  /** Where it arrived, both or neither. */
  readonly toAddress?: string;
  readonly toPort?: number;
}

/** Opens streams on links: this shard's own by key, others' by their shard. */
export interface StreamOpener {
  canOpen(link: string, shard: number): boolean;
  /** May the link be gone, as its client has dialled anew and it is silent? Of other shards' links
   * nothing is known. */
  isDoubted(link: string, shard: number): boolean;
  open(shard: number, request: OpenRequest, sink: StreamSink): Stream | ErrorCode;
}

/** The way a stream goes; both hold from the next request on when they change. */
export interface Way {
  /** Of its client, for this tunnel. */
  readonly edits: HeaderEdits | undefined;
  /** Of the token that let its client in; undefined: it has no limits. */
  readonly budget: TokenBudget | undefined;
  readonly client: RouteClient;
}

/** What an opener wants of a stream beyond its tunnel. */
export interface OpenWish {
  /** Now, when the stream is for a request, which is counted. */
  readonly requestMs?: number | undefined;
  /** Whose client is to be found again: an address, or what a cookie says. */
  readonly key?: string | undefined;
  /** Of another client than this one. */
  readonly except?: RouteClient | undefined;
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
}

/** A client that some route leads to, and how many do. */
interface RoutedClient {
  readonly id: string;
  readonly client: RouteClient;
  routes: number;
}

interface Route extends Way, DeclaredTerms {
  readonly tunnel: Tunnel;
  /** Where it stands among those of its tunnel. */
  at: number;
  readonly link: string;
  readonly shard: number;
  readonly client: RouteClient;
  readonly routed: RoutedClient;
  readonly own: StreamMeter;
  weight: number;
  /** The name of its client's token. */
  readonly token: string | undefined;
  budget: TokenBudget | undefined;
  edits: HeaderEdits | undefined;
}

interface Tunnel {
  readonly meter: TunnelMeter;
  /** In no order: whose turn it is moves on all the same. */
  readonly routes: Route[];
  turn: number;
  /** Of all its clients. */
  readonly terms: VisitorTerms;
}

/** Begins the names of passthrough tunnels. */
const PASSTHROUGH = 'tls:';

export class ShardRouter implements Router {
  readonly #shard: number;
  readonly #opener: StreamOpener;
  readonly #meters: Meters;
  /** Undefined when tunnels may use what there is. */
  #limits: TunnelLimits | undefined;
  readonly #tunnels = new Map<string, Tunnel>();
  readonly #hosts = new HostTable();
  /** Passthrough tunnels, by what follows `tls:`. */
  readonly #serverNames = new HostTable();
  readonly #clients = new Map<string, RoutedClient>();
  /** By link, and then by tunnel: when thousands of routes end at once, each costs itself alone. */
  readonly #byLink = new Map<string, Map<string, Route>>();
  #budgets: TokenBudgets | undefined;
  #number = 0;

  constructor(shard: number, opener: StreamOpener, meters: Meters, limits?: TunnelLimits) {
    this.#shard = shard;
    this.#opener = opener;
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
    this.#budgets = budgets;
    for (const { routes } of this.#tunnels.values()) {
      for (const route of routes) route.budget = budgets.of(route.token);
    }
  }

  countWaits(): void {
    this.#limits?.countWaits();
  }

  apply(changes: readonly RouteChange[]): void {
    for (const change of changes) {
      if (change.number <= this.#number) continue;
      this.#number = change.number;
      if (change.kind === 'add') this.#add(change);
      else if (change.kind === 'remove') this.#remove(change.tunnel, change.link);
      else this.#forget(change.tunnel);
    }
  }

  /** A link of this shard is gone: at once, before control says so. */
  removeLink(link: string): void {
    for (const name of this.#byLink.get(link)?.keys() ?? []) this.#remove(name, link);
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
    const tunnel = this.#tunnels.get(name);
    return tunnel !== undefined && tunnel.routes.length > 0;
  }

  /**
   * Every list counts, whichever client is chosen later: a stream of HTTP carries many visitors,
   * and no client is to get one that its own list keeps out.
   */
  admits(name: string, address: string): boolean {
    const lists = this.#tunnels.get(name)?.terms.networks;
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
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined) return 'SLW_STREAM_NO_LINK';
    const refusal = this.#limits?.refusal(tunnel.meter.streams);
    if (refusal !== undefined) return refusal;
    const route = this.#choose(tunnel, wish);
    if (route === undefined) return this.#refusal(tunnel, wish);
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

  /**
   * Nobody may carry the visitor: for want of links, or for what the tokens of the links allow.
   * Each of these is told, as any of them may have more room in another shard; what the first says
   * is the answer.
   */
  #refusal({ routes }: Tunnel, { requestMs, except }: OpenWish): ErrorCode {
    const asked = new Set<TokenBudget>();
    let first: ErrorCode | undefined;
    for (const { budget, client } of routes) {
      if (budget === undefined || client === except || asked.has(budget)) continue;
      asked.add(budget);
      const code = budget.refuse(requestMs);
      first ??= code;
    }
    return first ?? 'SLW_STREAM_NO_LINK';
  }

  loginsOf(tunnel: string): readonly VisitorLogins[] | undefined {
    return this.#tunnels.get(tunnel)?.terms.logins;
  }

  affinityOf(tunnel: string): Affinity | undefined {
    return this.#tunnels.get(tunnel)?.terms.affinity;
  }

  mayStay(name: string, way: Way, key: string | undefined): boolean {
    const tunnel = this.#tunnels.get(name);
    if (tunnel === undefined || tunnel.routes[(way as Route).at] !== way) return false;
    // The visitor's own stream may be what takes the last of its client's room.
    const wanted = this.#clientFor(tunnel, { key }, way.client);
    return wanted === undefined || wanted === way.client;
  }

  #choose(tunnel: Tunnel, wish: OpenWish): Route | undefined {
    const { routes } = tunnel;
    tunnel.turn = (tunnel.turn + 1) % Math.max(1, routes.length);
    const wanted = this.#clientFor(tunnel, wish);
    let best: Route | undefined;
    for (let index = 0; index < routes.length; index += 1) {
      const route = routes[(tunnel.turn + index) % routes.length] as Route;
      if (route.client === wish.except || (wanted !== undefined && route.client !== wanted))
        continue;
      if (best !== undefined && !this.#isBetter(route, best)) continue;
      if (this.#isFree(route, wish)) best = route;
    }
    return best;
  }

  #isFree({ link, shard, budget }: Route, { requestMs }: OpenWish): boolean {
    if (!this.#opener.canOpen(link, shard)) return false;
    return budget === undefined || budget.refusal(requestMs) === undefined;
  }

  /** The visitor's own client, if it has one that is there and has room, or is the one that it is
   * `served` by. */
  #clientFor(
    { terms, routes }: Tunnel,
    wish: OpenWish,
    served?: RouteClient,
  ): RouteClient | undefined {
    const { key, except } = wish;
    const { affinity } = terms;
    if (affinity === undefined || key === undefined) return undefined;
    let found: RouteClient | undefined;
    let best = Number.NEGATIVE_INFINITY;
    for (const route of routes) {
      const { client, weight } = route;
      if (client === except || client === found) continue;
      const score = affinity === 'ip' ? addressScore(key, client, weight) : markScore(key, client);
      if (score <= best || (client !== served && !this.#isFree(route, wish))) continue;
      best = score;
      found = client;
    }
    return found;
  }

  #isBetter(route: Route, best: Route): boolean {
    const isDoubted = this.#opener.isDoubted(route.link, route.shard);
    if (isDoubted !== this.#opener.isDoubted(best.link, best.shard)) return !isDoubted;
    if (route.client !== best.client) {
      // The streams that each would have for its weight; counts are small, and exact.
      const [mine, theirs] = [route.client.meter.streams + 1, best.client.meter.streams + 1];
      return mine * best.weight < theirs * route.weight;
    }
    const isLocal = route.shard === this.#shard;
    if (isLocal !== (best.shard === this.#shard)) return isLocal;
    return route.own.streams < best.own.streams;
  }

  #add({ tunnel: name, client, link, shard, token, options }: RouteChange): void {
    const tunnel = this.#tunnels.get(name) ?? this.#create(name);
    // The empty link makes a tunnel known to a shard that starts while nobody serves it.
    if (link === '') return;
    const edits = HeaderEdits.from(options);
    const declared = {
      edits,
      networks: options?.['allow-ips'],
      logins: options?.['visitor-login'],
      weight: Number(options?.weight?.[0] ?? 1),
      affinity: options?.affinity?.[0] as Affinity | undefined,
    };
    // Before what was declared until now goes: what is in both is not made anew.
    tunnel.terms.add(declared);
    const known = this.#byLink.get(link)?.get(name);
    if (known !== undefined) {
      // Declared anew: holds from the next request on, also on streams that live.
      tunnel.terms.delete(known);
      Object.assign(known, declared);
      return;
    }
    const routed = this.#clientOf(client);
    const own = createMeter();
    const budget = this.#budgets?.of(token);
    const to = { tunnel, at: tunnel.routes.length, link, shard, client: routed.client, routed };
    this.#enter(name, { ...to, own, token, budget, ...declared });
  }

  #create(name: string): Tunnel {
    const terms = new VisitorTerms();
    const tunnel = { meter: this.#meters.tunnel(name), routes: [], turn: 0, terms };
    this.#tunnels.set(name, tunnel);
    if (name.startsWith(PASSTHROUGH)) this.#serverNames.add(name.slice(PASSTHROUGH.length));
    else this.#hosts.add(name);
    return tunnel;
  }

  #clientOf(id: string): RoutedClient {
    let routed = this.#clients.get(id);
    if (routed === undefined) {
      routed = { id, client: createRouteClient(id, createMeter()), routes: 0 };
      this.#clients.set(id, routed);
    }
    return routed;
  }

  #enter(name: string, route: Route): void {
    route.tunnel.routes.push(route);
    route.routed.routes += 1;
    const byTunnel = this.#byLink.get(route.link) ?? new Map();
    this.#byLink.set(route.link, byTunnel.set(name, route));
  }

  #remove(name: string, link: string): void {
    const byTunnel = this.#byLink.get(link);
    const route = byTunnel?.get(name);
    if (byTunnel === undefined || route === undefined) return;
    byTunnel.delete(name);
    if (byTunnel.size === 0) this.#byLink.delete(link);
    const { tunnel, routed } = route;
    tunnel.terms.delete(route);
    routed.routes -= 1;
    if (routed.routes === 0) this.#clients.delete(routed.id);
    // The last one takes its place.
    const last = tunnel.routes.pop();
    if (last === undefined || last === route) return;
    last.at = route.at;
    tunnel.routes[last.at] = last;
  }

  #forget(name: string): void {
    for (const { link } of [...(this.#tunnels.get(name)?.routes ?? [])]) this.#remove(name, link);
    this.#tunnels.delete(name);
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

function createMeter(): StreamMeter {
  return { streams: 0, bytesIn: 0, bytesOut: 0 };
}
