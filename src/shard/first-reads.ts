// Reads a visitor whom nobody serves yet: its first bytes, until somebody knows what to do with it.
//
// Invariant: one reader at a time; once released, no listener is left and nothing was taken from
// the socket but what was handed on. An error is told by the close that follows it. Must not know:
// what the bytes are, or who is waited for.

import type { Socket } from 'node:net';

export interface FirstReadsEvents {
  onData(piece: Buffer): void;
  /** The visitor has ended its side. */
  onEnd(): void;
  onClose(): void;
}

export class FirstReads {
  readonly #socket: Socket;
  readonly #events: FirstReadsEvents;
  // Fields, not written in the constructor: V8 makes a function that is assigned to a property in
  // the old generation, and keeps with it all that it refers to (docs/decisions/0038).
  readonly #onData = (piece: Buffer): void => this.#events.onData(piece);
  readonly #onEnd = (): void => this.#events.onEnd();
  readonly #onClose = (): void => this.#events.onClose();

  constructor(socket: Socket, events: FirstReadsEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.on('error', ignoreError);
    socket.on('close', this.#onClose);
    socket.on('end', this.#onEnd);
    socket.on('data', this.#onData);
  }

  release(): void {
    const socket = this.#socket;
    socket.off('data', this.#onData);
    socket.off('end', this.#onEnd);
    socket.off('close', this.#onClose);
    socket.off('error', ignoreError);
  }
}

function ignoreError(): void {
  // 'close' follows, and says all that there is to do.
}
