// A link between two shards over a MessagePort: a turn's frames in one transferred ArrayBuffer.
//
//   shard A --ArrayBuffer of whole frames--> shard B        A counts bytes under way; B answers
//           <-------number of bytes read----                with what it has read
//
//   small: the frames alone      large, in memory of the thread's pool:  | from | to | ... frames |
//   large memory goes round: an answer brings some back, empty           |   0  | bytes read |
//   a port that takes its place comes behind what was written before
//
// Invariant: what is posted is owned and transferred, never a Buffer of Node's pool (that would
// clone all of it), and bytes under way are counted until the other side has read them, as a port
// has no back-pressure of its own. Must not know: what frames mean, or which shards these are.

import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { type ErrorCode, WireError } from '../base/errors.ts';
import { readPool, WHOLE_BYTES } from '../base/read-pool.ts';
import { FrameDecoder } from '../wire/decoder.ts';
import { FRAME_HEADER_BYTES, type FrameType, MARK, putArgument, putHeader } from '../wire/frame.ts';
import { FRAME_BYTES_MAX } from '../wire/limits.ts';
import type { Link, LinkSink, LinkStart } from './link.ts';

/** Before the frames in large memory: where they begin and end. A frame of the largest size fits
 * behind it, as memory of the pool has headroom. */
const PREFIX_BYTES = 16;
/** Bytes under way before the session stops: the same as for a WebSocket link. */
const QUEUED_BYTES_MAX = 1024 * 1024;
/** The session goes on when this much is left. */
const QUEUED_BYTES_LOW = QUEUED_BYTES_MAX / 2;
/** Up to this a copy is cheaper than to send memory around (guess). */
const SLICE_BYTES_MAX = 4096;

/** Goodbye: the code travels so that the other side can say why. */
interface Goodbye {
  readonly goodbye: ErrorCode;
}

interface Successor {
  readonly successor: MessagePort;
}

type Message = ArrayBuffer | number | Goodbye | Successor;

