// The value of one cookie of a request (RFC 6265 section 5.4), among whatever else it sends.
//
// Invariant: linear, and nothing is decoded: a value that we gave out comes back byte for byte, and
// any other is nobody's. Must not know: what a cookie is for.

import type { HeadParser } from './head-parser.ts';
import { LOWER, matches, octets } from './octets.ts';

const COOKIE = octets('cookie');

/** The first value under `name`; undefined for none. */
export function cookieOf(head: HeadParser, name: string): string | undefined {
  const { bytes, base, fields } = head;
  for (let index = 0; index < fields.count; index += 1) {
    const start = base + fields.nameStart(index);
    const isCookie =
      base + fields.nameEnd(index) - start === COOKIE.length &&
      matches(bytes, start, COOKIE, LOWER);
    if (!isCookie) continue;
    const value = bytes.toString(
      'latin1',
      base + fields.valueStart(index),
      base + fields.valueEnd(index),
    );
    for (const pair of value.split(';')) {
      const equals = pair.indexOf('=');
      if (equals !== -1 && pair.slice(0, equals).trim() === name) {
        return pair.slice(equals + 1).trim();
      }
    }
  }
  return undefined;
}
