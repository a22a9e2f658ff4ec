// What a token of the tokens file may serve.
//
// Invariant: pure; what is not named is not allowed: a wildcard tunnel needs a pattern that covers
// all of it, and the catch-all needs `*`. Must not know: secrets, clients, sockets.

import type { TokenEntry } from '../config/config.ts';

const TCP = 'tcp:';
const TLS = 'tls:';

/** May a client of this token serve the tunnel, by the name that it registers? */
export function mayServe({ hosts, ports }: TokenEntry, tunnel: string): boolean {
  if (tunnel.startsWith(TCP)) {
    const port = Number(tunnel.slice(TCP.length));
    return ports.some(({ first, last }) => first <= port && port <= last);
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
