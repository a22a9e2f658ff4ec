// Reads the first message of TLS, the ClientHello, before any TLS code sees it: whom the visitor
// asks for, and which protocols it offers.
//
//   record 22 | 3.x | length    handshake bytes, of one or many records -->  type 1 | length | body
//
// Invariant: counted bytes and no more than HELLO_BYTES_MAX of them; the same bytes give the same
// answer however they were cut; what is not a ClientHello is known from its first bytes. Must not
// know: sockets, certificates, or what is done with a name.

/** With tickets and post-quantum key shares a hello has some 2 KiB. Guess, with room. */
export const HELLO_BYTES_MAX = 32 * 1024;

const RECORD_HEADER_BYTES = 5;
const RECORD_HANDSHAKE = 22;
/** RFC 8446 5.1. */
const RECORD_BYTES_MAX = 16 * 1024;
const MAJOR = 3;
const MESSAGE_HEADER_BYTES = 4;
const CLIENT_HELLO = 1;
const EXTENSION = { SERVER_NAME: 0, PROTOCOLS: 16 } as const;
const NAME_HOST = 0;
/** Version and random (RFC 8446 4.1.2). */
const FIXED_BYTES = 34;

export interface ClientHello {
  /** As it was sent, at most 65,535 octets as Latin-1; undefined when there was none. */
  readonly serverName: string | undefined;
  /** Of ALPN; empty when there was none. */
  readonly protocols: readonly string[];
}

export type HelloProgress = ClientHello | 'more' | 'invalid';

export class ClientHelloReader {
  /** What has come so far. */
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;
  /** Where the next record begins, and how many handshake bytes the ones before it hold. */
  #recordAt = 0;
  #messageBytes = 0;

