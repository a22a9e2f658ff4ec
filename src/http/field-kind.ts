// Which field a name is, among those that framing, routing and forwarding depend on.
//
// Invariant: names are compared by length first and without allocating; a name that CGI-like
// servers read as a framing field (`_` or `.` for `-`) is told apart, never taken for the field.
// Must not know: what a field's value means, or what a writer does with a kind.

import { FOLDED, LOWER, matches, octets } from './octets.ts';

export const KIND = {
  OTHER: 0,
  HOST: 1,
  CONTENT_LENGTH: 2,
  TRANSFER_ENCODING: 3,
  /** Reads as a framing field once `_` or `.` becomes `-`. */
  FRAMING_ALIAS: 4,
  CONNECTION: 5,
  /** Keep-Alive and Proxy-Connection. */
  HOP: 6,
  TE: 7,
  UPGRADE: 8,
  EXPECT: 9,
  /** X-Forwarded-*, Forwarded, X-Real-IP, and their aliases. */
  FORWARDING: 10,
  COOKIE: 11,
  /** X-Auth-Request-*, which tell an upstream who has logged in, and their aliases. */
  IDENTITY: 12,
  /** What a visitor shows to be let in, there or here. */
  AUTHORIZATION: 13,
} as const;

/** One more than the largest kind. */
export const KINDS_COUNT = 14;

const NAMES = {
  te: octets('te'),
  host: octets('host'),
  cookie: octets('cookie'),
  expect: octets('expect'),
  upgrade: octets('upgrade'),
  forwarded: octets('forwarded'),
  realIp: octets('x-real-ip'),
  connection: octets('connection'),
  keepAlive: octets('keep-alive'),
  xForwarded: octets('x-forwarded'),
  xAuthRequest: octets('x-auth-request'),
  authorization: octets('authorization'),
  contentLength: octets('content-length'),
  proxyConnection: octets('proxy-connection'),
  transferEncoding: octets('transfer-encoding'),
} as const;

const DASH = 0x2d;

/** The kind of the name at `bytes[start, end)`. */
export function kindOf(bytes: Uint8Array, start: number, end: number): number {
  switch (end - start) {
    case 2:
      return matches(bytes, start, NAMES.te, LOWER) ? KIND.TE : KIND.OTHER;
    case 4:
      return matches(bytes, start, NAMES.host, LOWER) ? KIND.HOST : KIND.OTHER;
    case 6:
      if (matches(bytes, start, NAMES.cookie, LOWER)) return KIND.COOKIE;
      return matches(bytes, start, NAMES.expect, LOWER) ? KIND.EXPECT : KIND.OTHER;
    case 7:
      return matches(bytes, start, NAMES.upgrade, LOWER) ? KIND.UPGRADE : KIND.OTHER;
    case 9:
      if (matches(bytes, start, NAMES.forwarded, LOWER)) return KIND.FORWARDING;
      return matches(bytes, start, NAMES.realIp, FOLDED) ? KIND.FORWARDING : KIND.OTHER;
    case 10:
      if (matches(bytes, start, NAMES.connection, LOWER)) return KIND.CONNECTION;
      return matches(bytes, start, NAMES.keepAlive, FOLDED) ? KIND.HOP : KIND.OTHER;
    case 13:
      if (matches(bytes, start, NAMES.authorization, LOWER)) return KIND.AUTHORIZATION;
      return prefixKind(bytes, start, end);
    case 14:
      return framingKind(bytes, start, NAMES.contentLength, KIND.CONTENT_LENGTH);
    case 17:
      return framingKind(bytes, start, NAMES.transferEncoding, KIND.TRANSFER_ENCODING);
    case 16:
      if (matches(bytes, start, NAMES.proxyConnection, FOLDED)) return KIND.HOP;
      return prefixKind(bytes, start, end);
    default:
      return prefixKind(bytes, start, end);
  }
}

function framingKind(bytes: Uint8Array, start: number, name: Uint8Array, kind: number): number {
  if (!matches(bytes, start, name, FOLDED)) return prefixKind(bytes, start, start + name.length);
  return matches(bytes, start, name, LOWER) ? kind : KIND.FRAMING_ALIAS;
}

/** `x-forwarded` alone and whatever follows it after a dash, in any spelling of the dash. */
function prefixKind(bytes: Uint8Array, start: number, end: number): number {
  if (hasPrefix(bytes, start, end, NAMES.xForwarded)) return KIND.FORWARDING;
  return hasPrefix(bytes, start, end, NAMES.xAuthRequest) ? KIND.IDENTITY : KIND.OTHER;
}

function hasPrefix(bytes: Uint8Array, start: number, end: number, prefix: Uint8Array): boolean {
  if (end - start < prefix.length || !matches(bytes, start, prefix, FOLDED)) return false;
  return end - start === prefix.length || FOLDED[bytes[start + prefix.length] as number] === DASH;
}
