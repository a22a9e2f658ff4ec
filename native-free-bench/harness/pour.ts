// Bytes without an end on a socket, as fast as they are taken.
//
// Invariant: what pours on many sockets serves them in turns. Node says of a write that the kernel
// took whole that there may be another, so that writing until it says no serves one quick reader
// and nobody else: of eight on two cores seven stood still for 0.4 s. Must not know: who reads.

import type { Socket } from 'node:net';

/** In one turn of the loop, or one chunk where that is more. */
const TURN_BYTES = 1024 * 1024;

/** `onTaken` is told of each `chunk` that the kernel has taken, or of the error. */
export function pour(
  socket: Socket,
  chunk: Uint8Array,
  onTaken?: (error?: Error | null) => void,
): void {
  const push = (): void => {
    for (let bytes = 0; bytes < TURN_BYTES; bytes += chunk.length) {
      if (socket.destroyed || !socket.write(chunk, onTaken)) return;
    }
    setImmediate(push);
  };
  socket.on('drain', push);
  push();
}
