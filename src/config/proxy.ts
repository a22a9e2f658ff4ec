// The proxy between a client and its servers: `--proxy`, or what the environment names.
//
//   --proxy URL or off     else HTTPS_PROXY for wss, HTTP_PROXY for ws, else ALL_PROXY
//                          unless NO_PROXY has the server, or it is this machine
//
// Invariant: a proxy is one that a link can take (CONNECT or SOCKS 5), or a problem that names
// where it was given; its login is never shown. NO_PROXY is read as Go and curl read it: names
// with everything below them, addresses, networks, each maybe with a port. Must not know: how a
// proxy is spoken to.

import { canonicalIp, unbracketed } from '../base/ip.ts';
import { Masked } from '../base/masked.ts';
import { readNetwork } from '../base/network.ts';
import { NetworkSet } from '../base/network-set.ts';
import { isLoopbackHost } from '../base/target.ts';
import { maskedUrl } from './address.ts';
import { InvalidText, type Kind, kindOf } from './option.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/** By server URL, as it was given; a server without an entry is dialled directly. */
export type Proxies = Readonly<Record<string, Masked>>;

const RIGHT = 'write http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT, or off';
/** Names are resolved by the proxy: behind most of them nobody else can. */
const SOCKS = 'socks5h:';
const SCHEMES: ReadonlySet<string> = new Set(['http:', 'https:', 'socks5:', SOCKS]);
/** RFC 1929 tells the length of each half in one byte: more throws in the middle of a dial. */
const SOCKS_LOGIN_BYTES_MAX = 255;
const DEFAULT_PORTS: Readonly<Record<string, number>> = { 'ws:': 80, 'wss:': 443 };

export const proxyUrl: Kind<string> = {
  ...kindOf('proxy', 'URL', (text) => (text === 'off' ? text : readProxy(text)), maskedUrl),
  shown: maskedUrl,
};

/** Which proxy each of `urls` is dialled by. */
export function buildProxies(
  given: string | undefined,
  urls: readonly string[],
  env: Environment,
): Proxies {
  const found = urls.map((url) => [url, given ?? proxyOf(url, env)?.text] as const);
  return Object.fromEntries(
    found.flatMap(([url, text]) => {
      const proxy = text === undefined || text === 'off' ? undefined : readProxy(text);
      return typeof proxy === 'string' ? [[url, new Masked(proxy)]] : [];
    }),
  );
}

/** What is wrong with what the environment names for `urls`, a line each. */
export function proxyProblems(urls: readonly string[], env: Environment): string[] {
  const problems = urls.flatMap((url) => {
    const found = proxyOf(url, env);
    const proxy = found === undefined ? '' : readProxy(found.text);
    if (found === undefined || typeof proxy === 'string') return [];
    return [`${found.name} (environment): ${maskedUrl(found.text)} ${proxy.message}`];
  });
  return [...new Set(problems)];
}

function proxyOf(url: string, env: Environment): { name: string; text: string } | undefined {
  const { protocol, hostname, port } = new URL(url);
  const host = unbracketed(hostname);
  const at = port === '' ? (DEFAULT_PORTS[protocol] ?? 0) : Number(port);
  if (isLoopbackHost(host)) return undefined;
  const own = protocol === 'wss:' ? 'https_proxy' : 'http_proxy';
  const named = [own, own.toUpperCase(), 'all_proxy', 'ALL_PROXY'];
  const name = named.find((one) => (env[one] ?? '') !== '');
  if (name === undefined) return undefined;
  const bypass = env.no_proxy || env.NO_PROXY || '';
  if (bypass.split(/[\s,]/).some((entry) => isBypassed(entry, host, at))) return undefined;
  return { name, text: env[name] ?? '' };
}

/** Does an entry of NO_PROXY have this server? */
function isBypassed(entry: string, host: string, port: number): boolean {
  if (entry === '*') return true;
  const [name, wanted] = splitPort(entry.toLowerCase());
  if (name === '' || (wanted !== undefined && wanted !== port)) return false;
  const address = canonicalIp(host);
  if (address !== undefined) {
    const network = readNetwork(unbracketed(name));
    return typeof network !== 'string' && new NetworkSet([network]).has(address);
  }
  const suffix = name.replace(/^\*?\./, '');
  return host === suffix || host.endsWith(`.${suffix}`);
}

function splitPort(entry: string): [name: string, port: number | undefined] {
  const colon = entry.lastIndexOf(':');
  const port = entry.slice(colon + 1);
  const isPort = colon > 0 && /^\d{1,5}$/.test(port) && canonicalIp(entry) === undefined;
  return isPort ? [entry.slice(0, colon), Number(port)] : [entry, undefined];
}

function readProxy(text: string): string | InvalidText {
  const withScheme = text.includes('://') ? text : `http://${text}`;
  if (!URL.canParse(withScheme)) return new InvalidText(`is no proxy; ${RIGHT}`);
  const url = new URL(withScheme);
  if (!SCHEMES.has(url.protocol)) {
    return new InvalidText(`has a scheme that links cannot take; ${RIGHT}`);
  }
  if (withScheme.includes('//[masked]@')) {
    return new InvalidText('was masked when it was printed; give the login');
  }
  if (!isDecodable(url.username) || !isDecodable(url.password)) {
    return new InvalidText('has a login that is not percent-encoded; write % as %25');
  }
  if (url.protocol.startsWith('socks') && !fitsSocks(url)) {
    const max = `${SOCKS_LOGIN_BYTES_MAX} bytes`;
    return new InvalidText(`has a user or password of more than ${max}, which SOCKS cannot carry`);
  }
  const isBare = url.pathname === '/' || url.pathname === '';
  if (url.hostname === '' || !isBare || url.search !== '' || url.hash !== '') {
    return new InvalidText(`is no proxy; ${RIGHT}`);
  }
  return withScheme.replace(/^socks5h?:/i, SOCKS);
}

function fitsSocks({ username, password }: URL): boolean {
  return [username, password].every(
    (text) => Buffer.byteLength(decodeURIComponent(text)) <= SOCKS_LOGIN_BYTES_MAX,
  );
}

/** As it is when a proxy is told: what is not would fail each dial. */
function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}
