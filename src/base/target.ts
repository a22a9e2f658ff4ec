// Hosts, ports, and the two together, as texts: what a link, a dial or a rule is about.
//
// Invariant: a host is an IP address without brackets or a name of [a-z0-9._-], never a number in
// disguise ("3000" or "0x7f.1" would be read as an IPv4 address by a resolver); a port fits 16
// bits. Must not know: who dials, or what may be dialled.

import { isIP } from 'node:net';

/** Whom to dial. */
export interface Target {
  /** An IP address without brackets, or a name in lower case. */
  readonly host: string;
  readonly port: number;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

/** What a firewall lets through. */
export interface OpenPorts extends PortRange {
  readonly protocol: 'tcp' | 'udp';
}

export const PORT_MAX = 65_535;
/** Octets of a host name (specification: RFC 1035, 2.3.4). */
export const HOST_LENGTH_MAX = 255;
/** `host:port` with the IPv6 brackets that a reader expects. */
export function showTarget({ host, port }: Target): string {
  return `${bracketed(host)}:${port}`;
}

export function bracketed(value: string): string {
  return isIP(value) === 6 ? `[${value}]` : value;
}

/** Listening on all addresses includes these. */
const LOOPBACK_OF: Readonly<Record<string, string>> = { '0.0.0.0': '127.0.0.1', '::': '::1' };

/** Where a listener on `host` is dialled from its own machine. */
export function ownHostOf(host: string): string {
  return LOOPBACK_OF[host] ?? host;
}

export function readPort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return port <= PORT_MAX ? port : undefined;
}

/** An IP address, brackets removed, or a lower-cased host name; undefined when it is neither. */
export function readHost(text: string): string | undefined {
  if (text.startsWith('[')) {
    const inner = text.endsWith(']') ? text.slice(1, -1) : '';
    return isIP(inner) === 6 ? inner.toLowerCase() : undefined;
  }
  if (isIP(text) !== 0) return text.toLowerCase();
  return readHostName(text);
}

/** Lower-cases a name and drops a final dot; no Unicode is folded, what is not ASCII is refused. */
export function readHostName(text: string): string | undefined {
  if (text.length > HOST_LENGTH_MAX || !/^[A-Za-z0-9._-]+$/.test(text)) return undefined;
  const name = text.toLowerCase().replace(/\.$/, '');
  const labels = name.split('.');
  const isNumber = /^(\d+|0x[0-9a-f]*)$/.test(labels.at(-1) ?? '');
  return labels.includes('') || isNumber ? undefined : name;
}

/** Addresses to their end: `127.example.com` is a name, and may lead anywhere. */
const LOOPBACK = /^(?:::ffff:)?127(?:\.\d{1,3}){3}$|^::1$/;

/** Does the host, as read by `readHost` or told by a socket, lead to this machine alone? */
export function isLoopbackHost(host: string): boolean {
  return LOOPBACK.test(host) || host === 'localhost' || host.endsWith('.localhost');
}

/** Splits `host:port`; an IPv6 host must be in brackets. The host may be empty. */
export function splitHostPort(text: string): readonly [host: string, port: string] | undefined {
  const match = /^(\[[^\]]*\]|[^:[\]]*):([^:]*)$/.exec(text);
  return match === null ? undefined : [match[1] ?? '', match[2] ?? ''];
}

/** A host and a port to dial; without a port, `portless` if there is one. */
export function readTarget(authority: string, portless?: number): Target | undefined {
  const parts = splitHostPort(authority);
  const host = readHost(parts === undefined ? authority : parts[0]);
  // A bare IPv6 address is refused: nobody can tell its last group from a port.
  if (host === undefined || (parts === undefined && isIP(authority) === 6)) return undefined;
  const port = parts === undefined ? portless : readPort(parts[1]);
  return port === undefined || port === 0 ? undefined : { host, port };
}

/** `8080` or `8000-8100`; undefined for anything else. */
export function readPortRange(text: string): PortRange | undefined {
  const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
  const first = Number(match?.[1]);
  const last = Number(match?.[2] ?? match?.[1]);
  const isRange = match !== null && first >= 1 && first <= last && last <= PORT_MAX;
  return isRange ? { first, last } : undefined;
}

export function showPortRange({ first, last }: PortRange): string {
  return first === last ? String(first) : `${first}-${last}`;
}
