// Which links serve each tunnel, and what shards are told of that.
//
//   unknown --add()--> served --remove() of the last--> known --closePort(), or too many--> unknown
//
// Invariant: every change has a number and is published in order; a name stays known when nobody
// serves it any more, so that its visitors get 503 instead of 404, so many and no more; a port that
// is closed does not. Must not know: who may serve what, how ports open, or how shards are reached.

import type { RouteChange } from '../bridge/exit-messages.ts';
import type { HeldLink } from './held-link.ts';

/** Names that are remembered after their last client has gone: 503 instead of 404. As many ports
 * that are closed, to say that nobody serves them. */
const KNOWN_TUNNELS_MAX = 10_000;

export interface RoutesOptions {
  /** The name of the tokens file's entry; empty for none. */
  readonly entryNameOf: (credential: string) => string;
  /** Tells every shard. */
  readonly publish: (changes: readonly RouteChange[]) => void;
}

export class Routes {
  readonly #options: RoutesOptions;
  readonly #tunnels = new Map<string, Set<HeldLink>>();
  /** Of these, those that nobody serves, the one that was left the longest ago first. */
  readonly #unserved = new Set<string>();
  /** Ports that were served and are no tunnels now, the longest closed first. */
  readonly #closedPorts = new Set<string>();
  #number = 0;

  constructor(options: RoutesOptions) {
    this.#options = options;
  }

  /** Does a client serve the tunnel now? */
  isServed(name: string): boolean {
    return (this.#tunnels.get(name)?.size ?? 0) > 0;
  }

  /** Tunnels that somebody serves now. */
  served(): string[] {
    return [...this.#tunnels.keys()].filter((name) => this.isServed(name));
  }

  /** How many clients serve each known tunnel; 0 for ports that are closed, too. */
  clientCounts(): ReadonlyMap<string, number> {
    const counts = new Map([...this.#closedPorts].map((name) => [name, 0]));
    for (const [name, links] of this.#tunnels) {
      counts.set(name, new Set([...links].map(({ client }) => client)).size);
    }
    return counts;
  }

  /** All of them as changes, for a shard that starts. */
  snapshot(): RouteChange[] {
    const changes: RouteChange[] = [];
    for (const [tunnel, links] of this.#tunnels) {
      changes.push(this.#change('add', tunnel));
      for (const link of links) changes.push(this.#change('add', tunnel, link));
    }
    return changes;
  }

  /** Again, where the link's options for it have changed. */
  add(name: string, link: HeldLink): void {
    const links = this.#tunnels.get(name) ?? new Set();
    this.#tunnels.set(name, links);
    this.#closedPorts.delete(name);
    this.#unserved.delete(name);
    links.add(link);
    this.#options.publish([this.#change('add', name, link)]);
    this.#forgetUnserved();
  }

  remove(name: string, link: HeldLink): void {
    const links = this.#tunnels.get(name);
    if (links?.delete(link) === true && links.size === 0) this.#unserved.add(name);
    this.#options.publish([this.#change('remove', name, link)]);
  }

  /** Nobody serves the tunnel of this port, which is being closed. */
  closePort(name: string): void {
    // Who asked for it may have gone before it was a tunnel.
    if (!this.#tunnels.has(name)) return;
    this.#forget(name);
    const closed = this.#closedPorts;
    const [longest = ''] = closed;
    if (closed.size >= KNOWN_TUNNELS_MAX) closed.delete(longest);
    closed.add(name);
  }

  /** The one that was left the longest ago, if there are too many. */
  #forgetUnserved(): void {
    if (this.#tunnels.size <= KNOWN_TUNNELS_MAX) return;
    const [longest] = this.#unserved;
    if (longest !== undefined) this.#forget(longest);
  }

  #forget(name: string): void {
    this.#tunnels.delete(name);
    this.#unserved.delete(name);
    this.#options.publish([this.#change('forget', name)]);
  }

  #change(kind: RouteChange['kind'], tunnel: string, link?: HeldLink): RouteChange {
    this.#number += 1;
    const options = link?.tunnels.get(tunnel);
    const token = this.#options.entryNameOf(link?.credential ?? '');
    return {
      number: this.#number,
      kind,
      tunnel,
      link: link?.key ?? '',
      client: link?.client.id ?? '',
      shard: link?.shard ?? 0,
      ...(kind === 'add' && token !== '' ? { token } : {}),
      ...(kind === 'add' && options !== undefined ? { options } : {}),
    };
  }
}
