// Heads as they are sent on: a request toward the upstream, a response toward the visitor.
//
// Invariant: fields that are for one hop only go first, and what Connection names; ours are added
// after that, so that nobody can have them removed (CVE-2024-45410). Fields that stay keep their
// order and bytes; a line in any other form than `name: value` is rewritten. Must not know:
// sockets, streams, or whether a body follows in the same write.

import { hasElement } from './connection-options.ts';
import { KIND, KINDS_COUNT } from './field-kind.ts';
import { type Forwarding, viaLine } from './forwarding.ts';
import type { HeadParser } from './head-parser.ts';
import type { HeadEdit, HeaderEdits, NameSet } from './header-edits.ts';
import { octets } from './octets.ts';
import type { RequestParser } from './request-head.ts';
import type { ResponseParser } from './response-head.ts';
import type { Slab } from './slab.ts';
import { trustedBlock } from './trusted-forwarding.ts';

/** Room for what a head gains by itself: Host, Connection, Via, and blanks in its lines. */
const HEAD_GAIN_BYTES_MAX = 1024;
const TRAILERS = octets('trailers');

/** Which fields of a head are left out. */
export interface FieldFilter {
  /** 1 for each kind that is. */
  readonly kinds: Uint8Array;
  /** By the route's rules; undefined for none. */
  readonly removed: NameSet | undefined;
}

function kindsDropped(...kinds: number[]): FieldFilter {
  const table = new Uint8Array(KINDS_COUNT);
  for (const kind of kinds) table[kind] = 1;
  return { kinds: table, removed: undefined };
}

const HOP_KINDS = [KIND.CONNECTION, KIND.HOP, KIND.TE, KIND.UPGRADE, KIND.TRANSFER_ENCODING];
/** Host is dropped where it is, because it is written first. */
const REQUEST_DROPS = kindsDropped(...HOP_KINDS, KIND.FORWARDING, KIND.HOST);
/** RFC 9110 10.1.1: an expectation in an HTTP/1.0 request is ignored. */
const OLD_REQUEST_DROPS = kindsDropped(...HOP_KINDS, KIND.FORWARDING, KIND.HOST, KIND.EXPECT);
const RESPONSE_DROPS = kindsDropped(...HOP_KINDS);
/** RFC 9110 8.6: no Content-Length in 1xx and 204. */
const BODILESS_DROPS = kindsDropped(...HOP_KINDS, KIND.CONTENT_LENGTH);

/** What a route without rules does to requests, HTTP/1.0 ones being rare. */
export const NO_REQUEST_EDIT: HeadEdit = {
  common: REQUEST_DROPS,
  rare: OLD_REQUEST_DROPS,
  added: Buffer.alloc(0),
};
/** And to responses, of which those without any body are. */
export const NO_RESPONSE_EDIT: HeadEdit = {
  common: RESPONSE_DROPS,
  rare: BODILESS_DROPS,
  added: Buffer.alloc(0),
};

const line = (text: string): Buffer => Buffer.from(text, 'latin1');
const CRLF = line('\r\n');
const COLON_SP = line(': ');
const HOST = line('Host: ');
const REQUEST_VERSION = line(' HTTP/1.1\r\n');
const RESPONSE_VERSION = line('HTTP/1.1 ');
const CHUNKED = line('Transfer-Encoding: chunked\r\n');
const TE_TRAILERS = line('Connection: TE\r\nTE: trailers\r\n');
const WEBSOCKET = line('Connection: Upgrade\r\nUpgrade: websocket\r\n');
const PREFIXES = { '': line(''), '/': line('/'), '*': line('*') } as const;

/** What requests of a visitor are given on their way to an upstream. */
export interface RequestGains {
  readonly forwarding: Forwarding;
  /** The header rules of the route; undefined for none. */
  readonly edits: HeaderEdits | undefined;
  /** Of a visitor who logs in; undefined: nothing. */
  readonly login?: LoginGain | undefined;
}

/** What the exit node itself says of a visitor, in place of what the visitor sends. */
export interface LoginGain {
  /** 1 for each kind of field that is left out. */
  readonly hidden: Uint8Array;
  /** Where cookies are hidden, the line of those that stay; it passes on as the visitor's would. */
  readonly cookieLine: Buffer | undefined;
  /** Whole lines. */
  readonly lines: Buffer;
}

/** For `hidden` of a gain. */
export function hidingKinds(...kinds: number[]): Uint8Array {
  return kindsDropped(...kinds).kinds;
}

