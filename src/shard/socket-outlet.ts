// The way from a stream into a socket: what is small, what is bulk, what waits.
//
//   small piece --write--> kernel            bulk --gather--> kernel, with what came beside it
//   small piece, socket stalled --staged together--> socket moves again --> kernel
//
// Invariant: order is kept; while a socket is stalled, small pieces are copied together, so that a
// window of one-byte frames costs its bytes and not a hundred times as much in bookkeeping. One
// closure an outlet and none a piece. Must not know: streams, or what the bytes mean.

import type { Socket } from 'node:net';
import { readPool } from '../base/read-pool.ts';
import { SocketWrites } from '../link/socket-writes.ts';

/** A socket with this much waiting is stalled (guess: a fraction of its high-water mark). */
const STALLED_BYTES = 16 * 1024;
/** Pieces below this are worth a copy: a queued write costs about 300 bytes (guess from Node's
 * request and buffer objects). */
const SMALL_BYTES = 1024;
/** Gathering saves a system call a read; below this size it costs echoes more than it gives
 * (measured with prototypes: 15 % at 64 bytes). */
const GATHERED_BYTES_MIN = 4096;

export class SocketOutlet {
  readonly #writes: SocketWrites;
  /** Called when the kernel has taken some of what was written; whoever writes now sets it. */
  onTaken: () => void;
  #stage: Buffer | undefined;
  #stagedBytes = 0;
  /** The piece before was a large one. */
  #wasBulk = false;

  constructor(socket: Socket, onTaken: () => void) {
    this.onTaken = onTaken;
    this.#writes = new SocketWrites(socket, () => this.#onWritten());
  }

  /** Written and not taken by the kernel. */
  get queuedBytes(): number {
    return this.#writes.queuedBytes + this.#stagedBytes;
  }

  /** Taken by the kernel so far; over TLS more than was written. */
  get takenBytes(): number {
    return this.#writes.takenBytes;
  }

  /** Our FIN was asked for. */
  get isEnded(): boolean {
    return this.#writes.isEnded;
  }

  /** An end of the socket is no FIN of the peer's: after an error it is a cut. */
  get isBroken(): boolean {
    return this.#writes.isBroken;
  }

  /** When its peer takes nothing any more, what it has said before is read all the same. */
  readAfterError(): void {
    this.#writes.afterError = 'read';
  }

  /** Finds out whether the peer is gone, where nobody would tell: 'error' follows. */
  probe(): void {
    this.#writes.probe();
  }

  /** Takes ownership of `piece`. */
  write(piece: Buffer): void {
    const writes = this.#writes;
    // In the middle of a turn nobody knows yet what the kernel will leave.
    const isStalled = !writes.isGathering && writes.queuedBytes >= STALLED_BYTES;
    if (isStalled && piece.length < SMALL_BYTES) {
      this.#add(piece);
      return;
    }
    this.#unstage();
    // A read of the link may end one frame and begin the next: both leave in one writev, however
    // little there is of either.
    const isBulk = piece.length >= GATHERED_BYTES_MIN;
    const wasBulk = this.#wasBulk;
    this.#wasBulk = isBulk;
    if (isBulk || wasBulk) writes.gather(piece);
    else if (writes.write(piece)) this.onTaken();
  }

  /** The same, of what leaves with what is written after it in this turn. */
  gather(piece: Buffer): void {
    this.#unstage();
    this.#writes.gather(piece);
  }

  /** `last` and our FIN, after everything; `onSent` when the kernel has both. */
  end(last?: Buffer, onSent?: () => void): void {
    this.#unstage();
    this.#writes.end(last, onSent);
  }

  /** The same, and then the end of the socket. */
  destroySoon(): void {
    this.#unstage();
    this.#writes.destroySoon();
  }

  #onWritten(): void {
    if (this.#writes.queuedBytes < STALLED_BYTES) this.#unstage();
    this.onTaken();
  }

  #unstage(): void {
    const stage = this.#stage;
    if (stage === undefined) return;
    const bytes = this.#stagedBytes;
    this.#stage = undefined;
    this.#stagedBytes = 0;
    if (this.#writes.write(stage.subarray(0, bytes))) this.onTaken();
  }

  #add(piece: Buffer): void {
    if (this.#stagedBytes + piece.length > STALLED_BYTES) this.#unstage();
    this.#stage ??= Buffer.alloc(STALLED_BYTES);
    piece.copy(this.#stage, this.#stagedBytes);
    this.#stagedBytes += piece.length;
    readPool.release(piece, piece.length);
  }
}
