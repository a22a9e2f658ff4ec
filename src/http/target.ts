// The request target in absolute form, taken apart so that it can go on in origin form.
//
// Invariant: the path and query that come out are a range of the bytes that came in, never
// decoded or normalised; an authority with userinfo, and any scheme but http and https, is
// refused. Must not know: methods, fields, or which host the request is routed to.

import { AT, COLON, LOWER, matches, octets, QUESTION, SLASH } from './octets.ts';

const HTTP = octets('http://');
const HTTPS = octets('https://');
const DEFAULT_PORTS = { http: 80, https: 443 } as const;

export interface AbsoluteTarget {
  readonly scheme: 'http' | 'https';
  readonly defaultPort: number;
  /** Positions in the bytes that were given. */
  readonly hostStart: number;
  readonly hostEnd: number;
  /** Where path and query begin; the target's end when it has neither. */
  readonly pathStart: number;
}

/** Takes `bytes[start, end)` apart; undefined when it is not an absolute http(s) URI. */
export function readAbsoluteTarget(
  bytes: Uint8Array,
  start: number,
  end: number,
): AbsoluteTarget | undefined {
  const scheme = schemeAt(bytes, start, end);
  if (scheme === undefined) return undefined;
  const hostStart = start + (scheme === 'http' ? HTTP.length : HTTPS.length);
  let i = hostStart;
  for (; i < end && bytes[i] !== SLASH && bytes[i] !== QUESTION; i += 1) {
    if (bytes[i] === AT) return undefined;
  }
  if (i === hostStart) return undefined;
  return { scheme, defaultPort: DEFAULT_PORTS[scheme], hostStart, hostEnd: i, pathStart: i };
}

function schemeAt(bytes: Uint8Array, start: number, end: number): 'http' | 'https' | undefined {
  const length = end - start;
  if (length > HTTP.length && bytes[start + 4] === COLON) {
    return matches(bytes, start, HTTP, LOWER) ? 'http' : undefined;
  }
  return length > HTTPS.length && matches(bytes, start, HTTPS, LOWER) ? 'https' : undefined;
}
