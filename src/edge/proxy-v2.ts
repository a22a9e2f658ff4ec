// Version 2 of the PROXY protocol: a signature, a fixed part, addresses, and extensions (TLV).
//
//   0           12        13      14        16                       16 + length
//   | signature | ver|cmd | family | length | addresses | TLV ... |
//
// Invariant: the whole header is within PROXY_V2_BYTES_MAX; no extension reaches past the length;
// a checksum that is there must be right. Must not know: version 1, or what extensions mean.

import { type Endpoint, ipText, unmapped } from '../base/ip.ts';
import { crc32c } from './crc32c.ts';
import type { ProxyVerdict } from './proxy-header.ts';

/** What every header of version 2 begins with (specification). */
export const PROXY_V2_START = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');
/** Fixed part, addresses and extensions. Guess: certificates in TLVs are larger and not for us. */
export const PROXY_V2_BYTES_MAX = 4096;

export const PROXY_V2 = {
  VERSION: 2,
  LOCAL: 0,
  PROXY: 1,
  UNSPEC: 0x00,
  TCP4: 0x11,
  TCP6: 0x21,
  UDP4: 0x12,
  UDP6: 0x22,
  FIXED_BYTES: 16,
} as const;

const COMMAND_AT = 12;
const FAMILY_AT = 13;
const LENGTH_AT = 14;
const TLV_HEADER_BYTES = 3;
const TLV_CRC32C = 0x03;
const CRC_BYTES = 4;

/** Bytes of the addresses, by family and protocol (specification); nothing else is valid. */
const ADDRESS_BYTES: ReadonlyMap<number, number> = new Map([
  [PROXY_V2.UNSPEC, 0],
  [PROXY_V2.TCP4, 12],
  [PROXY_V2.UDP4, 12],
  [PROXY_V2.TCP6, 36],
  [PROXY_V2.UDP6, 36],
  [0x31, 216],
  [0x32, 216],
]);

export function readProxyV2(bytes: Buffer): ProxyVerdict {
  const known = Math.min(bytes.length, PROXY_V2_START.length);
  if (bytes.compare(PROXY_V2_START, 0, known, 0, known) !== 0) return 'refused';
  if (bytes.length <= COMMAND_AT) return 'more';
  const command = (bytes[COMMAND_AT] as number) - PROXY_V2.VERSION * 16;
  if (command !== PROXY_V2.LOCAL && command !== PROXY_V2.PROXY) return 'refused';
  if (bytes.length <= FAMILY_AT) return 'more';
  const family = bytes[FAMILY_AT] as number;
  // LOCAL: family and all that follows are to be skipped.
  const addressBytes = command === PROXY_V2.LOCAL ? 0 : ADDRESS_BYTES.get(family);
  if (addressBytes === undefined) return 'refused';
  if (bytes.length < PROXY_V2.FIXED_BYTES) return 'more';
  const length = bytes.readUInt16BE(LENGTH_AT);
  const total = PROXY_V2.FIXED_BYTES + length;
  if (total > PROXY_V2_BYTES_MAX || length < addressBytes) return 'refused';
  if (bytes.length < total) return 'more';
  const header = bytes.subarray(0, total);
  const isSkipped = addressBytes === 0;
  if (!isSkipped && !checkExtensions(header, PROXY_V2.FIXED_BYTES + addressBytes)) return 'refused';
  return { bytes: total, ...endpointsOf(header, isSkipped ? PROXY_V2.UNSPEC : family) };
}

/** Only streams over IP name addresses that a visitor of ours can have. */
function endpointsOf(
  header: Buffer,
  family: number,
): { source: Endpoint | undefined; destination: Endpoint | undefined } {
  if (family !== PROXY_V2.TCP4 && family !== PROXY_V2.TCP6) {
    return { source: undefined, destination: undefined };
  }
  const width = family === PROXY_V2.TCP4 ? 4 : 16;
  const ports = PROXY_V2.FIXED_BYTES + width * 2;
  const address = (from: number): string => ipText(unmapped(header.subarray(from, from + width)));
  return {
    source: { address: address(PROXY_V2.FIXED_BYTES), port: header.readUInt16BE(ports) },
    destination: {
      address: address(PROXY_V2.FIXED_BYTES + width),
      port: header.readUInt16BE(ports + 2),
    },
  };
}

/** Walks the extensions from `at` to the end of the header. */
function checkExtensions(header: Buffer, at: number): boolean {
  let checksumAt = -1;
  let next = at;
  while (next < header.length) {
    if (next + TLV_HEADER_BYTES > header.length) return false;
    const value = next + TLV_HEADER_BYTES;
    const length = header.readUInt16BE(next + 1);
    if (value + length > header.length) return false;
    if (header[next] === TLV_CRC32C) {
      if (length !== CRC_BYTES || checksumAt !== -1) return false;
      checksumAt = value;
    }
    next = value + length;
  }
  return checksumAt === -1 || isChecksumRight(header, checksumAt);
}

/** Over the whole header, with zeros in place of the checksum (specification). */
function isChecksumRight(header: Buffer, at: number): boolean {
  const copy = Buffer.from(header);
  copy.fill(0, at, at + CRC_BYTES);
  return crc32c(copy) === header.readUInt32BE(at);
}
