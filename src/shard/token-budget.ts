// What the visitors of one limited token may use in this shard, as control has shared it out.
//
//   slots given --a stream opens--> open, until it ends    none free --asks control--> more, or not
//
// Invariant: no more streams are opened than slots were given; all streams share the token's two
// throttles; when the month's bytes are used up nothing new begins and what lives is cut. Must not
// know: other shards, the token's whole limits, routes, sockets.

import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { TokenLimits } from '../base/token-limits.ts';
import { TOKEN_LIMITS } from '../base/token-limits.ts';
import type { TokenBudgetShare, TokenUse } from '../bridge/exit-messages.ts';
import type { Stream, StreamMeter } from '../mux/stream.ts';
import { Throttle } from '../mux/throttle.ts';
import { THROTTLED_WINDOW_BYTES } from './tunnel-limits.ts';

/** A rate that is no limit any more, for the streams that are under it: a PiB a second. */
const UNLIMITED_BYTES_PER_SECOND = 2 ** 50;
/** Between two requests for more slots. Guess: a trip to the other shards takes some ms. */
const ASK_INTERVAL_MS = 50;

export interface TokenBudgetOptions {
  readonly token: string;
  readonly clock: Clock;
  /** More slots are wanted; `gain` is called when there are some. */
  readonly ask: () => void;
}

export class TokenBudget {
  readonly token: string;
  readonly #options: TokenBudgetOptions;
  /** Of its streams; what is `in` for a stream goes out to visitors. */
  readonly #meter: StreamMeter = { streams: 0, bytesIn: 0, bytesOut: 0 };
  readonly #limited = new Map<keyof TokenLimits, number>();
  /** While the month's bytes are limited: to be cut when they are used up. */
  #streams: Stream[] = [];
  #slots: number | undefined;
  #isFull = false;
  #requests: TokenBucket | undefined;
  #in: Throttle | undefined;
  #out: Throttle | undefined;
  #month: TokenBudgetShare['month'];
  #askedMs = Number.NEGATIVE_INFINITY;
  #requestsUsed = 0;
  #requestsRefused = 0;
  #reportedIn = 0;
  #reportedOut = 0;
  #reportedAny = false;

  constructor(options: TokenBudgetOptions) {
    this.#options = options;
    this.token = options.token;
  }

  get streamsCount(): number {
    return this.#meter.streams;
  }

  /** What a stream of it begins with at most; undefined: no limit of its own. */
  get windowBytesMax(): number | undefined {
    return this.#out === undefined ? undefined : THROTTLED_WINDOW_BYTES;
  }

  apply(share: TokenBudgetShare): void {
    const nowMs = this.#options.clock.nowMs();
    const { slots, requestsPerSecond } = share;
    this.#slots = slots === undefined ? undefined : (this.#slots ?? 0) + slots;
    this.#isFull = share.isFull === true;
    this.#requests = bucketAt(this.#requests, requestsPerSecond, nowMs);
    this.#in = this.#throttleAt(this.#in, share.bytesInPerSecond);
    this.#out = this.#throttleAt(this.#out, share.bytesOutPerSecond);
    this.#month = share.month;
    if (share.month === undefined) this.#streams = [];
    else if (share.month === 'spent') this.#cutAll();
  }

  /** Nothing is limited any more: those who wait go on. */
  lift(): void {
    this.apply({ token: this.token });
  }

