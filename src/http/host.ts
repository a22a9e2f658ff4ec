// The one form in which a host is compared: lower case, without port and without a trailing dot.
//
// Invariant: what passes holds only `[a-z0-9._-]`, without empty labels, or is an IPv6 literal in
// brackets; at most 255 bytes. Two hosts are the same if and only if their canonical forms are.
// Must not know: where a host came from, or which tunnels exist.

import {
  BRACKET_CLOSE,
  BRACKET_OPEN,
  COLON,
  DOT,
  HOST,
  IPV6,
  LOWER,
  NINE,
  ZERO,
} from './octets.ts';

/** RFC 1035 2.3.4. */
const HOST_BYTES_MAX = 255;
/** An IPv6 address with an IPv4 tail, RFC 4291 2.2. */
const IPV6_BYTES_MAX = 45;
const PORT_MAX = 65_535;

/** Reads `host [":" port]`, and keeps the last answer: a visitor asks for the same host again. */
export class HostReader {
  /** Canonical host. */
  host = '';
  /** Port as given, -1 when there is none. */
  port = -1;
  #length = 0;
  readonly #last = new Uint8Array(HOST_BYTES_MAX + 8);

  /** False: not one valid host, and `host` and `port` say nothing. */
  read(bytes: Buffer, start: number, end: number): boolean {
    const length = end - start;
    if (length === this.#length && length > 0 && this.#isSame(bytes, start)) return true;
    this.#length = 0;
    if (length === 0 || length > this.#last.length) return false;
    const isLiteral = bytes[start] === BRACKET_OPEN;
    const nameEnd = (isLiteral ? ipv6End : hostEnd)(bytes, start, end);
    if (nameEnd < 0) return false;
    const port = portAt(bytes, nameEnd, end);
    if (port === PORT_BAD) return false;
    const text = bytes.toString('latin1', start, nameEnd).toLowerCase();
    this.host = text.endsWith('.') ? text.slice(0, -1) : text;
    this.port = port;
    this.#last.set(bytes.subarray(start, end));
    this.#length = length;
    return true;
  }

  #isSame(bytes: Buffer, start: number): boolean {
    for (let i = 0; i < this.#length; i += 1) {
      if (bytes[start + i] !== this.#last[i]) return false;
    }
    return true;
  }
}

const PORT_NONE = -1;
const PORT_BAD = -2;

/** The canonical form of `text`, or undefined when it is not one valid host. */
export function canonicalHost(text: string): string | undefined {
  const reader = new HostReader();
  const bytes = Buffer.from(text, 'utf8');
  return reader.read(bytes, 0, bytes.length) ? reader.host : undefined;
}

/** Where a registered name or an IPv4 address ends, -1 when it is none. */
function hostEnd(bytes: Uint8Array, start: number, end: number): number {
  let labelStart = start;
  let i = start;
  for (; i < end && bytes[i] !== COLON; i += 1) {
    const octet = LOWER[bytes[i] as number] as number;
    if (HOST[octet] === 0) return -1;
    if (octet !== DOT) continue;
    if (i === labelStart) return -1;
    labelStart = i + 1;
  }
  const nameBytes = labelStart === i ? i - start - 1 : i - start;
  return nameBytes > 0 && nameBytes <= HOST_BYTES_MAX ? i : -1;
}

/** Where `[` address `]` ends. */
function ipv6End(bytes: Buffer, start: number, end: number): number {
  let i = start + 1;
  while (i < end && i - start <= IPV6_BYTES_MAX && IPV6[bytes[i] as number] === 1) i += 1;
  if (i >= end || bytes[i] !== BRACKET_CLOSE) return -1;
  return isIpv6(bytes.toString('latin1', start + 1, i)) ? i + 1 : -1;
}

/** RFC 4291 2.2: eight groups, one `::` for at least one of them, the last two maybe as IPv4. */
function isIpv6(text: string): boolean {
  const halves = text.split('::');
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [index, half] of halves.entries()) {
    const pieces = half === '' ? [] : half.split(':');
    for (const [at, piece] of pieces.entries()) {
      const isLast = index === halves.length - 1 && at === pieces.length - 1;
      if (isLast && piece.includes('.')) {
        if (!isIpv4(piece)) return false;
        groups += 1;
      } else if (piece.length === 0 || piece.length > 4 || piece.includes('.')) {
        return false;
      }
      groups += 1;
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

function isIpv4(text: string): boolean {
  const pieces = text.split('.');
  return (
    pieces.length === 4 &&
    pieces.every((piece) => piece === String(Number(piece)) && Number(piece) <= 255)
  );
}

/** The port after `at`: PORT_NONE when there is none, `host:` included. */
function portAt(bytes: Uint8Array, at: number, end: number): number {
  if (at === end) return PORT_NONE;
  if (bytes[at] !== COLON || end - at > 6) return PORT_BAD;
  if (at + 1 === end) return PORT_NONE;
  let port = 0;
  for (let i = at + 1; i < end; i += 1) {
    const octet = bytes[i] as number;
    if (octet < ZERO || octet > NINE) return PORT_BAD;
    port = port * 10 + (octet - ZERO);
  }
  return port <= PORT_MAX ? port : PORT_BAD;
}
