// Who is connected and who serves what: clients, their links, and tunnels by name.
//
//   client (id, instance) 1--* link (key, shard) *--* tunnel (name)
//
// Invariant: a tunnel's port is open on every shard or on none, and only while somebody serves it;
// every change of routes has a number and goes to every shard in order; a new instance of a client
// replaces the old one at once. Must not know: sockets, tokens, or how shards are reached.

import { isDeepStrictEqual } from 'node:util';
import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import type { PortName } from '../base/port-name.ts';
import { readOffered, type TunnelOptions } from '../base/tunnel-options.ts';
import { providerOf } from '../base/visitor-login.ts';
import type { LinkHello, RouteChange, TunnelAnswer, TunnelRequest } from '../bridge/messages.ts';
import { spreadOf } from './return-spread.ts';
import { checkTunnelName, isHttpTunnel, isPassthrough } from './tunnel-name.ts';

/** Links of one client: more than shards times nodes makes no sense. Guess. */
const CLIENT_LINKS_MAX = 64;
/** Tunnels of one client. Guess. */
const CLIENT_TUNNELS_MAX = 1000;
/** Names that are remembered after their last client has gone: 503 instead of 404. */
const KNOWN_TUNNELS_MAX = 10_000;
/** Links in all. Guess: 64 GiB of memory holds more, file descriptors do not. */
const LINKS_MAX = 100_000;

export interface Client {
  readonly id: string;
  readonly instance: string;
  readonly agent: string;
  readonly remoteAddress: string;
  /** The name in its certificate, when that let it in. */
  readonly identity: string | undefined;
  /** Names the token that let it in; empty when a certificate did, which may do everything. */
  readonly credential: string;
  readonly sinceMs: number;
  readonly links: Set<string>;
  /** Labels of its tunnels by name. */
  readonly tunnels: Map<string, string>;
}

interface LinkEntry {
  readonly client: Client;
  readonly shard: number;
  /** `leaving`: it takes no streams, and no tunnel is added to it. */
  state: 'serving' | 'leaving';
  /** What it declared for each tunnel that it serves, by name. */
  readonly tunnels: Map<string, TunnelOptions | undefined>;
}

interface TunnelEntry {
  readonly links: Set<string>;
}

/** Who asks for something: what let it in, and where it is. */
export type Holder = Pick<Client, 'credential' | 'remoteAddress'>;

/** What the credential of a client lets it do. */
export interface Scopes {
  mayServe(holder: Holder, tunnel: string): boolean;
  /** Undefined: the credential is not valid any more. */
  limitsOf(holder: Holder): ClientLimits | undefined;
  /** Two credentials of one owner have one of these. */
  ownerOf(credential: string): string;
  /** What limits are counted by: one for all owners whom one entry lets in. */
  entryNameOf(credential: string): string;
}

/** Of all clients of an owner; absent: no limit. */
export interface ClientLimits {
  readonly clientsMax?: number;
  readonly linksMax?: number;
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
  readonly closeLinks: (shard: number, links: readonly string[], code: ErrorCode) => void;
}

export class Registry {
  readonly #options: RegistryOptions;
  readonly #clients = new Map<string, Client>();
  readonly #links = new Map<string, LinkEntry>();
  readonly #tunnels = new Map<string, TunnelEntry>();
  readonly #connects = new Map<string, number>();
  /** The last step under way for a port, so that opening and closing never overlap. */
  readonly #portSteps = new Map<string, Promise<void>>();
  readonly #openPorts = new Set<string>();
  #number = 0;

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  get clients(): Iterable<Client> {
    return this.#clients.values();
  }

