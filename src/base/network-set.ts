// Is an address on a list of networks?
//
// Invariant: IPv4 and IPv6 are matched apart, after a mapped IPv4 address was unwrapped, so that no
// IPv4 address is in `::/0`. What is no address is on no list, and not outside of one either. The
// networks lie in order and none within another, so that a lookup halves them: 16 steps for 65,536.
// Must not know: what being on the list means.

import { assert } from './assert.ts';
import { IPV4_BYTES, IPV6_BYTES, ipBytes, unmapped } from './ip.ts';
import type { Network } from './network.ts';

/** What a matcher is to those who ask. */
export interface AddressSet {
  has(address: string): boolean;
}

/**
 * Networks made ready to be looked up, by family: of each its first and its last address, as words
 * of 32 bits, in order. Plain data, which crosses to a shard as it is: of 65,536 networks as
 * objects the shard would stand still for as long as it takes to make them.
 */
export interface NetworkTable {
  readonly ipv4: Uint32Array;
  readonly ipv6: Uint32Array;
}

const IPV4_WORDS = IPV4_BYTES / 4;
const IPV6_WORDS = IPV6_BYTES / 4;

/** The address that is being looked up. */
const wanted = new Uint32Array(IPV6_WORDS);

export class NetworkSet implements AddressSet {
  readonly #table: NetworkTable;
  readonly #holds: 'listed' | 'others';

  /** `others`: every address but those of the networks. */
  constructor(of: readonly Network[] | NetworkTable, holds: 'listed' | 'others' = 'listed') {
    this.#table = 'ipv4' in of ? of : networkTable(of);
    this.#holds = holds;
  }

  /** For an IP address in text form; a zone is ignored. */
  has(address: string): boolean {
    const zone = address.indexOf('%');
    const bytes = ipBytes(zone === -1 ? address : address.slice(0, zone));
    if (bytes === undefined) return false;
    const plain = unmapped(bytes);
    for (let at = 0; at < plain.length; at += 4) wanted[at / 4] = wordAt(plain, at);
    const { ipv4, ipv6 } = this.#table;
    const isListed =
      plain.length === IPV4_BYTES ? isWithin(ipv4, IPV4_WORDS) : isWithin(ipv6, IPV6_WORDS);
    return isListed === (this.#holds === 'listed');
  }
}

/** The set of `networks`, or undefined for an empty or absent list: the feature is off. */
export function networkSet(networks: readonly Network[] | undefined): NetworkSet | undefined {
  return networks === undefined || networks.length === 0 ? undefined : new NetworkSet(networks);
}

/** Every address that is not in `table`; undefined for an empty or absent one: likewise. */
export function outsideOf(table: NetworkTable | undefined): NetworkSet | undefined {
  const isEmpty = table === undefined || table.ipv4.length + table.ipv6.length === 0;
  return isEmpty ? undefined : new NetworkSet(table, 'others');
}

export function networkTable(networks: readonly Network[]): NetworkTable {
  const ranges = networks.map(rangeOf);
  return {
    ipv4: inOrder(ranges.filter(({ length }) => length === 2 * IPV4_WORDS)),
    ipv6: inOrder(ranges.filter(({ length }) => length === 2 * IPV6_WORDS)),
  };
}

/** The words of the first address of a network, and of its last. */
function rangeOf({ address, prefixBits }: Network): readonly number[] {
  const bytes = ipBytes(address);
  assert(bytes !== undefined, 'a network without an address');
  const first: number[] = [];
  const last: number[] = [];
  for (let at = 0; at < bytes.length; at += 4) {
    const word = wordAt(bytes, at);
    const freeBits = Math.min(32, Math.max(0, (at + 4) * 8 - prefixBits));
    first.push(word);
    last.push(word + 2 ** freeBits - 1);
  }
  return [...first, ...last];
}

/** Without those that lie within another: two networks never overlap otherwise. */
function inOrder(ranges: readonly (readonly number[])[]): Uint32Array {
  const words = (ranges[0]?.length ?? 0) / 2;
  const sorted = ranges.toSorted((one, other) => {
    for (let at = 0; at < words; at += 1) {
      const difference = (one[at] ?? 0) - (other[at] ?? 0);
      if (difference !== 0) return difference;
    }
    // The wider one first.
    for (let at = words; at < 2 * words; at += 1) {
      const difference = (other[at] ?? 0) - (one[at] ?? 0);
      if (difference !== 0) return difference;
    }
    return 0;
  });
  const table = new Uint32Array(sorted.length * 2 * words);
  let end = 0;
  for (const range of sorted) {
    for (let at = 0; at < words; at += 1) wanted[at] = range[at] ?? 0;
    if (end > 0 && !isBeyond(table, end - words, words)) continue;
    table.set(range, end);
    end += range.length;
  }
  return table.slice(0, end);
}

/** Is the wanted address, of so many words, in a range of the table? */
function isWithin(table: Uint32Array, words: number): boolean {
  let [from, to] = [0, table.length / (2 * words)];
  // The last range that begins at the address, or before it, is in front of `from`.
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (isBefore(table, middle * 2 * words, words)) to = middle;
    else from = middle + 1;
  }
  return from > 0 && !isBeyond(table, (from * 2 - 1) * words, words);
}

/** Is the wanted address below the one at `at`? */
function isBefore(table: Uint32Array, at: number, words: number): boolean {
  for (let word = 0; word < words; word += 1) {
    const [mine, other] = [wanted[word] ?? 0, table[at + word] ?? 0];
    if (mine !== other) return mine < other;
  }
  return false;
}

/** Is it above? */
function isBeyond(table: Uint32Array, at: number, words: number): boolean {
  for (let word = 0; word < words; word += 1) {
    const [mine, other] = [wanted[word] ?? 0, table[at + word] ?? 0];
    if (mine !== other) return mine > other;
  }
  return false;
}

function wordAt(bytes: Uint8Array, at: number): number {
  const [a = 0, b = 0, c = 0, d = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
  return ((a << 24) | (b << 16) | (c << 8) | d) >>> 0;
}
