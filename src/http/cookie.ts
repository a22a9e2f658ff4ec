// Cookies of a request (RFC 6265 section 5.4): the value of one, and those that are not our own.
//
// Invariant: linear, and nothing is decoded: a value that we gave out comes back byte for byte, and
// any other is nobody's. Must not know: what a cookie is for.

import { KIND } from './field-kind.ts';
import type { HeadParser } from './head-parser.ts';

/** Begins names of cookies that are for the exit node alone, behind `__Host-` if it is there. */
export const OWN_COOKIE = 'slw-login';
/** With it a cookie is of one host, and came over https (RFC 6265bis 4.1.3.2). */
export const HOST_PREFIX = '__Host-';

/** All cookies of a request, as one field would say them. */
export function cookiesOf({ bytes, base, fields }: HeadParser): string {
  let all = '';
  for (let index = 0; index < fields.count; index += 1) {
    if (fields.kinds[index] !== KIND.COOKIE) continue;
    const [start, end] = [base + fields.valueStart(index), base + fields.valueEnd(index)];
    const text = bytes.toString('latin1', start, end);
    all = all === '' ? text : `${all}; ${text}`;
  }
  return all;
}

/** The first value under `name`; undefined for none. */
export function cookieOf(cookies: string, name: string): string | undefined {
  for (const pair of cookies.split(';')) {
    const equals = pair.indexOf('=');
    if (equals !== -1 && pair.slice(0, equals).trim() === name)
      return pair.slice(equals + 1).trim();
  }
  return undefined;
}

/** Names of the exit node's own cookies among them. */
export function ownCookieNames(cookies: string): string[] {
  return cookies.includes(OWN_COOKIE) ? cookies.split(';').map(nameOf).filter(isOwn) : [];
}

/** The line of all cookies but the exit node's own; nothing when no other is there. */
export function otherCookiesLine(cookies: string): Buffer {
  const pairs = cookies.split(';').map((pair) => pair.trim());
  const others = pairs.filter((pair) => pair !== '' && !isOwn(nameOf(pair)));
  return Buffer.from(others.length === 0 ? '' : `Cookie: ${others.join('; ')}\r\n`, 'latin1');
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=');
  return (equals === -1 ? pair : pair.slice(0, equals)).trim();
}

function isOwn(name: string): boolean {
  const bare = name.startsWith(HOST_PREFIX) ? name.slice(HOST_PREFIX.length) : name;
  return bare.startsWith(OWN_COOKIE);
}
