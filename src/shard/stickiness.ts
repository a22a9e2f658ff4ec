// How one request's visitor is known again, for tunnels whose clients ask for affinity.
//
//   ip       the visitor's address, behind a trusted proxy the one that it names
//   cookie   slw_TUNNEL=MARK, set with each response to a visitor that has none, or an old one
//
// Invariant: the cookie is of one tunnel, for its path, and says a client's mark and nothing else;
// a visitor without one is served by whoever has least to do. Must not know: links, or streams.

import { createHash } from 'node:crypto';
import { cookieOf, cookiesOf } from '../http/cookie.ts';
import type { VisitorOrigin } from '../http/forwarding.ts';
import type { RequestParser } from '../http/request-head.ts';
import { visitorOf, visitorScheme } from '../http/trusted-forwarding.ts';
import type { Router } from './router.ts';

const NAME_DIGITS = 8;
/** Tunnels whose cookie names are remembered. Guess: above it they are made anew. */
const NAMES_MAX = 10_000;

export interface Stickiness {
  /** Undefined: nothing is known of the visitor. */
  readonly key: string | undefined;
  /** The field that a response gains, once it is known which client serves; undefined: none. */
  lineFor(mark: string): Buffer | undefined;
}

const names = new Map<string, string>();

/** Undefined for a tunnel without affinity. */
export function stickinessOf(
  router: Pick<Router, 'affinityOf'>,
  tunnel: string,
  head: RequestParser,
  origin: VisitorOrigin,
): Stickiness | undefined {
  const affinity = router.affinityOf(tunnel);
  if (affinity === undefined) return undefined;
  if (affinity === 'ip') return { key: visitorOf(head, origin), lineFor: () => undefined };
  const name = cookieName(tunnel);
  // '' is nobody's mark: the visitor is told of the one that it gets.
  const key = cookieOf(cookiesOf(head), name) ?? '';
  const isSecure = visitorScheme(head, origin) === 'https';
  return { key, lineFor: (mark) => (mark === key ? undefined : lineOf(tunnel, mark, isSecure)) };
}

export function cookieName(tunnel: string): string {
  const known = names.get(tunnel);
  if (known !== undefined) return known;
  if (names.size >= NAMES_MAX) names.clear();
  const digest = createHash('sha256').update(tunnel).digest('hex').slice(0, NAME_DIGITS);
  const name = `slw_${digest}`;
  names.set(tunnel, name);
  return name;
}

function lineOf(tunnel: string, mark: string, isSecure: boolean): Buffer {
  const slash = tunnel.indexOf('/');
  const path = slash === -1 ? '/' : tunnel.slice(slash);
  const secure = isSecure ? '; Secure' : '';
  const value = `${cookieName(tunnel)}=${mark}; Path=${path}; HttpOnly; SameSite=Lax${secure}`;
  return Buffer.from(`Set-Cookie: ${value}\r\n`, 'latin1');
}
