// The first message of a TLS visitor, read before any TLS code sees it: for whom it comes, and
// which protocols it offers.
//
//   bytes so far --> 'more' | refused, with the alert to send | the hello
//
//   record  22 | 3.x | length | handshake bytes      one record, or the message cut over several
//   message  1 | length | body                       `hello-body.ts` reads the body
//
// Invariant: pure; a verdict depends on the bytes alone and not on how they were cut; no more than
// HELLO_RECORDS_BYTES_MAX and one read are held; each byte is looked at a bounded number of times.
// Must not know: sockets, certificates, tunnels.

import { readHelloBody } from './hello-body.ts';
import { TLS_ALERT, type TlsAlert } from './tls-alert.ts';

export interface ClientHello {
  readonly kind: 'hello';
  /** Canonical, as http/host.ts has it; undefined when the visitor named none. */
  readonly serverName: string | undefined;
  /** Of ALPN, in the visitor's order. */
  readonly protocols: readonly string[];
}

export interface HelloRefusal {
  readonly kind: 'refused';
  readonly fault: 'not-tls' | 'malformed' | 'bad-name';
  /** What to tell the visitor; undefined when it does not speak TLS. */
  readonly alert: TlsAlert | undefined;
}

export type HelloVerdict = 'more' | HelloRefusal | ClientHello;

/** The message without its header. Guess: post-quantum key shares and a ticket take some 4 KiB. */
export const HELLO_BYTES_MAX = 16 * 1024;
/** All records of it with their headers. Guess: who cuts finely has a short hello. */
export const HELLO_RECORDS_BYTES_MAX = 32 * 1024;

const HANDSHAKE = 22;
const CLIENT_HELLO = 1;
/** SSL 3.0 and every TLS (RFC 8446 5.1); the minor version of a record says nothing. */
const MAJOR = 3;
const RECORD_HEADER_BYTES = 5;
/** RFC 8446 5.1. */
const RECORD_BYTES_MAX = 16 * 1024;
const MESSAGE_HEADER_BYTES = 4;

const NOT_TLS: HelloRefusal = { kind: 'refused', fault: 'not-tls', alert: undefined };

export class ClientHelloReader {
  #bytes: Buffer = Buffer.alloc(0);
  #length = 0;
  /** Where the record at hand begins. */
  #recordAt = 0;
  /** Handshake bytes of the records before it. */
  #messageBytes = 0;
  readonly #header = Buffer.alloc(MESSAGE_HEADER_BYTES);

  /** Everything that was read, for whoever reads the visitor next. */
  get bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  /** Reads on, until there is a verdict. The first piece is kept and not copied. */
  read(piece: Buffer): HelloVerdict {
    this.#keep(piece);
    for (;;) {
      const recordBytes = this.#checkHeader();
      if (typeof recordBytes !== 'number') return recordBytes;
      const end = this.#recordAt + RECORD_HEADER_BYTES + recordBytes;
      if (this.#length < end) return 'more';
      this.#takeRecord(end);
      const verdict = this.#readMessage();
      if (verdict !== 'more') return verdict;
    }
  }

  #keep(piece: Buffer): void {
    const length = this.#length + piece.length;
    if (this.#length === 0) {
      this.#bytes = piece;
    } else if (length <= this.#bytes.length) {
      piece.copy(this.#bytes, this.#length);
    } else {
      const grown = Buffer.alloc(2 * length);
      this.bytes.copy(grown);
      piece.copy(grown, this.#length);
      this.#bytes = grown;
    }
    this.#length = length;
  }

  /** Bytes of the record at hand, by as much of its header as has come. */
  #checkHeader(): number | 'more' | HelloRefusal {
    const at = this.#recordAt;
    const isFirst = at === 0;
    const known = this.#length - at;
    if (known > 0 && this.#bytes[at] !== HANDSHAKE) {
      return isFirst ? NOT_TLS : malformed(TLS_ALERT.UNEXPECTED_MESSAGE);
    }
    if (known > 1 && this.#bytes[at + 1] !== MAJOR) {
      return isFirst ? NOT_TLS : malformed(TLS_ALERT.PROTOCOL_VERSION);
    }
    if (known < RECORD_HEADER_BYTES) return 'more';
    const bytes = this.#bytes.readUInt16BE(at + 3);
    if (bytes === 0) return malformed(TLS_ALERT.DECODE_ERROR);
    const isOver = at + RECORD_HEADER_BYTES + bytes > HELLO_RECORDS_BYTES_MAX;
    return isOver || bytes > RECORD_BYTES_MAX ? malformed(TLS_ALERT.RECORD_OVERFLOW) : bytes;
  }

  #takeRecord(end: number): void {
    const start = this.#recordAt + RECORD_HEADER_BYTES;
    // Copies what is still wanted of the message's header, if anything.
    this.#bytes.copy(this.#header, Math.min(this.#messageBytes, MESSAGE_HEADER_BYTES), start, end);
    this.#messageBytes += end - start;
    this.#recordAt = end;
  }

  #readMessage(): HelloVerdict {
    if (this.#header[0] !== CLIENT_HELLO) return malformed(TLS_ALERT.UNEXPECTED_MESSAGE);
    if (this.#messageBytes < MESSAGE_HEADER_BYTES) return 'more';
    const bodyBytes = this.#header.readUIntBE(1, 3);
    if (bodyBytes > HELLO_BYTES_MAX) return malformed(TLS_ALERT.ILLEGAL_PARAMETER);
    const missing = MESSAGE_HEADER_BYTES + bodyBytes - this.#messageBytes;
    if (missing > 0) return 'more';
    // A ClientHello is alone in its records until it is answered (RFC 8446 4.1.2, 5.1).
    if (missing < 0) return malformed(TLS_ALERT.UNEXPECTED_MESSAGE);
    return readHelloBody(this.#join().subarray(MESSAGE_HEADER_BYTES));
  }

  /** The handshake bytes of all records; those of a single one where they lie. */
  #join(): Buffer {
    const parts: Buffer[] = [];
    for (let at = 0; at < this.#recordAt; ) {
      const start = at + RECORD_HEADER_BYTES;
      at = start + this.#bytes.readUInt16BE(at + 3);
      parts.push(this.#bytes.subarray(start, at));
    }
    const [only] = parts;
    return only !== undefined && parts.length === 1 ? only : Buffer.concat(parts);
  }
}

function malformed(alert: TlsAlert): HelloRefusal {
  return { kind: 'refused', fault: 'malformed', alert };
}
