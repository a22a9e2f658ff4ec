// The registry as simply as it can be said: sets, searched through from end to end.
//
// Invariant: no port, no time, no order of steps; only who serves what in the end. Must not know:
// how the real one does it.

export interface NaiveLink {
  readonly client: string;
  readonly instance: string;
  readonly shard: number;
  readonly tunnels: Set<string>;
  /** Instances of its client that came before its own. */
  readonly before: ReadonlySet<string>;
}

export class NaiveRegistry {
  readonly links = new Map<string, NaiveLink>();
  /** Host names that were ever served; ports are forgotten with their last link. */
  readonly known = new Set<string>();

  /** Was it let in? */
  hello(link: string, entry: Omit<NaiveLink, 'tunnels' | 'before'>): boolean {
    const before = new Set<string>();
    for (const { client, instance, before: earlier } of this.links.values()) {
      if (client !== entry.client) continue;
      if (earlier.has(entry.instance)) return false;
      for (const one of [...earlier, instance]) if (one !== entry.instance) before.add(one);
    }
    for (const [key, other] of [...this.links]) {
      if (other.client === entry.client && other.instance !== entry.instance)
        this.links.delete(key);
    }
    this.links.set(link, { ...entry, tunnels: new Set(), before });
    return true;
  }

  register(link: string, name: string): void {
    this.links.get(link)?.tunnels.add(name);
    if (this.links.has(link) && !name.startsWith('tcp:')) this.known.add(name);
  }

  unregister(link: string, name: string): void {
    this.links.get(link)?.tunnels.delete(name);
  }

  linkGone(link: string): void {
    this.links.delete(link);
  }

  shardGone(shard: number): void {
    for (const [key, link] of [...this.links]) if (link.shard === shard) this.links.delete(key);
  }

  /** `tunnel link`, sorted. */
  routes(): string[] {
    const routes = [...this.links].flatMap(([key, { tunnels }]) =>
      [...tunnels].map((tunnel) => `${tunnel} ${key}`),
    );
    return routes.sort();
  }

  openPorts(): string[] {
    const names = [...this.links.values()].flatMap(({ tunnels }) => [...tunnels]);
    return [...new Set(names.filter((name) => name.startsWith('tcp:')))].sort();
  }

  names(): string[] {
    return [...new Set([...this.known, ...this.openPorts()])].sort();
  }

  clients(): string[] {
    return [...new Set([...this.links.values()].map(({ client }) => client))].sort();
  }
}
