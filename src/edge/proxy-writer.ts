// Writes the header that tells an upstream who visits: PROXY protocol, version 1 or 2.
//
// Invariant: what is written reads back as the same visitor; source and destination are of one
// family, for neither version can mix them; a visitor without an IP address is said to be unknown
// rather than made up. Must not know: sockets, or which upstream wants a header.

import { type Endpoint, IPV4_BYTES, ipBytes, ipText, mapped } from '../base/ip.ts';
import { PROXY_V2, PROXY_V2_START } from './proxy-v2.ts';

export type ProxyVersion = 'v1' | 'v2';

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
  const from = ipBytes(source.address);
  if (from === undefined) return version === 'v1' ? Buffer.from(UNKNOWN_V1) : fixedPart(0, 0);
  const to = ipBytes(destination?.address ?? '') ?? new Uint8Array(from.length);
  const isIpv4 = from.length === IPV4_BYTES && to.length === IPV4_BYTES;
  const addresses = isIpv4 ? ([from, to] as const) : ([mapped(from), mapped(to)] as const);
  const ports = [source.port, destination?.port ?? 0] as const;
  if (version === 'v2') return binary(addresses, ports);
  const words = ['PROXY', isIpv4 ? 'TCP4' : 'TCP6', ...addresses.map(ipText), ...ports];
  return Buffer.from(`${words.join(' ')}\r\n`, 'latin1');
}

function binary(
  [from, to]: readonly [Uint8Array, Uint8Array],
  [fromPort, toPort]: readonly [number, number],
): Buffer {
  const width = from.length;
  const family = width === IPV4_BYTES ? PROXY_V2.TCP4 : PROXY_V2.TCP6;
  const ports = Buffer.alloc(4);
  ports.writeUInt16BE(fromPort, 0);
  ports.writeUInt16BE(toPort, 2);
  return Buffer.concat([fixedPart(family, width * 2 + ports.length), from, to, ports]);
}

/** With a family of 0 the address is unspecified: the receiver keeps what its socket says. */
function fixedPart(family: number, lengthBytes: number): Buffer {
  const tail = Buffer.from([VERSION_AND_PROXY, family, 0, 0]);
  tail.writeUInt16BE(lengthBytes, 2);
  return Buffer.concat([PROXY_V2_START, tail]);
}
