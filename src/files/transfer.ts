// Bytes of an open file on their way into a response.
//
// Invariant: no more of a file is in memory than PIECE_BYTES and what the socket holds, however
// large it is and however slowly it is taken; a file that became shorter meanwhile ends the
// connection, so that a cut body never looks complete. Must not know: which ranges, or why.

import type { FileHandle } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { type ByteRange, lengthOf } from './ranges.ts';

/** Read at once: few calls for large files, and little memory for many visitors. */
const PIECE_BYTES = 128 * 1024;

/** A part of a file, and the text that goes before it. */
export interface FilePart {
  readonly head: string;
  readonly range: ByteRange;
}

/**
 * One way for all parts, which listens once to the response however many there are. Rejects when
 * the visitor has gone, the file is shorter, or cannot be read.
 */
export function sendParts(
  handle: FileHandle,
  parts: readonly FilePart[],
  response: ServerResponse,
): Promise<void> {
  return pipeline(bytesOf(handle, parts), response, { end: false });
}

async function* bytesOf(
  handle: FileHandle,
  parts: readonly FilePart[],
): AsyncGenerator<Buffer, void, void> {
  for (const { head, range } of parts) {
    if (head !== '') yield Buffer.from(head);
    const end = range.first + lengthOf(range);
    for (let position = range.first; position < end; ) {
      // Not the memory of the piece before, which the socket may still hold.
      const room = Buffer.alloc(Math.min(PIECE_BYTES, end - position));
      const { bytesRead } = await handle.read({ buffer: room, position });
      if (bytesRead === 0) throw new Error('the file became shorter while it was sent');
      position += bytesRead;
      yield room.subarray(0, bytesRead);
    }
  }
}
