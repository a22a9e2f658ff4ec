// Writes the header that tells an upstream who visits: PROXY protocol, version 1 or 2.
//
// Invariant: what is written reads back as the same visitor; source and destination are of one
// family, for neither version can mix them; a visitor without an IP address is said to be unknown
// rather than made up. Must not know: sockets, or which upstream wants a header.

import { type Endpoint, IPV4_BYTES, ipBytes, ipText, mapped } from '../base/ip.ts';
import { PROXY_V2, PROXY_V2_START } from './proxy-v2.ts';

export type ProxyVersion = 'v1' | 'v2';

/** Addresses of one family, and the ports. */
interface Ends {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
  readonly ports: readonly [from: number, to: number];
}

interface Families {
  readonly ipv4: number;
  readonly ipv6: number;
}

const STREAM: Families = { ipv4: PROXY_V2.TCP4, ipv6: PROXY_V2.TCP6 };
const DATAGRAM: Families = { ipv4: PROXY_V2.UDP4, ipv6: PROXY_V2.UDP6 };

const UNKNOWN_V1 = Buffer.from('PROXY UNKNOWN\r\n', 'latin1');
const VERSION_AND_PROXY = PROXY_V2.VERSION * 16 + PROXY_V2.PROXY;

/**
 * The header for a visitor at `source` that arrived at `destination`. Where the latter is not
 * known it is all zeros: upstreams want the source, and every reader takes zeros.
 */
export function encodeProxyHeader(
  version: ProxyVersion,
  source: Endpoint,
  destination: Endpoint | undefined,
): Buffer {
  const ends = endsOf(source, destination);
  if (version === 'v2') return binary(ends, STREAM);
  if (ends === undefined) return Buffer.from(UNKNOWN_V1);
  const { from, to, ports } = ends;
  const word = from.length === IPV4_BYTES ? 'TCP4' : 'TCP6';
  const words = ['PROXY', word, ipText(from), ipText(to), ...ports];
  return Buffer.from(`${words.join(' ')}\r\n`, 'latin1');
}

/** What stands before a datagram of that visitor; version 1 has no words for it. */
export function encodeDatagramHeader(source: Endpoint, destination: Endpoint | undefined): Buffer {
  return binary(endsOf(source, destination), DATAGRAM);
}

/** Undefined for a visitor without an IP address. */
function endsOf(source: Endpoint, destination: Endpoint | undefined): Ends | undefined {
  const from = ipBytes(source.address);
  if (from === undefined) return undefined;
  const to = ipBytes(destination?.address ?? '') ?? new Uint8Array(from.length);
  const ports = [source.port, destination?.port ?? 0] as const;
  const isOne = from.length === to.length;
  return isOne ? { from, to, ports } : { from: mapped(from), to: mapped(to), ports };
}

function binary(ends: Ends | undefined, { ipv4, ipv6 }: Families): Buffer {
  if (ends === undefined) return fixedPart(PROXY_V2.UNSPEC, 0);
  const { from, to } = ends;
  const [fromPort, toPort] = ends.ports;
  const width = from.length;
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(fromPort, 0);
  ports.writeUInt16BE(toPort, 2);
  const head = fixedPart(width === IPV4_BYTES ? ipv4 : ipv6, width * 2 + ports.length);
  return Buffer.concat([head, from, to, ports]);
}

/** With a family of 0 the address is unspecified: the receiver keeps what its socket says. */
function fixedPart(family: number, lengthBytes: number): Buffer {
  const tail = Buffer.from([VERSION_AND_PROXY, family, 0, 0]);
  tail.writeUInt16BE(lengthBytes, 2);
  return Buffer.concat([PROXY_V2_START, tail]);
}
