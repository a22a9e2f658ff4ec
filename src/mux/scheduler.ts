// Who sends next: streams that have something to send, in turn, a bounded number of bytes each.
//
// Invariant: a stream is listed at most once, and only listed streams are served; one that cannot
// send leaves the list and comes back when credit arrives or it is written to, in whatever order
// link and credit clear. A turn serves at most QUANTUM_BYTES of a stream. Must not know: the link.

import type { Stream } from './stream.ts';

/** Bytes of one stream before the next has its turn: one read of a socket (Node reads 64 KiB). */
export const QUANTUM_BYTES = 64 * 1024;

export class Scheduler {
  #head: Stream | undefined;
  #tail: Stream | undefined;

  get isEmpty(): boolean {
    return this.#head === undefined;
  }

  /** Lists `stream` last, unless it is listed or has nothing that may be sent. */
  add(stream: Stream): void {
    if (stream.isListed || !stream.claimTurn()) return;
    stream.isListed = true;
    if (this.#tail === undefined) this.#head = stream;
    else this.#tail.next = stream;
    this.#tail = stream;
  }

  /** Takes the first stream that still has something to send. */
  next(): Stream | undefined {
    for (;;) {
      const stream = this.#head;
      if (stream === undefined) return undefined;
      this.#head = stream.next;
      if (this.#head === undefined) this.#tail = undefined;
      stream.next = undefined;
      stream.isListed = false;
      if (!stream.isEnded && stream.claimTurn()) return stream;
    }
  }
}
