// Which addresses count as one visitor: an IPv4 address, or the first 64 bits of an IPv6 one.
//
// Invariant: every way to write an address gives the same key, an IPv4-mapped one that of its IPv4
// address; a household or a host has a /64 to choose addresses from, so that counting whole IPv6
// addresses would limit nobody. Must not know: what is counted.

import { IPV6_BYTES, ipBytes, ipText, plainAddress, unmapped } from './ip.ts';

/** Network prefix of a host (RFC 4291 section 2.5.4). */
const PREFIX_BYTES = 8;

export function addressKey(address: string): string {
  if (!address.includes(':')) return address;
  const bytes = ipBytes(plainAddress(address));
  if (bytes === undefined) return address;
  const own = unmapped(bytes);
  if (own.length === IPV6_BYTES) own.fill(0, PREFIX_BYTES);
  return ipText(own);
}
