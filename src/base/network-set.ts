// Is an address on a list of networks?
//
// Invariant: IPv4 and IPv6 are matched apart, after a mapped IPv4 address was unwrapped: a
// BlockList alone would find every IPv4 address in `::/0`. What is no address is on no list. Must
// not know: what being on the list means.

import { BlockList } from 'node:net';
import { IPV4_BYTES, ipBytes, ipText, unmapped } from './ip.ts';
import { isIpv4Network, type Network } from './network.ts';

/** What a matcher is to those who ask. */
export interface AddressSet {
  has(address: string): boolean;
}

export class NetworkSet implements AddressSet {
  readonly #ipv4 = new BlockList();
  readonly #ipv6 = new BlockList();

  constructor(networks: readonly Network[]) {
    for (const network of networks) {
      const { address, prefixBits } = network;
      if (isIpv4Network(network)) this.#ipv4.addSubnet(address, prefixBits, 'ipv4');
      else this.#ipv6.addSubnet(address, prefixBits, 'ipv6');
    }
  }

  /** For an IP address in text form; a zone is ignored. */
  has(address: string): boolean {
    const zone = address.indexOf('%');
    const bytes = ipBytes(zone === -1 ? address : address.slice(0, zone));
    if (bytes === undefined) return false;
    const plain = unmapped(bytes);
    if (plain.length === IPV4_BYTES) return this.#ipv4.check(ipText(plain), 'ipv4');
    return this.#ipv6.check(ipText(plain), 'ipv6');
  }
}

/** The set of `networks`, or undefined for an empty or absent list: the feature is off. */
export function networkSet(networks: readonly Network[] | undefined): NetworkSet | undefined {
  return networks === undefined || networks.length === 0 ? undefined : new NetworkSet(networks);
}
