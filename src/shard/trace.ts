// One request that is inspected: what came from its visitor, and what from its upstream.
//
//   begun --admitted, sent--> --answered--> --received--> ended (with a status, and a code if it
//        \---------------------refused------------------/    failed)
//
// Invariant: what is kept is copied and bounded, real values included, for a replay; what was not
// admitted is never replayed, for no upstream was to see it; only `show` and `describe` leave the
// shard, and they mask. Must not know: how requests are carried.

import type { Clock } from '../base/clock.ts';
import type { ErrorCode } from '../base/errors.ts';
import type { InspectedDetail, InspectedRequest, KeptBody } from '../bridge/inspected.ts';
import { BodyReader } from '../http/body-reader.ts';
import type { Forwarding } from '../http/forwarding.ts';
import type { HeadParser } from '../http/head-parser.ts';
import { showFields, showTarget } from '../http/masking.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { ResponseParser } from '../http/response-head.ts';
import { visitorOf } from '../http/trusted-forwarding.ts';

const EMPTY = Buffer.alloc(0);

export interface TraceOptions {
  readonly id: string;
  readonly tunnel: string;
  readonly forwarding: Forwarding;
  readonly port: number;
  readonly bodyBytesMax: number;
  readonly clock: Clock;
  /** The request that this one repeats; '' for a visitor's own. */
  readonly replayOf: string;
  /** So many bytes more are kept; fewer when negative. */
  readonly onGrowth: (bytes: number) => void;
}

/**
 * Spans of one body, as they passed: with the framing of chunks. In one piece of memory that
 * doubles: a body that comes byte by byte would weigh a hundred times as much in pieces.
 */
class Body {
  #bytes = EMPTY;
  #keptBytes = 0;
  isWhole = true;

