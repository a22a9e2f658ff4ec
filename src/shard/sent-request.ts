// What is kept of a request that may have to be sent once more, and when it may.
//
//   the upstream never saw it     no OPENED came, for a dial failed, the client takes no more
//                                 streams, or its link was gone when the stream came there: any
//                                 request, as long as all of it lies in the read of its head
//   the upstream may have seen it only what has no effect and no body, on a stream that was used
//                                 before: it may have died of age
//
// Invariant: nothing else is ever sent twice, and nothing three times. Must not know: streams.

import type { ErrorCode } from '../base/errors.ts';
import type { RequestParser } from '../http/request-head.ts';

/** RFC 9110 9.2.2, and of those only the methods without effect. */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS']);
/** The codes of a client that has passed nothing on, and of a shard that could not ask it. */
const UNSEEN: ReadonlySet<ErrorCode> = new Set([
  ...(['SLW_STREAM_REFUSED', 'SLW_STREAM_UNREACHABLE', 'SLW_STREAM_CONNECT_TIMEOUT'] as const),
  ...(['SLW_STREAM_UNKNOWN_TUNNEL', 'SLW_STREAM_LIMIT', 'SLW_LINK_DRAINING'] as const),
  'SLW_STREAM_NO_LINK',
]);

export interface SentRequest {
  /** The read that it came in, which nobody writes to. */
  readonly bytes: Buffer;
  /** Of its head, and of its body, in that. */
  readonly base: number;
  readonly bodyAt: number;
  /** May it be sent again though it may have been seen? */
  readonly isRepeatable: boolean;
}

/** Was the stream given up before an upstream could see what was sent on it? */
export function isUnseen(code: ErrorCode): boolean {
  return UNSEEN.has(code);
}

/** May it be sent again though it was seen? */
export function isSafe(head: RequestParser): boolean {
  return isBodiless(head) && REPEATABLE.has(head.method);
}

function isBodiless({ framing, contentLength }: RequestParser): boolean {
  return framing === 'none' || (framing === 'length' && contentLength === 0);
}

/** Undefined for a request that cannot be sent again in any case. */
export function keepRequest(
  head: RequestParser,
  { chunk, offset, isReused }: { chunk: Buffer; offset: number; isReused: boolean },
): SentRequest | undefined {
  const { bytes, base, framing, contentLength } = head;
  const hasNoBody = isBodiless(head);
  const isHere = framing === 'length' && bytes === chunk && contentLength <= chunk.length - offset;
  if (!hasNoBody && !isHere) return undefined;
  const isRepeatable = isReused && isSafe(head);
  return { bytes, base, bodyAt: hasNoBody ? bytes.length : offset, isRepeatable };
}

export function mayRepeat(sent: SentRequest, code: ErrorCode): boolean {
  return sent.isRepeatable || isUnseen(code);
}