export class PortLink implements Link {
  readonly kind = 'port';
  readonly frameBytesMax = FRAME_BYTES_MAX;
  receivedBytes = 0;
  readonly #port: MessagePort;
  readonly #onSuccessor: (port: MessagePort) => void;
  #sink: LinkSink | undefined;
  #decoder: FrameDecoder | undefined;
  #state: 'idle' | 'open' | 'closing' | 'closed' = 'idle';
  #batch: Buffer<ArrayBuffer> | undefined;
  #end = PREFIX_BYTES;
  /** Large memory that came and for which none went back. */
  #owedCount = 0;
  #underWayBytes = 0;
  #wasCongested = false;
  #flushAt: NodeJS.Immediate | undefined;
  #closeCode: ErrorCode = 'SLW_LINK_LOST';
  readonly #flushSoon = (): void => {
    this.#flushAt = undefined;
    this.#flush();
  };

  /** `onSuccessor`: the other side gives a port in place of this one, by `succeed`. */
  constructor(port: MessagePort, onSuccessor = (successor: MessagePort) => successor.close()) {
    this.#port = port;
    this.#onSuccessor = onSuccessor;
  }

  get isCongested(): boolean {
    const isCongested = this.queuedBytes >= QUEUED_BYTES_MAX;
    if (isCongested) this.#wasCongested = true;
    return isCongested;
  }

  get queuedBytes(): number {
    return this.#underWayBytes + this.#end - PREFIX_BYTES;
  }

  start({ sink, frameBytesMax }: LinkStart): void {
    this.#sink = sink;
    this.#decoder = new FrameDecoder(sink, frameBytesMax);
    this.#state = 'open';
    this.#port.on('message', (message: Message) => this.#onMessage(message));
    this.#port.on('close', () => this.#onClose());
  }

  writeValue(type: FrameType, stream: number, value: number): void {
    if (this.#state !== 'open') return;
    const at = this.#reserve(FRAME_HEADER_BYTES);
    const batch = this.#batch as Buffer;
    putHeader(batch, at, type, stream);
    putArgument(batch, at, MARK.UINT32, value);
  }

  writeBody(type: FrameType, stream: number, body: Uint8Array): void {
    if (this.#state === 'open') this.#copyBody(type, stream, body);
    readPool.release(body, body.length);
  }

  #copyBody(type: FrameType, stream: number, body: Uint8Array): void {
    const at = this.#reserve(FRAME_HEADER_BYTES + body.length);
    const batch = this.#batch as Buffer;
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

  /** Gives the other side a port that takes this one's place, behind what was written here, and
   * returns our end of it. */
  succeed(): MessagePort {
    const { port1, port2 } = new MessageChannel();
    this.#flush();
    this.#port.postMessage({ successor: port2 } satisfies Successor, [port2]);
    return port1;
  }

  #reserve(bytes: number): number {
    if (this.#end + bytes > WHOLE_BYTES) this.#flush();
    this.#batch ??= readPool.giveAway();
    this.#flushAt ??= setImmediate(this.#flushSoon);
    const at = this.#end;
    this.#end += bytes;
    return at;
  }

  #flush(): void {
    const batch = this.#batch;
    const end = this.#end;
    const bytes = end - PREFIX_BYTES;
    if (batch === undefined || bytes === 0 || this.#state !== 'open') return;
    this.#batch = undefined;
    this.#end = PREFIX_BYTES;
    this.#underWayBytes += bytes;
    if (bytes <= SLICE_BYTES_MAX) {
      const message = batch.buffer.slice(PREFIX_BYTES, end);
      // A link that is silent holds none: there is one to each of the other shards.
      readPool.welcome(batch.buffer);
      this.#port.postMessage(message, [message]);
    } else this.#postLarge(batch, PREFIX_BYTES, end);
  }

  #postLarge(memory: Buffer<ArrayBuffer>, from: number, to: number): void {
    memory.writeUInt32LE(from, 0);
    memory.writeUInt32LE(to, 4);
    this.#port.postMessage(memory.buffer, [memory.buffer]);
  }

  #onMessage(message: Message): void {
    if (this.#state !== 'open') return;
    if (typeof message === 'number') this.#onTaken(message);
    else if (!(message instanceof ArrayBuffer)) this.#onWord(message);
    else if (message.byteLength === WHOLE_BYTES) this.#onLarge(message);
    else this.#receive(Buffer.from(message));
  }

  #onWord(word: Goodbye | Successor): void {
    if ('goodbye' in word) this.#closeCode = word.goodbye;
    else this.#onSuccessor(word.successor);
  }

  #onLarge(memory: ArrayBuffer): void {
    const [from = 0, to = 0] = new Uint32Array(memory, 0, 2);
    if (from === 0) {
      readPool.welcome(memory);
      this.#onTaken(to);
      return;
    }
    this.#owedCount += 1;
    this.#receive(readPool.adopt(memory, from, to));
  }

  /** What the decoder does not hand on is used up when it returns. */
  #receive(frames: Buffer): void {
    const decoder = this.#decoder as FrameDecoder;
    const handedOnBytes = decoder.handedOnBytes;
    this.receivedBytes += frames.length;
    try {
      decoder.push(frames);
      decoder.endMessage();
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      this.#sink?.onWireError(error);
    }
    readPool.release(frames, frames.length - (decoder.handedOnBytes - handedOnBytes));
    if (this.#state === 'open') this.#answer(frames.length);
  }

  /** Tells what was read, with memory in place of what came, if some is free. */
  #answer(bytes: number): void {
    const spare = this.#owedCount > 0 ? readPool.spare() : undefined;
    if (spare === undefined) {
      this.#port.postMessage(bytes);
      return;
    }
    this.#owedCount -= 1;
    this.#postLarge(Buffer.from(spare), 0, bytes);
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
    if (this.#batch !== undefined) readPool.welcome(this.#batch.buffer);
    this.#batch = undefined;
    this.#sink?.onLinkClose(this.#closeCode, '');
  }
}
