// How bytes come out of a socket: into buffers of the pool, which is the cheapest way there is.
//
//   small read: the thread's one shared buffer --copy--> piece    (of 4 KiB or more: a lent one)
//   large read: a buffer of the socket's own --lent--> piece  (until 8 small ones, 30 s without)
//   TLS:        | record | record | ... | last |  --lent--> piece     (whole records are gathered)
//
// Node offers `onread` to sockets that it dials; the same three slots exist on every socket, an
// accepted one, an upgraded one or TLS. They are not documented, so that they are looked for once,
// and where they are missing or differ, plain 'data' events do the same work more slowly.
//
// Invariant: the shared buffer is never handed out; order is kept; what was read before this took
// over comes first. Must not know: what the bytes are. Nobody else reads the socket.

import { Socket } from 'node:net';
import { TLSSocket } from 'node:tls';
import { READ_BUFFER_BYTES, READ_BYTES, readPool, WIDE_BUFFER_BYTES } from '../base/read-pool.ts';

/** From here on lending costs less than copying (measured with prototypes: 16 KiB). */
const LEND_BYTES_MIN = 16 * 1024;
/** From here on a copy on loan costs less than one in memory of Node's (0055). */
const LEND_COPY_BYTES_MIN = 4 * 1024;
/** What Node's TLS gives at a time when there is more: a whole record's text (RFC 8446 5.1). */
const RECORD_BYTES = 16 * 1024;
/** Small reads in a row after which a socket gives its own buffer back. Guess. */
const SMALL_READS_MAX = 8;
/** Seconds without a large read after which it does so without one. Guess. */
const IDLE_TICKS_MAX = 30;
/**
 * How often a socket may be told between reads to read elsewhere: Node puts a listener of 48 bytes
 * on those before, and has them all until the socket's end. Together a fifth of a buffer.
 */
const RETURNS_MAX = 256;

export interface ReadSink {
  /** Owns `piece`, and releases it to the pool when it lies there. */
  onRead(piece: Buffer): void;
  /** How much of `bytesMax` to read next; asked for large reads alone. Absent: READ_BYTES. */
  readBytes?(bytesMax: number): number;
}

/** `net.Socket`'s slots for the `onread` option. */
interface ReadSlots {
  readonly buffer: symbol;
  readonly callback: symbol;
  readonly generator: symbol;
}

const slots = findSlots();
const shared = Buffer.allocUnsafeSlow(READ_BYTES);
/** Those that read into a buffer of their own. As many as sockets. */
const holders = new Set<SocketReads>();

/** Are reads pooled here, for sockets that allow it? */
export const areReadsPooled = slots !== undefined;

/** Once a second: takes back the buffers of sockets that have had no large read for long. */
export function returnIdleBuffers(): void {
  for (const reads of holders) reads.onTick();
}

