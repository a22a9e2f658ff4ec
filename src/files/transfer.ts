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

/** Rejects when the visitor has gone, the file is shorter, or cannot be read. */
export async function sendRange(
  handle: FileHandle,
  range: ByteRange,
  response: ServerResponse,
): Promise<void> {
  const length = lengthOf(range);
  if (length === 0) return;
  const { first: start, last: end } = range;
  const reading = handle.createReadStream({
    ...{ start, end, autoClose: false, highWaterMark: PIECE_BYTES },
  });
  await pipeline(reading, response, { end: false });
  if (reading.bytesRead !== length) throw new Error('the file became shorter while it was sent');
}
