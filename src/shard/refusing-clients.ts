// Clients that gave up what was opened on them for a tunnel, a moment ago.
//
//   a stream given up unseen --note--> passed over for that tunnel --ten sweeps--> asked again
//
// Without it the client that refuses everybody has the fewest streams, and is given everybody.
//
// Invariant: bounded; where there are too many all are forgotten, so that a client is asked too
// early rather than never; one that was forgotten is asked like any other. Must not know: links,
// or why a client refuses.

import type { ErrorCode } from '../base/errors.ts';
import type { RouteClient } from './affinity.ts';

/** Of those that say that nothing was seen (sent-request.ts) the ones that tell of the client. A
 * link that is gone or drains tells nothing of the client's others, and is not chosen again. */
const REFUSALS: ReadonlySet<ErrorCode> = new Set([
  ...(['SLW_STREAM_REFUSED', 'SLW_STREAM_UNREACHABLE', 'SLW_STREAM_CONNECT_TIMEOUT'] as const),
  ...(['SLW_STREAM_UNKNOWN_TUNNEL', 'SLW_STREAM_LIMIT'] as const),
]);

/** About a second each: twice as long as a client keeps what it found out of a name
 * (upstream-socket.ts). Guess. */
const REFUSING_SWEEPS = 10;
/** Guesses: more clients behind a tunnel, and more tunnels of a shard, are not in trouble at once.
 */
const CLIENTS_MAX = 64;
const TUNNELS_MAX = 1000;

export class RefusingClients {
  /** For how many sweeps yet, by tunnel and client. */
  readonly #tunnels = new Map<string, Map<RouteClient, number>>();

  /** What a stream, which nothing had come back on, was given up with. */
  note(tunnel: string, client: RouteClient, code: ErrorCode): void {
    if (!REFUSALS.has(code)) return;
    let clients = this.#tunnels.get(tunnel);
    if (clients === undefined) {
      if (this.#tunnels.size >= TUNNELS_MAX) this.#tunnels.clear();
      clients = new Map();
      this.#tunnels.set(tunnel, clients);
    }
    if (clients.size >= CLIENTS_MAX && !clients.has(client)) clients.clear();
    clients.set(client, REFUSING_SWEEPS);
  }

  /** Who refuses now; undefined: nobody. */
  of(tunnel: string): ReadonlyMap<RouteClient, number> | undefined {
    return this.#tunnels.get(tunnel);
  }

  /** About once a second. */
  sweep(): void {
    for (const [tunnel, clients] of this.#tunnels) {
      for (const [client, left] of clients) {
        if (left === 1) clients.delete(client);
        else clients.set(client, left - 1);
      }
      if (clients.size === 0) this.#tunnels.delete(tunnel);
    }
  }
}
