// What streams send on one link: who is next, how much, and when to stop.
//
//   stream --sendNow--> link                    credit, link and line have room
//   stream --schedule--> in turn --> link       else, when they have
//
// Invariant: a stream's turn is bounded, and FIN follows its last byte; nothing is sent after
// `close`. Must not know: how streams begin and end, or what the peer sends.

import type { Clock } from '../base/clock.ts';
import type { Link } from '../link/link.ts';
import { FRAME } from '../wire/frame.ts';
import { FRAME_BYTES_MIN } from '../wire/limits.ts';
import { canSend } from '../wire/stream-state.ts';
import { Outflow } from './outflow.ts';
import { QUANTUM_BYTES, Scheduler } from './scheduler.ts';
import type { Stream, StreamSender } from './stream.ts';

export class Sender implements StreamSender {
  readonly outflow: Outflow;
  readonly #link: Link;
  readonly #scheduler = new Scheduler();
  #state: 'resting' | 'pumping' | 'closed' = 'resting';
  /** The longest frame that the peer takes. */
  frameBytesMax = FRAME_BYTES_MIN;

  constructor(link: Link, clock: Clock) {
    this.#link = link;
    this.outflow = new Outflow(link, clock, () => this.pump());
  }

  /** Sends as much of `piece` as credit, link and line allow; returns how much. */
  sendNow(stream: Stream, piece: Buffer): number {
    if (this.#state === 'closed' || !canSend(stream.state)) return 0;
    let offset = 0;
    while (offset < piece.length) {
      const frame = Math.min(this.frameBytesMax, this.outflow.roomBytes(piece.length));
      const bytes = Math.min(piece.length - offset, stream.sendableBytes, frame);
      if (bytes === 0) break;
      stream.spend(bytes);
      const part = bytes === piece.length ? piece : piece.subarray(offset, offset + bytes);
      this.#link.writeBody(FRAME.DATA, stream.id, part);
      this.outflow.sent(bytes);
      offset += bytes;
    }
    for (const meter of stream.meters) meter.bytesOut += offset;
    return offset;
  }

  /** Lists the stream for a turn, if it has something that may be sent. */
  schedule(stream: Stream): void {
    this.#scheduler.add(stream);
    this.pump();
  }

  /** Serves listed streams until the link is congested or none is left. Never nests: a sink that
   * writes in onWritable lists its stream for this very loop, instead of a deeper one. */
  pump(): void {
    if (this.#state !== 'resting') return;
    this.#state = 'pumping';
    while (this.#isPumping() && this.outflow.isOpen) {
      const stream = this.#scheduler.next();
      if (stream === undefined) break;
      if (stream.flush(Math.min(QUANTUM_BYTES, this.outflow.frameBytesMax))) {
        stream.finSent();
        this.#link.writeValue(FRAME.FIN, stream.id, 0);
      }
      if (stream.isDrained) stream.sink.onWritable();
      stream.settle();
      this.#scheduler.add(stream);
    }
    if (!this.#isPumping()) return;
    this.#state = 'resting';
    if (!this.#scheduler.isEmpty) this.outflow.wait();
  }

  close(): void {
    this.#state = 'closed';
    this.outflow.close();
  }

  /** False once a sink has ended the session. */
  #isPumping(): boolean {
    return this.#state === 'pumping';
  }
}
