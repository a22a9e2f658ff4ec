// Control bodies of a link, for a side that a test plays by hand.
//
// Invariant: each body is told as it comes, in order; frames of any other kind are passed over.
// Must not know: what bodies mean.

import type { RawData, WebSocket } from 'ws';
import { FrameDecoder } from '../../src/wire/decoder.ts';

const FRAME_BYTES_MAX = 262_144;

/** Calls `onBody` for each control body that comes. */
export function readBodies(
  socket: WebSocket,
  onBody: (type: number, body: Uint8Array) => void,
): void {
  const decoder = new FrameDecoder(
    {
      onValue() {},
      onDataStart() {},
      onDataPiece() {},
      onBody: (type, _stream, body) => onBody(type, body),
    },
    FRAME_BYTES_MAX,
  );
  socket.on('message', (data: RawData) => decoder.push(data as Buffer));
}
