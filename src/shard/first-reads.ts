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
  readonly #onData: (piece: Buffer) => void;
  readonly #onEnd: () => void;
  readonly #onClose: () => void;

  constructor(socket: Socket, events: FirstReadsEvents) {
    this.#socket = socket;
    // By names first: V8 gives a function that is written into a property at once to the old
    // generation, and with it all that it refers to (docs/decisions/0038).
    const onData = (piece: Buffer): void => events.onData(piece);
    const onEnd = (): void => events.onEnd();
    const onClose = (): void => events.onClose();
    this.#onData = onData;
    this.#onEnd = onEnd;
    this.#onClose = onClose;
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
