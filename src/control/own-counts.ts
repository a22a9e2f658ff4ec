// What control itself counts: who was refused, and what was answered on the control port.
//
// Invariant: keys are reasons, statuses and known paths, so that both maps stay small whatever is
// asked; a refusal is counted and logged, once. Must not know: who renders the counts.

import type { ErrorCode } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';

export class OwnCounts {
  readonly authFailures = new Map<string, number>();
  /** By `STATUS PATH`. */
  readonly controlRequests = new Map<string, number>();
  readonly #log: Logger;

  constructor(log: Logger) {
    this.#log = log;
  }

  onAnswer(path: string, status: number): void {
    add(this.controlRequests, `${status} ${path}`);
  }

  onRefusal(reason: string): void {
    add(this.authFailures, reason);
    this.#log.warn({ code: 'SLW_AUTH_REFUSED' satisfies ErrorCode, reason }, 'token refused');
  }
}

function add(counts: Map<string, number>, key: string): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