export class SocketReads {
  sink: ReadSink;
  readonly socket: Socket;
  readonly #isTls: boolean;
  /** What the next read goes into: the shared buffer, or one of the pool. */
  #buffer: Buffer = shared;
  /** Bytes in it that wait for those behind them; only of TLS, and never in the shared one. */
  #gathered = 0;
  /** Bytes in front of them that were handed on already. */
  #handedOn = 0;
  /** The buffer as it is lent, when it is read into further after a part was handed on. */
  #lent: Buffer | undefined;
  #handOnAt: NodeJS.Immediate | undefined;
  #smallReads = SMALL_READS_MAX;
  /** Seconds since the last large read. */
  #idleTicks = 0;
  #returns = 0;
  readonly #handOnSoon = (): void => {
    this.#handOnAt = undefined;
    this.#handOnPart();
  };

  /** Takes over reading from an open socket, which flows unless it is paused. */
  constructor(socket: Socket, sink: ReadSink) {
    this.sink = sink;
    this.socket = socket;
    this.#isTls = socket instanceof TLSSocket;
    const isPooled = slots !== undefined && takesBuffer(socket);
    // What Node has read before, and everything where the slots are missing.
    if (!isPooled || socket.readableLength > 0) {
      socket.on('data', (piece: Buffer) => this.sink.onRead(piece));
    } else if (socket.readableFlowing !== false && !isRead(socket)) socket.resume();
    if (!isPooled) return;
    Reflect.set(socket, slots.buffer, shared);
    Reflect.set(socket, slots.callback, (bytes: number) => this.#onBytes(bytes));
    Reflect.set(socket, slots.generator, () => this.#space());
    handleOf(socket)?.useUserBuffer?.(shared);
    // Before anybody hears of the end.
    if (this.#isTls) socket.prependListener('end', () => this.#handOnPart());
    socket.on('close', () => this.#onClose());
  }

  #space(): Buffer {
    const at = this.#handedOn + this.#gathered;
    if (at > 0) return readPool.roomBehind(this.#buffer, at);
    if (this.#isTls || this.#buffer === shared || this.sink.readBytes === undefined) {
      return this.#buffer;
    }
    return readPool.room(this.#buffer, this.sink.readBytes(READ_BUFFER_BYTES));
  }

  #onBytes(bytes: number): boolean {
    if (this.#isTls && this.#gather(bytes)) return true;
    if (this.#gathered > 0 || this.#lent !== undefined) {
      this.#gathered += bytes;
      this.#handOn();
      return true;
    }
    const buffer = this.#buffer;
    if (bytes < LEND_BYTES_MIN) {
      const read = buffer.subarray(0, bytes);
      const piece = bytes < LEND_COPY_BYTES_MIN ? Buffer.from(read) : readPool.copy(read);
      this.#smallReads += 1;
      if (this.#smallReads === SMALL_READS_MAX) this.#useShared();
      this.sink.onRead(piece);
      return true;
    }
    this.#hold();
    const own = buffer === shared ? readPool.take() : buffer;
    if (own !== buffer) buffer.copy(own, 0, 0, bytes);
    this.sink.onRead(readPool.lend(own, bytes));
    return true;
  }

  /**
   * Keeps a whole record back while there is room behind it: TLS reads one at a time, and the next
   * is mostly there already. A record that is not whole ends the gathering, and so does the turn.
   */
  #gather(bytes: number): boolean {
    if (bytes !== RECORD_BYTES) return false;
    this.#smallReads = 0;
    this.#idleTicks = 0;
    if (this.#buffer === shared) {
      this.#hold();
      shared.copy(this.#buffer, 0, 0, bytes);
    }
    if (this.#handedOn + this.#gathered + 2 * RECORD_BYTES > WIDE_BUFFER_BYTES) return false;
    this.#gathered += bytes;
    this.#handOnAt ??= setImmediate(this.#handOnSoon);
    return true;
  }

  /** Within a read, whose next one goes into another buffer. */
  #handOn(): void {
    if (this.#lent !== undefined) {
      this.#handOnPart();
      this.#leave();
      return;
    }
    const bytes = this.#gathered;
    const buffer = this.#buffer;
    this.#gathered = 0;
    this.#hold();
    this.sink.onRead(readPool.lend(buffer, bytes));
  }

  /** Between reads: the next one goes behind what is gathered, whatever is done here. */
  #handOnPart(): void {
    const bytes = this.#gathered;
    if (bytes === 0) return;
    const from = this.#handedOn;
    this.#gathered = 0;
    this.#handedOn += bytes;
    this.#lent ??= readPool.lend(this.#buffer, WIDE_BUFFER_BYTES);
    this.sink.onRead(this.#lent.subarray(from, from + bytes));
  }

  /** Gives back what was not read into of a buffer that is lent, and goes on in another. */
  #leave(): void {
    const lent = this.#lent;
    if (lent === undefined) return;
    this.#letGo();
    this.#lent = undefined;
    const unused = WIDE_BUFFER_BYTES - this.#handedOn;
    this.#handedOn = 0;
    readPool.release(lent, unused);
  }

  /** The next read is large, too: it goes into a new buffer of the socket's own. */
  #hold(): void {
    this.#smallReads = 0;
    this.#idleTicks = 0;
    if (this.#buffer === shared) holders.add(this);
    this.#buffer = this.#isTls ? readPool.takeWide() : readPool.take();
  }

  /** The buffer has another owner now. */
  #letGo(): void {
    this.#buffer = shared;
    holders.delete(this);
  }

  #useShared(): void {
    if (this.#buffer === shared) return;
    readPool.giveBack(this.#buffer);
    this.#letGo();
  }

  /** Only `returnIdleBuffers` calls this, which is between reads. */
  onTick(): void {
    this.#idleTicks += 1;
    if (this.#idleTicks < IDLE_TICKS_MAX || this.#gathered > 0) return;
    const handle = handleOf(this.socket);
    if (slots === undefined || handle?.useUserBuffer === undefined) return;
    if (this.#returns === RETURNS_MAX) return;
    this.#returns += 1;
    this.#leave();
    this.#useShared();
    Reflect.set(this.socket, slots.buffer, shared);
    handle.useUserBuffer(shared);
  }

  #onClose(): void {
    // Of a socket that was cut; an end has handed it on.
    this.#gathered = 0;
    if (this.#handOnAt !== undefined) clearImmediate(this.#handOnAt);
    this.#leave();
    this.#useShared();
  }
}

interface Handle {
  readonly useUserBuffer?: (buffer: Uint8Array) => void;
  readonly reading?: boolean;
}

function handleOf(socket: Socket): Handle | undefined {
  const handle: unknown = Reflect.get(socket, '_handle');
  return typeof handle === 'object' && handle !== null ? handle : undefined;
}

/**
 * Node reads a plain socket from its start, or from its connect on. With a buffer of ours its
 * stream has nothing to flow, and tells of the end all the same; to ask for the flow costs a tick.
 */
function isRead(socket: Socket): boolean {
  if (socket instanceof TLSSocket || socket.readableFlowing !== null) return false;
  return socket.connecting || handleOf(socket)?.reading === true;
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
