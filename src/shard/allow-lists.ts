// Who may come in: the lists of visitors and of clients, and how often each has denied somebody.
//
// Invariant: a list that is on denies whoever is not on it, and one of denied visitors whoever is,
// an unreadable address included in either case; denied is stronger. A visitor that a proxy names
// is judged by that name, and a connection of a trusted HTTP proxy by its requests. Off costs two
// comparisons. A new list is held against everybody who is in, once. Must not know: HTTP, links, or
// where lists come from.

import type { Socket } from 'node:net';
import type { Network } from '../base/network.ts';
import { type AddressSet, type NetworkTable, networkSet, outsideOf } from '../base/network-set.ts';
import type { Arrival } from './arrivals.ts';

/** Those of `tunnels`, that clients declare, and of `forwards` are kept elsewhere, and counted
 * here. */
const LISTS = ['visitors', 'clients', 'tunnels', 'forwards'] as const;

export type AllowListName = (typeof LISTS)[number];

/** Lists as they cross between threads; absent or empty is off. */
export interface ListSettings {
  readonly allowIps?: readonly Network[];
  readonly denied?: NetworkTable;
  readonly controlAllowIps?: readonly Network[];
}

/** As whom a connection is judged that carries many visitors: request by request. */
const MANY = '';

export class AllowLists {
  #visitors: AddressSet | undefined;
  /** Everybody but the denied. */
  #others: AddressSet | undefined;
  #clients: AddressSet | undefined;
  /** Peers whose connections wait for a PROXY header, and are judged when it is there. */
  readonly #proxies: AddressSet | undefined;
  readonly #denied = new Map<AllowListName, number>(LISTS.map((list) => [list, 0]));
  /** As whom a connection is judged, where that is not its peer. */
  readonly #named = new WeakMap<Socket, string>();

  constructor(settings: ListSettings, proxies?: AddressSet) {
    this.#proxies = proxies;
    this.replace(settings);
  }

  replace({ allowIps, denied, controlAllowIps }: ListSettings): void {
    this.#visitors = networkSet(allowIps);
    this.#others = outsideOf(denied);
    this.#clients = networkSet(controlAllowIps);
  }

  /** Counts a denial. */
  deny(list: AllowListName): void {
    this.#denied.set(list, (this.#denied.get(list) ?? 0) + 1);
  }

  sample(): (readonly [string, number])[] {
    return [...this.#denied];
  }

  allowsClient(address: string | undefined): boolean {
    return isOn(this.#clients, address);
  }

  allowsVisitor(address: string | undefined): boolean {
    return isOn(this.#visitors, address) && isOn(this.#others, address);
  }

  /** May `socket` come in? `isMany` for a trusted proxy's, whose requests are judged instead. */
  admits(socket: Socket, arrival: Arrival | undefined, isMany: boolean): boolean {
    const seen = arrival?.visitor?.address ?? socket.remoteAddress;
    const wasWaiting = arrival !== undefined && arrival.refusesProxy !== true;
    if (isMany) this.#named.set(socket, MANY);
    else if (wasWaiting) this.#named.set(socket, seen ?? 'unknown');
    return isMany || this.allowsVisitor(seen);
  }

  /** Is a connection that is in already one of somebody who is no longer allowed? */
  isDenied(socket: Socket): boolean {
    if (this.#visitors === undefined && this.#others === undefined) return false;
    const { remoteAddress } = socket;
    const named = this.#named.get(socket);
    if (named !== undefined) return named !== MANY && !this.allowsVisitor(named);
    const isWaiting = remoteAddress !== undefined && this.#proxies?.has(remoteAddress) === true;
    return !isWaiting && !this.allowsVisitor(remoteAddress);
  }
}

/** A list that is off has everybody; one that is on has nobody without an address. */
function isOn(list: AddressSet | undefined, address: string | undefined): boolean {
  return list === undefined || (address !== undefined && list.has(address));
}