  /** Everything that was pushed, to be read again by TLS. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  push(chunk: Buffer): HelloProgress {
    this.#keep(chunk);
    while (this.#length >= this.#recordAt + RECORD_HEADER_BYTES) {
      const bytes = this.#recordBytes();
      if (bytes === 0) return 'invalid';
      const end = this.#recordAt + RECORD_HEADER_BYTES + bytes;
      if (this.#length < end) break;
      this.#recordAt = end;
      this.#messageBytes += bytes;
      const progress = this.#readMessage();
      if (progress !== 'more') return progress;
    }
    if (!this.#mayBegin()) return 'invalid';
    return this.#length < HELLO_BYTES_MAX ? 'more' : 'invalid';
  }

  /** The first read is kept as it came; only a hello in parts is copied, and grows by doubling. */
  #keep(chunk: Buffer): void {
    const length = this.#length + chunk.length;
    if (this.#length === 0) this.#bytes = chunk;
    else if (length <= this.#bytes.length) chunk.copy(this.#bytes, this.#length);
    else {
      const grown = Buffer.alloc(Math.max(length, 2 * this.#bytes.length));
      this.#bytes.copy(grown, 0, 0, this.#length);
      chunk.copy(grown, this.#length);
      this.#bytes = grown;
    }
    this.#length = length;
  }

  /** Length of the record at hand; 0 when it is none of a handshake. */
  #recordBytes(): number {
    const at = this.#recordAt;
    if (this.#bytes[at] !== RECORD_HANDSHAKE || this.#bytes[at + 1] !== MAJOR) return 0;
    const length = this.#bytes.readUInt16BE(at + 3);
    return length > RECORD_BYTES_MAX ? 0 : length;
  }

  /** Do the bytes so far, fewer than a header, begin a record? */
  #mayBegin(): boolean {
    const at = this.#recordAt;
    if (this.#length > at && this.#bytes[at] !== RECORD_HANDSHAKE) return false;
    return this.#length <= at + 1 || this.#bytes[at + 1] === MAJOR;
  }

  #readMessage(): HelloProgress {
    if (this.#messageBytes < MESSAGE_HEADER_BYTES) return 'more';
    const message = this.#joinRecords();
    if (message[0] !== CLIENT_HELLO) return 'invalid';
    const length = message.readUIntBE(1, 3);
    if (length > HELLO_BYTES_MAX) return 'invalid';
    const end = MESSAGE_HEADER_BYTES + length;
    if (message.length < end) return 'more';
    return readHello(message.subarray(MESSAGE_HEADER_BYTES, end)) ?? 'invalid';
  }

  /** The handshake bytes of the whole records. Most hellos are one record: nothing is copied. */
  #joinRecords(): Buffer {
    const parts: Buffer[] = [];
    for (let at = 0; at < this.#recordAt; ) {
      const start = at + RECORD_HEADER_BYTES;
      at = start + this.#bytes.readUInt16BE(at + 3);
      parts.push(this.#bytes.subarray(start, at));
    }
    const [only] = parts;
    return parts.length === 1 && only !== undefined ? only : Buffer.concat(parts);
  }
}

/** Walks a body of known end; every step says whether it stayed inside. */
class Cursor {
  readonly bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.at === this.bytes.length;
  }

  /** A number of `size` octets; -1 past the end. */
  number(size: 1 | 2): number {
    if (this.at + size > this.bytes.length) return -1;
    const value = this.bytes.readUIntBE(this.at, size);
    this.at += size;
    return value;
  }

  /** What a length of `size` octets announces; undefined past the end. */
  block(size: 1 | 2): Buffer | undefined {
    const length = this.number(size);
    if (length < 0 || this.at + length > this.bytes.length) return undefined;
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

function readHello(body: Buffer): ClientHello | undefined {
  const cursor = new Cursor(body);
  cursor.at = FIXED_BYTES;
  const isWhole = cursor.block(1) && cursor.block(2) && cursor.block(1);
  if (isWhole === undefined) return undefined;
  if (cursor.isAtEnd) return { serverName: undefined, protocols: [] };
  const extensions = cursor.block(2);
  return extensions === undefined || !cursor.isAtEnd ? undefined : readExtensions(extensions);
}

function readExtensions(block: Buffer): ClientHello | undefined {
  const cursor = new Cursor(block);
  let serverName: string | undefined;
  let protocols: readonly string[] | undefined;
  while (!cursor.isAtEnd) {
    const kind = cursor.number(2);
    const body = cursor.block(2);
    if (body === undefined) return undefined;
    if (kind === EXTENSION.SERVER_NAME) {
      // Twice is one too many: two readers could take one each (RFC 8446 4.2).
      if (serverName !== undefined) return undefined;
      serverName = readServerName(body);
      if (serverName === undefined) return undefined;
    } else if (kind === EXTENSION.PROTOCOLS) {
      if (protocols !== undefined) return undefined;
      protocols = readProtocols(body);
      if (protocols === undefined) return undefined;
    }
  }
  return { serverName, protocols: protocols ?? [] };
}

/** RFC 6066 3: one name, of the one kind there is. */
function readServerName(body: Buffer): string | undefined {
  const outer = new Cursor(body);
  const list = outer.block(2);
  if (list === undefined || !outer.isAtEnd) return undefined;
  const cursor = new Cursor(list);
  const kind = cursor.number(1);
  const name = cursor.block(2);
  if (kind !== NAME_HOST || name === undefined || name.length === 0) return undefined;
  return cursor.isAtEnd ? name.toString('latin1') : undefined;
}

/** RFC 7301 3.1. */
function readProtocols(body: Buffer): readonly string[] | undefined {
  const outer = new Cursor(body);
  const list = outer.block(2);
  if (list === undefined || !outer.isAtEnd) return undefined;
  const cursor = new Cursor(list);
  const names: string[] = [];
  while (!cursor.isAtEnd) {
    const name = cursor.block(1);
    if (name === undefined || name.length === 0) return undefined;
    names.push(name.toString('latin1'));
  }
  return names;
}
