// The request methods that pass, as the strings that metrics and retries use.
//
// Invariant: a closed set, that of llhttp without CONNECT: an upstream behind llhttp takes every
// request that we let through, and a method can be a metric label. Must not know: what an answer
// to any other method looks like.

import { TOKEN } from './octets.ts';

export const METHODS: readonly string[] = [
  ...['ACL', 'BIND', 'CHECKOUT', 'COPY', 'DELETE', 'GET', 'HEAD', 'LINK', 'LOCK', 'M-SEARCH'],
  ...['MERGE', 'MKACTIVITY', 'MKCALENDAR', 'MKCOL', 'MOVE', 'NOTIFY', 'OPTIONS', 'PATCH', 'POST'],
  ...['PROPFIND', 'PROPPATCH', 'PURGE', 'PUT', 'QUERY', 'REBIND', 'REPORT', 'SEARCH', 'SOURCE'],
  ...['SUBSCRIBE', 'TRACE', 'UNBIND', 'UNLINK', 'UNLOCK', 'UNSUBSCRIBE'],
];

/** Also known, to be refused in their own way: the HTTP/2 preface and a PROXY header. */
const ODD = ['PRI', 'PROXY'];
const KNOWN: ReadonlyMap<string, string> = new Map(
  [...METHODS, ...ODD].map((name) => [name, name]),
);

/** The method at `bytes[start, end)`; '' for one that is not served, CONNECT among them. */
export function methodAt(bytes: Buffer, start: number, end: number): string {
  // By far the most common, without making a string.
  if (end - start === 3 && bytes[start] === 0x47 && bytes[start + 1] === 0x45) {
    if (bytes[start + 2] === 0x54) return 'GET';
  }
  if (end - start === 4 && bytes[start] === 0x50 && bytes[start + 1] === 0x4f) {
    if (bytes[start + 2] === 0x53 && bytes[start + 3] === 0x54) return 'POST';
  }
  return KNOWN.get(bytes.toString('latin1', start, end)) ?? '';
}

export function isMethodLetter(octet: number): boolean {
  return TOKEN[octet] === 1;
}