  gain(slots: number): void {
    if (this.#slots !== undefined) this.#slots += slots;
  }

  /** Gives free slots back: half of them, or all. */
  recall(isAll: boolean): number {
    const free = Math.max(0, (this.#slots ?? 0) - this.#meter.streams);
    const back = isAll ? free : Math.ceil(free / 2);
    if (this.#slots !== undefined) this.#slots -= back;
    return back;
  }

  /** A code when no stream, or no request at `requestMs`, may begin now. */
  refusal(requestMs: number | undefined): ErrorCode | undefined {
    if (this.#month === 'spent') return 'SLW_STREAM_TOKEN_SPENT';
    if (this.#isFull || this.#hasNoSlot) return 'SLW_STREAM_TOKEN_LIMIT';
    return requestMs === undefined ? undefined : this.#requestRefusal(requestMs);
  }

  /** The same, of somebody who is turned away for it: counted, and more is asked for. */
  refuse(requestMs: number | undefined): ErrorCode | undefined {
    const code = this.refusal(requestMs);
    if (code !== undefined) this.#count(code);
    if (code === 'SLW_STREAM_TOKEN_LIMIT') this.#askForSlots();
    return code;
  }

  /** One more request on a stream that is open: a code, or it is counted. */
  nextRequest(nowMs: number): ErrorCode | undefined {
    const code = this.#month === 'spent' ? 'SLW_STREAM_TOKEN_SPENT' : this.#requestRefusal(nowMs);
    if (code === undefined) this.spendRequest();
    return code;
  }

  spendRequest(): void {
    if (this.#requests === undefined) return;
    this.#requests.spend(1);
    this.#requestsUsed += 1;
  }

  attach(stream: Stream): void {
    stream.addMeter(this.#meter);
    if (this.#in !== undefined || this.#out !== undefined) stream.throttle(this.#in, this.#out);
    if (this.#month !== undefined) this.#streams.push(stream);
    // Before the next visitor needs it.
    if (this.#hasNoSlot) this.#askForSlots();
  }

  /** What was used since the last call; undefined while nothing is. */
  takeUse(): TokenUse | undefined {
    this.#streams = this.#streams.filter(({ isEnded }) => !isEnded);
    const { bytesIn: toVisitors, bytesOut: fromVisitors } = this.#meter;
    const use: TokenUse = {
      token: this.token,
      requests: { used: this.#requestsUsed, waiting: this.#requestsRefused },
      bytesIn: { used: fromVisitors - this.#reportedIn, waiting: this.#waitingFor('in') },
      bytesOut: { used: toVisitors - this.#reportedOut, waiting: this.#waitingFor('out') },
      limited: [...this.#limited].map(([field, count]) => [TOKEN_LIMITS[field].key, count]),
    };
    this.#requestsUsed = 0;
    this.#requestsRefused = 0;
    this.#reportedIn = fromVisitors;
    this.#reportedOut = toVisitors;
    this.#limited.clear();
    const rates = [use.requests, use.bytesIn, use.bytesOut];
    const isAny = use.limited.length > 0 || rates.some((rate) => rate.used + rate.waiting > 0);
    // The first of nothing is told too: what it had is free for others.
    const isNews = isAny || this.#reportedAny;
    this.#reportedAny = isAny;
    return isNews ? use : undefined;
  }

  get #hasNoSlot(): boolean {
    return this.#slots !== undefined && this.#meter.streams >= this.#slots;
  }

  #requestRefusal(nowMs: number): ErrorCode | undefined {
    const isOver = this.#requests !== undefined && this.#requests.fill(nowMs) < 1;
    return isOver ? 'SLW_HTTP_TOKEN_LIMIT' : undefined;
  }

  #count(code: ErrorCode): void {
    if (code === 'SLW_HTTP_TOKEN_LIMIT') this.#requestsRefused += 1;
    const field = LIMIT_OF[code];
    if (field !== undefined) this.#limited.set(field, (this.#limited.get(field) ?? 0) + 1);
  }

  /** How many streams wait for the rate, or have waited since the last report. */
  #waitingFor(direction: 'in' | 'out'): number {
    const throttle = direction === 'in' ? this.#in : this.#out;
    if (throttle === undefined) return 0;
    const { waitsCount, waitingCount } = throttle;
    throttle.waitsCount = 0;
    const field = direction === 'in' ? 'bytesInPerSecondMax' : 'bytesOutPerSecondMax';
    if (waitsCount > 0) this.#limited.set(field, waitsCount);
    return waitsCount === 0 ? waitingCount : Math.max(1, waitingCount);
  }

  #throttleAt(known: Throttle | undefined, bytesPerSecond: number | undefined) {
    if (bytesPerSecond === undefined) {
      known?.setRate(UNLIMITED_BYTES_PER_SECOND);
      return undefined;
    }
    const rate = Math.max(1, Math.round(bytesPerSecond));
    if (known === undefined) return new Throttle(rate, this.#options.clock);
    known.setRate(rate);
    return known;
  }

  #askForSlots(): void {
    const nowMs = this.#options.clock.nowMs();
    if (nowMs - this.#askedMs < ASK_INTERVAL_MS) return;
    this.#askedMs = nowMs;
    this.#options.ask();
  }

  /** As if the client had reset them: their visitors are told in the way of their protocol. */
  #cutAll(): void {
    const streams = this.#streams;
    this.#streams = [];
    for (const stream of streams) {
      const { sink } = stream;
      if (stream.isEnded) continue;
      stream.reset('SLW_STREAM_TOKEN_SPENT');
      sink.onReset('SLW_STREAM_TOKEN_SPENT');
    }
  }
}

const LIMIT_OF: Readonly<Partial<Record<ErrorCode, keyof TokenLimits>>> = {
  SLW_STREAM_TOKEN_SPENT: 'bytesMonthMax',
  SLW_STREAM_TOKEN_LIMIT: 'streamsMax',
  SLW_HTTP_TOKEN_LIMIT: 'requestsPerSecondMax',
};

function bucketAt(
  known: TokenBucket | undefined,
  perSecond: number | undefined,
  nowMs: number,
): TokenBucket | undefined {
  if (perSecond === undefined) return undefined;
  // A share below one still lets one pass at a time.
  const burst = Math.max(1, perSecond);
  if (known === undefined) return new TokenBucket(perSecond, nowMs, burst);
  known.setRate(perSecond, nowMs, burst);
  return known;
}
