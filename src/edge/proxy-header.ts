// The header by which a proxy says who visits: PROXY protocol, version 1 (text) and 2 (binary).
//
//   bytes so far --> 'more' | 'refused' | the header, its length, and who it names
//
// Invariant: pure, and a function of the bytes from the first on, so that it does not matter how
// they were cut; no header is longer than PROXY_HEADER_BYTES_MAX, and the first byte that fits
// none is refused. Must not know: sockets, or who may send a header. Specification: "The PROXY
// protocol, versions 1 & 2" of HAProxy, 2020/03/05.

import type { Endpoint } from '../base/ip.ts';
import { readProxyV1 } from './proxy-v1.ts';
import { readProxyV2 } from './proxy-v2.ts';

export interface ProxyHeader {
  readonly bytes: number;
  /** Who visits; undefined when the proxy speaks for itself (LOCAL) or does not know (UNKNOWN). */
  readonly source: Endpoint | undefined;
  /** Where the visitor arrived; undefined together with `source`. */
  readonly destination: Endpoint | undefined;
}

export type ProxyVerdict = ProxyHeader | 'more' | 'refused';

/** Both begin with bytes that cannot be taken for the other's. */
const FIRST_V1 = 0x50;
const FIRST_V2 = 0x0d;

/** Reads the header at the beginning of `bytes`, which are all that came so far. */
export function readProxyHeader(bytes: Buffer): ProxyVerdict {
  if (bytes.length === 0) return 'more';
  if (bytes[0] === FIRST_V1) return readProxyV1(bytes);
  return bytes[0] === FIRST_V2 ? readProxyV2(bytes) : 'refused';
}
