// Which client a visitor comes back to: by its address, or by a cookie that it was given.
//
//   ip       rendezvous hashing: each client has a score for each address, the highest wins
//   cookie   the client's mark, as the cookie says it
//
// Invariant: the same on every shard and after every restart, as it depends on ids, addresses and
// weights alone; when a client leaves, only its own visitors move (Thaler and Ravishankar, 1998);
// a mark says no client's id, but whoever guesses one can tell (docs/security.md). Must not know:
// links, streams, or HTTP.

import { createHash } from 'node:crypto';
import type { StreamMeter } from '../mux/stream.ts';

export type Affinity = 'ip' | 'cookie';

/** A client as routes know it; there is one object for it in a shard. */
export interface RouteClient {
  readonly meter: StreamMeter;
  /** What a cookie calls it. */
  readonly mark: string;
  readonly seed: number;
}

const MARK_BYTES = 12;
const UINT32 = 2 ** 32;

export function createRouteClient(id: string, meter: StreamMeter): RouteClient {
  const digest = createHash('sha256').update(`client ${id}`).digest();
  const mark = digest.toString('base64url', 0, MARK_BYTES);
  return { meter, mark, seed: digest.readUInt32BE(MARK_BYTES) };
}

/** `asking` clients for each: they may disagree, and a cookie holds on to more than an address. */
export function strongest(asking: Readonly<Record<Affinity, number>>): Affinity | undefined {
  if (asking.cookie > 0) return 'cookie';
  return asking.ip > 0 ? 'ip' : undefined;
}

/** Of all clients, one has the highest for an address; a weight of two wins twice as often. */
export function addressScore(address: string, { seed }: RouteClient, weight: number): number {
  const share = (hash(address, seed) + 1) / (UINT32 + 1);
  return weight / -Math.log(share);
}

export function markScore(mark: string, client: RouteClient): number {
  return mark === client.mark ? 1 : Number.NEGATIVE_INFINITY;
}

/** FNV-1a over the text, mixed as MurmurHash3 ends: 32 bits in which each bit counts. */
function hash(text: string, seed: number): number {
  let value = (0x811c9dc5 ^ seed) >>> 0;
  for (let at = 0; at < text.length; at += 1) {
    value = Math.imul(value ^ text.charCodeAt(at), 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return (value ^ (value >>> 16)) >>> 0;
}
