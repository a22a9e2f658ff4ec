// An inspected request as it crosses from a shard to control: in a list, or in full.
//
// Invariant: plain data, and secrets in it are masked before it crosses. Must not know: who asks,
// or how a request is kept.

import type { ErrorCode } from '../base/errors.ts';

/** A request that was kept: what a list shows. Times are of its start, and since then. */
export interface InspectedRequest {
  /** `SHARD-LIFE-NUMBER`, where the life of a shard ends with its thread. */
  readonly id: string;
  readonly tunnel: string;
  readonly visitor: string;
  readonly method: string;
  /** Path and query, with secrets masked. */
  readonly target: string;
  readonly startedMs: number;
  /** Until the head of the response; null while there is none. */
  readonly firstByteMs: number | null;
  /** Until the end of the response, or until it failed; null while it is under way. */
  readonly durationMs: number | null;
  /** 0 while there is none. */
  readonly status: number;
  /** Why it failed; SLW_NONE when it did not. */
  readonly code: ErrorCode;
  /** Of bodies, without their framing. */
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** The request that this one repeats; '' for a visitor's own. */
  readonly replayOf: string;
}

/** As far as it was kept; text where it is UTF-8, else base64. */
export interface KeptBody {
  readonly text?: string;
  readonly base64?: string;
  readonly bytes: number;
  readonly isWhole: boolean;
}

export interface InspectedDetail extends InspectedRequest {
  /** As they came from the visitor and from the upstream, with secrets masked. */
  readonly requestFields: readonly (readonly [name: string, value: string])[];
  readonly responseFields: readonly (readonly [name: string, value: string])[];
  /** Null when bodies are not kept. */
  readonly requestBody: KeptBody | null;
  readonly responseBody: KeptBody | null;
  /** Why it cannot be repeated; '' when it can. */
  readonly replayProblem: string;
}
