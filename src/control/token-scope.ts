// What a token of the tokens file may serve.
//
// Invariant: pure; what is not named is not allowed: a wildcard tunnel needs a pattern that covers
// all of it, and the catch-all needs `*`. Must not know: secrets, clients, sockets.

import { isPortName, readPortName } from '../base/port-name.ts';
import type { TokenEntry } from '../config/config.ts';

const TLS = 'tls:';

/** May a client of this token serve the tunnel, by the name that it registers? */
export function mayServe({ hosts, ports, udpPorts }: TokenEntry, tunnel: string): boolean {
  if (isPortName(tunnel)) {
    const named = readPortName(tunnel);
    const ranges = named?.transport === 'udp' ? udpPorts : ports;
    return ranges.some(({ first, last }) => named && first <= named.port && named.port <= last);
  }
  const name = tunnel.startsWith(TLS) ? tunnel.slice(TLS.length) : tunnel;
  const slash = name.indexOf('/');
  const host = slash === -1 ? name : name.slice(0, slash);
  return hosts.some((pattern) => covers(pattern, host));
}

/** `*.example.com` covers every name below it, and the wildcards there, as tunnels do. */
function covers(pattern: string, host: string): boolean {
  if (pattern === '*' || pattern === host) return true;
  return pattern.startsWith('*.') && host.endsWith(pattern.slice(1)) && host !== pattern.slice(1);
}
