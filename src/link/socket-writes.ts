// How bytes go into a socket: straight to its handle while nothing waits there, past its stream.
//
//   nothing waits:  piece --handle--> kernel has all    the piece is free at once
//                   piece --handle--> kernel has some   libuv keeps the rest, and tells
//   something does: piece --Writable--> behind it       and always, for TLS and for unknown handles
//   gathered:       piece, piece, piece --one writev--> when this turn's call is done, or connected
//   an error:       the socket is destroyed, or first read to its end; what follows is lost
//
// Invariant: order is kept, also with what others write to the socket; a loan is given back once,
// written or lost, and a small piece that waits behind others is a copy; no FIN is asked for while
// the handle holds bytes: libuv refuses a reset beside it. No closure while nothing waits. Must not
// know: what the bytes are.

import type { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { readPool } from '../base/read-pool.ts';
import {
  areWritesDirect,
  handleOf,
  NOTHING,
  probeBelowTls,
  takenBytesOf,
  type WriteHandle,
  type WriteResult,
  writeError,
} from './write-handle.ts';

/** Pieces of one writev: a window of tiny ones is no list of thousands. Guess. */
const GATHERED_MAX = 64;

/** Those that gather, until the callback at hand returns to the loop. */
let gathering: SocketWrites[] = [];
const settled = Promise.resolve();

export class SocketWrites {
  readonly #socket: Socket;
  readonly #onTaken: () => void;
  readonly #isTls: boolean;
  /** Bytes of a write that libuv has not finished; one at a time. */
  #waitingBytes = 0;
  #gathered: Uint8Array[] | undefined;
  #gatheredBytes = 0;
  /** Loans of what the stream has, oldest first; each has one call of the next. */
  #queued: Uint8Array[] | undefined;
  #onQueuedWritten: (() => void) | undefined;
  /** Listens for the connect; absent where something is gathered before none. */
  #flushNow: (() => void) | undefined;
  /** What follows when nothing waits any more: our FIN. */
  #last: (() => void) | undefined;
  /** The peer takes nothing any more, while the socket is still read; what waits is lost. */
  #error: Error | undefined;
  /**
   * What becomes of the socket when the peer takes nothing any more. `read`: it is destroyed when
   * all that had come is read, as an answer may lie before the reset (RFC 9112 section 9.6). Known
   * of writes to handles alone; a stream destroys its socket by itself.
   */
  afterError: 'destroy' | 'read' = 'destroy';

  /** `onTaken` is called when bytes that had to wait, or were gathered, are taken. */
  constructor(socket: Socket, onTaken: () => void) {
    this.#socket = socket;
    this.#onTaken = onTaken;
    this.#isTls = socket instanceof TLSSocket;
  }

  /** Written and not taken by the kernel. */
  get queuedBytes(): number {
    return this.#socket.writableLength + this.#waitingBytes + this.#gatheredBytes;
  }

  /** Taken by the kernel so far; over TLS more than was written. */
  get takenBytes(): number {
    return takenBytesOf(this.#socket);
  }

  /** Does something wait, beyond what is gathered, of which `onTaken` will tell? */
  get isWaiting(): boolean {
    return this.#waitingBytes > 0 || (this.#queued !== undefined && this.#queued.length > 0);
  }

  /** Our FIN was asked for. */
  get isEnded(): boolean {
    return this.#last !== undefined || this.#socket.writableEnded;
  }

  /** An end of the socket is no FIN of the peer's: after an error it is a cut. */
  get isBroken(): boolean {
    return this.#error !== undefined;
  }

  /**
   * Owns `piece`, and gives `loan` back to the pool; whoever gathers has pieces that are their own.
   * True: the kernel has taken all of it, and `onTaken` does not come.
   */
  write(piece: Uint8Array, loan = piece): boolean {
    if (this.#gathered !== undefined) {
      this.gather(piece);
      return false;
    }
    if (this.#isBusy) return this.#wait(piece, loan);
    const handle = this.#handle;
    if (handle === undefined) {
      if (!this.#isDialling || loan !== piece) return this.#writeByStream(piece, loan);
      this.gather(piece);
      return false;
    }
    const result = handle.writeBuffer(null, piece);
    if (result === 0) {
      readPool.release(loan, loan.length);
      return true;
    }
    this.#await(result, piece, [loan]);
    return false;
  }

  /** The same of two pieces, in one writev; the first is not on loan. */
  writeBoth(head: Uint8Array, body: Uint8Array): void {
    this.flush();
    const handle = this.#isBusy ? undefined : this.#handle;
    if (handle === undefined) {
      this.#writeAllBehind([head, body]);
      return;
    }
    const pieces = [head, body];
    const result = handle.writev(null, pieces, true);
    if (result === 0) readPool.release(body, body.length);
    else this.#await(result, pieces, pieces);
  }

  /** Owns `piece`, which leaves in one writev with those that this turn's call brings. */
  gather(piece: Uint8Array): void {
    if (this.#gathered === undefined) {
      this.#gathered = [];
      if (this.#isDialling) this.#flushWhenConnected();
      else flushSoon(this);
    }
    this.#gathered.push(this.#isDialling ? readPool.keep(piece) : piece);
    this.#gatheredBytes += piece.length;
    if (this.#gathered.length >= GATHERED_MAX) this.flush();
  }

  /** Writes what is gathered; before anybody else writes to the socket. */
  flush(): void {
    const pieces = this.#gathered;
    if (pieces === undefined) return;
    this.#gathered = undefined;
    this.#gatheredBytes = 0;
    const handle = this.#isBusy ? undefined : this.#handle;
    if (handle === undefined) {
      this.#writeAllBehind(pieces);
      return;
    }
    const [first] = pieces;
    const result =
      pieces.length === 1 && first !== undefined
        ? handle.writeBuffer(null, first)
        : handle.writev(null, pieces, true);
    if (result !== 0) {
      this.#await(result, pieces, pieces);
      return;
    }
    for (const piece of pieces) readPool.release(piece, piece.length);
    this.#onTaken();
  }

  /** `last` and our FIN, after everything. */
  end(last?: Buffer, onSent?: () => void): void {
    // Only the FIN waits: what comes after this call may replace it, and never bytes.
    if (last !== undefined) this.write(last);
    this.flush();
    if (this.#waitingBytes === 0) this.#socket.end(onSent);
    else this.#last = () => this.#socket.end(onSent);
  }

  /**
   * A write of nothing, which fails where the peer is known to be gone: libuv does not watch a
   * socket that is not read and has nothing to send, and never tells of its reset. TLS says that
   * nothing was written well whatever became of it, so the connection below is asked.
   */
  probe(): void {
    const socket = this.#socket;
    if (this.#isBusy || this.isEnded || socket.connecting) return;
    if (!this.#isTls) {
      socket.write(NOTHING);
      return;
    }
    const status = probeBelowTls(socket);
    if (status < 0) socket.destroy(writeError(status));
  }

  /** Our FIN, after everything, and then the end of the socket. */
  destroySoon(): void {
    this.flush();
    if (this.#error !== undefined) this.#socket.destroy(this.#error);
    else if (this.#waitingBytes === 0) this.#socket.destroySoon();
    else this.#last = () => this.#socket.destroySoon();
  }

  /** Does the next piece have to go behind others? */
  get #isBusy(): boolean {
    const { writableLength, writableCorked } = this.#socket;
    return this.#waitingBytes > 0 || writableLength > 0 || writableCorked > 0;
  }

  /** Where bytes can be put at once; undefined when the stream must see to it. */
  get #handle(): WriteHandle | undefined {
    const socket = this.#socket;
    return this.#isTls || socket.connecting || socket.writableEnded ? undefined : handleOf(socket);
  }

  get #isDialling(): boolean {
    return areWritesDirect && !this.#isTls && this.#socket.connecting;
  }

  /** Two listeners in all, where a stream takes two and a closure for each piece. */
  #flushWhenConnected(): void {
    if (this.#flushNow !== undefined) return;
    this.#flushNow = () => this.flush();
    this.#socket.on('connect', this.#flushNow);
    this.#socket.on('close', this.#flushNow);
  }

  /** What the kernel has not taken of a write to the handle, or an error. */
  #await(result: WriteResult, memory: unknown, loans: readonly Uint8Array[]): void {
    for (const { length } of loans) this.#waitingBytes += length;
    if (typeof result === 'number') {
      for (const loan of loans) readPool.release(loan, loan.length);
      this.#break(writeError(result));
      return;
    }
    result.buffer = memory;
    result.oncomplete = (status) => {
      for (const loan of loans) readPool.release(loan, loan.length);
      if (status < 0) {
        this.#break(writeError(status));
        return;
      }
      this.#waitingBytes = 0;
      this.#afterWait();
    };
  }

  /** What waits is never taken. A socket whose peer has gone is readable until it has ended. */
  #break(error: Error): void {
    const socket = this.#socket;
    if (this.afterError === 'destroy' || socket.readableEnded || socket.destroyed) {
      socket.destroy(error);
      return;
    }
    this.#error = error;
    socket.once('end', () => socket.destroy(error));
  }

  #afterWait(): void {
    this.#onTaken();
    // What was staged may have gone to the handle meanwhile, and wait there.
    if (this.#waitingBytes > 0) return;
    const last = this.#last;
    this.#last = undefined;
    last?.();
  }

  /** A stream without anything to write says at once whether the kernel took it; TLS does not. */
  #writeByStream(piece: Uint8Array, loan: Uint8Array): boolean {
    const socket = this.#socket;
    if (socket.connecting) return this.#wait(piece, loan);
    if (this.#isTls) return this.#writeBehind(piece, loan);
    socket.write(piece);
    if (socket.writableLength > 0) return this.#writeBehind(NOTHING, loan);
    readPool.release(loan, loan.length);
    return true;
  }

  #writeAllBehind(pieces: readonly Uint8Array[]): void {
    const mustWait = this.#isBusy;
    this.#socket.cork();
    for (const piece of pieces) {
      if (mustWait) this.#wait(piece, piece);
      else this.#writeBehind(piece, piece);
    }
    this.#socket.uncork();
  }

  /** Nobody knows for how long: a few bytes do not keep all that was read with them from use. */
  #wait(piece: Uint8Array, loan: Uint8Array): false {
    if (loan !== piece) return this.#writeBehind(piece, loan);
    const kept = readPool.keep(piece);
    return this.#writeBehind(kept, kept);
  }

  #writeBehind(piece: Uint8Array, loan: Uint8Array): false {
    if (this.#error !== undefined) {
      this.#waitingBytes += loan.length;
      readPool.release(loan, loan.length);
      return false;
    }
    this.#queued ??= [];
    this.#onQueuedWritten ??= () => {
      const written = this.#queued?.shift();
      if (written !== undefined) readPool.release(written, written.length);
      this.#onTaken();
    };
    this.#queued.push(loan);
    this.#socket.write(piece, this.#onQueuedWritten);
    return false;
  }
}

function flushSoon(writes: SocketWrites): void {
  // A microtask: a tick costs five times as much (measured: half a microsecond).
  if (gathering.length === 0) void settled.then(flushAll);
  gathering.push(writes);
}

function flushAll(): void {
  const all = gathering;
  gathering = [];
  for (const writes of all) writes.flush();
}
