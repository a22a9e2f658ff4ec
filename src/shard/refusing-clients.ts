// Clients that gave up what was opened on them for a tunnel, a moment ago.
//
//   a stream given up unseen --note--> passed over for that tunnel --REFUSING_MS--> asked again
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

/** Twice as long as a client keeps what it found out of a name (upstream-socket.ts). Guess. */
const REFUSING_MS = 10_000;
/** Guesses: more clients behind a tunnel, and more ports of a shard, are not in trouble at once. */
const CLIENTS_MAX = 64;
const TUNNELS_MAX = 1000;

export class RefusingClients {
  /** Until when, by tunnel and client. */
  readonly #tunnels = new Map<string, Map<RouteClient, number>>();

  /** What a stream, which nothing had come back on, was given up with. */
  note(tunnel: string, client: RouteClient, code: ErrorCode, nowMs: number): void {
    if (!REFUSALS.has(code)) return;
    let clients = this.#tunnels.get(tunnel);
    if (clients === undefined) {
      if (this.#tunnels.size >= TUNNELS_MAX) this.#tunnels.clear();
      clients = new Map();
      this.#tunnels.set(tunnel, clients);
    }
    if (clients.size >= CLIENTS_MAX && !clients.has(client)) clients.clear();
    clients.set(client, nowMs + REFUSING_MS);
  }

  /** Who refuses now; undefined: nobody. */
  of(tunnel: string, nowMs: number): ReadonlyMap<RouteClient, number> | undefined {
    const clients = this.#tunnels.get(tunnel);
    if (clients === undefined) return undefined;
    for (const [client, untilMs] of clients) if (nowMs >= untilMs) clients.delete(client);
    if (clients.size > 0) return clients;
    this.#tunnels.delete(tunnel);
    return undefined;
  }
}
