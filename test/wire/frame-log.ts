// What a decoder says of some bytes, as one flat list, for tests that compare.
//
// Invariant: pieces of DATA are joined, so that two ways to cut the same bytes give the same list;
// a WireError ends the list with its code, and any other exception goes through to the test. Must
// not know: which bytes.

import { type ErrorCode, WireError } from '../../src/base/errors.ts';
import { FrameDecoder } from '../../src/wire/decoder.ts';
import { FRAME_BYTES_MAX } from '../../src/wire/limits.ts';

export interface FrameLog {
  /** `type stream value`, `type stream hex-of-body`, or `data stream length hex-so-far`. */
  readonly entries: readonly string[];
  readonly error: ErrorCode | undefined;
  /** Bytes pushed before the error showed, or all of them. */
  readonly pushedBytes: number;
  readonly isBetweenFrames: boolean;
}

export function logFrames(
  pieces: Iterable<Uint8Array>,
  frameBytesMax: number = FRAME_BYTES_MAX,
): FrameLog {
  const entries: string[] = [];
  let data: { stream: number; length: number; hex: string } | undefined;
  const flush = (): void => {
    if (data !== undefined) entries.push(`data ${data.stream} ${data.length} ${data.hex}`);
    data = undefined;
  };
  const decoder = new FrameDecoder(
    {
      onValue: (type, stream, value) => {
        flush();
        entries.push(`${type} ${stream} ${value}`);
      },
      onBody: (type, stream, body) => {
        flush();
        entries.push(`${type} ${stream} ${Buffer.from(body).toString('hex')}`);
      },
      onDataStart: (stream, length) => {
        flush();
        data = { stream, length, hex: '' };
      },
      onDataPiece: (piece) => {
        if (data !== undefined) data.hex += piece.toString('hex');
      },
    },
    frameBytesMax,
  );
  let pushedBytes = 0;
  let error: ErrorCode | undefined;
  try {
    for (const piece of pieces) {
      decoder.push(Buffer.from(piece));
      pushedBytes += piece.length;
    }
  } catch (thrown) {
    if (!(thrown instanceof WireError)) throw thrown;
    error = thrown.code;
  }
  flush();
  return { entries, error, pushedBytes, isBetweenFrames: decoder.isBetweenFrames };
}
