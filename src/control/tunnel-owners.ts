// Whose clients serve each tunnel, and at which upstreams: two owners may serve one name, but not
// send its visitors to two upstreams.
//
//   client serves a tunnel --put--> counted by its owner and label --put--> by another label
//                                                                  --drop--> not counted
//
// Invariant: a client counts once a tunnel, by the label that was put last; whether a name is taken
// costs the same among however many clients; a tunnel that nobody serves takes no room. Must not
// know: links, routes, or who may serve what.

import type { Client } from './clients.ts';

/** What a client serves: a tunnel by name, and what it calls its upstream there. */
export interface Served {
  readonly name: string;
  /** Undefined: it has none any more, and is like no other. */
  readonly label: string | undefined;
}

export class TunnelOwners {
  readonly #ownerOf: (credential: string) => string;
  /** Tunnels that one client serves, as most are: counts would take several times as much. */
  readonly #sole = new Map<string, { readonly client: Client; readonly label: Label }>();
  readonly #shared = new Map<string, SharedTunnel>();

  /** `ownerOf`: stays the same for a credential. */
  constructor(ownerOf: (credential: string) => string) {
    this.#ownerOf = ownerOf;
  }

  has(client: Client, name: string): boolean {
    return this.#sole.get(name)?.client === client || this.#shared.get(name)?.has(client) === true;
  }

  /** Does a client of another owner serve the name at another upstream? */
  isTaken(client: Client, { name, label }: Served): boolean {
    const owner = this.#ownerOf(client.credential);
    const sole = this.#sole.get(name);
    if (sole !== undefined) {
      return sole.label !== label && this.#ownerOf(sole.client.credential) !== owner;
    }
    return this.#shared.get(name)?.isTaken(owner, label) ?? false;
  }

  /** The client serves this from now on, or at another upstream than before. */
  put(client: Client, { name, label }: Served): void {
    const sole = this.#sole.get(name);
    let shared = this.#shared.get(name);
    if (shared === undefined && (sole === undefined || sole.client === client)) {
      this.#sole.set(name, { client, label });
      return;
    }
    shared ??= this.#share(name);
    shared.put(client, this.#ownerOf(client.credential), label);
  }

  /** The client serves the tunnel no more, if it did. */
  drop(client: Client, name: string): void {
    if (this.#sole.get(name)?.client === client) this.#sole.delete(name);
    const shared = this.#shared.get(name);
    shared?.drop(client, this.#ownerOf(client.credential));
    if (shared?.isEmpty === true) this.#shared.delete(name);
  }

  #share(name: string): SharedTunnel {
    const shared = new SharedTunnel();
    const sole = this.#sole.get(name);
    if (sole !== undefined) {
      shared.put(sole.client, this.#ownerOf(sole.client.credential), sole.label);
      this.#sole.delete(name);
    }
    this.#shared.set(name, shared);
    return shared;
  }
}

type Label = Served['label'];

/** A tunnel that several clients serve, or have served. */
class SharedTunnel {
  readonly #labels = new Map<Client, Label>();
  readonly #all = new LabelCounts();
  readonly #byOwner = new Map<string, LabelCounts>();

  get isEmpty(): boolean {
    return this.#labels.size === 0;
  }

  has(client: Client): boolean {
    return this.#labels.has(client);
  }

  /** Of the clients of others not all have this label. */
  isTaken(owner: string, label: Label): boolean {
    const own = this.#byOwner.get(owner);
    const others = this.#all.count - (own?.count ?? 0);
    return others > this.#all.of(label) - (own?.of(label) ?? 0);
  }

  put(client: Client, owner: string, label: Label): void {
    this.drop(client, owner);
    const own = this.#byOwner.get(owner) ?? new LabelCounts();
    this.#byOwner.set(owner, own);
    this.#labels.set(client, label);
    for (const counts of [this.#all, own]) counts.add(label);
  }

  drop(client: Client, owner: string): void {
    const own = this.#byOwner.get(owner);
    if (own === undefined || !this.#labels.has(client)) return;
    const label = this.#labels.get(client);
    this.#labels.delete(client);
    for (const counts of [this.#all, own]) counts.delete(label);
    if (own.count === 0) this.#byOwner.delete(owner);
  }
}

/** Clients by label. */
class LabelCounts {
  readonly #byLabel = new Map<Label, number>();
  #count = 0;

  get count(): number {
    return this.#count;
  }

  of(label: Label): number {
    return this.#byLabel.get(label) ?? 0;
  }

  add(label: Label): void {
    this.#count += 1;
    this.#byLabel.set(label, this.of(label) + 1);
  }

  /** One that was added. */
  delete(label: Label): void {
    this.#count -= 1;
    const left = this.of(label) - 1;
    if (left === 0) this.#byLabel.delete(label);
    else this.#byLabel.set(label, left);
  }
}
