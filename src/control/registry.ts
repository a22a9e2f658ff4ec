// Who is connected and who serves what: clients, their links, and tunnels by name.
//
//   client (id, instance) 1--* link (key, shard) *--* tunnel (name)
//
// Invariant: a tunnel's port is open on every shard or on none, and only while somebody serves it;
// every change of routes has a number and goes to every shard in order; a new instance of a client
// replaces the old one at once, and an old one no new one. Must not know: sockets, tokens, or how
// shards are reached.

import { isDeepStrictEqual } from 'node:util';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import type { PortName } from '../base/port-name.ts';
import { readOffered, type TunnelOptions } from '../base/tunnel-options.ts';
import { providerOf } from '../base/visitor-login.ts';
import type {
  LinkHello,
  LinkPort,
  RouteChange,
  TunnelAnswer,
  TunnelRequest,
} from '../bridge/exit-messages.ts';
import { type Client, Clients, type Holder, type Scopes } from './clients.ts';
import type { Moving } from './hand-over.ts';
import { spreadOf } from './return-spread.ts';
import { checkTunnelName, isHttpTunnel, isPassthrough } from './tunnel-name.ts';
import { TunnelPorts } from './tunnel-ports.ts';

/** Links of one client: more than shards times nodes makes no sense. Guess. */
const CLIENT_LINKS_MAX = 64;
/** Tunnels of one client. Guess. */
const CLIENT_TUNNELS_MAX = 1000;
/** Names that are remembered after their last client has gone: 503 instead of 404. As many ports
 * that are closed, to say that nobody serves them. */
const KNOWN_TUNNELS_MAX = 10_000;
/** Links in all. Guess: 64 GiB of memory holds more, file descriptors do not. */
const LINKS_MAX = 100_000;

/** A link as it is judged: each by itself, as a client may come by several secrets and ways. */
export interface HeldLink extends Holder {
  /** What it declared for each tunnel that it serves, by name. */
  readonly tunnels: ReadonlyMap<string, TunnelOptions | undefined>;
}

interface LinkEntry extends HeldLink {
  readonly client: Client;
  readonly shard: number;
  readonly port: LinkPort;
  /** `leaving`: it takes no streams, and no tunnel is added to it. */
  state: 'serving' | 'leaving';
  readonly tunnels: Map<string, TunnelOptions | undefined>;
  /** By which of its calls each tunnel came. */
  readonly grantedBy: Map<string, number>;
  /** Calls that its shard waits for; bounded there. */
  readonly asking: Set<number>;
}

/** A REGISTER as its shard has numbered it. */
interface Ask {
  readonly link: string;
  readonly call: number;
}

interface TunnelEntry {
  readonly links: Set<string>;
}

export interface RegistryOptions {
  readonly isPortAllowed: (port: PortName) => boolean;
  /** Is there a port on which TLS can be passed through? */
  readonly hasHttps: boolean;
  readonly wallMs: () => number;
  /** Can visitors log in at this provider? Absent: at none. */
  readonly hasLoginProvider?: (name: string) => boolean;
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
  readonly #ports: TunnelPorts;
  readonly #links = new Map<string, LinkEntry>();
  readonly #tunnels = new Map<string, TunnelEntry>();
  /** Ports that were served and are no tunnels now, the longest closed first. */
  readonly #closedPorts = new Set<string>();
  #number = 0;

