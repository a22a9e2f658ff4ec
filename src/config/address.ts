// Addresses to listen on, hosts, ranges of ports, and the URLs of servers.
//
// Invariant: a URL comes out as `ws[s]://host[:port]/…/connect` with nothing secret in it, and one
// that is wrong is shown likewise; hosts and ports are read as base/target.ts has them. Must not
// know: which listener uses an address, or how a link is dialled.

import { isIP } from 'node:net';
import {
  isLoopbackHost,
  PORT_MAX,
  type PortRange,
  readHost,
  readPort,
  readPortRange,
  showPortRange,
  showTarget,
  splitHostPort,
} from '../base/target.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';

export interface Address {
  readonly host: string;
  readonly port: number;
}

const ANY_HOST = '0.0.0.0';
const URL_RIGHT = 'write wss://HOST:PORT or ws://HOST:PORT, such as wss://tunnel.example.com:8123';
const CONNECT = '/connect';

/** Where to listen; `:8000` means every IPv4 address. Port 0 lets the system choose. */
export const address: Kind<Address> = kindOf('address', 'HOST:PORT', readListen, showTarget);

export const addressOrOff: Kind<Address | 'off'> = kindOf(
  'address',
  'HOST:PORT',
  (text): Address | 'off' | InvalidText => (text === 'off' ? 'off' : readListen(text)),
  (value) => (value === 'off' ? value : showTarget(value)),
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
  (text) =>
    readPortRange(text) ??
    new InvalidText(`is not a port or a range; write 8080 or 1024-${PORT_MAX}`),
  showPortRange,
);

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

export const HTTPS_RIGHT = 'write https://HOST, without a login';

/** Of an API or a registry: over plain HTTP from this machine alone. No slash at its end. */
export const httpsUrl: Kind<string> = kindOf(
  'https URL',
  'URL',
  (text) =>
    isSafeUrl(text) ? text.replace(/\/+$/, '') : new InvalidText(`is no URL; ${HTTPS_RIGHT}`),
  String,
);

/** A login in it would be shown by `config print`, and in the scripts that it goes into. */
export function isSafeUrl(text: string): boolean {
  if (!/^https?:\/\/[\x21-\x7e]{1,2000}$/.test(text) || !URL.canParse(text)) return false;
  const { protocol, hostname, username, password } = new URL(text);
  if (username !== '' || password !== '') return false;
  return protocol === 'https:' || isLoopbackHost(hostname);
}

export const serverUrl: Kind<string> = {
  ...kindOf('URL', 'URL', readServerUrl, String),
  shown: maskedUrl,
};

/**
 * Without what may be a login or a token. Where a comma has cut a login there is no `@`, and the
 * beginning of a password stands where a port would.
 */
export function maskedUrl(text: string): string {
  const scheme = /^[A-Za-z][A-Za-z0-9+.-]*:\/\//.exec(text)?.[0] ?? '';
  const rest = text.slice(scheme.length);
  const at = rest.lastIndexOf('@');
  const shown =
    at === -1
      ? rest.replace(/^([^/:[\]]*:)(?!\d*(?:[/?#]|$)).*$/s, '$1[masked]')
      : `[masked]${rest.slice(at)}`;
  return `${scheme}${shown.replace(/([?#]).*$/s, '$1[masked]')}`;
}

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
