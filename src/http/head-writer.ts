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
import { octets } from './octets.ts';
import type { RequestParser } from './request-head.ts';
import type { ResponseParser } from './response-head.ts';
import type { Slab } from './slab.ts';
import { trustedBlock } from './trusted-forwarding.ts';

/** Room for what a head gains: Host, Connection, Via, and blanks in its lines. */
const HEAD_GAIN_BYTES_MAX = 1024;
const TRAILERS = octets('trailers');

function kindsDropped(...kinds: number[]): Uint8Array {
  const table = new Uint8Array(KINDS_COUNT);
  for (const kind of kinds) table[kind] = 1;
  return table;
}

const HOP_KINDS = [KIND.CONNECTION, KIND.HOP, KIND.TE, KIND.UPGRADE, KIND.TRANSFER_ENCODING];
/** Host is dropped where it is, because it is written first. */
const REQUEST_DROPS = kindsDropped(...HOP_KINDS, KIND.FORWARDING, KIND.HOST);
/** RFC 9110 10.1.1: an expectation in an HTTP/1.0 request is ignored. */
const OLD_REQUEST_DROPS = kindsDropped(...HOP_KINDS, KIND.FORWARDING, KIND.HOST, KIND.EXPECT);
const RESPONSE_DROPS = kindsDropped(...HOP_KINDS);
/** RFC 9110 8.6: no Content-Length in 1xx and 204. */
const BODILESS_DROPS = kindsDropped(...HOP_KINDS, KIND.CONTENT_LENGTH);

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

/** Writes `head` for the upstream into a new slice of `slab`, which is left open for a body. */
export function writeRequestHead(
  head: RequestParser,
  forwarding: Forwarding,
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
  slab.reserve(head.headBytes + block.length + HEAD_GAIN_BYTES_MAX + bodyBytes);
  const drops = head.minor === 1 ? REQUEST_DROPS : OLD_REQUEST_DROPS;
  if (head.isPlainLine && head.fields.kinds[0] === KIND.HOST && head.fields.isTidy(0)) {
    // Nearly every request: the request line and Host stay as they are.
    copyFields(head, slab, drops, head.fields.lineEnd(0));
  } else {
    writeRequestLine(head, forwarding, slab);
    copyFields(head, slab, drops, 0);
  }
  if (head.framing === 'chunked') slab.append(CHUNKED, 0, CHUNKED.length);
  if (head.isUpgrade) slab.append(WEBSOCKET, 0, WEBSOCKET.length);
  else if (takesTrailers(head)) slab.append(TE_TRAILERS, 0, TE_TRAILERS.length);
  slab.append(block, 0, block.length);
}

function writeRequestLine(head: RequestParser, forwarding: Forwarding, slab: Slab): void {
  const { bytes, base } = head;
  slab.append(bytes, base, base + head.method.length + 1);
  const prefix = PREFIXES[head.targetPrefix];
  slab.append(prefix, 0, prefix.length);
  slab.append(bytes, base + head.targetStart, base + head.targetEnd);
  slab.append(REQUEST_VERSION, 0, REQUEST_VERSION.length);
  if (head.authorityEnd === head.authorityStart) {
    slab.append(forwarding.hostLine, 0, forwarding.hostLine.length);
    return;
  }
  slab.append(HOST, 0, HOST.length);
  slab.append(bytes, base + head.authorityStart, base + head.authorityEnd);
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
}

/** Writes `head` for the visitor into a new slice of `slab`, which is left open for a body. */
export function writeResponseHead(
  head: ResponseParser,
  shape: ResponseShape,
  slab: Slab,
  bodyBytes: number,
): void {
  const { bytes, base } = head;
  slab.reserve(head.headBytes + HEAD_GAIN_BYTES_MAX + bodyBytes);
  const isBodiless = head.status < 200 || head.status === 204;
  const drops = isBodiless ? BODILESS_DROPS : RESPONSE_DROPS;
  if (head.minor === 1 && head.reasonStart === 13) {
    copyFields(head, slab, drops, head.lineEnd);
  } else {
    slab.append(RESPONSE_VERSION, 0, RESPONSE_VERSION.length);
    slab.append(bytes, base + 9, base + 12);
    slab.append(COLON_SP, 1, 2);
    slab.append(bytes, base + head.reasonStart, base + head.lineEnd);
    copyFields(head, slab, drops, 0);
  }
  const tail = TAILS[shape.connection][head.minor]?.[head.isChunked && !shape.isDecoded ? 1 : 0];
  if (tail !== undefined) slab.append(tail, 0, tail.length);
}

/**
 * Copies the head up to `keptTo` and then the fields that are not dropped, in runs as long as
 * possible: a run is one copy, however many lines it has.
 */
function copyFields(head: HeadParser, slab: Slab, drops: Uint8Array, keptTo: number): void {
  const { bytes, base, fields, options } = head;
  let runStart = 0;
  let runEnd = keptTo;
  for (let i = keptTo > fields.nameStart(0) ? 1 : 0; i < fields.count; i += 1) {
    if (drops[fields.kinds[i] as number] === 1) continue;
    if (options.namedCount > 0 && options.names(bytes, base, fields, i)) continue;
    const start = fields.nameStart(i);
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
