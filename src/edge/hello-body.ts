// The body of a ClientHello: its fixed part, and the two of its extensions that matter here.
//
//   version | random | session | cipher suites | compression | extensions: type | length | body ...
//
// Invariant: every length agrees with what surrounds it, to the last byte, and no extension comes
// twice, so that no other reader can see another name in the same bytes. What is not known (GREASE
// of RFC 8701 included) is skipped. Must not know: records, or what a name leads to.

import { ipBytes } from '../base/ip.ts';
import { HostReader } from '../http/host.ts';
import type { ClientHello, HelloRefusal } from './client-hello.ts';
import { TLS_ALERT, type TlsAlert } from './tls-alert.ts';

/** Version and random (RFC 8446 4.1.2). */
const FIXED_BYTES = 34;
const MAJOR = 3;
const SESSION_BYTES_MAX = 32;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_PROTOCOLS = 16;
const NAME_TYPE_HOST = 0;
/** Guess: browsers offer three. */
const PROTOCOLS_MAX = 64;
const COLON = 0x3a;
const BRACKET_OPEN = 0x5b;

/** Holds the last name alone, and no visitor learns of it. */
const names = new HostReader();

/** Walks bytes of a known end; a step that would leave them is undefined. */
class Cursor {
  readonly bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at = 0) {
    this.bytes = bytes;
    this.#at = at;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.bytes.length;
  }

  number(size: 1 | 2): number | undefined {
    if (this.#at + size > this.bytes.length) return undefined;
    this.#at += size;
    return this.bytes.readUIntBE(this.#at - size, size);
  }

  /** What follows a length of `size` bytes. */
  block(size: 1 | 2): Buffer | undefined {
    const length = this.number(size);
    if (length === undefined || this.#at + length > this.bytes.length) return undefined;
    this.#at += length;
    return this.bytes.subarray(this.#at - length, this.#at);
  }
}

/** What the extensions have said so far. */
interface Said {
  serverName: string | undefined;
  protocols: readonly string[];
}

export function readHelloBody(body: Buffer): ClientHello | HelloRefusal {
  if (body.length < FIXED_BYTES) return refuse(TLS_ALERT.DECODE_ERROR);
  if (body[0] !== MAJOR) return refuse(TLS_ALERT.PROTOCOL_VERSION);
  const cursor = new Cursor(body, FIXED_BYTES);
  const session = cursor.block(1);
  if (session === undefined || session.length > SESSION_BYTES_MAX) {
    return refuse(TLS_ALERT.DECODE_ERROR);
  }
  const suites = cursor.block(2);
  const compressions = cursor.block(1);
  if (suites === undefined || suites.length === 0 || suites.length % 2 === 1) {
    return refuse(TLS_ALERT.DECODE_ERROR);
  }
  if (compressions === undefined || compressions.length === 0) {
    return refuse(TLS_ALERT.DECODE_ERROR);
  }
  const said: Said = { serverName: undefined, protocols: [] };
  // Before TLS 1.3 there may be none at all (RFC 5246 7.4.1.2).
  if (!cursor.isAtEnd) {
    const extensions = cursor.block(2);
    if (extensions === undefined || !cursor.isAtEnd) return refuse(TLS_ALERT.DECODE_ERROR);
    const refusal = readExtensions(extensions, said);
    if (refusal !== undefined) return refusal;
  }
  return { kind: 'hello', ...said };
}

function readExtensions(block: Buffer, said: Said): HelloRefusal | undefined {
  const cursor = new Cursor(block);
  const seen = new Set<number>();
  while (!cursor.isAtEnd) {
    const type = cursor.number(2);
    const body = cursor.block(2);
    if (type === undefined || body === undefined) return refuse(TLS_ALERT.DECODE_ERROR);
    if (seen.has(type)) return refuse(TLS_ALERT.ILLEGAL_PARAMETER);
    seen.add(type);
    const refusal = readExtension(type, body, said);
    if (refusal !== undefined) return refusal;
  }
  return undefined;
}

function readExtension(type: number, body: Buffer, said: Said): HelloRefusal | undefined {
  if (type !== EXTENSION_SERVER_NAME && type !== EXTENSION_PROTOCOLS) return undefined;
  const outer = new Cursor(body);
  const list = outer.block(2);
  if (list === undefined || list.length === 0 || !outer.isAtEnd) {
    return refuse(TLS_ALERT.DECODE_ERROR);
  }
  const cursor = new Cursor(list);
  return type === EXTENSION_SERVER_NAME ? readName(cursor, said) : readProtocols(cursor, said);
}

/** RFC 6066 3: one name, of the one type there is. */
function readName(cursor: Cursor, said: Said): HelloRefusal | undefined {
  const type = cursor.number(1);
  const name = cursor.block(2);
  if (type !== NAME_TYPE_HOST || name === undefined || !cursor.isAtEnd) {
    return refuse(TLS_ALERT.DECODE_ERROR);
  }
  // Neither a port nor an address is a server name.
  const isName = !name.includes(COLON) && name[0] !== BRACKET_OPEN;
  if (!isName || !names.read(name, 0, name.length) || ipBytes(names.host) !== undefined) {
    return { kind: 'refused', fault: 'bad-name', alert: TLS_ALERT.UNRECOGNIZED_NAME };
  }
  said.serverName = names.host;
  return undefined;
}

/** RFC 7301 3.1. */
function readProtocols(cursor: Cursor, said: Said): HelloRefusal | undefined {
  const protocols: string[] = [];
  while (!cursor.isAtEnd) {
    const protocol = cursor.block(1);
    if (protocol === undefined || protocol.length === 0) return refuse(TLS_ALERT.DECODE_ERROR);
    if (protocols.length === PROTOCOLS_MAX) return refuse(TLS_ALERT.ILLEGAL_PARAMETER);
    protocols.push(protocol.toString('latin1'));
  }
  said.protocols = protocols;
  return undefined;
}

function refuse(alert: TlsAlert): HelloRefusal {
  return { kind: 'refused', fault: 'malformed', alert };
}
