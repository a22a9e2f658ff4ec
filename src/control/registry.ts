// Who is connected and who serves what: clients, their links, and tunnels by name.
//
//   client (id, instance) 1--* link (key, shard) *--* tunnel (name)
//   clients.ts                 held-link.ts           registrations.ts, routes.ts, tunnel-ports.ts,
//                                                      tunnel-owners.ts
//
// Invariant: a new instance of a client replaces the old one at once, and an old one no new one; a
// link that is gone serves nothing, and a client without a link is gone. Must not know: what an
// offer says, sockets, tokens, or how shards are reached.

import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import type {
  LinkHello,
  RouteChange,
  TunnelAnswer,
  TunnelRequest,
} from '../bridge/exit-messages.ts';
import { type Client, Clients, type Holder, type Scopes } from './clients.ts';
import type { Moving } from './hand-over.ts';
import { HeldLink } from './held-link.ts';
import { Registrations } from './registrations.ts';
import { spreadOf } from './return-spread.ts';
import { Routes } from './routes.ts';
import type { OfferRules } from './tunnel-offer.ts';
import { TunnelOwners } from './tunnel-owners.ts';
import { TunnelPorts } from './tunnel-ports.ts';

/** Links of one client: more than shards times nodes makes no sense. Guess. */
const CLIENT_LINKS_MAX = 64;
/** Links in all. Guess: 64 GiB of memory holds more, file descriptors do not. */
const LINKS_MAX = 100_000;

export interface RegistryOptions extends OfferRules {
  readonly wallMs: () => number;
  /** What clients with a credential may do; absent: everything. */
  readonly scopes?: Scopes;
  /** Tells every shard. */
  readonly publish: (changes: readonly RouteChange[]) => void;
  /** Opens or closes a tunnel's port on every shard. Rejects with a SluicewayError. */
  readonly openPort: (name: string) => Promise<void>;
  readonly closePort: (name: string) => Promise<void>;
  readonly doubtLinks: (shard: number, links: readonly string[]) => void;
  readonly closeLinks: (shard: number, links: readonly string[], code: ErrorCode) => void;
}

export class Registry {
  readonly #options: RegistryOptions;
  readonly #clients: Clients;
  readonly #routes: Routes;
  readonly #ports: TunnelPorts;
  readonly #registrations: Registrations;
  readonly #links = new Map<string, HeldLink>();

