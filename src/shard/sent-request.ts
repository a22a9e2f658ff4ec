// What is kept of a request that may have to be sent once more, and when it may.
//
//   the upstream never saw it     no OPENED came, for a dial failed, the client takes no more
//                                 streams or has no memory, or its link was gone when the stream
//                                 came there: any request, of which all is here that was sent
//   the upstream may have seen it only what has no effect and no body, on a stream that was used
//                                 before: it may have died of age
//
// Invariant: nothing else is ever sent twice; what is kept is bounded, of each and of all together,
// and dropped when OPENED comes; of a request that goes on as its body comes, none is missing. Must
// not know: streams.

import type { ErrorCode } from '../base/errors.ts';
import { memoryPressure, PRESSURE } from '../base/memory-pressure.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { KeptBodies } from './kept-bodies.ts';

/** RFC 9110 9.2.2, and of those only the methods without effect. */
const REPEATABLE = new Set(['GET', 'HEAD', 'OPTIONS']);
/**
 * The codes of a client that has passed nothing on, and of a shard that could not ask it. Of memory
 * a client says so while it dials and holds what came for that; we, of what has come from it.
 */
const UNSEEN: ReadonlySet<ErrorCode> = new Set([
  ...(['SLW_STREAM_REFUSED', 'SLW_STREAM_UNREACHABLE', 'SLW_STREAM_CONNECT_TIMEOUT'] as const),
  ...(['SLW_STREAM_UNKNOWN_TUNNEL', 'SLW_STREAM_LIMIT', 'SLW_LINK_DRAINING'] as const),
  ...(['SLW_STREAM_NO_LINK', 'SLW_STREAM_MEMORY'] as const),
]);
/**
 * Of a body, beyond the read of its head: a stream that was not answered takes 64 KiB, and then the
 * visitor is held back, behind a read or two.
 */
export const LATER_BYTES_MAX = 192 * 1024;
/** What a read counts for at least: each costs more than its bytes. */
const READ_COST_BYTES = 1024;

/** Was the stream given up before an upstream could see what was sent on it? Only while no OPENED
 * has come. */
export function isUnseen(code: ErrorCode): boolean {
  return UNSEEN.has(code);
}

/** Was it the link alone, so that another of the same client may take what it did not? */
export function isOfLink(code: ErrorCode): boolean {
  return code === 'SLW_STREAM_NO_LINK' || code === 'SLW_LINK_DRAINING';
}

/** May it be sent again though it was seen? */
export function isSafe(head: RequestParser): boolean {
  return isBodiless(head) && REPEATABLE.has(head.method);
}

function isBodiless({ framing, contentLength }: RequestParser): boolean {
  return framing === 'none' || (framing === 'length' && contentLength === 0);
}

export class SentRequest {
  /** What its head came in, which nobody writes to, and where that begins. */
  readonly bytes: Buffer;
  readonly base: number;
  /** The read in which its head ended, likewise, and where that has some of the body. */
  readonly chunk: Buffer;
  readonly bodyAt: number;
  /** What came of the body since, and maybe of what follows it. */
  readonly later: Buffer[] = [];
  /** May it be sent again though it may have been seen? */
  isRepeatable: boolean;
  readonly #kept: KeptBodies;
  #laterBytes = 0;

  constructor(head: RequestParser, read: ReadOfHead, isRepeatable: boolean) {
    this.bytes = head.bytes;
    this.base = head.base;
    this.chunk = read.chunk;
    this.bodyAt = read.offset;
    this.#kept = read.kept;
    this.isRepeatable = isRepeatable;
  }

  /** Copies what is about to be sent of `chunk`. False: it is too much to be kept. */
  keep(chunk: Buffer, offset: number): boolean {
    const bytes = Math.max(READ_COST_BYTES, chunk.length - offset);
    if (this.#laterBytes + bytes > LATER_BYTES_MAX || memoryPressure.level >= PRESSURE.HIGH) {
      return false;
    }
    if (!this.#kept.take(bytes)) return false;
    this.#laterBytes += bytes;
    this.later.push(Buffer.from(chunk.subarray(offset)));
    return true;
  }

  /** It will not be sent again. Whoever does so now goes on. */
  drop(): void {
    this.#kept.giveBack(this.#laterBytes);
    this.#laterBytes = 0;
  }

  /** After its stream was given up with `code`. */
  mayRepeat(code: ErrorCode): boolean {
    return this.isRepeatable || isUnseen(code);
  }
}

/** The read in which a head ended: the body begins at `offset`. */
export interface ReadOfHead {
  readonly chunk: Buffer;
  readonly offset: number;
  /** What is kept of what follows. */
  readonly kept: KeptBodies;
}

/** Undefined for a request that cannot be sent again in any case. */
export function keepRequest(
  head: RequestParser,
  read: ReadOfHead,
  isReused: boolean,
): SentRequest | undefined {
  const isRepeatable = isReused && isSafe(head);
  // A stream that was used before was answered, and passes on whatever comes.
  if (isReused && !isRepeatable) return undefined;
  // Of the read nothing is needed but a head that lies in it.
  if (!isBodiless(head)) return new SentRequest(head, read, isRepeatable);
  const { bytes } = head;
  const itself = { chunk: bytes, offset: bytes.length, kept: read.kept };
  return new SentRequest(head, itself, isRepeatable);
}
