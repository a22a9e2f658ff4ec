// SOCKS version 5 as a proxy hears it, without a login and with CONNECT alone (RFC 1928).
//
//   client: 05 n methods...            proxy: 05 00, or 05 ff for none that we speak
//   client: 05 01 00 type host port    proxy: 05 code 00 01 0.0.0.0:0
//
// Invariant: nothing is read beyond a message, so that what comes behind it is the target's; a name
// is one that a dial may have, as base/target.ts has it. Must not know: sockets, or who dials.

import type { ErrorCode } from '../base/errors.ts';
import { IPV4_BYTES, IPV6_BYTES, ipText } from '../base/ip.ts';
import { readHost, type Target } from '../base/target.ts';

const VERSION = 5;
const METHOD_OPEN = 0;
const CONNECT = 1;
const TYPE_IPV4 = 1;
const TYPE_NAME = 3;
const TYPE_IPV6 = 4;
/** Version, command, reserved, type. */
const REQUEST_HEAD_BYTES = 4;
const PORT_BYTES = 2;

/** RFC 1928 section 6. */
export const SOCKS_REPLY = {
  OK: 0,
  FAILED: 1,
  NOT_ALLOWED: 2,
  UNREACHABLE: 4,
  REFUSED: 5,
  TIMED_OUT: 6,
  COMMAND: 7,
  ADDRESS_TYPE: 8,
} as const;

export type SocksReply = (typeof SOCKS_REPLY)[keyof typeof SOCKS_REPLY];

/** `refused`: not SOCKS 5 at all. */
export type GreetingVerdict =
  | 'more'
  | 'refused'
  | { readonly bytes: number; readonly isOpen: boolean };

export function readSocksGreeting(bytes: Buffer): GreetingVerdict {
  if (bytes.length > 0 && bytes[0] !== VERSION) return 'refused';
  const methods = bytes[1];
  if (methods === undefined) return 'more';
  const end = 2 + methods;
  if (bytes.length < end) return 'more';
  return { bytes: end, isOpen: bytes.subarray(2, end).includes(METHOD_OPEN) };
}

export type RequestVerdict =
  | 'more'
  | { readonly refusal: SocksReply }
  | { readonly bytes: number; readonly target: Target };

export function readSocksRequest(bytes: Buffer): RequestVerdict {
  const [version, command, , type, nameBytes] = bytes;
  if (version !== undefined && version !== VERSION) return { refusal: SOCKS_REPLY.FAILED };
  if (type === undefined) return 'more';
  if (command !== CONNECT) return { refusal: SOCKS_REPLY.COMMAND };
  const length = hostBytes(type, nameBytes);
  if (length === 'unknown') return { refusal: SOCKS_REPLY.ADDRESS_TYPE };
  if (length === 'more') return 'more';
  const start = REQUEST_HEAD_BYTES + (type === TYPE_NAME ? 1 : 0);
  const end = start + length;
  if (bytes.length < end + PORT_BYTES) return 'more';
  const field = bytes.subarray(start, end);
  const host = type === TYPE_NAME ? readHost(field.toString('latin1')) : ipText(field);
  const port = bytes.readUInt16BE(end);
  if (host === undefined || port === 0) return { refusal: SOCKS_REPLY.FAILED };
  return { bytes: end + PORT_BYTES, target: { host, port } };
}

function hostBytes(type: number, nameBytes: number | undefined): number | 'more' | 'unknown' {
  if (type === TYPE_IPV4) return IPV4_BYTES;
  if (type === TYPE_IPV6) return IPV6_BYTES;
  if (type !== TYPE_NAME) return 'unknown';
  return nameBytes ?? 'more';
}

export function encodeSocksMethod(isOpen: boolean): Buffer {
  return Buffer.from([VERSION, isOpen ? METHOD_OPEN : 0xff]);
}

/** The address that was bound is nobody's business here: all zeros, as RFC 1928 proxies do. */
export function encodeSocksReply(reply: SocksReply): Buffer {
  return Buffer.from([VERSION, reply, 0, TYPE_IPV4, 0, 0, 0, 0, 0, 0]);
}

/** What is said of a dial that failed with `code`. */
export function socksReplyOf(code: ErrorCode): SocksReply {
  if (code.startsWith('SLW_FORWARD_')) return SOCKS_REPLY.NOT_ALLOWED;
  if (code === 'SLW_STREAM_REFUSED') return SOCKS_REPLY.REFUSED;
  if (code === 'SLW_STREAM_UNREACHABLE') return SOCKS_REPLY.UNREACHABLE;
  const isLate = code === 'SLW_STREAM_CONNECT_TIMEOUT' || code === 'SLW_STREAM_OPEN_TIMEOUT';
  return isLate ? SOCKS_REPLY.TIMED_OUT : SOCKS_REPLY.FAILED;
}
