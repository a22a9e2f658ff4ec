// What may be dialled for a client from the exit node's network: rules of `HOST:PORTS`.
//
//   nats.default.svc:4222    a name             *.svc:*           every name below it, any port
//   10.0.0.0/8:5432          addresses          *:8000-8100       whatever the system resolves
//
// Invariant: an address is judged, not a name alone: where a name leads is known only once it was
// resolved, and that very address is dialled. Reserved addresses (this machine, its link, its
// cloud's metadata, no hosts at all) are reached only by a rule that names them: by an address or a
// network inside what is reserved, or by `localhost`. Plain data. Must not know: who asks.

import { canonicalIp } from './ip.ts';
import { type Network, readNetwork, showNetwork } from './network.ts';
import { type AddressSet, NetworkSet } from './network-set.ts';
import {
  bracketed,
  PORT_MAX,
  type PortRange,
  readHostName,
  readPortRange,
  showPortRange,
} from './target.ts';

export interface ForwardRule extends PortRange {
  /** A name, `*.` before one, or `*`; or addresses. */
  readonly host: string | Network;
}

/** `reserved`: a rule fits, but none names the address. */
export type ForwardVerdict = 'allowed' | 'denied' | 'reserved';

const RIGHT = 'write HOST:PORT, such as nats.default.svc:4222, *.svc:*, or 10.0.0.0/8:8000-8100';
const LOCALHOST = 'localhost';

/** RFC 6890 and its registries, and where clouds keep secrets outside of link-local networks. */
const LOOPBACK = ['127.0.0.0/8', '::1/128'];
const RESERVED = [
  ...LOOPBACK,
  // "This network": Linux connects 0.0.0.0 and :: to itself.
  ...['0.0.0.0/8', '::/128'],
  // Link-local, which holds 169.254.169.254.
  ...['169.254.0.0/16', 'fe80::/10'],
  // Many, nobody, or everybody.
  ...['224.0.0.0/4', '240.0.0.0/4', 'ff00::/8'],
  // IETF protocols, of which Oracle's metadata (192.0.0.192) is a neighbour.
  '192.0.0.0/24',
  // Metadata of Alibaba, Azure, AWS and Google.
  ...['100.100.100.200/32', '168.63.129.16/32', 'fd00:ec2::/32', 'fd20:ce::/32'],
  // Of Scaleway, Akamai, Oracle and Alibaba, as one address each: the networks around it are such
  // as people choose for themselves.
  ...['fd00:42::42/128', 'fd00:a9fe:a9fe::1/128', 'fd00:c1::a9fe:a9fe/128'],
  'fd00:100::100:200/128',
  // An IPv4 address in another form, which a router may unwrap: compatible, translated, NAT64,
  // Teredo, 6to4.
  ...['::/96', '::ffff:0:0:0/96', '64:ff9b::/96', '64:ff9b:1::/48', '2001::/32', '2002::/16'],
].map(networkOf);
const reserved = new NetworkSet(RESERVED);
const loopback = new NetworkSet(LOOPBACK.map(networkOf));

/** Reads a rule, or gives what is wrong with the text as the rest of a sentence about it. */
export function readForwardRule(text: string): ForwardRule | string {
  const colon = text.lastIndexOf(':');
  const ports = readPorts(text.slice(colon + 1));
  const isBareIpv6 = canonicalIp(text)?.includes(':') === true;
  if (colon === -1 || ports === undefined || isBareIpv6) return `is no rule; ${RIGHT}`;
  const hostText = text.slice(0, colon);
  const inner = /^\[([^\]]*)\]$/.exec(hostText)?.[1];
  const network = readNetwork(inner ?? hostText);
  if (typeof network !== 'string') {
    const isMissingBrackets = inner === undefined && hostText.includes(':');
    if (isMissingBrackets) return `has an IPv6 address without brackets; write [${hostText}]`;
    return { host: network, ...ports };
  }
  if (inner !== undefined || hostText.includes('/')) return network;
  const name = readNamePattern(hostText);
  return name === undefined ? `has no valid host; ${RIGHT}` : { host: name, ...ports };
}

