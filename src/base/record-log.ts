// Lines of a log that has thousands a second, such as one for each request.
//
//   {"level":"info","time":"2026-01-01T00:00:00.000Z","component":"access",FIELDS,"msg":"request"}
//
// Invariant: a line is the one that pino would write at level info, octet for octet, so that who
// reads a log need not know which of the two wrote it; the time is made into text once a
// millisecond, as that costs as much as all the rest. Must not know: what is recorded, or where
// lines go.

import { type Clock, isoTimeOf } from './clock.ts';

/** What JSON can say; undefined ones are left out. */
export type RecordFields = Readonly<Record<string, string | number | boolean | undefined>>;

interface LineStream {
  write(line: string): void;
}

export class RecordLog {
  readonly #clock: Clock;
  readonly #stream: LineStream;
  readonly #component: string;
  #timeMs = Number.NaN;
  /** All before a line's own fields, with the time of `#timeMs`. */
  #start = '';

  constructor(component: string, stream: LineStream, clock: Clock) {
    this.#component = component;
    this.#stream = stream;
    this.#clock = clock;
  }

  /** `message` is a constant of ours, with nothing that JSON escapes. */
  write(fields: RecordFields, message: string): void {
    const timeMs = this.#clock.wallMs();
    if (timeMs !== this.#timeMs) this.#setTime(timeMs);
    const body = JSON.stringify(fields).slice(1, -1);
    const comma = body === '' ? '' : ',';
    this.#stream.write(`${this.#start}${comma}${body},"msg":"${message}"}\n`);
  }

  #setTime(timeMs: number): void {
    const start = { level: 'info', time: isoTimeOf(timeMs), component: this.#component };
    this.#start = JSON.stringify(start).slice(0, -1);
    this.#timeMs = timeMs;
  }
}
