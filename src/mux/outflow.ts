// What leaves a session, held to what the line delivers: a flight, its PINGs and its timer.
//
//   session --roomBytes, sent--> Outflow --PING--> link
//   session <--------goOn------- Outflow <--PONG-- link
//
// Invariant: one timer at most, and only while the flight is paced and somebody wants to send; none
// after `close`. A message port counts itself what has arrived, so its flight is never measured.
// Must not know: streams and credit.

import type { Clock, Timer } from '../base/clock.ts';
import type { Link } from '../link/link.ts';
import { FRAME, FRAME_HEADER_BYTES } from '../wire/frame.ts';
import { Flight, PACE_MS } from './flight.ts';
import { isMark, timeValue } from './line-marks.ts';

export class Outflow {
  readonly flight: Flight;
  readonly #link: Link;
  readonly #clock: Clock;
  readonly #goOn: () => void;
  #timer: Timer | undefined;

  /** `goOn` is called when more may be sent than before. */
  constructor(link: Link, clock: Clock, goOn: () => void) {
    this.#link = link;
    this.#clock = clock;
    this.#goOn = goOn;
    this.flight = new Flight(clock.wallMs() - clock.nowMs());
  }

  /** The link takes data, and the line has room. */
  get isOpen(): boolean {
    return !this.#link.isCongested && !this.flight.isFull;
  }

  /** The longest frame now, and so a stream's turn. */
  get frameBytesMax(): number {
    return Math.min(this.#link.frameBytesMax, this.flight.frameBytesMax);
  }

  /** How long a frame of `pieceBytes` may be now; 0: none. */
  roomBytes(pieceBytes: number): number {
    if (this.#link.isCongested) return 0;
    return Math.min(this.#link.frameBytesMax, this.flight.roomBytes(pieceBytes));
  }

  /** A frame of DATA was given to the link. */
  sent(bytes: number): void {
    if (this.flight.send(bytes + FRAME_HEADER_BYTES)) this.#ping(this.mark());
  }

  /** The value of a PING that measures the line if it is sent now; 0: none. */
  mark(): number {
    return this.#link.kind === 'port' ? 0 : this.flight.mark(this.#clock.nowMs());
  }

  /** Answers a PING; one that is a mark with the time ahead. */
  pong(value: number): void {
    if (isMark(value)) this.#link.writeValue(FRAME.PONG, 0, timeValue(this.#clock.nowMs()));
    this.#link.writeValue(FRAME.PONG, 0, value);
  }

  /** A PONG came; one that is none of ours changes nothing. */
  answer(value: number): void {
    this.#ping(this.flight.answer(value, this.#clock.nowMs()));
    this.#goOn();
  }

  /** Somebody wants to send and may not. */
  wait(): void {
    if (!this.flight.isPaced) return;
    this.#timer ??= this.#clock.after(PACE_MS, () => {
      this.#timer = undefined;
      this.#ping(this.flight.pace(this.#clock.nowMs()));
      this.#goOn();
    });
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #ping(value: number): void {
    if (value !== 0) this.#link.writeValue(FRAME.PING, 0, value);
  }
}