export function showForwardRule({ host, ...ports }: ForwardRule): string {
  const isAll = ports.first === 1 && ports.last === PORT_MAX;
  return `${showHost(host)}:${isAll ? '*' : showPortRange(ports)}`;
}

export class ForwardRules {
  readonly #rules: readonly ReadyRule[];

  constructor(rules: readonly ForwardRule[]) {
    this.#rules = rules.map((rule) => new ReadyRule(rule));
  }

  /** Is there a rule that could fit, once it is known where the name leads? */
  mayFit(name: string, port: number): boolean {
    return this.#rules.some((rule) => rule.mayFit(name, port));
  }

  /** May `address` be dialled, to which `host` has led: a name, or that address itself? */
  judge(host: string, address: string, port: number): ForwardVerdict {
    const plain = canonicalIp(withoutZone(address));
    if (plain === undefined) return 'denied';
    const fitting = this.#rules.filter((rule) => rule.fits(host, plain, port));
    if (fitting.length === 0) return 'denied';
    if (!reserved.has(plain)) return 'allowed';
    return fitting.some((rule) => rule.names(host, plain)) ? 'allowed' : 'reserved';
  }
}

/** A rule with its set of addresses made. */
class ReadyRule {
  readonly #rule: ForwardRule;
  readonly #addresses: AddressSet | undefined;
  readonly #isReserved: boolean;

  constructor(rule: ForwardRule) {
    this.#rule = rule;
    const { host } = rule;
    this.#addresses = typeof host === 'string' ? undefined : new NetworkSet([host]);
    this.#isReserved = typeof host !== 'string' && RESERVED.some((one) => isInside(host, one));
  }

  mayFit(name: string, port: number): boolean {
    return this.#hasPort(port) && (this.#addresses !== undefined || this.#fitsName(name));
  }

  fits(host: string, address: string, port: number): boolean {
    if (!this.#hasPort(port)) return false;
    return this.#addresses?.has(address) ?? this.#fitsName(host);
  }

  /** Of a rule that fits: is this reserved address what its author meant? */
  names(host: string, address: string): boolean {
    if (this.#addresses !== undefined) return this.#isReserved;
    const isLocalhost = host === LOCALHOST && this.#rule.host === LOCALHOST;
    return isLocalhost && loopback.has(address);
  }

  #hasPort(port: number): boolean {
    return this.#rule.first <= port && port <= this.#rule.last;
  }

  #fitsName(name: string): boolean {
    const { host } = this.#rule;
    if (typeof host !== 'string') return false;
    if (host === '*' || host === name) return true;
    return host.startsWith('*.') && name.endsWith(host.slice(1)) && name !== host.slice(1);
  }
}

function readPorts(text: string): PortRange | undefined {
  return text === '*' ? { first: 1, last: PORT_MAX } : readPortRange(text);
}

function readNamePattern(text: string): string | undefined {
  if (text === '*') return text;
  const isWildcard = text.startsWith('*.');
  const name = readHostName(isWildcard ? text.slice(2) : text);
  return name === undefined || !isWildcard ? name : `*.${name}`;
}

function showHost(host: ForwardRule['host']): string {
  if (typeof host === 'string') return host;
  const { address, prefixBits } = host;
  const isOne = prefixBits === (address.includes(':') ? 128 : 32);
  if (isOne) return bracketed(address);
  return address.includes(':') ? `[${showNetwork(host)}]` : showNetwork(host);
}

function isInside(network: Network, other: Network): boolean {
  const isNarrower = network.prefixBits >= other.prefixBits;
  return isNarrower && new NetworkSet([other]).has(network.address);
}

function withoutZone(address: string): string {
  const zone = address.indexOf('%');
  return zone === -1 ? address : address.slice(0, zone);
}

function networkOf(text: string): Network {
  const read = readNetwork(text);
  if (typeof read === 'string') throw new Error(`${text} ${read}`);
  return read;
}
