// Addresses to listen on, hosts, ranges of ports, and the URLs of servers.
//
// Invariant: a URL comes out as `ws[s]://host[:port]/…/connect` with nothing secret in it; a host is an IP address without brackets or a name of [a-z0-9._-], never a number in
// disguise ("3000" or "0x7f.1" would be read as an IPv4 address by a resolver); a port fits 16
// bits. Must not know: which listener uses an address, or how a link is dialled.

import { isIP } from 'node:net';
import { InvalidText, type Kind, kindOf } from './option.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

export interface PortRange {
  readonly first: number;
  readonly last: number;
}

export const PORT_MAX = 65_535;
/** Octets of a host name (specification: RFC 1035, 2.3.4). */
export const HOST_LENGTH_MAX = 255;
const ANY_HOST = '0.0.0.0';
const URL_RIGHT = 'write wss://HOST:PORT or ws://HOST:PORT, such as wss://tunnel.example.com:8123';
const CONNECT = '/connect';

/** Where to listen; `:8000` means every IPv4 address. Port 0 lets the system choose. */
export const address: Kind<Address> = kindOf('address', 'HOST:PORT', readListen, showAddress);

export const addressOrOff: Kind<Address | 'off'> = kindOf(
  'address',
  'HOST:PORT',
  (text): Address | 'off' | InvalidText => (text === 'off' ? 'off' : readListen(text)),
  (value) => (value === 'off' ? value : showAddress(value)),
);

/** A host alone; a trailing colon, as in `127.0.0.1:`, is allowed. */
export const host: Kind<string> = kindOf(
  'address',
  'HOST',
  (text) => {
    const bare = isIP(text) === 6 || !text.endsWith(':') ? text : text.slice(0, -1);
    return readHost(bare) ?? new InvalidText('is not a host; write 0.0.0.0, 127.0.0.1 or [::]');
  },
  (value) => value,
);

export const portRange: Kind<PortRange> = kindOf(
  'port ranges',
  'PORTS',
  (text) => {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(text);
    const first = Number(match?.[1]);
    const last = Number(match?.[2] ?? match?.[1]);
    if (match !== null && first >= 1 && first <= last && last <= PORT_MAX) return { first, last };
    return new InvalidText(`is not a port or a range; write 8080 or 1024-${PORT_MAX}`);
  },
  ({ first, last }) => (first === last ? String(first) : `${first}-${last}`),
);

/** `host:port` with the IPv6 brackets that a reader expects. */
export function showAddress(value: Address): string {
  return `${bracketed(value.host)}:${value.port}`;
}

export function bracketed(value: string): string {
  return isIP(value) === 6 ? `[${value}]` : value;
}

export function readPort(text: string): number | undefined {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Number.NaN;
  return port <= PORT_MAX ? port : undefined;
}

/** An IP address, brackets removed, or a lower-cased host name; undefined when it is neither. */
export function readHost(text: string): string | undefined {
  const inner = /^\[(.*)\]$/.exec(text)?.[1];
  if (inner !== undefined) return isIP(inner) === 6 ? inner.toLowerCase() : undefined;
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

const LOOPBACK = /^(127\.|::1$|::ffff:127\.|(.+\.)?localhost$)/;

/** Does the host, as read by `readHost`, lead to this machine alone? */
export function isLoopbackHost(host: string): boolean {
  return LOOPBACK.test(host);
}

/** Splits `host:port`; an IPv6 host must be in brackets. The host may be empty. */
export function splitHostPort(text: string): readonly [host: string, port: string] | undefined {
  const match = /^(\[[^\]]*\]|[^:[\]]*):([^:]*)$/.exec(text);
  return match === null ? undefined : [match[1] ?? '', match[2] ?? ''];
}

function readListen(text: string): Address | InvalidText {
  const parts = splitHostPort(text);
  const right = 'write HOST:PORT, such as 0.0.0.0:8123, [::]:80 or :8000';
  if (parts === undefined) return new InvalidText(`is not an address; ${right}`);
  const [hostText, portText] = parts;
  const hostRead = hostText === '' ? ANY_HOST : readHost(hostText);
  if (hostRead === undefined) return new InvalidText(`has no valid host; ${right}`);
  const port = readPort(portText);
  return port === undefined
    ? new InvalidText(`has no valid port; ${right}`)
    : { host: hostRead, port };
}

export const serverUrl: Kind<string> = kindOf('URL', 'URL', readServerUrl, String);

/** The URL of another path of the same control port, over HTTP. */
export function controlUrl(url: string, path: string): string {
  return `${url.slice(0, -CONNECT.length)}${path}`.replace(/^ws/, 'http');
}

function readServerUrl(text: string): string | InvalidText {
  const match = /^([A-Za-z][A-Za-z0-9+.-]*):\/\/([^/?#]*)([^?#]*)(.*)$/.exec(text);
  if (match === null) return new InvalidText(`is not a URL; ${URL_RIGHT}`);
  const [, scheme = '', authority = '', path = '', query = ''] = match;
  const wrongScheme = checkScheme(scheme.toLowerCase());
  if (wrongScheme !== undefined) return wrongScheme;
  if (authority.includes('@')) {
    return new InvalidText('has credentials in it; give the token by --token-file or --token-env');
  }
  if (query !== '') return new InvalidText(`has a query or a fragment; ${URL_RIGHT}`);
  if (!/^[!-~]*$/.test(path)) return new InvalidText(`has a path that is not ASCII; ${URL_RIGHT}`);
  const portMatch = /^(.*):(\d{1,5})$/.exec(authority);
  const host = readHost(portMatch?.[1] ?? authority);
  const port = portMatch === null ? undefined : Number(portMatch[2]);
  if (host === undefined || isBareIpv6(portMatch?.[1] ?? authority)) {
    return new InvalidText(`has no valid host; ${URL_RIGHT}`);
  }
  if (port !== undefined && (port < 1 || port > PORT_MAX)) {
    return new InvalidText(`has no valid port; ${URL_RIGHT}`);
  }
  return normalise(text, path);
}

function checkScheme(scheme: string): InvalidText | undefined {
  if (scheme === 'ws' || scheme === 'wss') return undefined;
  if (scheme === 'http' || scheme === 'https') {
    const right = scheme === 'http' ? 'ws' : 'wss';
    return new InvalidText(`starts with ${scheme}://; links are WebSockets, write ${right}://`);
  }
  return new InvalidText(`is neither ws nor wss; ${URL_RIGHT}`);
}

function isBareIpv6(text: string): boolean {
  return isIP(text) === 6;
}

/** Lower-cases scheme and host, drops a default port and ends the path in /connect. */
function normalise(text: string, path: string): string {
  const url = new URL(text);
  const bare = path.replace(/\/+$/, '');
  url.pathname = bare.endsWith(CONNECT) ? bare : `${bare}${CONNECT}`;
  return url.href;
}
