// How soon a name is ordered again after a failure, and what an operator can do about it.
//
// Invariant: what a failure costs the issuer says how long the pause is at least; pauses grow, have
// jitter and obey the issuer, for a day. Must not know: what was ordered, or what time it is.

import { Backoff } from '../base/backoff.ts';
import { SluicewayError } from '../base/errors.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** An issuer asks for hours; asked again after a day, it may say so again. */
const RETRY_AFTER_MS_MAX = 24 * HOUR_MS;

/** Of a failure, as a label of a metric. */
export type FailureResult = 'unreachable' | 'limited' | 'refused' | 'store';

export interface OrderFailure {
  readonly code: string;
  readonly result: FailureResult;
  /** What to do, for the log. */
  readonly hint: string;
  /** Until the next try. */
  readonly delayMs: number;
}

interface FailureKind {
  readonly result: FailureResult;
  readonly hint: string;
  readonly backoff: 'short' | 'long';
}

/** Guesses. */
const BACKOFFS = {
  short: { leastMs: 1000, baseMs: 5000, maxMs: 10 * MINUTE_MS },
  long: { leastMs: 30_000, baseMs: MINUTE_MS, maxMs: 6 * HOUR_MS },
} as const;
const REFUSED: FailureKind = {
  result: 'refused',
  hint:
    'the host must resolve to this server, and its port 80 or 443 must be reachable; ' +
    'with --allow-ips, which turns the issuer away from 443, by http-01 or dns-01 alone',
  backoff: 'long',
};
const KINDS: Readonly<Partial<Record<string, FailureKind>>> = {
  SLW_ACME_UNREACHABLE: {
    result: 'unreachable',
    hint: 'this server must reach the issuer; nothing to do if the issuer is down',
    backoff: 'short',
  },
  SLW_ACME_LIMITED: {
    result: 'limited',
    hint: 'nothing to do but wait; for tests use --letsencrypt-issuer staging',
    backoff: 'long',
  },
  SLW_CERTIFICATE_STORE: {
    result: 'store',
    hint: 'make room in, or give the right to write to, the folder of --letsencrypt-dir',
    backoff: 'short',
  },
};

/** Of one name. */
export class OrderRetry {
  readonly #backoffs: { readonly short: Backoff; readonly long: Backoff };

  constructor(random: () => number) {
    this.#backoffs = {
      short: new Backoff({ ...BACKOFFS.short, random }),
      long: new Backoff({ ...BACKOFFS.long, random }),
    };
  }

  onFailure(error: unknown): OrderFailure {
    const code = error instanceof SluicewayError ? error.code : 'SLW_ACME_REFUSED';
    const { result, hint, backoff } = KINDS[code] ?? REFUSED;
    const { retryAfterMs = 0 } = error as { retryAfterMs?: number };
    const askedMs = Math.min(retryAfterMs, RETRY_AFTER_MS_MAX);
    const ownMs = BACKOFFS[backoff].leastMs + this.#backoffs[backoff].nextMs();
    return { code, result, hint, delayMs: Math.max(askedMs, ownMs) };
  }

  /** An order has succeeded. */
  reset(): void {
    this.#backoffs.short.reset();
    this.#backoffs.long.reset();
  }
}
