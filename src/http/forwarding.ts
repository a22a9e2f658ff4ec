// The fields that tell an upstream who visits: X-Forwarded-*, X-Real-IP, Forwarded, and Via.
//
// Invariant: they say what this exit node saw and nothing that the visitor sent but the Host it
// asked for, which was checked before. Must not know: sockets, or which fields of the visitor's
// are dropped for these.

import type { AddressSet } from '../base/network-set.ts';

export type Scheme = 'http' | 'https';

const NAME = 'sluiceway';
const VIA = { 0: `Via: 1.0 ${NAME}\r\n`, 1: `Via: 1.1 ${NAME}\r\n` } as const;

/** The Via line for a message that arrived as HTTP/1.`minor`. */
export function viaLine(minor: number): string {
  return minor === 0 ? VIA[0] : VIA[1];
}

export interface VisitorOrigin {
  /** IP address in text form, without brackets or zone. */
  readonly address: string;
  readonly scheme: Scheme;
  /** Named as Host toward the upstream when an HTTP/1.0 visitor names none. */
  readonly localAuthority: string;
  /** Set when `address` is one of these proxies: what it says of others is believed. */
  readonly trusted?: AddressSet | undefined;
}

/**
 * The forwarding fields of one visitor connection. They change with the Host only, so are kept: as
 * text, for a small Buffer that lives as long would keep a whole block of Node's (64 KiB).
 */
export class Forwarding {
  readonly origin: VisitorOrigin;
  #authority = '';
  #minor = -1;
  #block = '';
  #hostLine: string | undefined;

  constructor(origin: VisitorOrigin) {
    this.origin = origin;
  }

  /** `Host:` line for requests that came without. */
  get hostLine(): string {
    this.#hostLine ??= `Host: ${this.origin.localAuthority}\r\n`;
    return this.#hostLine;
  }

  /** The fields for a request to the authority `bytes[start, end)`, and the empty line. */
  block(bytes: Buffer, start: number, end: number, minor: number): string {
    if (minor === this.#minor && this.#isSameAuthority(bytes, start, end)) return this.#block;
    this.#minor = minor;
    this.#authority = bytes.toString('latin1', start, end);
    this.#block = this.#text(this.#authority, minor);
    return this.#block;
  }

  #isSameAuthority(bytes: Buffer, start: number, end: number): boolean {
    const known = this.#authority;
    if (known.length !== end - start) return false;
    for (let i = 0; i < known.length; i += 1) {
      if (known.charCodeAt(i) !== bytes[start + i]) return false;
    }
    return true;
  }

  #text(authority: string, minor: number): string {
    const { address, scheme } = this.origin;
    return `${viaLine(minor)}${forwardingText({ chain: [address], scheme, authority })}\r\n`;
  }
}

export interface ForwardedFor {
  /** The visitor, and whoever passed its request on to us. */
  readonly chain: readonly string[];
  readonly scheme: Scheme;
  /** Empty when the visitor names none. */
  readonly authority: string;
}

/** The lines that tell of a visitor. */
export function forwardingText({ chain, scheme, authority }: ForwardedFor): string {
  const [visitor = '', ...hops] = chain;
  const host = authority === '' ? '' : `;host="${authority}"`;
  const hostField = authority === '' ? '' : `X-Forwarded-Host: ${authority}\r\n`;
  const first = `${forwardedNode(visitor)}${host};proto=${scheme}`;
  return (
    `X-Forwarded-For: ${chain.join(', ')}\r\nX-Forwarded-Proto: ${scheme}\r\n` +
    `${hostField}X-Real-IP: ${visitor}\r\n` +
    `Forwarded: ${[first, ...hops.map(forwardedNode)].join(', ')}\r\n`
  );
}

/** RFC 7239 section 6: an IPv6 address is in brackets and quoted. */
function forwardedNode(address: string): string {
  return address.includes(':') ? `for="[${address}]"` : `for=${address}`;
}