  /** Gives by how much the memory grew. */
  add({ bytes, start, end }: BodyReader, bytesMax: number): number {
    const length = Math.max(0, Math.min(end - start, bytesMax - this.#keptBytes));
    if (length < end - start) this.isWhole = false;
    const growth = this.#makeRoom(this.#keptBytes + length, bytesMax);
    bytes.copy(this.#bytes, this.#keptBytes, start, start + length);
    this.#keptBytes += length;
    return growth;
  }

  /** Valid until the next `add`. */
  get kept(): Buffer {
    return this.#bytes.subarray(0, this.#keptBytes);
  }

  /** What was kept is sent again. */
  rewind(): void {
    this.#keptBytes = 0;
    this.isWhole = true;
  }

  /** What is longer is cut, so that it goes on being a beginning. Gives by how much it shrank. */
  shorten(bytesMax: number): number {
    const before = this.#bytes.length;
    if (before <= bytesMax) return 0;
    if (this.#keptBytes > bytesMax) this.isWhole = false;
    const shorter = Buffer.alloc(bytesMax);
    this.kept.copy(shorter);
    this.#bytes = shorter;
    this.#keptBytes = Math.min(this.#keptBytes, bytesMax);
    return before - bytesMax;
  }

  #makeRoom(wantedBytes: number, bytesMax: number): number {
    const before = this.#bytes.length;
    if (wantedBytes <= before) return 0;
    const larger = Buffer.alloc(Math.min(bytesMax, Math.max(wantedBytes, before * 2)));
    this.kept.copy(larger);
    this.#bytes = larger;
    return larger.length - before;
  }
}

export class Trace {
  readonly id: string;
  readonly tunnel: string;
  readonly forwarding: Forwarding;
  readonly port: number;
  readonly method: string;
  /** As it came from the visitor. */
  readonly head: Buffer;
  /** What it weighs in the inspector. */
  bytes = 0;
  readonly #options: TraceOptions;
  readonly #visitor: string;
  readonly #target: string;
  readonly #framing: RequestParser['framing'];
  readonly #contentLength: number;
  readonly #isUpgrade: boolean;
  /** Of each body; never more than before, for what was not kept is gone. */
  #bodyBytesMax: number;
  readonly #startMs: number;
  readonly #startWallMs: number;
  readonly #request = new Body();
  readonly #response = new Body();
  #responseHead: Buffer | undefined;
  #isResponseChunked = false;
  #firstByteMs: number | null = null;
  #durationMs: number | null = null;
  #isAdmitted = false;
  #status = 0;
  #code: ErrorCode = 'SLW_NONE';
  #bytesIn = 0;
  #bytesOut = 0;

  constructor(options: TraceOptions, head: RequestParser) {
    const { clock, forwarding } = options;
    this.#options = options;
    this.id = options.id;
    this.tunnel = options.tunnel;
    this.forwarding = forwarding;
    this.port = options.port;
    this.method = head.method;
    this.head = copyOf(head);
    this.#framing = head.framing;
    this.#contentLength = head.contentLength;
    this.#isUpgrade = head.isUpgrade;
    this.#bodyBytesMax = options.bodyBytesMax;
    this.#visitor = visitorOf(head, forwarding.origin);
    const [start, end] = [head.base + head.targetStart, head.base + head.targetEnd];
    this.#target = `${head.targetPrefix}${head.bytes.toString('latin1', start, end)}`;
    this.#startMs = clock.nowMs();
    this.#startWallMs = clock.wallMs();
  }

  /** No list, limit or login says no: it may go to its tunnel's upstream. */
  admitted(): void {
    this.#isAdmitted = true;
  }

  /** A span of the request's body. */
  sent(body: BodyReader): void {
    this.#grow(this.#request.add(body, this.#bodyBytesMax));
  }

  /** The request is sent once more, from its beginning. */
  sendsAgain(): void {
    this.#request.rewind();
  }

  /** The final head of the response. */
  answered(head: ResponseParser): void {
    this.#responseHead = copyOf(head);
    this.#isResponseChunked = head.isChunked;
    this.#status = head.status;
    this.#firstByteMs = this.#elapsedMs();
    this.#grow(head.headBytes);
  }

  /** A span of the response's body. */
  received(body: BodyReader): void {
    this.#grow(this.#response.add(body, this.#bodyBytesMax));
  }

  /** From now on, and of what is kept already. */
  limitBodies(bytesMax: number): void {
    if (bytesMax >= this.#bodyBytesMax) return;
    this.#bodyBytesMax = bytesMax;
    this.#grow(-this.#request.shorten(bytesMax) - this.#response.shorten(bytesMax));
  }

  /** Nobody can look at it any more: of a request that is under way nothing is kept. */
  drop(): void {
    this.limitBodies(0);
    this.#responseHead = undefined;
  }

  fail(code: ErrorCode): void {
    this.#code = code;
  }

  end(status: number, bytesIn: number, bytesOut: number): void {
    this.#status = status;
    this.#bytesIn = bytesIn;
    this.#bytesOut = bytesOut;
    this.#durationMs = this.#elapsedMs();
  }

  /** What to send again behind the head; a reason when that cannot be done. */
  replayable(): Buffer | { readonly problem: string } {
    if (this.#isUpgrade) return { problem: 'a switch of protocols cannot be repeated' };
    if (this.#durationMs === null) return { problem: 'the request is still under way' };
    if (!this.#isAdmitted) return { problem: 'it was not let in, and never sent' };
    const bytes = this.#request.kept;
    return this.#isWholeBody(bytes)
      ? bytes
      : { problem: 'its body was not kept whole; see --inspect-body-max' };
  }

  /** Also one that the visitor never sent to its end is not whole. */
  #isWholeBody(bytes: Buffer): boolean {
    const reader = new BodyReader();
    reader.begin(this.#framing, this.#contentLength, 'raw');
    for (let at = 0; at < bytes.length && !reader.isDone; ) at = reader.step(bytes, at);
    return reader.isComplete;
  }

  show(): InspectedRequest {
    return {
      ...{ id: this.id, tunnel: this.tunnel, visitor: this.#visitor, method: this.method },
      target: showTarget(this.#target),
      startedMs: this.#startWallMs,
      ...{ firstByteMs: this.#firstByteMs, durationMs: this.#durationMs },
      ...{ status: this.#status, code: this.#code },
      ...{ bytesIn: this.#bytesIn, bytesOut: this.#bytesOut, replayOf: this.#options.replayOf },
    };
  }

  describe(): InspectedDetail {
    const again = this.replayable();
    const head = this.#responseHead;
    return {
      ...this.show(),
      requestFields: showFields(this.head),
      responseFields: head === undefined ? [] : showFields(head),
      requestBody: this.#showBody(this.#request, this.#framing === 'chunked'),
      responseBody: this.#showBody(this.#response, this.#isResponseChunked),
      replayProblem: Buffer.isBuffer(again) ? '' : again.problem,
    };
  }

  #showBody(body: Body, isChunked: boolean): KeptBody | null {
    if (this.#bodyBytesMax === 0) return null;
    const bytes = isChunked ? withoutChunks(body.kept) : body.kept;
    return { ...readable(bytes), bytes: bytes.length, isWhole: body.isWhole };
  }

  #elapsedMs(): number {
    return this.#options.clock.nowMs() - this.#startMs;
  }

  #grow(bytes: number): void {
    this.bytes += bytes;
    if (bytes !== 0) this.#options.onGrowth(bytes);
  }
}

/** In memory of its own: what lies in a block of Node's would keep all 64 KiB of it. */
function copyOf({ bytes, base, headBytes }: HeadParser): Buffer {
  const copy = Buffer.alloc(headBytes);
  bytes.copy(copy, 0, base, base + headBytes);
  return copy;
}

/** As text where it is one; a character that was cut at the end is left out. */
function readable(bytes: Buffer): Pick<KeptBody, 'text' | 'base64'> {
  try {
    return { text: new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true }) };
  } catch {
    return { base64: bytes.toString('base64') };
  }
}

/** The data of a chunked body, as far as it was kept; its framing was checked as it passed. */
function withoutChunks(bytes: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const lineEnd = bytes.indexOf('\r\n', at);
    const length = Number.parseInt(bytes.toString('latin1', at, lineEnd), 16);
    if (lineEnd === -1 || !(length > 0)) break;
    pieces.push(bytes.subarray(lineEnd + 2, lineEnd + 2 + length));
    at = lineEnd + 2 + length + 2;
  }
  return Buffer.concat(pieces);
}
