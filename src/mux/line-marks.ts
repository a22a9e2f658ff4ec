// PINGs between the data that have no PONG yet: what had been sent before each, and when.
//
//   value of a mark:   10 | number, 30 bits                 a keepalive's values are below 2^31
//   value of a time:   11 | milliseconds of the answerer's own clock, 30 bits
//
// Invariant: at most MARKS_MAX are open, in the order in which they were sent; the answer to one
// answers those before it; a value that was not sent, or was answered, changes nothing. Nothing is
// allocated after the start. Must not know: what follows from an answer.

/** Open at once; a power of two, and twice what a line needs that is not in trouble. */
export const MARKS_MAX = 16;
const MARK_BITS = 0x8000_0000;
const TIME_BITS = 0xc000_0000;
const LOW_BITS = 0x3fff_ffff;

/** What is noted with a mark. */
export interface Mark {
  sentMs: number;
  /** All that was sent before it. */
  sentBytes: number;
  /** What was under way of that. */
  underWayBytes: number;
  /** The newest answer by then, from which rates are measured: its bytes, when its mark was sent,
   * and when it came. */
  fromBytes: number;
  fromSentMs: number;
  fromMs: number;
  fromTime: number;
}

export function isMark(value: number): boolean {
  return value >= MARK_BITS && value < TIME_BITS;
}

export function isTime(value: number): boolean {
  return value >= TIME_BITS;
}

export function timeValue(nowMs: number): number {
  return TIME_BITS + (Math.floor(nowMs) & LOW_BITS);
}

/** The time from `sentMs` on our clock to `time` on the peer's, less what it was for `zero`, which
 * is such a difference: some days at most, whatever the clocks say. */
export function lagMs(time: number, sentMs: number, zero: number): number {
  return ((time - Math.floor(sentMs) - zero) << 2) >> 2;
}

export class LineMarks {
  /** How many were ever sent: the number of the next. */
  sentCount = 0;
  answeredCount = 0;
  readonly #ring: readonly Mark[] = Array.from({ length: MARKS_MAX }, createMark);

  get openCount(): number {
    return this.sentCount - this.answeredCount;
  }

  get newestValue(): number {
    return MARK_BITS + ((this.sentCount - 1) & LOW_BITS);
  }

  /** Gives the next mark to note things in, or none while MARKS_MAX are open. */
  open(): Mark | undefined {
    if (this.openCount === MARKS_MAX) return undefined;
    const mark = this.#ring[this.sentCount & (MARKS_MAX - 1)];
    this.sentCount += 1;
    return mark;
  }

  /** The mark that `value` answers, if it is open: it and those before it no longer are. */
  answer(value: number): Mark | undefined {
    const ahead = (value - this.answeredCount) & LOW_BITS;
    if (!isMark(value) || ahead >= this.openCount) return undefined;
    this.answeredCount += ahead + 1;
    return this.#ring[(this.answeredCount - 1) & (MARKS_MAX - 1)];
  }
}

function createMark(): Mark {
  return {
    sentMs: 0,
    sentBytes: 0,
    underWayBytes: 0,
    fromBytes: 0,
    fromSentMs: 0,
    fromMs: 0,
    fromTime: Number.NaN,
  };
}
