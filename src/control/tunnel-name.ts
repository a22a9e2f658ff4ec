// What a tunnel may be called: a host, a wildcard or the catch-all, each with or without a path;
// a TCP or UDP port; or `tls:` and a host or a wildcard, for TLS that is passed through.
//
// Invariant: what passes is bounded and made of `[a-z0-9._-]` and, behind the first slash, of a
// path prefix in its normal form, so that it is safe as a route, a metric label and a log field.
// Must not know: who asks, or which names are taken.

import { SluicewayError } from '../base/errors.ts';
import { readPathPrefix } from '../base/path-prefix.ts';
import { isPortName, type PortName, readPortName } from '../base/port-name.ts';

/** A DNS name (RFC 1035 section 2.3.4). */
const HOST_LENGTH_MAX = 253;
const LABEL = /^(?!-)[a-z0-9_-]{1,63}(?<!-)$/;
const TLS_PREFIX = 'tls:';

/** Is it served by the exit node's HTTP parser? */
export function isHttpTunnel(name: string): boolean {
  return !isPortName(name) && !isPassthrough(name);
}

export function isPassthrough(name: string): boolean {
  return name.startsWith(TLS_PREFIX);
}

/** The port that it names, undefined for a host. Raises SLW_TUNNEL_NAME. */
export function checkTunnelName(name: string): PortName | undefined {
  const port = readPortName(name);
  if (port !== undefined) return port;
  if (isPortName(name)) throw refuse(name);
  if (isPassthrough(name)) {
    if (!isHostPattern(name.slice(TLS_PREFIX.length))) throw refuse(name);
    return undefined;
  }
  const slash = name.indexOf('/');
  const pattern = slash === -1 ? name : name.slice(0, slash);
  if (slash !== -1 && readPathPrefix(name.slice(slash)) !== name.slice(slash)) throw refuse(name);
  if (pattern !== '*' && !isHostPattern(pattern)) throw refuse(name);
  return undefined;
}

/** A host, or `*.` and one. */
function isHostPattern(pattern: string): boolean {
  const host = pattern.startsWith('*.') ? pattern.slice(2) : pattern;
  return host.length <= HOST_LENGTH_MAX && host.split('.').every((label) => LABEL.test(label));
}

function refuse(name: string): SluicewayError {
  const shown = name.slice(0, 80).replace(/[^\x20-\x7e]/g, '?');
  return new SluicewayError('SLW_TUNNEL_NAME', `not a valid tunnel name: ${shown}`);
}