  constructor(options: RegistryOptions) {
    this.#options = options;
    this.#clients = new Clients({ scopes: options.scopes, wallMs: options.wallMs });
    this.#ports = new TunnelPorts({
      openPort: options.openPort,
      closePort: options.closePort,
      isServed: (name) => this.isServed(name),
      onUnserved: (name) => this.#forgetPort(name),
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
    const served = [...this.#tunnels.keys()].filter((name) => this.isServed(name));
    return { clients: [...clients], tunnels: [...tunnels], served };
  }

  /** How many clients serve each known tunnel; 0 for ports that are closed, too. */
  tunnelClients(): ReadonlyMap<string, number> {
    const clientsOf = ({ links }: TunnelEntry): number =>
      new Set([...links].map((link) => this.#links.get(link)?.client)).size;
    const counts = new Map([...this.#closedPorts].map((name) => [name, 0]));
    for (const [name, entry] of this.#tunnels) counts.set(name, clientsOf(entry));
    return counts;
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
    return (this.#tunnels.get(name)?.links.size ?? 0) > 0;
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
    const changes: RouteChange[] = [];
    for (const [tunnel, entry] of this.#tunnels) {
      changes.push(this.#change('add', tunnel, ''));
      for (const link of entry.links) changes.push(this.#change('add', tunnel, link));
    }
    return changes;
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
    client.links.add(hello.link);
    const { credential = '', remoteAddress, port = 'control' } = hello;
    const held = { credential, remoteAddress, port, tunnels: new Map() };
    const calls = { grantedBy: new Map(), asking: new Set<number>() };
    this.#links.set(hello.link, { client, shard, state: 'serving', ...held, ...calls });
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
  async register(
    link: string,
    offers: readonly TunnelRequest[],
    call: number,
  ): Promise<TunnelAnswer[]> {
    const entry = this.#links.get(link);
    entry?.asking.add(call);
    const ask = { link, call };
    const answers = await Promise.all(offers.map((offer) => this.#registerOne(ask, offer)));
    if (entry === undefined || entry.asking.delete(call)) return answers;
    const { code, message: reason } = givenUp();
    return offers.map(({ name }) => ({ name, code, reason }));
  }

  /** Its client was told that nothing came of this call: nothing does, whenever this comes. */
  giveUp(link: string, call: number): void {
    const entry = this.#links.get(link);
    if (entry === undefined) return;
    entry.asking.delete(call);
    for (const [name, by] of [...entry.grantedBy]) if (by === call) this.#withdraw(link, name);
  }

  unregister(link: string, names: readonly string[]): void {
    const entry = this.#links.get(link);
    for (const name of names) {
      // Its registration may be under way: withdrawn when it has ended.
      this.#ports.afterSteps(name, () => this.#withdrawFrom(link, entry, name));
    }
  }

  /** Nothing is routed to it any more; it can still be ended. */
  linkLeaving(link: string): void {
    const entry = this.#links.get(link);
    if (entry === undefined) return;
    entry.state = 'leaving';
    for (const name of [...entry.tunnels.keys()]) this.#withdraw(link, name);
  }

  linkGone(link: string): void {
    const entry = this.#links.get(link);
    if (entry === undefined) return;
    this.linkLeaving(link);
    this.#links.delete(link);
    entry.client.links.delete(link);
    if (entry.client.links.size === 0) this.#clients.delete(entry.client);
  }

  shardGone(shard: number): void {
    for (const [link, entry] of [...this.#links]) if (entry.shard === shard) this.linkGone(link);
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

  async #registerOne(ask: Ask, offer: TunnelRequest): Promise<TunnelAnswer> {
    const { name, label } = offer;
    const { link } = ask;
    // Held, not looked up again: a shard that was started anew gives its keys to other links.
    const entry = this.#links.get(link);
    try {
      const port = checkTunnelName(name);
      const options = readOffered(offer.options ?? [], isHttpTunnel(name));
      this.#checkProviders(options);
      if (isPassthrough(name) && !this.#options.hasHttps) {
        throw new SluicewayError('SLW_TUNNEL_NO_HTTPS');
      }
      if (entry === undefined || entry.state === 'leaving') {
        throw new SluicewayError('SLW_LINK_LOST');
      }
      const { client } = entry;
      this.#checkMayServe(entry, offer);
      const isNew = !client.tunnels.has(name);
      if (isNew && client.tunnels.size >= CLIENT_TUNNELS_MAX) {
        throw new SluicewayError('SLW_TUNNEL_LIMIT');
      }
      client.tunnels.set(name, label);
      if (port !== undefined) {
        await this.#openPort(name, port);
        this.#checkOnceOpen(ask, entry, offer);
      }
      this.#addRoute(ask, entry, { name, options });
      return { name, code: '', reason: '' };
    } catch (error) {
      if (!(error instanceof SluicewayError)) throw error;
      // What it serves with older options must not go on as if the newer ones were kept.
      if (error.code === 'SLW_TUNNEL_OPTION') this.#withdrawFrom(link, entry, name);
      if (entry !== undefined) this.#clientForget(entry.client, name);
      return { name, code: error.code, reason: error.message };
    }
  }

  /** A login that nobody could pass is refused now, and not to each visitor. */
  #checkProviders(options: TunnelOptions | undefined): void {
    const names = new Set(options?.['visitor-login']?.flatMap((text) => providerOf(text) ?? []));
    for (const name of names) {
      if (this.#options.hasLoginProvider?.(name) === true) continue;
      const wrong = `login names the provider ${name}, which this exit node does not have`;
      throw new SluicewayError('SLW_TUNNEL_OPTION', wrong);
    }
  }

  #checkMayServe(entry: LinkEntry, offer: TunnelRequest): void {
    const { client } = entry;
    const refusal = this.#clients.refusalOf(entry, offer.name);
    if (refusal !== undefined) throw new SluicewayError(refusal);
    for (const link of this.#tunnels.get(offer.name)?.links ?? []) {
      const other = this.#links.get(link)?.client;
      if (other !== undefined && this.#clients.isTaken(client, offer, other)) {
        throw new SluicewayError('SLW_TUNNEL_TAKEN');
      }
    }
  }

  /** Others have gone on while the port was being opened, and nobody may be left to serve it. */
  #checkOnceOpen({ link, call }: Ask, entry: LinkEntry, offer: TunnelRequest): void {
    try {
      if (!entry.asking.has(call)) throw givenUp();
      if (this.#links.get(link) !== entry || entry.state === 'leaving') {
        throw new SluicewayError('SLW_LINK_LOST');
      }
      this.#checkMayServe(entry, offer);
    } catch (error) {
      this.#ports.closeUnserved(offer.name);
      throw error;
    }
  }

  #clientForget(client: Client, name: string): void {
    const isServed = [...client.links].some((key) => this.#links.get(key)?.tunnels.has(name));
    if (!isServed) client.tunnels.delete(name);
  }

  async #openPort(name: string, port: PortName): Promise<void> {
    if (!this.#options.isPortAllowed(port)) {
      const detail = `port is outside --${port.transport}-ports: ${port.port}`;
      throw new SluicewayError('SLW_TUNNEL_PORT_NOT_ALLOWED', detail);
    }
    await this.#ports.open(name);
  }

  #addRoute(
    { link, call }: Ask,
    entry: LinkEntry,
    { name, options }: { name: string; options: TunnelOptions | undefined },
  ): void {
    // Offered again: only options may have changed.
    const isKnown = entry.tunnels.has(name) && isDeepStrictEqual(entry.tunnels.get(name), options);
    // What an earlier call was told of stays when this one is given up.
    const isTold = isKnown && !entry.asking.has(entry.grantedBy.get(name) ?? call);
    if (!isTold) entry.grantedBy.set(name, call);
    if (isKnown) return;
    entry.tunnels.set(name, options);
    const tunnel = this.#tunnels.get(name) ?? { links: new Set() };
    this.#tunnels.set(name, tunnel);
    this.#closedPorts.delete(name);
    tunnel.links.add(link);
    this.#options.publish([this.#change('add', name, link)]);
    this.#forgetOldest();
  }

  #withdrawFrom(link: string, entry: LinkEntry | undefined, name: string): void {
    if (this.#links.get(link) === entry) this.#withdraw(link, name);
  }

  #withdraw(link: string, name: string): void {
    const entry = this.#links.get(link);
    if (entry === undefined || !entry.tunnels.delete(name)) return;
    entry.grantedBy.delete(name);
    const change = this.#change('remove', name, link);
    this.#tunnels.get(name)?.links.delete(link);
    this.#clientForget(entry.client, name);
    this.#options.publish([change]);
    this.#ports.closeUnserved(name);
  }

  #forgetOldest(): void {
    if (this.#tunnels.size <= KNOWN_TUNNELS_MAX) return;
    for (const name of this.#tunnels.keys()) {
      if (this.isServed(name)) continue;
      this.#forget(name);
      return;
    }
  }

  #forgetPort(name: string): void {
    // Who asked for it may have gone before it was a tunnel.
    if (!this.#tunnels.has(name)) return;
    this.#forget(name);
    const closed = this.#closedPorts;
    const [longest = ''] = closed;
    if (closed.size >= KNOWN_TUNNELS_MAX) closed.delete(longest);
    closed.add(name);
  }

  #forget(name: string): void {
    if (!this.#tunnels.delete(name)) return;
    this.#options.publish([this.#change('forget', name, '')]);
  }

  #change(kind: RouteChange['kind'], tunnel: string, link: string): RouteChange {
    this.#number += 1;
    const entry = this.#links.get(link);
    const options = entry?.tunnels.get(tunnel);
    const token = this.#options.scopes?.entryNameOf(entry?.credential ?? '') ?? '';
    return {
      number: this.#number,
      kind,
      tunnel,
      link,
      client: entry?.client.id ?? '',
      shard: entry?.shard ?? 0,
      ...(kind === 'add' && token !== '' ? { token } : {}),
      ...(kind === 'add' && options !== undefined ? { options } : {}),
    };
  }
}

function givenUp(): SluicewayError {
  return new SluicewayError('SLW_CALL_TIMEOUT', 'it was not answered in time');
}
