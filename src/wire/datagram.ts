// Datagrams in a stream of bytes: each behind its length, as a `udp` tunnel carries them.
//
//   | length, 2 bytes, big-endian | so many bytes | length | ...
//
// Invariant: what was framed comes out whole or not at all, in order, however the stream is cut;
// every length is valid, an empty datagram is one, so that there is nothing to refuse. Must not
// know: sockets, or what datagrams mean.

/** As large as they can be: UDP itself carries 65,507 bytes over IPv4, 65,527 over IPv6. */
export const DATAGRAM_HEAD_BYTES = 2;
const NOTHING = Buffer.alloc(0);

/** A datagram as it goes into the stream; a copy. */
export function frameDatagram(datagram: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(DATAGRAM_HEAD_BYTES + datagram.length);
  framed.writeUInt16BE(datagram.length, 0);
  framed.set(datagram, DATAGRAM_HEAD_BYTES);
  return framed;
}

/** Holds one datagram at most, the one that is under way, and of it what has come. */
export class DatagramReader {
  readonly #onDatagram: (datagram: Buffer) => void;
  #headBytes = 0;
  /** Of the datagram under way; of which so much is there, at the start of `#body`. */
  #length = 0;
  #bodyBytes = 0;
  #body: Buffer = NOTHING;

  /** What `onDatagram` gets is its own. */
  constructor(onDatagram: (datagram: Buffer) => void) {
    this.#onDatagram = onDatagram;
  }

  /** Bytes of a datagram that is not whole, its length included. */
  get heldBytes(): number {
    return this.#headBytes + this.#bodyBytes;
  }

  /** `piece` is not looked at again. */
  read(piece: Buffer): void {
    let at = 0;
    while (at < piece.length) {
      at = this.#headBytes < DATAGRAM_HEAD_BYTES ? this.#readHead(piece, at) : this.#add(piece, at);
      if (this.#headBytes === DATAGRAM_HEAD_BYTES) this.#giveWhole();
    }
  }

  #readHead(piece: Buffer, at: number): number {
    this.#length = (this.#length << 8) | (piece[at] as number);
    this.#headBytes += 1;
    return at + 1;
  }

  #add(piece: Buffer, at: number): number {
    const bytes = Math.min(piece.length - at, this.#length - this.#bodyBytes);
    this.#makeRoom(this.#bodyBytes + bytes);
    piece.copy(this.#body, this.#bodyBytes, at, at + bytes);
    this.#bodyBytes += bytes;
    return at + bytes;
  }

  /** Room grows with what comes: a length alone, which costs its sender nothing, gets none. */
  #makeRoom(bytes: number): void {
    if (bytes <= this.#body.length) return;
    const old = this.#body;
    this.#body = Buffer.allocUnsafe(Math.min(this.#length, Math.max(bytes, 2 * old.length)));
    old.copy(this.#body, 0, 0, this.#bodyBytes);
  }

  #giveWhole(): void {
    if (this.#bodyBytes < this.#length) return;
    const datagram = this.#body;
    this.#headBytes = 0;
    this.#length = 0;
    this.#bodyBytes = 0;
    this.#body = NOTHING;
    this.#onDatagram(datagram);
  }
}
