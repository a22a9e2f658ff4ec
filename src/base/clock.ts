// The only place that reads time. Pure rooms take a Clock, so tests can move it by hand.
//
// Invariant: `nowMs` is monotonic and never moves with the wall clock. Timers never exceed
// 2^31-1 ms, above which setTimeout fires at once. Must not know: who waits, or why.

/** Largest delay that setTimeout honours (specification: a signed 32-bit count of ms). */
export const TIMER_MS_MAX = 2 ** 31 - 1;

export interface Timer {
  cancel(): void;
}

export interface Clock {
  /** Monotonic milliseconds, fractional. */
  nowMs(): number;
  /** Wall clock, milliseconds since the epoch. For people, never for durations. */
  wallMs(): number;
  /** Runs `callback` once after `delayMs`; the timer does not keep the process alive. */
  after(delayMs: number, callback: () => void): Timer;
}

export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(Math.max(0, delayMs), TIMER_MS_MAX));
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** A date as protocols write it, as milliseconds since the epoch; NaN when it is none. */
export function wallMsOf(text: string): number {
  return Date.parse(text);
}

/** A moment as protocols and files write it, in UTC. */
export function isoTimeOf(wallMs: number): string {
  return new Date(wallMs).toISOString();
}

/** A moment as HTTP writes it, in whole seconds (RFC 9110, 5.6.7). */
export function httpTimeOf(wallMs: number): string {
  return new Date(wallMs).toUTCString();
}

/**
 * Has `work` come to its end within `delayMs`? Keeps the process alive meanwhile, and no longer. A
 * rejection is passed on. Asked but once: each time leaves something with `work` until it ends.
 */
export async function endsWithin(work: Promise<unknown>, delayMs: number): Promise<boolean> {
  const late = Promise.withResolvers<false>();
  const timer = setTimeout(() => late.resolve(false), Math.min(delayMs, TIMER_MS_MAX));
  try {
    return await Promise.race([work.then(() => true), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves after `delayMs`, or once `signal` is aborted; keeps the process alive meanwhile. */
export function sleep(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, Math.min(delayMs, TIMER_MS_MAX));
    if (signal?.aborted === true) end();
    else signal?.addEventListener('abort', end);
  });
}
