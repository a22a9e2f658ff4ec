// One flow of datagrams: those of a visitor's address and port, and of the stream that is theirs.
//
//   socket --take--> queue --> stream        stream --onData--> reader --send--> socket
//
//   open --end()--> ending --FIN of the peer--> ended
//     \--FIN of the peer, answered by ours--> ended      any --reset, or late--> ended
//
// Invariant: datagrams keep their borders and are dropped rather than waited for; an ordinary end
// is a FIN each way, so that nothing is late on the link; `onEnd` is called once. Must not know:
// sockets, who visits, or which side of the tunnel it is on.

import type { ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import { DatagramQueue, type QueueAccount } from '../mux/datagram-queue.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import { DatagramReader } from '../wire/datagram.ts';
import type { DatagramMeter, Direction } from './datagram-meter.ts';

/** For the peer's FIN behind ours; it may be gone for good. Guess: many round trips. */
const ENDING_MS_MAX = 10_000;
/** In a drain an answer that is on its way has so long. Guess. */
export const DRAIN_IDLE_MS = 2000;

export interface UdpFlowOptions {
  readonly account: QueueAccount;
  readonly meter: DatagramMeter;
  readonly nowMs: number;
  /** What comes from the socket counts as: `in` where visitors are beyond it. */
  readonly takes: Direction;
  /** Hands a datagram, which is the socket's from then on, to whoever is beyond it. */
  readonly send: (datagram: Buffer) => void;
  /** Once, when whoever is beyond the socket goes on after it was sent something. */
  readonly onSettled?: () => void;
  /** Once, when it takes and gives no more. */
  readonly onClose: () => void;
  /** Once, behind it, when nothing is left; SLW_NONE for cleanly. */
  readonly onEnd: (code: ErrorCode) => void;
}

export class UdpFlow implements StreamSink {
  readonly #options: UdpFlowOptions;
  readonly #reader: DatagramReader;
  #stream: Stream | undefined;
  #queue: DatagramQueue | undefined;
  #state: 'open' | 'ending' | 'ended' = 'open';
  #isSettled = false;
  /** Of the last datagram either way; in `ending`, since when. */
  #activeMs: number;
  /** What came from the stream and was not yet said to be taken. */
  #uncreditedBytes = 0;
  /** Activity as of the last sweep. */
  #seenCount = 0;
  /** Datagrams and their bytes: in from the socket, out to it. */
  inCount = 0;
  outCount = 0;
  inBytes = 0;
  outBytes = 0;

  constructor(options: UdpFlowOptions) {
    this.#options = options;
    this.#activeMs = options.nowMs;
    this.#reader = new DatagramReader((datagram) => this.#give(datagram));
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** Begins to carry. */
  join(stream: Stream): void {
    const { account, meter } = this.#options;
    this.#stream = stream;
    this.#queue = new DatagramQueue(stream, account, (count) => meter.drop('queue', count));
  }

  /** A datagram from the socket, the flow's own from now on. */
  take(datagram: Buffer): void {
    if (this.#state !== 'open') return;
    this.inCount += 1;
    this.inBytes += datagram.length;
    this.#options.meter.count(this.#options.takes);
    if (!this.#isSettled && this.outCount > 0) {
      this.#isSettled = true;
      this.#options.onSettled?.();
    }
    this.#queue?.push(datagram);
  }

  onOpened(): void {
    // Datagrams flow from the start.
  }

  onData(piece: Buffer): void {
    const bytes = piece.length;
    this.#reader.read(piece);
    readPool.release(piece, bytes);
    this.#uncreditedBytes += bytes;
    this.#grant();
  }

  onFin(): void {
    // A datagram that is under way either way was cut, and nobody will have the rest.
    this.#close();
    const stream = this.#stream;
    stream?.consumed(this.#uncreditedBytes);
    this.#uncreditedBytes = 0;
    if (stream?.isDrained === true) stream.end();
    else stream?.reset('SLW_STREAM_CANCELLED');
    this.#finish('SLW_NONE');
  }

  onReset(code: ErrorCode): void {
    this.#close();
    this.#finish(code);
  }

  onWritable(): void {
    this.#queue?.flush();
  }

  /** No more either way. It has ended once the peer has said so too. */
  end(nowMs: number): void {
    if (this.#state !== 'open') return;
    this.#close();
    this.#activeMs = nowMs;
    this.#stream?.end();
  }

  /** Ends it now. */
  abort(code: ErrorCode): void {
    if (this.#state === 'ended') return;
    this.#close();
    this.#stream?.reset(code);
    this.#finish(code);
  }

  /** About once a second: a flow that is silent for so long ends. */
  sweep(nowMs: number, idleMs: number): void {
    const count = this.inCount + this.outCount;
    const isActive = count !== this.#seenCount;
    this.#seenCount = count;
    if (this.#state === 'open' && isActive) this.#activeMs = nowMs;
    const silentMs = nowMs - this.#activeMs;
    if (this.#state === 'open' && silentMs >= idleMs) this.end(nowMs);
    else if (this.#state === 'ending' && silentMs >= ENDING_MS_MAX) this.abort('SLW_STREAM_IDLE');
  }

  #give(datagram: Buffer): void {
    if (this.#state !== 'open') return;
    this.outCount += 1;
    this.outBytes += datagram.length;
    this.#options.meter.count(this.#options.takes === 'in' ? 'out' : 'in');
    this.#options.send(datagram);
  }

  /**
   * Credit for a datagram that is under way waits until it is whole, so that what it holds is on
   * the session's account; but for a sender that has none left to send the rest with.
   */
  #grant(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    const keptBytes = stream.window.availableBytes > 0 ? this.#reader.heldBytes : 0;
    const bytes = this.#uncreditedBytes - keptBytes;
    if (bytes <= 0) return;
    this.#uncreditedBytes -= bytes;
    stream.consumed(bytes);
  }

  #close(): void {
    if (this.#state !== 'open') return;
    this.#state = 'ending';
    const dropped = this.#queue?.clear() ?? 0;
    if (dropped > 0) this.#options.meter.drop('ended', dropped);
    this.#options.onClose();
  }

  #finish(code: ErrorCode): void {
    if (this.#state === 'ended') return;
    this.#state = 'ended';
    this.#options.onEnd(code);
  }
}
