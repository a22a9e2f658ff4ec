// The line before each chunk: its size in hexadecimal, and extensions that nobody needs.
//
// Invariant: `1*HEXDIG *( ";" name [ "=" value ] ) CRLF` without blanks; the size is counted
// exactly; extensions are bounded over the whole body, for a body of tiny chunks with long
// extensions costs the reader far more than the sender (CVE-2023-39326, CVE-2024-22019).
// Must not know: where the chunk's data goes.

import { CR, EQUALS, HEX, LF, QUOTE, QUOTED, SEMICOLON, TOKEN, VALUE } from './octets.ts';

/** Octets of extensions in one body (specification of limits: Node's own). */
const EXTENSION_BYTES_MAX = 16 * 1024;
/** 13 digits hold every exact integer; leading zeros are bounded with it. */
const SIZE_DIGITS_MAX = 16;
const BACKSLASH = 0x5c;

const AT = {
  SIZE: 0,
  NAME: 1,
  NAME_REST: 2,
  VALUE: 3,
  VALUE_REST: 4,
  QUOTED: 5,
  ESCAPE: 6,
  QUOTED_END: 7,
  LF: 8,
} as const;

/** What `read` returns for one octet. */
export const LINE = {
  /** Of the line, to be passed on. */
  KEEP: 0,
  /** Of an extension, to be left out. */
  DROP: 1,
  /** The last one: `size` is the chunk's. */
  END: 2,
  BAD: 3,
} as const;

export class ChunkLine {
  size = 0;
  #at: number = AT.SIZE;
  #digits = 0;
  #extensionBytes = 0;

  /** Before a body. */
  reset(): void {
    this.#extensionBytes = 0;
    this.next();
  }

  /** Before a line. */
  next(): void {
    this.size = 0;
    this.#at = AT.SIZE;
    this.#digits = 0;
  }

  get isInExtension(): boolean {
    return this.#at > AT.SIZE && this.#at < AT.LF;
  }

  read(octet: number): number {
    if (this.#at === AT.SIZE) return this.#size(octet);
    if (this.#at === AT.LF) return octet === LF ? LINE.END : LINE.BAD;
    const next = nextInExtension(this.#at, octet);
    if (next === -1) return LINE.BAD;
    this.#at = next;
    return next === AT.LF ? LINE.KEEP : this.#countExtension();
  }

  #size(octet: number): number {
    const digit = HEX[octet] as number;
    if (digit < 16) {
      this.#digits += 1;
      this.size = this.size * 16 + digit;
      const isCounted = this.#digits <= SIZE_DIGITS_MAX && Number.isSafeInteger(this.size);
      return isCounted ? LINE.KEEP : LINE.BAD;
    }
    if (this.#digits === 0) return LINE.BAD;
    if (octet === CR) {
      this.#at = AT.LF;
      return LINE.KEEP;
    }
    if (octet !== SEMICOLON) return LINE.BAD;
    this.#at = AT.NAME;
    return this.#countExtension();
  }

  #countExtension(): number {
    this.#extensionBytes += 1;
    return this.#extensionBytes <= EXTENSION_BYTES_MAX ? LINE.DROP : LINE.BAD;
  }
}

/** The place after `octet`, -1 when it may not stand there. */
function nextInExtension(at: number, octet: number): number {
  switch (at) {
    case AT.NAME:
      return TOKEN[octet] === 1 ? AT.NAME_REST : -1;
    case AT.NAME_REST:
      if (octet === EQUALS) return AT.VALUE;
      return TOKEN[octet] === 1 ? AT.NAME_REST : afterExtension(octet);
    case AT.VALUE:
      if (octet === QUOTE) return AT.QUOTED;
      return TOKEN[octet] === 1 ? AT.VALUE_REST : -1;
    case AT.VALUE_REST:
      return TOKEN[octet] === 1 ? AT.VALUE_REST : afterExtension(octet);
    case AT.QUOTED:
      if (octet === QUOTE) return AT.QUOTED_END;
      if (octet === BACKSLASH) return AT.ESCAPE;
      return QUOTED[octet] === 1 ? AT.QUOTED : -1;
    case AT.ESCAPE:
      return VALUE[octet] === 1 ? AT.QUOTED : -1;
    default:
      return afterExtension(octet);
  }
}

function afterExtension(octet: number): number {
  if (octet === SEMICOLON) return AT.NAME;
  return octet === CR ? AT.LF : -1;
}
