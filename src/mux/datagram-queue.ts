// Datagrams on their way into a stream: what cannot be sent now waits here.
//
//   push --> [ oldest ... newest ] --> stream, one at a time --> link
//              \--dropped when there is no room
//
// Invariant: a datagram is sent whole or dropped whole; what waits is bounded in bytes and count
// for each queue, and in bytes for all queues of a shard; the oldest goes first, as whoever sends
// datagrams would rather have the newest. Must not know: sockets, or who sends.

import { DATAGRAM_HEAD_BYTES, frameDatagram } from '../wire/datagram.ts';
import type { Stream } from './stream.ts';

/** Of one flow. As much as Linux keeps for a socket that is not read (net.core.rmem_default). */
export const QUEUE_BYTES_MAX = 208 * 1024;
/** Of one flow. Guess: a burst of small ones; more would be late when they arrive. */
export const QUEUE_COUNT_MAX = 256;
/** Of all flows of a shard. Guess: half of what one link may hold. */
export const QUEUES_BYTES_MAX = 32 * 1024 * 1024;

/** What all queues of a shard hold. */
export class QueueAccount {
  bytes = 0;
}

export class DatagramQueue {
  readonly #stream: Stream;
  readonly #account: QueueAccount;
  readonly #onDropped: (count: number) => void;
  readonly #waiting: Buffer[] = [];
  #bytes = 0;

  constructor(stream: Stream, account: QueueAccount, onDropped: (count: number) => void) {
    this.#stream = stream;
    this.#account = account;
    this.#onDropped = onDropped;
  }

  /** Takes a datagram, which is the queue's own from now on. */
  push(datagram: Buffer): void {
    if (this.#waiting.length === 0 && this.#stream.isDrained) {
      this.#stream.write(frameDatagram(datagram));
      return;
    }
    const bytes = datagram.length + DATAGRAM_HEAD_BYTES;
    let dropped = 0;
    while (this.#waiting.length > 0 && !this.#hasRoom(bytes)) {
      this.#shift();
      dropped += 1;
    }
    if (this.#hasRoom(bytes)) {
      this.#waiting.push(datagram);
      this.#count(bytes);
    } else dropped += 1;
    if (dropped > 0) this.#onDropped(dropped);
  }

  /** The stream has sent what it had. */
  flush(): void {
    while (this.#waiting.length > 0 && this.#stream.isDrained) {
      const datagram = this.#shift();
      if (datagram !== undefined) this.#stream.write(frameDatagram(datagram));
    }
  }

  /** Gives up what waits; how many that were. */
  clear(): number {
    const count = this.#waiting.length;
    this.#waiting.length = 0;
    this.#count(-this.#bytes);
    return count;
  }

  #hasRoom(bytes: number): boolean {
    return (
      this.#waiting.length < QUEUE_COUNT_MAX &&
      this.#bytes + bytes <= QUEUE_BYTES_MAX &&
      this.#account.bytes + bytes <= QUEUES_BYTES_MAX
    );
  }

  #shift(): Buffer | undefined {
    const datagram = this.#waiting.shift();
    if (datagram !== undefined) this.#count(-datagram.length - DATAGRAM_HEAD_BYTES);
    return datagram;
  }

  #count(bytes: number): void {
    this.#bytes += bytes;
    this.#account.bytes += bytes;
  }
}
