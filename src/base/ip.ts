// IP addresses: text to bytes and back, strictly, and the one form in which two are compared.
//
// Invariant: only what RFC 4291 2.2 and dotted decimal allow passes, without leading zeros in IPv4,
// zones, brackets or ports; an IPv4 address inside IPv6 (`::ffff:a.b.c.d`) is that IPv4 address
// wherever addresses are compared. Must not know: sockets, or what an address is allowed to do.

/** One end of a connection. */
export interface Endpoint {
  /** An IP address without brackets or zone. */
  readonly address: string;
  readonly port: number;
}

export const IPV4_BYTES = 4;
export const IPV6_BYTES = 16;
/** Letters of an IPv6 address with an IPv4 tail, RFC 4291 2.2. */
export const IP_LENGTH_MAX = 45;

const GROUPS = 8;
const MAPPED_PREFIX = '::ffff:';
/** Where the IPv4 address begins in a mapped one. */
const MAPPED_AT = 12;

/** The 4 or 16 bytes of an address; undefined for any other text. */
export function ipBytes(text: string): Uint8Array | undefined {
  if (text.length > IP_LENGTH_MAX) return undefined;
  return text.includes(':') ? ipv6Bytes(text) : ipv4Bytes(text);
}

/** As text, by RFC 5952: lower case, no leading zeros, the longest run of zeros as `::`. */
export function ipText(bytes: Uint8Array): string {
  return bytes.length === IPV4_BYTES ? bytes.join('.') : ipv6Text(bytes);
}

/** The IPv4 address in a mapped one, and any other as it is. */
export function unmapped(bytes: Uint8Array): Uint8Array {
  if (bytes.length !== IPV6_BYTES || bytes[10] !== 0xff || bytes[11] !== 0xff) return bytes;
  for (let index = 0; index < 10; index += 1) if (bytes[index] !== 0) return bytes;
  return bytes.subarray(MAPPED_AT);
}

/** An IPv4 address as the IPv6 address that maps it, and an IPv6 address as it is. */
export function mapped(bytes: Uint8Array): Uint8Array {
  if (bytes.length === IPV6_BYTES) return bytes;
  const wide = new Uint8Array(IPV6_BYTES);
  wide.fill(0xff, 10, MAPPED_AT);
  wide.set(bytes, MAPPED_AT);
  return wide;
}

/** The form in which addresses are compared; undefined for what is no address. */
export function canonicalIp(text: string): string | undefined {
  const bytes = ipBytes(text);
  return bytes === undefined ? undefined : ipText(unmapped(bytes));
}

/** The host of a URL, in which an IPv6 address has brackets. */
export function unbracketed(host: string): string {
  return host.startsWith('[') && host.endsWith(']') ? host.slice(1, -1) : host;
}

/** What a socket says of itself: IPv4 on a dual-stack listener as IPv4, and none with a zone. */
export function plainAddress(address: string): string {
  const zone = address.indexOf('%');
  const bare = zone === -1 ? address : address.slice(0, zone);
  const isMapped = bare.startsWith(MAPPED_PREFIX) && bare.includes('.');
  return isMapped ? bare.slice(MAPPED_PREFIX.length) : bare;
}

function ipv4Bytes(text: string): Uint8Array | undefined {
  const parts = text.split('.');
  if (parts.length !== IPV4_BYTES) return undefined;
  const bytes = new Uint8Array(IPV4_BYTES);
  for (const [index, part] of parts.entries()) {
    const value = Number(part);
    // Compared as text, so that '', ' 1', '01', '0x1' and '1e1' are none.
    if (!(value >= 0 && value <= 255) || String(value) !== part) return undefined;
    bytes[index] = value;
  }
  return bytes;
}

function ipv6Bytes(text: string): Uint8Array | undefined {
  const [head = '', tail, ...more] = text.split('::');
  if (more.length > 0) return undefined;
  const left = groupsOf(head, tail === undefined);
  const right = tail === undefined ? [] : groupsOf(tail, true);
  if (left === undefined || right === undefined) return undefined;
  const missing = GROUPS - left.length - right.length;
  // A `::` stands for one group of zeros at least.
  if (tail === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...left, ...new Array<number>(missing).fill(0), ...right];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** Groups between colons; the very last of an address may be IPv4 and counts as two. */
function groupsOf(text: string, isEnd: boolean): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const pieces = text.split(':');
  for (const [index, piece] of pieces.entries()) {
    if (isEnd && index === pieces.length - 1 && piece.includes('.')) {
      const bytes = ipv4Bytes(piece);
      if (bytes === undefined) return undefined;
      const [a = 0, b = 0, c = 0, d = 0] = bytes;
      groups.push(a * 256 + b, c * 256 + d);
    } else {
      if (!/^[0-9a-f]{1,4}$/i.test(piece)) return undefined;
      groups.push(Number.parseInt(piece, 16));
    }
  }
  return groups;
}

function ipv6Text(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let at = 0; at < IPV6_BYTES; at += 2) {
    groups.push((bytes[at] as number) * 256 + (bytes[at + 1] as number));
  }
  const { start, length } = longestZeros(groups);
  const text = (part: readonly number[]): string =>
    part.map((group) => group.toString(16)).join(':');
  if (length < 2) return text(groups);
  return `${text(groups.slice(0, start))}::${text(groups.slice(start + length))}`;
}

function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, group] of groups.entries()) {
    if (group !== 0) start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  }
  return best;
}

/** Of a peer as logs and status show it, `192.0.2.1:4711` or `2001:db8::1:4711`: the address. */
export function withoutPort(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(':'));
}
