// The head of the requests of a load: each header as it was given, on a line of its own.
//
// Invariant: both generators send the same lines, in the order of the flags, in Latin-1 as Node
// does; one that is given twice is two lines, and is never joined. Must not know: connections.

import { isIP } from 'node:net';
import type { TargetLoad } from './running.ts';

type Target = Pick<TargetLoad, 'url' | 'headers'>;

/** With a Host of the URL where none was given. */
export function headerLines({ url, headers }: Target): TargetLoad['headers'] {
  return hostOf(headers) === undefined ? [['Host', url.host], ...headers] : headers;
}

/** A whole request, for a connection that is kept. */
export function requestBytes(target: Target): Buffer {
  const { pathname, search } = target.url;
  const lines = [...headerLines(target), ['Connection', 'keep-alive']].map(
    ([name, value]) => `${name}: ${value}\r\n`,
  );
  return Buffer.from(`GET ${pathname}${search} HTTP/1.1\r\n${lines.join('')}\r\n`, 'latin1');
}

/** Whom TLS asks for: the Host that was given, else that of the URL; an address cannot be asked. */
export function serverName({ url, headers }: Target): string {
  const name = (hostOf(headers) ?? url.host).replace(/:\d*$/u, '').replace(/^\[|\]$/gu, '');
  return isIP(name) === 0 ? name : '';
}

function hostOf(headers: TargetLoad['headers']): string | undefined {
  return headers.find(([name]) => name.toLowerCase() === 'host')?.[1];
}