  constructor(options: RegistryOptions) {
    const { scopes, wallMs, publish, openPort, closePort } = options;
    this.#options = options;
    this.#clients = new Clients({ scopes, wallMs });
    this.#routes = new Routes({
      entryNameOf: (credential) => scopes?.entryNameOf(credential) ?? '',
      publish,
    });
    this.#ports = new TunnelPorts({
      openPort,
      closePort,
      isServed: (name) => this.#routes.isServed(name),
      onUnserved: (name) => this.#routes.closePort(name),
    });
    this.#registrations = new Registrations({
      rules: options,
      clients: this.#clients,
      links: this.#links,
      routes: this.#routes,
      owners: new TunnelOwners((credential) => scopes?.ownerOf(credential) ?? ''),
      ports: this.#ports,
    });
  }

  get clients(): Iterable<Client> {
    return this.#clients.values();
  }

  /** Within which clients should come back when this server is lost. */
  get spreadMs(): number {
    return spreadOf(this.#clients.count);
  }

  get clientsCount(): number {
    return this.#clients.count;
  }

  get linksCount(): number {
    return this.#links.size;
  }

  /** How often each client started, by id. */
  get connects(): ReadonlyMap<string, number> {
    return this.#clients.connects;
  }

  hasClient(id: string): boolean {
    return this.#clients.has(id);
  }

  /** Who can come to a successor that has the control port alone, and what they serve now. */
  moving(): Moving {
    const links = [...this.#links.values()].filter(({ port }) => port === 'control');
    const clients = new Set(links.map(({ client }) => client.id));
    const tunnels = new Set(links.flatMap((link) => [...link.tunnels.keys()]));
    return { clients: [...clients], tunnels: [...tunnels], served: this.#routes.served() };
  }

  /** How many clients serve each known tunnel; 0 for ports that are closed, too. */
  tunnelClients(): ReadonlyMap<string, number> {
    return this.#routes.clientCounts();
  }

  clientOf(link: string): Client | undefined {
    return this.#links.get(link)?.client;
  }

  /** Tunnels that a link serves now. */
  servedOn(link: string): string[] {
    return [...(this.#links.get(link)?.tunnels.keys() ?? [])];
  }

  /** Every link with what let it in, by shard. */
  linksByShard(): ReadonlyMap<
    number,
    readonly { readonly link: string; readonly holder: Holder }[]
  > {
    const byShard = new Map<number, { link: string; holder: Holder }[]>();
    for (const [link, holder] of this.#links) {
      const links = byShard.get(holder.shard) ?? [];
      byShard.set(holder.shard, links);
      links.push({ link, holder });
    }
    return byShard;
  }

  /** Does a client serve the tunnel now? */
  isServed(name: string): boolean {
    return this.#routes.isServed(name);
  }

  isPortOpen(name: string): boolean {
    return this.#ports.isOpen(name);
  }

  /** Tunnels whose ports are open, for a shard that starts. */
  openPorts(): string[] {
    return this.#ports.names();
  }

  /** All routes as changes, for a shard that starts. */
  snapshot(): RouteChange[] {
    return this.#routes.snapshot();
  }

  /** A link was greeted. Raises a SluicewayError when it must not stay. */
  hello(hello: LinkHello, shard: number): void {
    this.#doubtLinksOf(hello);
    if (this.#links.size >= LINKS_MAX) throw new SluicewayError('SLW_LINK_LIMIT');
    this.#clients.admit(hello);
    let client = this.#clients.get(hello.client);
    if (client?.instance !== hello.instance) {
      if (client !== undefined) this.#endLinksOf([...client.links], 'SLW_LINK_REPLACED');
      client = this.#clients.add(hello, client);
    }
    if (client.links.size >= CLIENT_LINKS_MAX) throw new SluicewayError('SLW_LINK_LIMIT');
    this.#clients.addLink(client, hello.link);
    this.#links.set(hello.link, new HeldLink(hello, client, shard));
  }

  /**
   * Ends every link that `isOver`; returns how many. A client that keeps one is told that it may
   * dial for the others again, and `code` only with its last.
   */
  endLinks(isOver: (link: HeldLink) => boolean, code: ErrorCode): number {
    let count = 0;
    for (const client of [...this.#clients.values()]) {
      const over = [...client.links].filter((key) => {
        const link = this.#links.get(key);
        return link !== undefined && isOver(link);
      });
      this.#endLinksOf(over, over.length < client.links.size ? 'SLW_LINK_ENDED' : code);
      count += over.length;
    }
    return count;
  }

  /** Offers tunnels on a link; each is accepted or refused by itself, unless all are given up. */
  register(link: string, offers: readonly TunnelRequest[], call: number): Promise<TunnelAnswer[]> {
    return this.#registrations.register(this.#links.get(link), offers, call);
  }

  /** Its client was told that nothing came of this call: nothing does, whenever this comes. */
  giveUp(link: string, call: number): void {
    const held = this.#links.get(link);
    if (held !== undefined) this.#registrations.giveUp(held, call);
  }

  unregister(link: string, names: readonly string[]): void {
    const held = this.#links.get(link);
    if (held !== undefined) this.#registrations.unregister(held, names);
  }

  /** Nothing is routed to it any more; it can still be ended. */
  linkLeaving(link: string): void {
    const held = this.#links.get(link);
    if (held !== undefined) this.#registrations.leave(held);
  }

  linkGone(link: string): void {
    const held = this.#links.get(link);
    if (held === undefined) return;
    this.#registrations.leave(held);
    this.#links.delete(link);
    this.#clients.removeLink(held.client, link);
  }

  shardGone(shard: number): void {
    for (const [link, held] of [...this.#links]) if (held.shard === shard) this.linkGone(link);
  }

  #endLinksOf(over: readonly string[], code: ErrorCode): void {
    const byShard = this.#byShard(over);
    for (const link of over) this.linkGone(link);
    for (const [shard, links] of byShard) this.#options.closeLinks(shard, links, code);
  }

  /**
   * A client that dials once more may have lost a link of which the server has heard nothing, as
   * when a router on the way forgot it: that one hangs visitors, and counts, until it is known to
   * be dead. Told before anything is refused, so that there is room at the next try.
   */
  #doubtLinksOf({ client, instance }: LinkHello): void {
    const known = this.#clients.get(client);
    if (known?.instance !== instance) return;
    for (const [shard, links] of this.#byShard(known.links)) this.#options.doubtLinks(shard, links);
  }

  #byShard(keys: Iterable<string>): ReadonlyMap<number, readonly string[]> {
    const byShard = new Map<number, string[]>();
    for (const key of keys) {
      const shard = this.#links.get(key)?.shard ?? 0;
      byShard.set(shard, [...(byShard.get(shard) ?? []), key]);
    }
    return byShard;
  }
}
