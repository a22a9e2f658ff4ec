// Who is connected: clients by id, how often each started, whether a scope has room for one, and
// what it lets one serve.
//
// Invariant: one client an id; who was replaced does not come back while its successor is there;
// nobody ends the client of another owner; a limit of a scope counts all clients that the scope let
// in, as they come and go and get links, so that a hello costs the same among however many. Must
// not know: shards, tunnels that are routed, or tokens.

import { type ErrorCode, SluicewayError } from '../base/errors.ts';
import type { LinkHello } from '../bridge/exit-messages.ts';

/** Clients whose starts are counted; the one that started longest ago is forgotten. Guess. */
const KNOWN_CLIENTS_MAX = 10_000;
/** Instances that a client came after, one after the other. Guess: more than are started together
 * by mistake. */
const REPLACED_MAX = 16;

export interface Client {
  readonly id: string;
  readonly instance: string;
  /** Instances that it and those before it replaced, the last ones. */
  readonly replaced: readonly string[];
  readonly agent: string;
  /** Of its first link. */
  readonly remoteAddress: string;
  /** The name in its certificate, when that let it in. */
  readonly identity: string | undefined;
  /** Of its first link: those of others have the same owner, and may be valid longer. */
  readonly credential: string;
  readonly sinceMs: number;
  readonly links: ReadonlySet<string>;
  /** Labels of its tunnels by name. */
  readonly tunnels: Map<string, string>;
}

/** Of all clients that one entry let in. */
interface EntryCounts {
  readonly name: string;
  clients: number;
  links: number;
}

interface CountedClient extends Client {
  readonly links: Set<string>;
  readonly entry: EntryCounts;
}

/** Who asks for something, such as a link: what let it in, and where it is. */
export interface Holder {
  /** Names the token that let it in; empty when a certificate did, which may do everything. */
  readonly credential: string;
  readonly remoteAddress: string;
}

/** What the credential of a client lets it do. */
export interface Scopes {
  mayServe(holder: Holder, tunnel: string): boolean;
  /** Undefined: the credential is not valid any more. */
  limitsOf(holder: Holder): ClientLimits | undefined;
  /** Two credentials of one owner have one of these, for as long as there are any. */
  ownerOf(credential: string): string;
  /** What limits are counted by: one for all owners whom one entry lets in. It stays the same,
   * whatever becomes of the entry: clients are counted by it once. */
  entryNameOf(credential: string): string;
}

/** Of all clients of an owner; absent: no limit. */
export interface ClientLimits {
  readonly clientsMax?: number;
  readonly linksMax?: number;
}

export interface ClientsOptions {
  /** Absent: whoever was let in may do everything. */
  readonly scopes: Scopes | undefined;
  readonly wallMs: () => number;
}

export class Clients {
  readonly #options: ClientsOptions;
  readonly #byId = new Map<string, CountedClient>();
  /** Of the clients in `#byId`; an entry without any is not there. */
  readonly #byEntry = new Map<string, EntryCounts>();
  /** How often each client started, by id; oldest start first. */
  readonly #connects = new Map<string, number>();

  constructor(options: ClientsOptions) {
    this.#options = options;
  }

  get count(): number {
    return this.#byId.size;
  }

  get connects(): ReadonlyMap<string, number> {
    return this.#connects;
  }

  has(id: string): boolean {
    return this.#byId.has(id);
  }

  get(id: string): Client | undefined {
    return this.#byId.get(id);
  }

  values(): Iterable<Client> {
    return this.#byId.values();
  }

  /** Raises a SluicewayError when its instance was replaced by the one that is there, or the scope
   * of the hello's credential has no room for it. */
  admit({ client, instance, credential = '', remoteAddress }: LinkHello): void {
    const { scopes } = this.#options;
    const same = this.#byId.get(client);
    // Under way when its client was told to end: were it let in, the newer one would end, too.
    if (same?.replaced.includes(instance) === true) throw new SluicewayError('SLW_LINK_REPLACED');
    if (scopes === undefined) return;
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
    const own = this.#byEntry.get(scopes.entryNameOf(credential));
    // A client that is replaced makes room for itself; its owner is the same, so its entry is, too.
    const others = (own?.clients ?? 0) - (same === undefined ? 0 : 1);
    const leaving = same === undefined || same.instance === instance ? 0 : same.links.size;
    const links = (own?.links ?? 0) - leaving;
    const isFull = others >= (clientsMax ?? Number.POSITIVE_INFINITY);
    if (isFull || links >= (linksMax ?? Number.POSITIVE_INFINITY)) {
      throw new SluicewayError('SLW_LINK_LIMIT');
    }
  }

  /** `before`: whose place it takes. */
  add(hello: LinkHello, before?: Client): Client {
    const replaced = before === undefined ? [] : [...before.replaced, before.instance];
    const there = this.#byId.get(hello.client);
    if (there !== undefined) this.#drop(there);
    const credential = hello.credential ?? '';
    const client: CountedClient = {
      id: hello.client,
      instance: hello.instance,
      replaced: replaced.slice(-REPLACED_MAX),
      agent: hello.agent,
      remoteAddress: hello.remoteAddress,
      identity: hello.identity,
      credential,
      sinceMs: this.#options.wallMs(),
      links: new Set(),
      tunnels: new Map(),
      entry: this.#entry(this.#options.scopes?.entryNameOf(credential) ?? ''),
    };
    this.#put(client);
    this.#countConnect(client.id);
    return client;
  }

  /** Of a client that is there. */
  addLink({ id }: Client, link: string): void {
    const client = this.#byId.get(id);
    if (client === undefined || client.links.has(link)) return;
    client.links.add(link);
    client.entry.links += 1;
  }

  /** With its last link a client is gone; another with its id may be there already. */
  removeLink(of: Client, link: string): void {
    const client = this.#byId.get(of.id);
    if (client !== of || client === undefined || !client.links.delete(link)) return;
    client.entry.links -= 1;
    if (client.links.size === 0) this.#drop(client);
  }

  /** Undefined: it may serve the tunnel, as far as its credential goes. */
  refusalOf(holder: Holder, tunnel: string): ErrorCode | undefined {
    if (holder.credential === '') return undefined;
    const mayServe = this.#options.scopes?.mayServe(holder, tunnel) === true;
    return mayServe ? undefined : 'SLW_TUNNEL_NOT_ALLOWED';
  }

  #entry(name: string): EntryCounts {
    return this.#byEntry.get(name) ?? { name, clients: 0, links: 0 };
  }

  #put(client: CountedClient): void {
    const { entry } = client;
    this.#byId.set(client.id, client);
    this.#byEntry.set(entry.name, entry);
    entry.clients += 1;
  }

  #drop(client: CountedClient): void {
    const { entry } = client;
    this.#byId.delete(client.id);
    entry.clients -= 1;
    entry.links -= client.links.size;
    if (entry.clients === 0) this.#byEntry.delete(entry.name);
  }

  #countConnect(id: string): void {
    const count = this.#connects.get(id) ?? 0;
    this.#connects.delete(id);
    this.#connects.set(id, count + 1);
    if (this.#connects.size <= KNOWN_CLIENTS_MAX) return;
    const [oldest] = this.#connects.keys();
    if (oldest !== undefined) this.#connects.delete(oldest);
  }
}
