// The routes of a shard: who serves each tunnel, found by tunnel and by link.
//
//   tunnel (name) 1--* route *--1 link (key)          route *--1 client (id)
//
// Invariant: of one link a tunnel has one route, which knows its place; a change costs itself,
// among however many routes; a client is there while a route leads to it, and what it asks of
// visitors goes with the route. Must not know: which route is chosen, or what visitors ask for.

import type { RouteChange } from '../bridge/exit-messages.ts';
import { HeaderEdits } from '../http/header-edits.ts';
import type { StreamMeter } from '../mux/stream.ts';
import { type Affinity, createRouteClient, type RouteClient } from './affinity.ts';
import type { TunnelMeter } from './meters.ts';
import type { TokenBudget } from './token-budget.ts';
import type { TokenBudgets } from './token-budgets.ts';
import { type DeclaredTerms, VisitorTerms } from './visitor-terms.ts';

/** The way a stream goes; both hold from the next request on when they change. */
export interface Way {
  /** Of its client, for this tunnel. */
  readonly edits: HeaderEdits | undefined;
  /** Of the token that let its client in; undefined: it has no limits. */
  readonly budget: TokenBudget | undefined;
  readonly client: RouteClient;
}

/** A client that some route leads to, and how many do. */
interface RoutedClient {
  readonly id: string;
  readonly client: RouteClient;
  routes: number;
}

export interface Route extends Way, DeclaredTerms {
  readonly tunnel: Tunnel;
  /** Of the change by which it came: the youngest has the highest, in every shard. */
  readonly number: number;
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

export interface Tunnel {
  readonly meter: TunnelMeter;
  /** In no order: whose turn it is moves on all the same. */
  readonly routes: Route[];
  turn: number;
  /** Of all its clients. */
  readonly terms: VisitorTerms;
}

export class RouteTable {
  readonly #tunnels = new Map<string, Tunnel>();
  readonly #clients = new Map<string, RoutedClient>();
  /** By link, and then by tunnel: when thousands of routes end at once, each costs itself alone. */
  readonly #byLink = new Map<string, Map<string, Route>>();
  #budgets: TokenBudgets | undefined;

  /** Known tunnels by name, also those that nobody serves. */
  get tunnels(): ReadonlyMap<string, Tunnel> {
    return this.#tunnels;
  }

  /** From now on, and for the routes that there are: called again when other tokens are limited. */
  setBudgets(budgets: TokenBudgets): void {
    this.#budgets = budgets;
    for (const { routes } of this.#tunnels.values()) {
      for (const route of routes) route.budget = budgets.of(route.token);
    }
  }

  /** From now on the tunnel is known, counted by `meter`. */
  know(name: string, meter: TunnelMeter): Tunnel {
    const tunnel = { meter, routes: [], turn: 0, terms: new VisitorTerms() };
    this.#tunnels.set(name, tunnel);
    return tunnel;
  }

  /** A link serves a tunnel that is known, or does so by other options than before. */
  add(tunnel: Tunnel, change: RouteChange): void {
    const { tunnel: name, client, link, shard, token, options, number } = change;
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
    this.#enter(name, { ...to, number, own, token, budget, ...declared });
  }

  remove(name: string, link: string): void {
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

  /** The route of a tunnel by a link, while there is one. */
  routeBy(link: string, name: string): Route | undefined {
    return this.#byLink.get(link)?.get(name);
  }

  removeLink(link: string): void {
    for (const name of this.#byLink.get(link)?.keys() ?? []) this.remove(name, link);
  }

  forget(name: string): void {
    for (const { link } of [...(this.#tunnels.get(name)?.routes ?? [])]) this.remove(name, link);
    this.#tunnels.delete(name);
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
}

function createMeter(): StreamMeter {
  return { streams: 0, bytesIn: 0, bytesOut: 0 };
}
