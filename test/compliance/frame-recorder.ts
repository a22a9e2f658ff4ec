// A sink that writes down every frame it gets, piece by piece, and keeps the very buffers.
//
// Invariant: a piece that does not belong to the frame under way fails at once, and so does any
// call after the last. Must not know: which link calls it.

import assert from 'node:assert/strict';
import type { ErrorCode, WireError } from '../../src/base/errors.ts';
import type { LinkSink } from '../../src/link/link.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { within } from '../support/deadline.ts';

export interface RecordedFrame {
  readonly type: number;
  readonly stream: number;
  /** The value, or the length of a body. */
  readonly argument: number;
  /** A copy of a control body; the very pieces of a DATA payload. */
  readonly pieces: Buffer[];
}

const WAIT_MS = 15_000;

export class FrameRecorder implements LinkSink {
  readonly frames: RecordedFrame[] = [];
  readonly wireErrors: WireError[] = [];
  readonly closes: { code: ErrorCode; detail: string }[] = [];
  drains = 0;
  /** Called with each frame that is complete; may raise, as a session does. */
  onFrame: ((frame: RecordedFrame) => void) | undefined;
  /** Called for a WireError; a session closes its link here. */
  onBroken: (() => void) | undefined;
  #data: RecordedFrame | undefined;
  #missingBytes = 0;
  #waiters: { isDone: () => boolean; done: () => void }[] = [];

  onValue(type: number, stream: number, value: number): void {
    this.#add({ type, stream, argument: value, pieces: [] });
  }

  onBody(type: number, stream: number, body: Uint8Array): void {
    this.#add({ type, stream, argument: body.length, pieces: [Buffer.from(body)] });
  }

  onDataStart(stream: number, length: number): void {
    assert.equal(this.#missingBytes, 0, 'a frame begins inside another');
    this.#data = { type: FRAME.DATA, stream, argument: length, pieces: [] };
    this.#missingBytes = length;
  }

  onDataPiece(piece: Buffer): void {
    assert.ok(this.#data !== undefined && piece.length > 0, 'a piece of no frame');
    assert.ok(piece.length <= this.#missingBytes, 'a piece that reaches into the next frame');
    this.#data.pieces.push(piece);
    this.#missingBytes -= piece.length;
    if (this.#missingBytes > 0) return;
    const frame = this.#data;
    this.#data = undefined;
    this.#add(frame);
  }

  onWireError(error: WireError): void {
    this.wireErrors.push(error);
    this.onBroken?.();
    this.#wake();
  }

  onDrain(): void {
    this.drains += 1;
    this.#wake();
  }

  onLinkClose(code: ErrorCode, detail: string): void {
    this.closes.push({ code, detail });
    this.#wake();
  }

  /** Waits until `isDone`, which is asked after every call of the sink. */
  async until(what: string, isDone: () => boolean): Promise<void> {
    if (isDone()) return;
    const waiting = new Promise<void>((done) => this.#waiters.push({ isDone, done }));
    await within(WAIT_MS, `${what}; ${this.frames.length} frames came`, waiting);
  }

  frameCount(count: number): Promise<void> {
    return this.until(`${count} frames`, () => this.frames.length >= count);
  }

  closed(): Promise<void> {
    return this.until('the link closes', () => this.closes.length > 0);
  }

  #add(frame: RecordedFrame): void {
    assert.equal(this.closes.length, 0, 'a frame after onLinkClose');
    this.frames.push(frame);
    this.onFrame?.(frame);
    this.#wake();
  }

  #wake(): void {
    const done = this.#waiters.filter(({ isDone }) => isDone());
    this.#waiters = this.#waiters.filter((waiter) => !done.includes(waiter));
    for (const waiter of done) waiter.done();
  }
}
