// What is measured: ports that all lead to the same origin, one way or another.
//
// Invariant: every side of a run has the same origin behind it, and its processes are known, so
// that their cost can be told. Must not know: load, rounds.

import type { Socket } from 'node:net';

export const HOST = 'bench.example';

/** The ports of the service itself. */
export interface Origins {
  /** Bulk and echoes: load.ts says what the first byte means. */
  readonly raw: number;
  readonly http: number;
}

/** Which port a load goes to; `byHost` is the HTTP port that many tunnels share,
 * `local` one of the client's own. */
export type Kind = 'raw' | 'http' | 'byHost' | 'https' | 'local';

export interface Side {
  readonly name: string;
  readonly version: string;
  readonly ports: Readonly<Partial<Record<Kind, number>>>;
  /** Processes on the visitors' side, and on the origin's. */
  readonly pids: { readonly server: readonly number[]; readonly client: readonly number[] };
  /** Opens visitors of the raw port in a way of its own. */
  readonly dial?: (connections: number) => Promise<Socket[]>;
  /** Throws when it is no longer what it claims to be. */
  check?(): void;
}

export interface SideOptions {
  readonly origins: Origins;
  /** Gives the port that clients shall dial instead of the server's: a longer way to it. */
  readonly through?: (port: number) => Promise<number>;
}

export function allPids({ pids }: Side): number[] {
  return [...pids.server, ...pids.client];
}
