// Cuts a visitor who sends a PROXY header of its own, where only listed proxies may.
//
// Invariant: no byte is held back and nothing is delayed; the piece that completes the beginning of
// a header goes no further, so that an upstream never sees one whole. It steps aside with the first
// byte that no header has in its place. Must not know: what the header says.

import { readPool } from '../base/read-pool.ts';
import { PROXY_V1_START } from '../edge/proxy-v1.ts';
import { PROXY_V2_START } from '../edge/proxy-v2.ts';
import type { ReadSink, SocketReads } from '../link/socket-reads.ts';

export class ProxyGuard implements ReadSink {
  readonly #reads: SocketReads;
  readonly #next: ReadSink;
  readonly #onHeader: () => void;
  #start = PROXY_V1_START;
  #seenBytes = 0;

  /** Stands between `reads` and the sink that it has, until the first bytes are known. */
  constructor(reads: SocketReads, onHeader: () => void) {
    this.#reads = reads;
    this.#next = reads.sink;
    this.#onHeader = onHeader;
    reads.sink = this;
  }

  onRead(piece: Buffer): void {
    if (this.#seenBytes === 0 && piece[0] !== PROXY_V1_START[0]) this.#start = PROXY_V2_START;
    for (const byte of piece) {
      if (byte !== this.#start[this.#seenBytes]) {
        this.#reads.sink = this.#next;
        break;
      }
      this.#seenBytes += 1;
      if (this.#seenBytes < this.#start.length) continue;
      this.#reads.sink = this.#next;
      readPool.release(piece, piece.length);
      this.#onHeader();
      return;
    }
    this.#next.onRead(piece);
  }
}
