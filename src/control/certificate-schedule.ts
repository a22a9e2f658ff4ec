// When the certificate of one name is to be ordered, and when its issuer to be asked for advice.
//
// Invariant: pure. Not due while a certificate is good, nor within a pause; pauses and advice are
// timed by the monotonic clock, so that no jump of the wall clock delays an order once that is
// right. Must not know: who orders, or where certificates are kept.

import type { RenewalAdvice } from './acme.ts';
import { KEPT_AFTER_END_MS } from './certificate-folder.ts';
import type { CheckedPair } from './certificate-pair.ts';
import { type RenewalWindow, renewAtMs } from './renewal.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Between two questions for advice, unless the issuer says otherwise (RFC 9773 4.3.2). */
const ADVICE_MS = 6 * HOUR_MS;
/** Advice is not asked for more often, whatever the issuer says, nor is it forgotten for longer. */
const ADVICE_MS_MIN = MINUTE_MS;
const ADVICE_MS_MAX = 24 * HOUR_MS;

/** One moment on both clocks: the monotonic one, and that of the wall. */
export interface Moment {
  readonly nowMs: number;
  readonly wallMs: number;
}

export class CertificateSchedule {
  #pair: CheckedPair | undefined;
  #draw = 0;
  #window: RenewalWindow | undefined;
  /** Both of the monotonic clock: the other one may be set back. */
  #adviceAtMs = 0;
  #notBeforeMs = 0;

  /** What is served. */
  get pair(): CheckedPair | undefined {
    return this.#pair;
  }

  /** Is it to be served instead? Not if it was issued earlier; it may well end earlier. */
  isSucceededBy(pair: CheckedPair): boolean {
    const old = this.#pair;
    if (old === undefined) return true;
    return pair.fingerprint !== old.fingerprint && pair.notBeforeMs >= old.notBeforeMs;
  }

  /** `draw`: in [0, 1), for the moment of its renewal. */
  use(pair: CheckedPair, draw: number): void {
    this.#pair = pair;
    this.#draw = draw;
    this.#window = undefined;
    this.#adviceAtMs = 0;
  }

  /** 0 or less: it is to be ordered. */
  timeLeftMs({ nowMs, wallMs }: Moment): number {
    const pauseMs = this.#notBeforeMs - nowMs;
    if (this.#pair === undefined) return pauseMs;
    const dueMs = renewAtMs({ ...this.#pair, window: this.#window, draw: this.#draw });
    return Math.max(dueMs - wallMs, pauseMs);
  }

  /** However often it is asked for meanwhile. */
  pauseUntil(nowMs: number): void {
    this.#notBeforeMs = nowMs;
  }

  endPause(): void {
    this.#notBeforeMs = 0;
  }

  /** What is to be ordered now is not held up by a question. */
  needsAdvice(moment: Moment): boolean {
    if (this.#pair === undefined || this.timeLeftMs(moment) <= 0) return false;
    return moment.nowMs >= this.#adviceAtMs;
  }

  /** Without an answer the usual time holds. */
  onAdviceAsked(nowMs: number): void {
    this.#adviceAtMs = nowMs + ADVICE_MS;
  }

  /** `askedMs`: of the monotonic clock. */
  onAdvice({ window, retryAfterMs }: RenewalAdvice, askedMs: number): void {
    this.#window = window;
    const againMs = Math.min(retryAfterMs || ADVICE_MS, ADVICE_MS_MAX);
    this.#adviceAtMs = askedMs + Math.max(againMs, ADVICE_MS_MIN);
  }

  /** So long that nobody will come back for it. */
  isLongOver(wallMs: number): boolean {
    return this.#pair !== undefined && this.#pair.notAfterMs + KEPT_AFTER_END_MS <= wallMs;
  }
}
