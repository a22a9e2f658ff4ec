// A link between two shards over a MessagePort: a turn's frames in one transferred ArrayBuffer.
//
//   shard A --ArrayBuffer of whole frames--> shard B        A counts bytes under way; B answers
//           <-------number of bytes read----                with what it has read
//
// Invariant: what is posted is owned and transferred, never a pooled Buffer (that would clone its
// whole pool), and bytes under way are counted until the other side has read them, as a port has
// no back-pressure of its own. Must not know: what frames mean, or which shards these are.

import type { MessagePort } from 'node:worker_threads';
import { type ErrorCode, WireError } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import { FrameDecoder } from '../wire/decoder.ts';
import { FRAME_HEADER_BYTES, type FrameType, MARK, putArgument, putHeader } from '../wire/frame.ts';
import { FRAME_BYTES_MAX } from '../wire/limits.ts';
import type { Link, LinkSink, LinkStart } from './link.ts';

/** Bytes of a batch (measured with prototypes: 64 KiB messages move 6 GB/s). */
const BATCH_BYTES = 64 * 1024;
/** Bytes under way before the session stops: the same as for a WebSocket link. */
const QUEUED_BYTES_MAX = 1024 * 1024;
/** The session goes on when this much is left. */
const QUEUED_BYTES_LOW = QUEUED_BYTES_MAX / 2;
/** Below this a copy is cheaper than giving the batch away (guess: a 16th). */
const SLICE_BYTES_MAX = BATCH_BYTES / 16;

/** Goodbye: the code travels so that the other side can say why. */
interface Goodbye {
  readonly goodbye: ErrorCode;
}

export class PortLink implements Link {
  readonly kind = 'port';
  readonly frameBytesMax = FRAME_BYTES_MAX;
  receivedBytes = 0;
  readonly #port: MessagePort;
  #sink: LinkSink | undefined;
  #decoder: FrameDecoder | undefined;
  #state: 'idle' | 'open' | 'closing' | 'closed' = 'idle';
  #batch: Uint8Array<ArrayBuffer> | undefined;
  #batchBytes = 0;
  #underWayBytes = 0;
  #wasCongested = false;
  #flushAt: NodeJS.Immediate | undefined;
  #closeCode: ErrorCode = 'SLW_LINK_LOST';
  readonly #flushSoon = (): void => {
    this.#flushAt = undefined;
    this.#flush();
  };

  constructor(port: MessagePort) {
    this.#port = port;
  }

  get isCongested(): boolean {
    const isCongested = this.queuedBytes >= QUEUED_BYTES_MAX;
    if (isCongested) this.#wasCongested = true;
    return isCongested;
  }

  get queuedBytes(): number {
    return this.#underWayBytes + this.#batchBytes;
  }

  start({ sink, frameBytesMax }: LinkStart): void {
    this.#sink = sink;
    this.#decoder = new FrameDecoder(sink, frameBytesMax);
    this.#state = 'open';
    this.#port.on('message', (message: ArrayBuffer | number | Goodbye) => this.#onMessage(message));
    this.#port.on('close', () => this.#onClose());
  }

  writeValue(type: FrameType, stream: number, value: number): void {
    if (this.#state !== 'open') return;
    const at = this.#reserve(FRAME_HEADER_BYTES);
    const batch = this.#batch as Uint8Array;
    putHeader(batch, at, type, stream);
    putArgument(batch, at, MARK.UINT32, value);
  }

  writeBody(type: FrameType, stream: number, body: Uint8Array): void {
    if (this.#state === 'open') this.#copyBody(type, stream, body);
    readPool.release(body, body.length);
  }

  #copyBody(type: FrameType, stream: number, body: Uint8Array): void {
    const at = this.#reserve(FRAME_HEADER_BYTES + body.length);
    const batch = this.#batch as Uint8Array;
    putHeader(batch, at, type, stream);
    putArgument(batch, at, MARK.BIN32, body.length);
    batch.set(body, at + FRAME_HEADER_BYTES);
  }

  close(code: ErrorCode): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#closeCode = code;
    this.#flush();
    this.#state = 'closing';
    this.#port.postMessage({ goodbye: code } satisfies Goodbye);
    this.#port.close();
  }

  destroy(): void {
    this.#port.close();
  }

  #reserve(bytes: number): number {
    if (this.#batch !== undefined && this.#batchBytes + bytes > this.#batch.length) this.#flush();
    this.#batch ??= new Uint8Array(Math.max(BATCH_BYTES, bytes));
    if (this.#batch.length < bytes) this.#batch = new Uint8Array(bytes);
    this.#flushAt ??= setImmediate(this.#flushSoon);
    const at = this.#batchBytes;
    this.#batchBytes += bytes;
    return at;
  }

  #flush(): void {
    const batch = this.#batch;
    const bytes = this.#batchBytes;
    if (batch === undefined || bytes === 0 || this.#state !== 'open') return;
    this.#batchBytes = 0;
    this.#underWayBytes += bytes;
    let message: ArrayBuffer;
    if (bytes <= SLICE_BYTES_MAX) {
      message = batch.buffer.slice(0, bytes);
    } else {
      this.#batch = undefined;
      message = bytes === batch.length ? batch.buffer : batch.buffer.transfer(bytes);
    }
    this.#port.postMessage(message, [message]);
  }

  #onMessage(message: ArrayBuffer | number | Goodbye): void {
    if (this.#state !== 'open') return;
    if (typeof message === 'number') this.#onTaken(message);
    else if (message instanceof ArrayBuffer) this.#receive(message);
    else this.#closeCode = message.goodbye;
  }

  #receive(message: ArrayBuffer): void {
    const bytes = message.byteLength;
    this.receivedBytes += bytes;
    try {
      this.#decoder?.push(Buffer.from(message));
      this.#decoder?.endMessage();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#sink?.onWireError(error);
      return;
    }
    this.#port.postMessage(bytes);
  }

  #onTaken(bytes: number): void {
    this.#underWayBytes -= bytes;
    if (!this.#wasCongested || this.queuedBytes > QUEUED_BYTES_LOW) return;
    this.#wasCongested = false;
    this.#sink?.onDrain();
  }

  #onClose(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    if (this.#flushAt !== undefined) clearImmediate(this.#flushAt);
    this.#batch = undefined;
    this.#sink?.onLinkClose(this.#closeCode, '');
  }
}
