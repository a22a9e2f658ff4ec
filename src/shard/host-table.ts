// Which tunnel a host, and where its tunnels have paths a request's path, leads to.
//
// Invariant: the name itself comes first, then wildcards from the longest on, then `*`; within one
// of them the longest path prefix, then the tunnel without one; where a pattern has tunnels by path
// only and none of them matches, the next pattern is asked. A host without paths costs one look-up
// and no work on the path. Must not know: who serves a tunnel.

import { PathTable, type TargetRange } from '../http/path-table.ts';

export type { TargetRange } from '../http/path-table.ts';

interface HostEntry {
  /** The tunnel without a path. */
  root: string | undefined;
  paths: PathTable | undefined;
}

/** The target of a request that names no path. */
const ROOT: TargetRange = {
  bytes: Buffer.from('/'),
  base: 0,
  targetStart: 0,
  targetEnd: 1,
  targetPrefix: '',
};

export class HostTable {
  readonly #hosts = new Map<string, HostEntry>();

  add(name: string): void {
    const [pattern, prefix] = split(name);
    let entry = this.#hosts.get(pattern);
    if (entry === undefined) {
      entry = { root: undefined, paths: undefined };
      this.#hosts.set(pattern, entry);
    }
    if (prefix === '') {
      entry.root = name;
    } else {
      entry.paths ??= new PathTable();
      entry.paths.set(prefix, name);
    }
  }

  delete(name: string): void {
    const [pattern, prefix] = split(name);
    const entry = this.#hosts.get(pattern);
    if (entry === undefined) return;
    if (prefix === '') entry.root = undefined;
    else entry.paths?.delete(prefix);
    if (entry.paths?.isEmpty === true) entry.paths = undefined;
    if (entry.root === undefined && entry.paths === undefined) this.#hosts.delete(pattern);
  }

  match(host: string, target: TargetRange = ROOT): string | undefined {
    const own = this.#matchPattern(host, target);
    if (own !== undefined) return own;
    let dot = host.indexOf('.');
    while (dot !== -1) {
      const name = this.#matchPattern(`*${host.slice(dot)}`, target);
      if (name !== undefined) return name;
      dot = host.indexOf('.', dot + 1);
    }
    return this.#matchPattern('*', target);
  }

  #matchPattern(pattern: string, target: TargetRange): string | undefined {
    const entry = this.#hosts.get(pattern);
    if (entry?.paths === undefined) return entry?.root;
    return entry.paths.match(target) ?? entry.root;
  }
}

/** `example.com/api` as host pattern and prefix. */
function split(name: string): readonly [pattern: string, prefix: string] {
  const slash = name.indexOf('/');
  return slash === -1 ? [name, ''] : [name.slice(0, slash), name.slice(slash)];
}
