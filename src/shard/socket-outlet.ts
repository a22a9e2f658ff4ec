// The way from a stream into a socket: writes, and knows how much the kernel has not taken yet.
//
//   piece --socket takes--> kernel
//         --socket stalled, piece small--> staged together --socket moves again--> kernel
//
// Invariant: order is kept; while a socket is stalled, small pieces are copied together, so that a
// window of one-byte frames costs its bytes and not a hundred times as much in bookkeeping. One
// closure an outlet and none a piece. Must not know: streams, or what the bytes mean.

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { readPool } from '../base/read-pool.ts';

/** A socket with this much waiting is stalled (guess: a fraction of its high-water mark). */
const STALLED_BYTES = 16 * 1024;
/** Pieces below this are worth a copy: a queued write costs about 300 bytes (guess from Node's
 * request and buffer objects). */
const SMALL_BYTES = 1024;
/** Corking saves a system call a read; below this size it costs echoes more than it gives
 * (measured with prototypes: 15 % at 64 bytes). */
const CORK_BYTES_MIN = 4096;

/** Its callback comes when all before it was taken. */
const NOTHING = Buffer.alloc(0);

export class SocketOutlet {
  readonly #socket: Socket;
  readonly #onTaken: () => void;
  /** Does a write that returns say whether the kernel took it? TLS encrypts first. */
  readonly #isAnswering: boolean;
  #stage: Buffer | undefined;
  #stagedBytes = 0;
  /** The piece before was a large one. */
  #wasBulk = false;
  /** Lent pieces under way, oldest first; written or lost, each has one call of the next. */
  readonly #lent: Buffer[] = [];
  readonly #onLentWritten = (): void => {
    const piece = this.#lent.shift();
    if (piece !== undefined) readPool.release(piece, piece.length);
    this.#onWritten();
  };
  readonly #onWritten = (): void => {
    if (this.#stagedBytes > 0 && this.#socket.writableLength < STALLED_BYTES) this.flush();
    this.#onTaken();
  };

  /** `onTaken` is called when the kernel has taken some of what was written. */
  constructor(socket: Socket, onTaken: () => void) {
    this.#socket = socket;
    this.#onTaken = onTaken;
    this.#isAnswering = !(socket instanceof TLSSocket);
  }

  /** Written and not taken by the kernel. */
  get queuedBytes(): number {
    return this.#socket.writableLength + this.#stagedBytes;
  }

  /** Takes ownership of `piece`. */
  write(piece: Buffer): void {
    const socket = this.#socket;
    if (piece.length < SMALL_BYTES && socket.writableLength >= STALLED_BYTES) {
      this.#add(piece);
      return;
    }
    this.flush();
    // In the middle of a turn nobody knows yet what the kernel will leave.
    const isStalled = socket.writableCorked === 0 && socket.writableLength >= STALLED_BYTES;
    // A read of the link may end one frame and begin the next: both leave in one writev, however
    // little there is of either.
    const isBulk = piece.length >= CORK_BYTES_MIN;
    if ((isBulk || this.#wasBulk) && socket.writableCorked === 0) {
      socket.cork();
      process.nextTick(uncork, socket);
    }
    this.#wasBulk = isBulk;
    this.#writeNow(isStalled ? readPool.keep(piece) : piece);
  }

  /** Our FIN, after everything. */
  end(): void {
    this.flush();
    this.#socket.end();
  }

  /** Hands what is staged to the socket; before anybody else writes to it. */
  flush(): void {
    const stage = this.#stage;
    if (stage === undefined) return;
    const bytes = this.#stagedBytes;
    this.#stage = undefined;
    this.#stagedBytes = 0;
    this.#socket.write(stage.subarray(0, bytes), this.#onWritten);
  }

  /** Would a write go to the kernel now, and say what it took? */
  get #isIdle(): boolean {
    const { writableCorked, writableLength } = this.#socket;
    return this.#isAnswering && writableCorked === 0 && writableLength === 0;
  }

  #writeNow(piece: Buffer): void {
    if (readPool.isLent(piece)) {
      this.#lent.push(piece);
      this.#socket.write(piece, this.#onLentWritten);
    } else if (this.#isIdle) {
      this.#writeAtOnce(piece);
    } else this.#socket.write(piece, this.#onWritten);
  }

  /** The kernel nearly always takes a piece at once; then a callback would cost a tick. */
  #writeAtOnce(piece: Buffer): void {
    this.#socket.write(piece);
    if (this.#socket.writableLength === 0) this.#onTaken();
    else this.#socket.write(NOTHING, this.#onWritten);
  }

  #add(piece: Buffer): void {
    if (this.#stagedBytes + piece.length > STALLED_BYTES) this.flush();
    this.#stage ??= Buffer.alloc(STALLED_BYTES);
    piece.copy(this.#stage, this.#stagedBytes);
    this.#stagedBytes += piece.length;
    readPool.release(piece, piece.length);
  }
}

function uncork(socket: Socket): void {
  socket.uncork();
}
