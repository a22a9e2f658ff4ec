// One network of an allow list: `10.0.0.0/8`, `2001:db8::/32`, or a single address.
//
// Invariant: no bit behind the prefix is set, so that a list says what it means; a network of
// mapped IPv4 addresses is that IPv4 network, and no other IPv6 network holds IPv4 addresses
// (`::/0` is every IPv6 address). Plain data, for it crosses to shards. Must not know: what a list
// allows, or how one is matched.

import { IPV4_BYTES, ipBytes, ipText, unmapped } from './ip.ts';

export interface Network {
  /** The first address, in canonical form. */
  readonly address: string;
  readonly prefixBits: number;
}

/** Bits in front of the IPv4 address in a mapped one. */
const MAPPED_BITS = 96;
const RIGHT = 'write an address or a network, such as 10.0.0.0/8 or 2001:db8::/32';

/** Reads a network, or gives what is wrong with the text as the rest of a sentence about it. */
export function readNetwork(text: string): Network | string {
  const parts = readParts(text);
  if (typeof parts === 'string') return parts;
  const { bytes, bits } = parts;
  const first = masked(bytes, bits);
  if (first.some((byte, index) => byte !== bytes[index])) {
    return `has bits set behind the prefix; write ${ipText(first)}/${bits}`;
  }
  return networkFrom(first, bits);
}

/** Where others mean the network that the address is in: `203.0.113.7/24` is `203.0.113.0/24`. */
export function readNetworkAround(text: string): Network | string {
  const parts = readParts(text);
  if (typeof parts === 'string') return parts;
  return networkFrom(masked(parts.bytes, parts.bits), parts.bits);
}

interface Parts {
  readonly bytes: Uint8Array;
  readonly bits: number;
}

function readParts(text: string): Parts | string {
  const slash = text.indexOf('/');
  const bytes = ipBytes(slash === -1 ? text : text.slice(0, slash));
  if (bytes === undefined) return `is not a network; ${RIGHT}`;
  const bitsMax = bytes.length * 8;
  const bits = slash === -1 ? bitsMax : readPrefix(text.slice(slash + 1), bitsMax);
  if (bits === undefined) return `has no valid prefix; write a number from 0 to ${bitsMax}`;
  return { bytes, bits };
}

function networkFrom(first: Uint8Array, bits: number): Network {
  const plain = unmapped(first);
  const prefixBits = plain === first ? bits : bits - MAPPED_BITS;
  return { address: ipText(plain), prefixBits };
}

export function showNetwork({ address, prefixBits }: Network): string {
  return `${address}/${prefixBits}`;
}

export function isIpv4Network({ address }: Network): boolean {
  return ipBytes(address)?.length === IPV4_BYTES;
}

/** Whether `whole` has every address of `part`. */
export function isWithinNetwork(part: Network, whole: Network): boolean {
  if (part.prefixBits < whole.prefixBits) return false;
  const around = readNetworkAround(`${part.address}/${whole.prefixBits}`);
  return typeof around !== 'string' && around.address === whole.address;
}

function readPrefix(text: string, max: number): number | undefined {
  const bits = Number(text);
  return /^(?:0|[1-9]\d{0,2})$/.test(text) && bits <= max ? bits : undefined;
}

function masked(bytes: Uint8Array, bits: number): Uint8Array {
  return bytes.map((byte, index) => {
    const kept = Math.min(8, Math.max(0, bits - index * 8));
    return byte & (0xff << (8 - kept));
  });
}
