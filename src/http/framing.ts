// How long a body is, from Content-Length and Transfer-Encoding.
//
// Invariant: exactly one of the two decides, or neither is there; a length is plain digits without
// a leading zero, a coding is `chunked` and nothing else. Every doubt is a refusal, because two
// readers who resolve it differently are a smuggled request. Must not know: what a body contains,
// or which answers have none.

import { KIND } from './field-kind.ts';
import type { HeadParser } from './head-parser.ts';
import { LOWER, matches, NINE, octets, SP, ZERO } from './octets.ts';

export type Framing = 'none' | 'length' | 'chunked' | 'until-close';

const CHUNKED = octets('chunked');
/** Digits of Number.MAX_SAFE_INTEGER, the largest length that can be counted exactly. */
const LENGTH_DIGITS_MAX = 16;

/** What `readFraming` returns in place of a length. */
export const LENGTH = { NONE: -1, CHUNKED: -2, BAD: -3 } as const;

/** The length that the fields declare, or a LENGTH value. */
export function readFraming(head: HeadParser, minor: number): number {
  const length = head.fields.only(KIND.CONTENT_LENGTH);
  const coding = head.fields.only(KIND.TRANSFER_ENCODING);
  if (length === -1 && coding === -1) return LENGTH.NONE;
  if (length === -2 || coding === -2) return LENGTH.BAD;
  if (length !== -1 && coding !== -1) return LENGTH.BAD;
  if (hasTabAfter(head, coding === -1 ? length : coding)) return LENGTH.BAD;
  return coding === -1 ? readLength(head, length) : readCoding(head, coding, minor);
}

function readCoding(head: HeadParser, field: number, minor: number): number {
  const start = head.base + head.fields.valueStart(field);
  const end = head.base + head.fields.valueEnd(field);
  // RFC 9112 6.1: an HTTP/1.0 message with Transfer-Encoding is faulty framing.
  if (minor === 0 || end - start !== CHUNKED.length) return LENGTH.BAD;
  return matches(head.bytes, start, CHUNKED, LOWER) ? LENGTH.CHUNKED : LENGTH.BAD;
}

function readLength(head: HeadParser, field: number): number {
  const { bytes, base, fields } = head;
  const start = base + fields.valueStart(field);
  const end = base + fields.valueEnd(field);
  const digits = end - start;
  if (digits === 0 || digits > LENGTH_DIGITS_MAX) return LENGTH.BAD;
  if (digits > 1 && bytes[start] === ZERO) return LENGTH.BAD;
  let length = 0;
  for (let i = start; i < end; i += 1) {
    const octet = bytes[i] as number;
    if (octet < ZERO || octet > NINE) return LENGTH.BAD;
    length = length * 10 + (octet - ZERO);
  }
  return Number.isSafeInteger(length) ? length : LENGTH.BAD;
}

/**
 * Blanks after the value are legal, but llhttp takes a TAB there as part of it: a length is then
 * refused, and `chunked` is a coding that it does not know, so that the body ends elsewhere.
 */
function hasTabAfter(head: HeadParser, field: number): boolean {
  const { bytes, base, fields } = head;
  const end = base + fields.lineEnd(field) - 2;
  for (let i = base + fields.valueEnd(field); i < end; i += 1) {
    if (bytes[i] !== SP) return true;
  }
  return false;
}
