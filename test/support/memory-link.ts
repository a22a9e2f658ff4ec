// Two links joined in memory, whose bytes move only when the test says so, cut where it says.
//
// Owns the bytes under way. Invariant: order is kept, nothing is lost, and congestion is what the
// test chose. Must not know: sessions.

import { type ErrorCode, WireError } from '../../src/base/errors.ts';
import type { Link, LinkSink, LinkStart } from '../../src/link/link.ts';
import { FrameDecoder } from '../../src/wire/decoder.ts';
import { FRAME_HEADER_BYTES, type FrameType, writeHeader } from '../../src/wire/frame.ts';
import { FRAME_BYTES_MAX } from '../../src/wire/limits.ts';

export class MemoryLink implements Link {
  readonly kind = 'memory';
  frameBytesMax = FRAME_BYTES_MAX;
  receivedBytes = 0;
  peer: MemoryLink | undefined;
  /** Everything ever written, for tests that look at bytes. */
  readonly written: Buffer[] = [];
  #outbox: Buffer[] = [];
  #queuedBytes = 0;
  #closing: ErrorCode | undefined;
  #closed = false;
  #sink: LinkSink | undefined;
  #decoder: FrameDecoder | undefined;
  #wasCongested = false;
  readonly #congestionBytes: number;

  constructor(congestionBytes: number) {
    this.#congestionBytes = congestionBytes;
  }

  get isCongested(): boolean {
    const congested = this.#queuedBytes >= this.#congestionBytes;
    if (congested) this.#wasCongested = true;
    return congested;
  }

  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  start({ sink, frameBytesMax }: LinkStart): void {
    this.#sink = sink;
    this.#decoder = new FrameDecoder(sink, frameBytesMax);
  }

  writeValue(type: FrameType, stream: number, value: number): void {
    const bytes = Buffer.alloc(FRAME_HEADER_BYTES);
    writeHeader(bytes, 0, { type, stream, argument: value });
    this.#write(bytes);
  }

  writeBody(type: FrameType, stream: number, body: Uint8Array): void {
    const bytes = Buffer.alloc(FRAME_HEADER_BYTES + body.length);
    writeHeader(bytes, 0, { type, stream, argument: body.length });
    bytes.set(body, FRAME_HEADER_BYTES);
    this.#write(bytes);
  }

  /** Puts raw bytes on the way, as a hostile peer would. */
  inject(bytes: Uint8Array): void {
    this.#write(Buffer.from(bytes));
  }

  close(code: ErrorCode): void {
    this.#closing ??= code;
    this.#closeWhenEmpty();
  }

  destroy(): void {
    this.#end('SLW_LINK_LOST');
    this.peer?.cut();
  }

  /** The carrier broke: both ends lose what was under way. */
  cut(): void {
    this.#outbox = [];
    this.#queuedBytes = 0;
    this.#end('SLW_LINK_LOST');
  }

  /** Moves up to `bytes` to the peer in one piece. Returns how many moved. */
  move(bytes: number): number {
    const first = this.#outbox[0];
    if (first === undefined) return 0;
    const piece = Buffer.concat(this.#outbox).subarray(0, bytes);
    let left = piece.length;
    while (left > 0) {
      const head = this.#outbox[0] as Buffer;
      if (head.length <= left) {
        this.#outbox.shift();
        left -= head.length;
      } else {
        this.#outbox[0] = head.subarray(left);
        left = 0;
      }
    }
    this.#queuedBytes -= piece.length;
    this.peer?.deliver(Buffer.from(piece));
    if (this.#wasCongested && !this.isCongested) {
      this.#wasCongested = false;
      this.#sink?.onDrain();
    }
    this.#closeWhenEmpty();
    return piece.length;
  }

  deliver(piece: Buffer): void {
    if (this.#closed) return;
    this.receivedBytes += piece.length;
    try {
      this.#decoder?.push(piece);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#decoder = undefined;
      this.#sink?.onWireError(error);
    }
  }

  #write(bytes: Buffer): void {
    if (this.#closed || this.#closing !== undefined) return;
    this.written.push(bytes);
    this.#outbox.push(bytes);
    this.#queuedBytes += bytes.length;
  }

  #closeWhenEmpty(): void {
    if (this.#closing === undefined || this.#queuedBytes > 0) return;
    this.#end(this.#closing);
    this.peer?.cut();
  }

  #end(code: ErrorCode): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#sink?.onLinkClose(code, '');
  }
}

export function createLinkPair(congestionBytes: number): [MemoryLink, MemoryLink] {
  const left = new MemoryLink(congestionBytes);
  const right = new MemoryLink(congestionBytes);
  left.peer = right;
  right.peer = left;
  return [left, right];
}
