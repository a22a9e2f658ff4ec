// Which route of a tunnel a visitor gets.
//
//   its own client, when it has one with room --> clients that do not refuse --> links that are
//   well --> fewest streams for the weight, of the clients --> this shard's links --> fewest
//   streams, of those --> in turn
//
// Invariant: a link that cannot take the stream is never chosen, nor one whose token has no room;
// one that may be gone is chosen when there is no other. Must not know: how streams are opened, or
// how routes come and go.

import type { ErrorCode } from '../base/errors.ts';
import { addressScore, markScore, type RouteClient } from './affinity.ts';
import type { Route, Tunnel, Way } from './route-table.ts';
import type { TokenBudget } from './token-budget.ts';

/** What is known of links: this shard's own by key, others' by their shard. */
export interface LinkStates {
  canOpen(link: string, shard: number): boolean;
  /** May the link be gone, as its client has dialled anew and it is silent? Of other shards' links
   * nothing is known. */
  isDoubted(link: string, shard: number): boolean;
}

/** What an opener wants of a stream beyond its tunnel. */
export interface OpenWish {
  /** Now, when the stream is for a request, which is counted. */
  readonly requestMs?: number | undefined;
  /** Whose client is to be found again: an address, or what a cookie says. */
  readonly key?: string | undefined;
  /** Of another client than these. */
  readonly except?: readonly RouteClient[] | undefined;
  /** Where there is none, of the clients of these as well, by other links, as these are gone. */
  readonly gone?: readonly Way[] | undefined;
}

/** Where a visitor of another shard goes on. */
export interface Corrected {
  readonly to: Route;
  /** Whose link is to be named there: that, or one of ours that is not well. */
  readonly named: Route;
}

/** Of these only when nobody else has room; undefined: all are alike. */
type Avoided = { has(client: RouteClient): boolean } | undefined;

export class RouteChoice {
  readonly #shard: number;
  readonly #links: LinkStates;

  constructor(shard: number, links: LinkStates) {
    this.#shard = shard;
    this.#links = links;
  }

  /** Undefined: nobody may carry the visitor. */
  choose(tunnel: Tunnel, wish: OpenWish, avoid?: Avoided): Route | undefined {
    const best = this.#best(tunnel, wish, avoid);
    const { gone, except } = wish;
    if (best !== undefined || gone === undefined || gone.length === 0) return best;
    const others = except?.filter((client) => gone.every((way) => way.client !== client));
    return this.#best(tunnel, { ...wish, except: others }, avoid);
  }

