// The access log: a line for each request, and for each TCP or upgraded connection at its end.
//
// Invariant: what a visitor sent is cut and made safe before it is a value of a JSON line, and a
// query, which may hold secrets, is never written; lines are dropped rather than waited for, as
// all of the log. Made only when it is switched on. Must not know: sockets, streams.

import type { Clock } from '../base/clock.ts';
import { loggable } from '../base/loggable.ts';
import type { RecordLog } from '../base/record-log.ts';
import type { VisitorOrigin } from '../http/forwarding.ts';
import { excerptOf } from '../http/head-excerpt.ts';
import type { RequestParser } from '../http/request-head.ts';
import { visitorOf } from '../http/trusted-forwarding.ts';
import type { RelayEnd } from './socket-relay.ts';

/** What is kept of a request until it is answered; '' for what could not be read. */
export interface AccessNote {
  readonly visitor: string;
  readonly path: string;
  readonly userAgent: string;
}

export interface RequestOutcome {
  readonly tunnel: string | undefined;
  readonly method: string;
  readonly status: number;
  /** SLW_NONE for one that was answered, whoever gave the answer's status. */
  readonly code: string;
  /** Of bodies, without their framing. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
}

export interface ConnectionOutcome {
  readonly tunnel: string;
  readonly visitor: string;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly durationMs: number;
  /** SLW_NONE for a clean end. */
  readonly code: string;
}

export class AccessLog {
  readonly #records: RecordLog;

  constructor(records: RecordLog) {
    this.#records = records;
  }

  /** Notes what will be written of a request; its head may be gone by then. */
  note(origin: VisitorOrigin, head: RequestParser | undefined): AccessNote {
    if (head === undefined) return { visitor: origin.address, path: '', userAgent: '' };
    const visitor = visitorOf(head, origin);
    const { path, userAgent } = excerptOf(head);
    return { visitor, path: loggable(path), userAgent: loggable(userAgent) };
  }

  onRequest(note: AccessNote, outcome: RequestOutcome): void {
    const { visitor, path, userAgent } = note;
    const { tunnel, method, status, code, bytesIn, bytesOut } = outcome;
    const durationMs = rounded(outcome.durationMs);
    this.#records.write(
      { tunnel, visitor, method, path, status, code, bytesIn, bytesOut, durationMs, userAgent },
      'request',
    );
  }

  /** Field by field: whatever else comes with an outcome is no business of a log's. */
  onConnection(outcome: ConnectionOutcome): void {
    const { tunnel, visitor, bytesIn, bytesOut, code } = outcome;
    const durationMs = rounded(outcome.durationMs);
    this.#records.write({ tunnel, visitor, bytesIn, bytesOut, durationMs, code }, 'connection');
  }
}

/** Writes a line when a relay ends. */
export function noteEnd(
  access: AccessLog,
  clock: Clock,
  { tunnel, visitor }: { readonly tunnel: string; readonly visitor: string },
): (end: RelayEnd) => void {
  const startMs = clock.nowMs();
  return (end) => {
    access.onConnection({ tunnel, visitor, ...end, durationMs: clock.nowMs() - startMs });
  };
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}
