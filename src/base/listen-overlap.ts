// Addresses to listen on, beside each other: would two sockets of one port be in each other's way?
//
// Invariant: as Linux has it; other systems let one address in beside all of them, and then who
// answers depends on who asks. Node opens `::` for IPv4 as well, whatever the system's default is.
// Only a resolver knows what a name is, so that it meets itself and `::` alone. Must not know: who
// listens, or that sockets can share a port.

import { isIPv4 } from 'node:net';
import { canonicalIp } from './ip.ts';

const ANY_OF_BOTH = '::';
const ANY_OF_IPV4 = '0.0.0.0';

/** Of hosts as base/target.ts reads them. */
export function isOverlapping(one: string, other: string): boolean {
  const hosts = [canonical(one), canonical(other)];
  if (isSameHost(one, other) || hosts.includes(ANY_OF_BOTH)) return true;
  return hosts.includes(ANY_OF_IPV4) && hosts.every((host) => isIPv4(host));
}

/** Also those that share ports would have each a part of whoever comes. */
export function isSameHost(one: string, other: string): boolean {
  return canonical(one) === canonical(other);
}

function canonical(host: string): string {
  return canonicalIp(host) ?? host;
}
