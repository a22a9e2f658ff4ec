// The way from a stream into a socket: what is small, what is bulk, what waits.
//
//   small piece --write--> kernel            bulk --gather--> kernel, with what came beside it
//   small piece, others wait --staged together--> the socket has taken something --> kernel
//
// Invariant: order is kept; behind what waits small pieces are copied together, so that a window of
// one-byte frames costs its bytes and not a hundred times as much in bookkeeping, and they leave
// when anything was taken. One closure an outlet and none a piece. Must not know: streams, or what
// the bytes mean.

import type { Socket } from 'node:net';
import { SMALL_BYTES, Staging } from '../base/staging.ts';
import { SocketWrites } from '../link/socket-writes.ts';

/** Gathering saves a system call a read; below this size it costs echoes more than it gives
 * (measured with prototypes: 15 % at 64 bytes). */
const GATHERED_BYTES_MIN = 4096;

export class SocketOutlet {
  readonly #writes: SocketWrites;
  /** Called when the kernel has taken some of what was written; whoever writes now sets it. */
  onTaken: () => void;
  #staging: Staging | undefined;
  /** The piece before was a large one. */
  #wasBulk = false;

  constructor(socket: Socket, onTaken: () => void) {
    this.onTaken = onTaken;
    this.#writes = new SocketWrites(socket, () => this.#onWritten());
  }

  /** Written and not taken by the kernel. */
  get queuedBytes(): number {
    return this.#writes.queuedBytes + (this.#staging?.bytes ?? 0);
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
    if (piece.length < SMALL_BYTES && writes.isWaiting) {
      this.#stage(piece);
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
    this.#unstage();
    this.onTaken();
  }

  #unstage(): void {
    const staging = this.#staging;
    if (staging === undefined || staging.bytes === 0) return;
    if (this.#writes.write(staging.take())) this.onTaken();
  }

  #stage(piece: Buffer): void {
    this.#staging ??= new Staging();
    if (this.#staging.add(piece)) return;
    this.#unstage();
    this.#staging.add(piece);
  }
}