  /** Within which clients should come back when this server is lost. */
  get spreadMs(): number {
    return spreadOf(this.#clients.size);
  }

  get clientsCount(): number {
    return this.#clients.size;
  }

  get linksCount(): number {
    return this.#links.size;
  }

  /** How often each client started, by id; bounded like the known tunnels. */
  get connects(): ReadonlyMap<string, number> {
    return this.#connects;
  }

  hasClient(id: string): boolean {
    return this.#clients.has(id);
  }

  /** Tunnels that somebody serves now. */
  servedTunnels(): string[] {
    return [...this.#tunnels.keys()].filter((name) => this.isServed(name));
  }

  /** How many clients serve each known tunnel. */
  tunnelClients(): ReadonlyMap<string, number> {
    const clientsOf = ({ links }: TunnelEntry): number =>
      new Set([...links].map((link) => this.#links.get(link)?.client)).size;
    return new Map([...this.#tunnels].map(([name, entry]) => [name, clientsOf(entry)]));
  }

  clientOf(link: string): Client | undefined {
    return this.#links.get(link)?.client;
  }

  /** Every link with its client, by shard. */
  linksByShard(): ReadonlyMap<
    number,
    readonly { readonly link: string; readonly client: Client }[]
  > {
    const byShard = new Map<number, { link: string; client: Client }[]>();
    for (const [link, { shard, client }] of this.#links) {
      const links = byShard.get(shard) ?? [];
      byShard.set(shard, links);
      links.push({ link, client });
    }
    return byShard;
  }

  /** Does a client serve the tunnel now? */
  isServed(name: string): boolean {
    return (this.#tunnels.get(name)?.links.size ?? 0) > 0;
  }

  isPortOpen(name: string): boolean {
    return this.#openPorts.has(name);
  }

  /** Tunnels whose ports are open, for a shard that starts. */
  openPorts(): string[] {
    return [...this.#openPorts];
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
    if (this.#links.size >= LINKS_MAX) throw new SluicewayError('SLW_LINK_LIMIT');
    this.#admit(hello);
    let client = this.#clients.get(hello.client);
    if (client !== undefined && client.instance !== hello.instance) {
      this.#endClient(client, 'SLW_LINK_REPLACED');
      client = undefined;
    }
    client ??= this.#addClient(hello);
    if (client.links.size >= CLIENT_LINKS_MAX) throw new SluicewayError('SLW_LINK_LIMIT');
    client.links.add(hello.link);
    this.#links.set(hello.link, { client, shard, state: 'serving', tunnels: new Map() });
  }

  /** Ends every client that `isOver`; returns how many. */
  endClients(isOver: (client: Client) => boolean, code: ErrorCode): number {
    const over = [...this.#clients.values()].filter(isOver);
    for (const client of over) this.#endClient(client, code);
    return over.length;
  }

  /** Offers tunnels on a link; each is accepted or refused by itself. */
  register(link: string, offers: readonly TunnelRequest[]): Promise<TunnelAnswer[]> {
    return Promise.all(offers.map((offer) => this.#registerOne(link, offer)));
  }

  unregister(link: string, names: readonly string[]): void {
    const entry = this.#links.get(link);
    for (const name of names) {
      if (!this.#portSteps.has(name)) this.#withdraw(link, name);
      // Its registration may be under way: withdrawn when it has ended.
      else void this.#portStep(name, async () => this.#withdrawFrom(link, entry, name));
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
    const isLast = entry.client.links.size === 0;
    if (isLast && this.#clients.get(entry.client.id) === entry.client) {
      this.#clients.delete(entry.client.id);
    }
  }

  shardGone(shard: number): void {
    for (const [link, entry] of [...this.#links]) if (entry.shard === shard) this.linkGone(link);
  }

  /** Raises a SluicewayError when the scope of the hello's credential has no room for it. */
  #admit({ client, instance, credential = '', remoteAddress }: LinkHello): void {
    const { scopes } = this.#options;
    if (scopes === undefined) return;
    const same = this.#clients.get(client);
    const owner = scopes.ownerOf(credential);
    // Whoever may serve something of its own may not end another's client.
    if (same !== undefined && scopes.ownerOf(same.credential) !== owner) {
      throw new SluicewayError('SLW_LINK_ID_TAKEN');
    }
    if (credential === '') return;
    const limits = scopes.limitsOf({ credential, remoteAddress });
    if (limits === undefined) throw new SluicewayError('SLW_LINK_REVOKED');
    const { clientsMax, linksMax } = limits;
    if (clientsMax === undefined && linksMax === undefined) return;
    const own = [...this.#clients.values()].filter(
      (one) => scopes.entryNameOf(one.credential) === scopes.entryNameOf(credential),
    );
    const others = own.filter(({ id }) => id !== client);
    // A client that is replaced makes room for itself.
    const staying = same?.instance === instance ? own : others;
    const links = staying.reduce((sum, one) => sum + one.links.size, 0);
    const isFull = others.length >= (clientsMax ?? Number.POSITIVE_INFINITY);
    if (isFull || links >= (linksMax ?? Number.POSITIVE_INFINITY)) {
      throw new SluicewayError('SLW_LINK_LIMIT');
    }
  }

  #addClient(hello: LinkHello): Client {
    const client: Client = {
      id: hello.client,
      instance: hello.instance,
      agent: hello.agent,
      remoteAddress: hello.remoteAddress,
      identity: hello.identity,
      credential: hello.credential ?? '',
      sinceMs: this.#options.wallMs(),
      links: new Set(),
      tunnels: new Map(),
    };
    this.#clients.set(client.id, client);
    this.#countConnect(client.id);
    return client;
  }

  #countConnect(id: string): void {
    const count = this.#connects.get(id) ?? 0;
    this.#connects.delete(id);
    this.#connects.set(id, count + 1);
    if (this.#connects.size > KNOWN_TUNNELS_MAX) {
      const [oldest] = this.#connects.keys();
      if (oldest !== undefined) this.#connects.delete(oldest);
    }
  }

  #endClient(client: Client, code: ErrorCode): void {
    const byShard = new Map<number, string[]>();
    for (const link of [...client.links]) {
      const shard = this.#links.get(link)?.shard ?? 0;
      byShard.set(shard, [...(byShard.get(shard) ?? []), link]);
      this.linkGone(link);
    }
    for (const [shard, links] of byShard) this.#options.closeLinks(shard, links, code);
  }

  async #registerOne(link: string, offer: TunnelRequest): Promise<TunnelAnswer> {
    const { name, label } = offer;
    // Held, not looked up again: a shard that was started anew gives its keys to other links.
    const entry = this.#links.get(link);
    try {
      const port = checkTunnelName(name);
      const options = readOffered(offer.options ?? [], isHttpTunnel(name));
      this.#checkProviders(options);
      if (isPassthrough(name) && !this.#options.hasHttps) {
        throw new SluicewayError('SLW_TUNNEL_NO_HTTPS');
      }
      if (entry === undefined) throw new SluicewayError('SLW_LINK_LOST');
      const { client } = entry;
      this.#checkScope(client, name);
      this.#checkOwner(client, offer);
      const isNew = !client.tunnels.has(name);
      if (isNew && client.tunnels.size >= CLIENT_TUNNELS_MAX) {
        throw new SluicewayError('SLW_TUNNEL_LIMIT');
      }
      client.tunnels.set(name, label);
      if (port !== undefined) await this.#openPort(name, port);
      this.#addRoute(link, entry, { name, options });
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

  #checkScope(client: Client, name: string): void {
    const isAllowed =
      client.credential === '' || this.#options.scopes?.mayServe(client, name) === true;
    if (!isAllowed) throw new SluicewayError('SLW_TUNNEL_NOT_ALLOWED');
  }

  /** Two tokens may serve one name, but not send its visitors to two upstreams. */
  #checkOwner(client: Client, { name, label }: TunnelRequest): void {
    const { scopes } = this.#options;
    if (scopes === undefined) return;
    const owner = scopes.ownerOf(client.credential);
    for (const link of this.#tunnels.get(name)?.links ?? []) {
      const other = this.#links.get(link)?.client;
      if (other === undefined || other.tunnels.get(name) === label) continue;
      if (scopes.ownerOf(other.credential) !== owner) throw new SluicewayError('SLW_TUNNEL_TAKEN');
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
    await this.#portStep(name, async () => {
      if (this.#openPorts.has(name)) return;
      await this.#options.openPort(name);
      this.#openPorts.add(name);
    });
  }

  #addRoute(
    link: string,
    entry: LinkEntry,
    { name, options }: { name: string; options: TunnelOptions | undefined },
  ): void {
    if (this.#links.get(link) !== entry || entry.state === 'leaving') {
      // The link died, or left, while the port was being opened: nobody may be left to serve it.
      this.#closeUnserved(name);
      throw new SluicewayError('SLW_LINK_LOST');
    }
    // Offered again: only options may have changed.
    const isKnown = entry.tunnels.has(name);
    if (isKnown && isDeepStrictEqual(entry.tunnels.get(name), options)) return;
    entry.tunnels.set(name, options);
    const tunnel = this.#tunnels.get(name) ?? { links: new Set() };
    this.#tunnels.set(name, tunnel);
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
    const change = this.#change('remove', name, link);
    this.#tunnels.get(name)?.links.delete(link);
    this.#clientForget(entry.client, name);
    this.#options.publish([change]);
    this.#closeUnserved(name);
  }

  #closeUnserved(name: string): void {
    if (!this.#openPorts.has(name)) return;
    void this.#portStep(name, async () => {
      if (this.isServed(name) || !this.#openPorts.has(name)) return;
      this.#openPorts.delete(name);
      this.#forget(name);
      await this.#options.closePort(name);
    });
  }

  #forgetOldest(): void {
    if (this.#tunnels.size <= KNOWN_TUNNELS_MAX) return;
    for (const name of this.#tunnels.keys()) {
      if (this.isServed(name)) continue;
      this.#forget(name);
      return;
    }
  }

  #forget(name: string): void {
    if (!this.#tunnels.delete(name)) return;
    this.#options.publish([this.#change('forget', name, '')]);
  }

  /** Runs `step` after the steps that are under way for the same port. */
  #portStep(name: string, step: () => Promise<void>): Promise<void> {
    const before = this.#portSteps.get(name) ?? Promise.resolve();
    const run = before.then(step, step);
    const settled = run
      .catch(() => undefined)
      .then(() => {
        if (this.#portSteps.get(name) === settled) this.#portSteps.delete(name);
      });
    this.#portSteps.set(name, settled);
    return run;
  }

  #change(kind: RouteChange['kind'], tunnel: string, link: string): RouteChange {
    this.#number += 1;
    const entry = this.#links.get(link);
    const options = entry?.tunnels.get(tunnel);
    const token = this.#options.scopes?.entryNameOf(entry?.client.credential ?? '') ?? '';
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
