// How bytes come out of a socket: into buffers of the pool, which is the cheapest way there is.
//
//   small read: the thread's one shared buffer --copy--> piece        (idle sockets hold nothing)
//   large read: a buffer of the socket's own --lent--> piece          (from the second one on)
//
// Node offers `onread` to sockets that it dials; the same three slots exist on every socket, an
// accepted one, an upgraded one or TLS. They are not documented, so that they are looked for once,
// and where they are missing or differ, plain 'data' events do the same work more slowly.
//
// Invariant: the shared buffer is never handed out; order is kept; what was read before this took
// over comes first. Must not know: what the bytes are. Nobody else reads the socket.

import { Socket } from 'node:net';
import { READ_BYTES, readPool } from '../base/read-pool.ts';

/** From here on lending costs less than copying (measured with prototypes: 16 KiB). */
const LEND_BYTES_MIN = 16 * 1024;
/** Small reads in a row after which a socket gives its own buffer back. Guess. */
const SMALL_READS_MAX = 8;

export interface ReadSink {
  /** Owns `piece`, and releases it to the pool when it lies there. */
  onRead(piece: Buffer): void;
}

/** `net.Socket`'s slots for the `onread` option. */
interface ReadSlots {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly generator: symbol;
}

const slots = findSlots();
const shared = Buffer.allocUnsafeSlow(READ_BYTES);

/** Are reads pooled here, for sockets that allow it? */
export const areReadsPooled = slots !== undefined;

export class SocketReads {
  sink: ReadSink;
  readonly socket: Socket;
  /** What the next read goes into: the shared buffer, or one of the pool. */
  #buffer: Buffer = shared;
  #smallReads = SMALL_READS_MAX;

  /** Takes over reading from an open socket, which flows unless it is paused. */
  constructor(socket: Socket, sink: ReadSink) {
    this.sink = sink;
    this.socket = socket;
    // What Node has read before, and everything where the slots are missing.
    socket.on('data', (piece: Buffer) => this.sink.onRead(piece));
    if (slots === undefined || !takesBuffer(socket)) return;
    Reflect.set(socket, slots.buffer, shared);
    Reflect.set(socket, slots.callback, (bytes: number) => this.#onBytes(bytes));
    Reflect.set(socket, slots.generator, () => this.#buffer);
    handleOf(socket)?.useUserBuffer?.(shared);
    socket.once('close', () => this.#useShared());
  }

  #onBytes(bytes: number): boolean {
    const buffer = this.#buffer;
    if (bytes < LEND_BYTES_MIN) {
      this.#smallReads += 1;
      if (this.#smallReads === SMALL_READS_MAX) this.#useShared();
      this.sink.onRead(Buffer.from(buffer.subarray(0, bytes)));
      return true;
    }
    this.#smallReads = 0;
    this.#buffer = readPool.take();
    const isShared = buffer === shared;
    const piece = isShared ? Buffer.from(buffer.subarray(0, bytes)) : readPool.lend(buffer, bytes);
    this.sink.onRead(piece);
    return true;
  }

  #useShared(): void {
    if (this.#buffer === shared) return;
    readPool.giveBack(this.#buffer);
    this.#buffer = shared;
  }
}

interface Handle {
  readonly useUserBuffer?: (buffer: Uint8Array) => void;
}

function handleOf(socket: Socket): Handle | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  return typeof handle === 'object' && handle !== null ? handle : undefined;
}

function takesBuffer(socket: Socket): boolean {
  return typeof handleOf(socket)?.useUserBuffer === 'function';
}

function findSlots(): ReadSlots | undefined {
  const symbols = Object.getOwnPropertySymbols(new Socket());
  const slot = (name: string): symbol | undefined =>
    symbols.find((symbol) => symbol.description === name);
  const buffer = slot('kBuffer');
  const callback = slot('kBufferCb');
  const generator = slot('kBufferGen');
  if (buffer === undefined || callback === undefined || generator === undefined) return undefined;
  return { buffer, callback, generator };
}
