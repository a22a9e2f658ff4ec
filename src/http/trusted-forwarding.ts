// Forwarding fields of a request that a trusted proxy passed on: whom it came from, and through
// whom.
//
//   X-Forwarded-For: forged, visitor, proxy, proxy      from the peer, the last proxy
//                            <------ walked from the right while the address is trusted
//
// Invariant: the visitor is the first address from the right that is not trusted itself; what
// stands left of it, or of anything that is no address, is believed by nobody and sent to nobody.
// Connection cannot take these fields away: proxies (HAProxy) pass on what a visitor names there.
// Routing never looks at any of it. Must not know: sockets, or who is trusted and why.

import { canonicalIp } from '../base/ip.ts';
import { KIND } from './field-kind.ts';
import { forwardingText, type Scheme, type VisitorOrigin, viaLine } from './forwarding.ts';
import { canonicalHost } from './host.ts';
import type { RequestParser } from './request-head.ts';

/** Proxies one behind the other. Guess: no setup has a tenth of it. */
export const HOPS_MAX = 64;

const PREFIX = 'x-forwarded-';
const REPLACED = new Set(['x-forwarded-for', 'x-forwarded-proto', 'x-forwarded-host']);
/** Letters of `[IPv6]:port` at most. */
const ENTRY_LENGTH_MAX = 53;
const PORT_MAX = 65_535;
/** Some proxies (Traefik) name a request that opens a WebSocket by what it asks for. */
const SCHEMES: ReadonlyMap<string, Scheme> = new Map([
  ['http', 'http'],
  ['https', 'https'],
  ['ws', 'http'],
  ['wss', 'https'],
]);
const SP = ' ';
const TAB = '\t';

/** What the fields of a trusted proxy say, by lower-case name. */
interface Said {
  readonly values: ReadonlyMap<string, readonly string[]>;
  /** Lines of X-Forwarded fields that we do not set ourselves, as they came. */
  readonly others: string;
}

/** The fields for `head`, which came from the trusted `origin`, and the empty line. */
export function trustedBlock(head: RequestParser, origin: VisitorOrigin): string {
  const { bytes, base, minor } = head;
  const said = read(head);
  const chain = chainOf(said, origin);
  const authority = bytes.toString('latin1', base + head.authorityStart, base + head.authorityEnd);
  const host = last(said, 'x-forwarded-host');
  const fields = forwardingText({
    chain,
    scheme: schemeOf(last(said, 'x-forwarded-proto')) ?? origin.scheme,
    authority: canonicalHost(host) === undefined ? authority : host,
  });
  return `${viaLine(minor)}${said.others}${fields}\r\n`;
}

/** Who sent `head`: the visitor that a trusted proxy names, or the peer itself. */
export function visitorOf(head: RequestParser, origin: VisitorOrigin): string {
  if (origin.trusted === undefined) return origin.address;
  return chainOf(read(head), origin)[0] ?? origin.address;
}

/** How the visitor came: as a trusted proxy says, or as the peer did. */
export function visitorScheme(head: RequestParser, origin: VisitorOrigin): Scheme {
  if (origin.trusted === undefined) return origin.scheme;
  return schemeOf(last(read(head), 'x-forwarded-proto')) ?? origin.scheme;
}

/** The visitor, the trusted proxies behind it, and the peer. */
function chainOf(said: Said, { address, trusted }: VisitorOrigin): readonly string[] {
  const entries = (said.values.get('x-forwarded-for') ?? []).join(',').split(',');
  const chain = [address];
  if (trusted === undefined || !said.values.has('x-forwarded-for')) return chain;
  for (let index = entries.length - 1; index >= 0 && chain.length < HOPS_MAX; index -= 1) {
    const entry = readEntry(entries[index] as string);
    if (entry === undefined) break;
    chain.unshift(entry);
    if (!trusted.has(entry)) break;
  }
  return chain;
}

/** An address, `IPv4:port`, `[IPv6]` or `[IPv6]:port`, in canonical form. */
function readEntry(text: string): string | undefined {
  const entry = trim(text);
  if (entry.length > ENTRY_LENGTH_MAX) return undefined;
  const isLiteral = entry.startsWith('[');
  const end = entry.indexOf(isLiteral ? ']' : ':');
  if (!isLiteral && (end === -1 || entry.includes(':', end + 1))) return canonicalIp(entry);
  const address = entry.slice(isLiteral ? 1 : 0, end);
  const port = entry.slice(isLiteral ? end + 1 : end);
  const isRight = end !== -1 && isLiteral === address.includes(':');
  return isRight && isPort(port, isLiteral) ? canonicalIp(address) : undefined;
}

/** `:` and a port, or nothing where it may be left out. */
function isPort(text: string, isOptional: boolean): boolean {
  if (text === '') return isOptional;
  return /^:\d{1,5}$/.test(text) && Number(text.slice(1)) <= PORT_MAX;
}

function schemeOf(text: string): Scheme | undefined {
  return SCHEMES.get(text.toLowerCase());
}

/** The last element of all the lines of a field; empty when there is none. */
function last({ values }: Said, name: string): string {
  return trim(values.get(name)?.join(',').split(',').at(-1) ?? '');
}

function read(head: RequestParser): Said {
  const { bytes, base, fields } = head;
  const values = new Map<string, string[]>();
  let others = '';
  for (let index = 0; index < fields.count; index += 1) {
    if (fields.kinds[index] !== KIND.FORWARDING) continue;
    const text = (start: number, end: number): string =>
      bytes.toString('latin1', base + start, base + end);
    const name = text(fields.nameStart(index), fields.nameEnd(index));
    const value = text(fields.valueStart(index), fields.valueEnd(index));
    const key = name.toLowerCase();
    if (REPLACED.has(key)) values.set(key, [...(values.get(key) ?? []), value]);
    else if (isOther(key)) others += `${name}: ${value}\r\n`;
  }
  return { values, others };
}

/** X-Forwarded-Port and the like, spelt as they should be; Forwarded and X-Real-IP are ours. */
function isOther(key: string): boolean {
  return key.length > PREFIX.length && key.startsWith(PREFIX) && !/[_.]/.test(key);
}

/** Without the blanks that a list may have around its elements. By hand, as it must be linear. */
function trim(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && (text[start] === SP || text[start] === TAB)) start += 1;
  while (end > start && (text[end - 1] === SP || text[end - 1] === TAB)) end -= 1;
  return text.slice(start, end);
}
