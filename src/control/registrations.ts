// Tunnels that links register and withdraw.
//
//   offer --readOffer--> --may it?--> --port opens--> --still?--> granted, routed --> withdrawn
//
// Invariant: each offer is accepted or refused by itself; a tunnel's port is open while somebody
// serves it, and what its client was told has failed is not served; who left serves nothing. Must
// not know: how links come and end, sockets, or tokens.

import { SluicewayError } from '../base/errors.ts';
import type { TunnelAnswer, TunnelRequest } from '../bridge/exit-messages.ts';
import type { Client, Clients } from './clients.ts';
import type { HeldLink } from './held-link.ts';
import type { Routes } from './routes.ts';
import { checkPort, type OfferRules, readOffer } from './tunnel-offer.ts';
import type { TunnelOwners } from './tunnel-owners.ts';
import type { TunnelPorts } from './tunnel-ports.ts';

/** Tunnels of one client. Guess. */
const CLIENT_TUNNELS_MAX = 1000;

export interface RegistrationParts {
  readonly rules: OfferRules;
  readonly clients: Clients;
  /** By key. */
  readonly links: ReadonlyMap<string, HeldLink>;
  readonly routes: Routes;
  readonly owners: TunnelOwners;
  readonly ports: TunnelPorts;
}

export class Registrations {
  readonly #parts: RegistrationParts;

  constructor(parts: RegistrationParts) {
    this.#parts = parts;
  }

  /** Each is accepted or refused by itself, unless all are given up. `link` may be gone. */
  async register(
    link: HeldLink | undefined,
    offers: readonly TunnelRequest[],
    call: number,
  ): Promise<TunnelAnswer[]> {
    link?.ask(call);
    const answers = await Promise.all(offers.map((offer) => this.#registerOne(link, offer, call)));
    if (link === undefined || link.answer(call)) return answers;
    const { code, message: reason } = givenUp();
    return offers.map(({ name }) => ({ name, code, reason }));
  }

  /** Its client was told that nothing came of this call: nothing does, whenever this comes. */
  giveUp(link: HeldLink, call: number): void {
    for (const name of link.giveUp(call)) this.#withdraw(link, name);
  }

  unregister(link: HeldLink, names: readonly string[]): void {
    for (const name of names) {
      // Its registration may be under way: withdrawn when it has ended.
      this.#parts.ports.afterSteps(name, () => this.#withdraw(link, name));
    }
  }

  /** Nothing is routed to it any more, nor will be. */
  leave(link: HeldLink): void {
    link.leave();
    for (const name of [...link.tunnels.keys()]) this.#withdraw(link, name);
  }

  async #registerOne(
    link: HeldLink | undefined,
    offer: TunnelRequest,
    call: number,
  ): Promise<TunnelAnswer> {
    const { name, label } = offer;
    const { rules, ports, routes, owners } = this.#parts;
    try {
      const { port, options } = readOffer(offer, rules);
      if (link === undefined || link.isLeaving) throw new SluicewayError('SLW_LINK_LOST');
      this.#checkMayServe(link, offer);
      const { tunnels } = link.client;
      tunnels.set(name, label);
      // What it serves already is at another upstream from now on, whatever comes of this.
      if (owners.has(link.client, name)) owners.put(link.client, offer);
      if (port !== undefined) {
        checkPort(port, rules);
        await ports.open(name);
        this.#checkOnceOpen(link, offer, call);
      }
      // Offered again, only options may have changed.
      if (link.grant(name, options, call)) routes.add(name, link);
      // Another of its calls may have named another upstream while the port was being opened, or
      // was refused, so that none was known.
      const own = tunnels.get(name) ?? label;
      tunnels.set(name, own);
      owners.put(link.client, { name, label: own });
      return { name, code: '', reason: '' };
    } catch (error) {
      if (!(error instanceof SluicewayError)) throw error;
      if (link !== undefined) this.#onRefused(link, name, error.code);
      return { name, code: error.code, reason: error.message };
    }
  }

  #onRefused(link: HeldLink, name: string, code: string): void {
    // What it serves with older options must not go on as if the newer ones were kept.
    if (code === 'SLW_TUNNEL_OPTION') this.#withdraw(link, name);
    this.#clientForget(link.client, name);
  }

  #checkMayServe(link: HeldLink, offer: TunnelRequest): void {
    const { clients, owners } = this.#parts;
    const refusal = clients.refusalOf(link, offer.name);
    if (refusal !== undefined) throw new SluicewayError(refusal);
    if (owners.isTaken(link.client, offer)) throw new SluicewayError('SLW_TUNNEL_TAKEN');
    const { tunnels } = link.client;
    if (!tunnels.has(offer.name) && tunnels.size >= CLIENT_TUNNELS_MAX) {
      throw new SluicewayError('SLW_TUNNEL_LIMIT');
    }
  }

  /** Others have gone on while the port was being opened, and nobody may be left to serve it. */
  #checkOnceOpen(link: HeldLink, offer: TunnelRequest, call: number): void {
    try {
      if (!link.isAsking(call)) throw givenUp();
      if (link.isLeaving) throw new SluicewayError('SLW_LINK_LOST');
      this.#checkMayServe(link, offer);
    } catch (error) {
      this.#parts.ports.closeUnserved(offer.name);
      throw error;
    }
  }

  #withdraw(link: HeldLink, name: string): void {
    if (!link.revoke(name)) return;
    this.#clientForget(link.client, name);
    this.#parts.routes.remove(name, link);
    this.#parts.ports.closeUnserved(name);
  }

  #clientForget(client: Client, name: string): void {
    const { links, owners } = this.#parts;
    const isServed = [...client.links].some((key) => links.get(key)?.tunnels.has(name));
    if (isServed) return;
    client.tunnels.delete(name);
    owners.drop(client, name);
  }
}

function givenUp(): SluicewayError {
  return new SluicewayError('SLW_CALL_TIMEOUT', 'it was not answered in time');
}