function hiding({ kinds, removed }: FieldFilter, { hidden }: LoginGain): FieldFilter {
  return { kinds: kinds.map((drop, kind) => drop | (hidden[kind] as number)), removed };
}

/** Writes `head` for the upstream into a new slice of `slab`, which is left open for a body. */
export function writeRequestHead(
  head: RequestParser,
  { forwarding, edits, login }: RequestGains,
  slab: Slab,
  bodyBytes: number,
): void {
  const { bytes, base } = head;
  const start = base + head.authorityStart;
  const end = base + head.authorityEnd;
  const isTrusted = forwarding.origin.trusted !== undefined;
  const block = isTrusted
    ? trustedBlock(head, forwarding.origin)
    : forwarding.block(bytes, start, end, head.minor);
  const edit = edits?.request ?? NO_REQUEST_EDIT;
  const hostLine = edits?.hostLine;
  const loginBytes = (login?.lines.length ?? 0) + (login?.cookieLine?.length ?? 0);
  const ownBytes = edit.added.length + (hostLine?.length ?? 0) + loginBytes;
  const gainBytes = HEAD_GAIN_BYTES_MAX + ownBytes;
  slab.reserve(head.headBytes + block.length + gainBytes + bodyBytes);
  const plainDrops = head.minor === 1 ? edit.common : edit.rare;
  const drops = login === undefined ? plainDrops : hiding(plainDrops, login);
  const isHostKept = head.fields.kinds[0] === KIND.HOST && head.fields.isTidy(0);
  if (head.isPlainLine && isHostKept && hostLine === undefined) {
    // Nearly every request: the request line and Host stay as they are.
    copyFields(head, slab, drops, head.fields.lineEnd(0));
  } else {
    writeRequestLine(head, slab);
    writeHost(head, slab, hostLine, forwarding);
    copyFields(head, slab, drops, 0);
  }
  if (login !== undefined) appendLogin(head, slab, login, drops);
  if (edit.added.length > 0) slab.append(edit.added, 0, edit.added.length);
  if (head.framing === 'chunked') slab.append(CHUNKED, 0, CHUNKED.length);
  if (head.isUpgrade) slab.append(WEBSOCKET, 0, WEBSOCKET.length);
  else if (takesTrailers(head)) slab.append(TE_TRAILERS, 0, TE_TRAILERS.length);
  slab.appendText(block);
}

function appendLogin(
  head: RequestParser,
  slab: Slab,
  { cookieLine, lines }: LoginGain,
  drops: FieldFilter,
): void {
  if (cookieLine !== undefined && passesCookies(head, drops))
    slab.append(cookieLine, 0, cookieLine.length);
  slab.append(lines, 0, lines.length);
}

/** Neither a rule nor Connection takes cookies out; all their fields have one name. */
function passesCookies(
  { bytes, base, fields, options }: RequestParser,
  drops: FieldFilter,
): boolean {
  const field = fields.kinds.indexOf(KIND.COOKIE);
  if (field < 0 || field >= fields.count) return false;
  if (options.namedCount > 0 && options.names(bytes, base, fields, field)) return false;
  const [start, end] = [base + fields.nameStart(field), base + fields.nameEnd(field)];
  return drops.removed?.has(bytes, start, end) !== true;
}

function writeRequestLine(head: RequestParser, slab: Slab): void {
  const { bytes, base } = head;
  slab.append(bytes, base, base + head.method.length + 1);
  const prefix = PREFIXES[head.targetPrefix];
  slab.append(prefix, 0, prefix.length);
  slab.append(bytes, base + head.targetStart, base + head.targetEnd);
  slab.append(REQUEST_VERSION, 0, REQUEST_VERSION.length);
}

/** The line that a rule gives, else the visitor's, else that of the address it has reached. */
function writeHost(
  { bytes, base, authorityStart, authorityEnd }: RequestParser,
  slab: Slab,
  ruled: Buffer | undefined,
  forwarding: Forwarding,
): void {
  if (ruled !== undefined) {
    slab.append(ruled, 0, ruled.length);
    return;
  }
  if (authorityEnd === authorityStart) {
    slab.appendText(forwarding.hostLine);
    return;
  }
  slab.append(HOST, 0, HOST.length);
  slab.append(bytes, base + authorityStart, base + authorityEnd);
  slab.append(CRLF, 0, CRLF.length);
}

function takesTrailers(head: RequestParser): boolean {
  const { bytes, base, fields } = head;
  const field = fields.only(KIND.TE);
  if (field < 0) return false;
  const range = { start: base + fields.valueStart(field), end: base + fields.valueEnd(field) };
  return hasElement(bytes, range, TRAILERS);
}

