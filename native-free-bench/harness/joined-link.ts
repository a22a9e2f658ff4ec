// Two links joined in memory: what one session writes, the other one decodes at the next `flush`.
//
// Invariant: order is kept, frames are encoded and decoded as on a socket, and no sink is called
// from within a call of its owner. Never congested. Must not know: sessions, times.

import type { Link, LinkSink, LinkStart } from '../../src/link/link.ts';
import { FrameDecoder } from '../../src/wire/decoder.ts';
import { FRAME_HEADER_BYTES, type FrameType, writeHeader } from '../../src/wire/frame.ts';
import { DEFAULT_LIMITS } from '../../src/wire/limits.ts';

export class JoinedLink implements Link {
  readonly kind = 'memory';
  readonly isCongested = false;
  readonly queuedBytes = 0;
  readonly frameBytesMax = DEFAULT_LIMITS.frameBytes;
  receivedBytes = 0;
  #outbox: Uint8Array[] = [];
  #peer: JoinedLink | undefined;
  #decoder: FrameDecoder | undefined;

  static pair(): [JoinedLink, JoinedLink] {
    const [left, right] = [new JoinedLink(), new JoinedLink()];
    left.#peer = right;
    right.#peer = left;
    return [left, right];
  }

  start({ sink, frameBytesMax }: LinkStart): void {
    this.#decoder = new FrameDecoder(sink as LinkSink, frameBytesMax);
  }

  writeValue(type: FrameType, stream: number, value: number): void {
    this.#header(type, stream, value);
  }

  writeBody(type: FrameType, stream: number, body: Uint8Array): void {
    this.#header(type, stream, body.length);
    this.#outbox.push(body);
  }

  /** Delivers what was written; false when there was nothing. */
  flush(): boolean {
    const pieces = this.#outbox;
    this.#outbox = [];
    for (const piece of pieces) this.#peer?.deliver(piece);
    return pieces.length > 0;
  }

  close(): void {
    throw new Error('a session of the micro-benchmark closed its link');
  }

  destroy(): void {
    this.close();
  }

  deliver(piece: Uint8Array): void {
    this.receivedBytes += piece.length;
    this.#decoder?.push(Buffer.from(piece.buffer, piece.byteOffset, piece.length));
  }

  #header(type: FrameType, stream: number, argument: number): void {
    const header = Buffer.alloc(FRAME_HEADER_BYTES);
    writeHeader(header, 0, { type, stream, argument });
    this.#outbox.push(header);
  }
}
