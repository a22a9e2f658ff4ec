// Cookies of a request (RFC 6265 section 5.4): the value of one, and those that are not our own.
//
// Invariant: linear, and nothing is decoded: a value that we gave out comes back byte for byte, and
// any other is nobody's. Must not know: what a cookie is for.

import { DASHBOARD_COOKIE } from '../base/dashboard-cookie.ts';
import { KIND } from './field-kind.ts';
import type { HeadParser } from './head-parser.ts';
import { octets } from './octets.ts';

/** Begins names of logins' cookies, for the exit node alone, behind `__Host-` if it is there. */
export const OWN_COOKIE = 'slw-login';
/** With it a cookie is of one host, and came over https (RFC 6265bis 4.1.3.2). */
export const HOST_PREFIX = '__Host-';

const OWN_NAMES = [OWN_COOKIE, DASHBOARD_COOKIE].map(octets);
/** All of them begin with it. */
const FIRST_OCTET = 0x73;

/** Which cookies of a request are not for the upstream. */
export interface HiddenCookies {
  /** Those of logins; without providers they may be another exit node's, behind this one. */
  readonly logins: 'hidden' | 'passed';
  /** The dashboard's has this name here, where the upstream may be the dashboard itself; without
   * `__Host-` it may come with it, as TLS may have ended before somebody who does not say so. */
  readonly dashboard: string;
}

/** May one of them be the exit node's own? Without an allocation, as each request is asked. */
export function mayHoldOwnCookie({ bytes, base, fields }: HeadParser): boolean {
  for (let index = 0; index < fields.count; index += 1) {
    if (fields.kinds[index] !== KIND.COOKIE) continue;
    const end = base + fields.valueEnd(index);
    for (let at = base + fields.valueStart(index); at < end; at += 1) {
      if (bytes[at] === FIRST_OCTET && isOwnAt(bytes, at, end)) return true;
    }
  }
  return false;
}

function isOwnAt(bytes: Uint8Array, start: number, end: number): boolean {
  for (const name of OWN_NAMES) {
    let same = 0;
    while (same < name.length && start + same < end && bytes[start + same] === name[same])
      same += 1;
    if (same === name.length) return true;
  }
  return false;
}

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

/** Names of logins' cookies among them. */
export function ownCookieNames(cookies: string): string[] {
  return cookies.includes(OWN_COOKIE) ? cookies.split(';').map(nameOf).filter(isOwn) : [];
}

/** The line of all cookies but the hidden ones; undefined: none is hidden. */
export function otherCookiesLine(cookies: string, hidden: HiddenCookies): Buffer | undefined {
  const pairs = cookies.split(';').map((pair) => pair.trim());
  const passed = pairs.filter((pair) => !isHidden(nameOf(pair), hidden));
  if (passed.length === pairs.length) return undefined;
  const others = passed.filter((pair) => pair !== '');
  return Buffer.from(others.length === 0 ? '' : `Cookie: ${others.join('; ')}\r\n`, 'latin1');
}

function nameOf(pair: string): string {
  const equals = pair.indexOf('=');
  return (equals === -1 ? pair : pair.slice(0, equals)).trim();
}

function isOwn(name: string): boolean {
  return bareOf(name).startsWith(OWN_COOKIE);
}

function isHidden(name: string, { logins, dashboard }: HiddenCookies): boolean {
  const bare = bareOf(name);
  if (bare.startsWith(DASHBOARD_COOKIE)) return name !== dashboard && bare !== dashboard;
  return logins === 'hidden' && bare.startsWith(OWN_COOKIE);
}

function bareOf(name: string): string {
  return name.startsWith(HOST_PREFIX) ? name.slice(HOST_PREFIX.length) : name;
}