/** What a response says to the visitor about the connection. */
export type ConnectionWord = 'none' | 'close' | 'keep-alive' | 'upgrade';

const CONNECTION_LINES = {
  none: '',
  close: 'Connection: close\r\n',
  'keep-alive': 'Connection: keep-alive\r\n',
  upgrade: 'Connection: Upgrade\r\nUpgrade: websocket\r\n',
} as const;

/** The ends that response heads can have, by what varies in them. */
const TAILS: Record<ConnectionWord, readonly (readonly [Buffer, Buffer])[]> = {
  none: tails('none'),
  close: tails('close'),
  'keep-alive': tails('keep-alive'),
  upgrade: tails('upgrade'),
};

function tails(word: ConnectionWord): readonly (readonly [Buffer, Buffer])[] {
  return [0, 1].map((minor) => {
    const end = `${viaLine(minor)}${CONNECTION_LINES[word]}\r\n`;
    return [line(end), line(`${CHUNKED.toString('latin1')}${end}`)] as const;
  });
}

export interface ResponseShape {
  readonly connection: ConnectionWord;
  /** Does the visitor get the chunks, or only their data? */
  readonly isDecoded: boolean;
  /** The header rules of the route; undefined for none, and for interim responses. */
  readonly edits?: HeaderEdits | undefined;
  /** Lines of our own; what the upstream says goes before them. */
  readonly extra?: Buffer | undefined;
}

/** Writes `head` for the visitor into a new slice of `slab`, which is left open for a body. */
export function writeResponseHead(
  head: ResponseParser,
  shape: ResponseShape,
  slab: Slab,
  bodyBytes: number,
): void {
  const { bytes, base } = head;
  const edit = shape.edits?.response ?? NO_RESPONSE_EDIT;
  slab.reserve(head.headBytes + HEAD_GAIN_BYTES_MAX + edit.added.length + bodyBytes);
  const isBodiless = head.status < 200 || head.status === 204;
  const drops = isBodiless ? edit.rare : edit.common;
  if (head.minor === 1 && head.reasonStart === 13) {
    copyFields(head, slab, drops, head.lineEnd);
  } else {
    slab.append(RESPONSE_VERSION, 0, RESPONSE_VERSION.length);
    slab.append(bytes, base + 9, base + 12);
    slab.append(COLON_SP, 1, 2);
    slab.append(bytes, base + head.reasonStart, base + head.lineEnd);
    copyFields(head, slab, drops, 0);
  }
  if (edit.added.length > 0) slab.append(edit.added, 0, edit.added.length);
  const { extra } = shape;
  if (extra !== undefined) slab.append(extra, 0, extra.length);
  const tail = TAILS[shape.connection][head.minor]?.[head.isChunked && !shape.isDecoded ? 1 : 0];
  if (tail !== undefined) slab.append(tail, 0, tail.length);
}

/**
 * Copies the head up to `keptTo` and then the fields that are not dropped, in runs as long as
 * possible: a run is one copy, however many lines it has.
 */
function copyFields(head: HeadParser, slab: Slab, drops: FieldFilter, keptTo: number): void {
  const { bytes, base, fields, options } = head;
  const { kinds, removed } = drops;
  let runStart = 0;
  let runEnd = keptTo;
  for (let i = keptTo > fields.nameStart(0) ? 1 : 0; i < fields.count; i += 1) {
    if (kinds[fields.kinds[i] as number] === 1) continue;
    if (options.namedCount > 0 && options.names(bytes, base, fields, i)) continue;
    const start = fields.nameStart(i);
    if (removed?.has(bytes, base + start, base + fields.nameEnd(i)) === true) continue;
    if (fields.isTidy(i)) {
      if (runEnd !== start) {
        if (runEnd > runStart) slab.append(bytes, base + runStart, base + runEnd);
        runStart = start;
      }
      runEnd = fields.lineEnd(i);
      continue;
    }
    if (runEnd > runStart) slab.append(bytes, base + runStart, base + runEnd);
    runStart = 0;
    runEnd = 0;
    slab.append(bytes, base + start, base + fields.nameEnd(i));
    slab.append(COLON_SP, 0, COLON_SP.length);
    slab.append(bytes, base + fields.valueStart(i), base + fields.valueEnd(i));
    slab.append(CRLF, 0, CRLF.length);
  }
  if (runEnd > runStart) slab.append(bytes, base + runStart, base + runEnd);
}