  #best(tunnel: Tunnel, wish: OpenWish, avoid: Avoided): Route | undefined {
    const { routes } = tunnel;
    tunnel.turn = (tunnel.turn + 1) % Math.max(1, routes.length);
    const wanted = this.#clientFor(tunnel, wish, avoid);
    let best: Route | undefined;
    for (let index = 0; index < routes.length; index += 1) {
      const route = routes[(tunnel.turn + index) % routes.length] as Route;
      if (wish.except?.includes(route.client) === true) continue;
      if (wish.gone?.includes(route) === true) continue;
      if (wanted !== undefined && route.client !== wanted) continue;
      if (best !== undefined && !this.#isBetter(route, best, avoid)) continue;
      if (this.#isFree(route, wish)) best = route;
    }
    return best;
  }

  /**
   * The way of a visitor whom another shard has sent here for the link `asked`, of which it knows
   * less. Where that is ours, and may be gone or takes no streams: the youngest link of its client
   * that is well, if that is younger, and else an older one.
   *
   * One that is another's was found so by its own shard, and nothing younger is well: an older link
   * of ours is meant. No visitor goes in a circle, as links get younger at each step, and then
   * older at each. Undefined: ours has gone.
   */
  correct(asked: Route): Corrected | undefined {
    if (asked.shard !== this.#shard) return this.#correctOlder(asked);
    const youngest = this.#isWell(asked) ? asked : this.#youngest(asked, 'younger');
    return youngest === undefined ? this.#goBack(asked) : { to: youngest, named: youngest };
  }

  #correctOlder(asked: Route): Corrected | undefined {
    const well = this.#youngest(asked, 'older', 'ours');
    if (well !== undefined) return { to: well, named: well };
    let meant: Route | undefined;
    for (const route of asked.tunnel.routes) {
      if (route.client !== asked.client || route.shard !== this.#shard) continue;
      if (route.number < asked.number && route.number > (meant?.number ?? -1)) meant = route;
    }
    return meant && this.#goBack(meant);
  }

  /** From `route`, a link of ours that is not well, to an older one, if any may be. */
  #goBack(route: Route): Corrected {
    const ours = this.#youngest(route, 'older', 'ours');
    if (ours !== undefined) return { to: ours, named: ours };
    const theirs = this.#youngest(route, 'older');
    return { to: theirs ?? route, named: route };
  }

  /** Of the links of its client that are well, as far as is known here. */
  #youngest(route: Route, than: 'younger' | 'older', whose?: 'ours'): Route | undefined {
    let best: Route | undefined;
    for (const other of route.tunnel.routes) {
      if (other.client !== route.client || other === route) continue;
      if (other.number > route.number !== (than === 'younger')) continue;
      if (whose === 'ours' && other.shard !== this.#shard) continue;
      if (best !== undefined && other.number < best.number) continue;
      if (this.#isWell(other)) best = other;
    }
    return best;
  }

  #isWell({ link, shard }: Route): boolean {
    return this.#links.canOpen(link, shard) && !this.#links.isDoubted(link, shard);
  }

  /** May the visitor with `key` stay with the client that serves it, or is another one its own? */
  mayStay(tunnel: Tunnel, served: RouteClient, key?: string, avoid?: Avoided): boolean {
    if (key === undefined || tunnel.terms.affinity === undefined) return true;
    // The visitor's own stream may be what takes the last of its client's room.
    const wanted = this.#clientFor(tunnel, { key }, avoid, served);
    return wanted === undefined || wanted === served;
  }

  /** The visitor's own client, if it has one that is there and has room, or is the one that it is
   * `served` by; of those to avoid only when there is no other. */
  #clientFor(
    tunnel: Tunnel,
    wish: OpenWish,
    avoid: Avoided,
    served?: RouteClient,
  ): RouteClient | undefined {
    const { terms, routes } = tunnel;
    const { key, except } = wish;
    const { affinity } = terms;
    if (affinity === undefined || key === undefined) return undefined;
    let found: RouteClient | undefined;
    let best = Number.NEGATIVE_INFINITY;
    for (const route of routes) {
      const { client, weight } = route;
      if (except?.includes(client) === true || client === found) continue;
      if (avoid?.has(client) === true) continue;
      const score = affinity === 'ip' ? addressScore(key, client, weight) : markScore(key, client);
      if (score <= best || (client !== served && !this.#isFree(route, wish))) continue;
      best = score;
      found = client;
    }
    if (found !== undefined || avoid === undefined) return found;
    // Whoever else has room is not what a cookie says, and serves its visitor all the same.
    const hasOther = routes.some((route) => {
      if (except?.includes(route.client) === true || avoid.has(route.client)) return false;
      return route.client === served || this.#isFree(route, wish);
    });
    return hasOther ? undefined : this.#clientFor(tunnel, wish, undefined, served);
  }

  #isFree({ link, shard, budget }: Route, { requestMs }: OpenWish): boolean {
    if (!this.#links.canOpen(link, shard)) return false;
    return budget === undefined || budget.refusal(requestMs) === undefined;
  }

  #isBetter(route: Route, best: Route, avoid: Avoided): boolean {
    const isAvoided = avoid?.has(route.client) === true;
    if (isAvoided !== (avoid?.has(best.client) === true)) return !isAvoided;
    const isDoubted = this.#links.isDoubted(route.link, route.shard);
    if (isDoubted !== this.#links.isDoubted(best.link, best.shard)) return !isDoubted;
    if (route.client !== best.client) {
      // The streams that each would have for its weight; counts are small, and exact.
      const [mine, theirs] = [route.client.meter.streams + 1, best.client.meter.streams + 1];
      return mine * best.weight < theirs * route.weight;
    }
    const isLocal = route.shard === this.#shard;
    if (isLocal !== (best.shard === this.#shard)) return isLocal;
    return route.own.streams < best.own.streams;
  }
}

/**
 * Nobody may carry the visitor: for want of links, or for what the tokens of the links allow. Every
 * such token counts the refusal, and so asks for a share that another shard does not use; the
 * answer is that of the first.
 */
export function refusalOf({ routes }: Tunnel, { requestMs, except }: OpenWish): ErrorCode {
  const asked = new Set<TokenBudget>();
  let first: ErrorCode | undefined;
  for (const { budget, client } of routes) {
    if (budget === undefined || asked.has(budget)) continue;
    if (except?.includes(client) === true) continue;
    asked.add(budget);
    const code = budget.refuse(requestMs);
    first ??= code;
  }
  return first ?? 'SLW_STREAM_NO_LINK';
}
