// Sends an inspected request to its tunnel's upstream once more, and notes what comes back.
//
//   sending --head--> receiving --end of the body--> done
//     any --reset, timeout, broken head--> done, with a code
//
// Invariant: what is sent is what the visitor sent and was let in with, with its real values and
// today's header rules; the response goes nowhere but into the new trace; one deadline. Must not
// know: who asked.

import type { Timer } from '../base/clock.ts';
import { ERRORS, type ErrorCode } from '../base/errors.ts';
import { readPool } from '../base/read-pool.ts';
import { BodyReader } from '../http/body-reader.ts';
import { PUSH } from '../http/head-parser.ts';
import { writeRequestHead } from '../http/head-writer.ts';
import { RequestParser } from '../http/request-head.ts';
import { ResponseParser } from '../http/response-head.ts';
import type { Stream, StreamSink } from '../mux/stream.ts';
import type { HttpContext } from './http-context.ts';
import { SILENT_SINK } from './http-farewell.ts';
import type { Trace } from './trace.ts';
import { gainWithoutVisitor } from './visitor-gate.ts';

/** Somebody waits before a screen. Guess. */
const REPLAY_MS = 30_000;
const NO_INSPECTOR = 'the tunnel is no longer inspected';

export type Replayed = { readonly id: string } | { readonly problem: string };

/** Resolves when the response is whole, or is known to fail. */
export async function replay(context: HttpContext, original: Trace): Promise<Replayed> {
  const body = original.replayable();
  if (!Buffer.isBuffer(body)) return body;
  const head = new RequestParser();
  head.push(original.head, 0);
  const { tunnel, forwarding, port } = original;
  const arrived = { tunnel, forwarding, port, replayOf: original.id };
  const trace = context.inspector?.begin(arrived, head);
  if (trace === undefined) return { problem: NO_INSPECTOR };
  trace.admitted();
  await new Promise<void>((resolve) => {
    const exchange = new Replay(context, trace, resolve);
    exchange.send(head, body);
  });
  return { id: trace.id };
}

class Replay implements StreamSink {
  readonly #context: HttpContext;
  readonly #trace: Trace;
  readonly #onDone: () => void;
  readonly #parser = new ResponseParser();
  readonly #body = new BodyReader();
  readonly #timer: Timer;
  #stream: Stream | undefined;
  #state: 'sending' | 'receiving' | 'done' = 'sending';
  #method = '';
  #sentBytes = 0;

  constructor(context: HttpContext, trace: Trace, onDone: () => void) {
    this.#context = context;
    this.#trace = trace;
    this.#onDone = onDone;
    this.#timer = context.clock.after(REPLAY_MS, () => this.#fail('SLW_HTTP_RESPONSE_TIMEOUT'));
  }

  send(head: RequestParser, body: Buffer): void {
    const { router, clock, slab } = this.#context;
    const { tunnel, forwarding, port } = this.#trace;
    const visitor = { address: forwarding.origin.address, port };
    const opened = router.openStream(tunnel, visitor, this, { requestMs: clock.nowMs() });
    if (typeof opened === 'string') {
      this.#fail(opened);
      return;
    }
    this.#stream = opened.stream;
    this.#method = head.method;
    this.#parser.prepare(head.method, false);
    const login = gainWithoutVisitor(this.#context, head, { tunnel, origin: forwarding.origin });
    writeRequestHead(head, { forwarding, edits: opened.way.edits, login }, slab, body.length);
    slab.append(body, 0, body.length);
    this.#noteSent(head, body);
    opened.stream.write(slab.take());
  }

  /** The new trace has the body as the old one. */
  #noteSent(head: RequestParser, body: Buffer): void {
    const reader = new BodyReader();
    reader.begin(head.framing, head.contentLength, 'raw');
    for (let at = 0; at < body.length && !reader.isDone; ) {
      at = reader.step(body, at);
      this.#trace.sent(reader);
    }
    this.#sentBytes = reader.dataBytes;
  }

  onOpened(): void {
    // All was written at once, and waits in the stream.
  }

  onWritable(): void {
    // Nothing more is to be sent.
  }

  onData(piece: Buffer): void {
    const stream = this.#stream;
    this.#take(piece);
    readPool.release(piece, piece.length);
    if (this.#state !== 'done') stream?.consumed(piece.length);
  }

  onFin(): void {
    if (this.#state === 'receiving' && this.#body.finish()) this.#end('SLW_NONE');
    else this.#fail('SLW_STREAM_RESET');
  }

  onReset(code: ErrorCode): void {
    this.#stream = undefined;
    this.#fail(code);
  }

  #take(piece: Buffer): void {
    let offset = 0;
    while (this.#state === 'sending' && offset < piece.length) {
      const next = this.#parser.push(piece, offset);
      if (next === PUSH.MORE) return;
      if (next === PUSH.REFUSED || this.#parser.isSwitch) {
        this.#fail('SLW_HTTP_BAD_RESPONSE');
        return;
      }
      offset = next;
      if (this.#parser.isInterim) this.#parser.prepare(this.#method, false);
      else this.#begin();
    }
    while (!this.#body.isDone && offset < piece.length) {
      offset = this.#body.step(piece, offset);
      this.#trace.received(this.#body);
    }
    this.#body.release();
    if (this.#body.isBad) this.#fail('SLW_HTTP_BAD_RESPONSE');
    else if (this.#state === 'receiving' && this.#body.isComplete) this.#end('SLW_NONE');
  }

  #begin(): void {
    this.#state = 'receiving';
    this.#trace.answered(this.#parser);
    this.#body.begin(this.#parser.framing, this.#parser.contentLength, 'raw');
  }

  #fail(code: ErrorCode): void {
    if (this.#state !== 'done') this.#end(code);
  }

  #end(code: ErrorCode): void {
    const hasHead = this.#state === 'receiving';
    this.#state = 'done';
    this.#timer.cancel();
    if (code !== 'SLW_NONE') this.#trace.fail(code);
    // What a visitor would have got.
    const status = hasHead ? this.#parser.status : ERRORS[code].status;
    this.#trace.end(status, this.#sentBytes, this.#body.dataBytes);
    const stream = this.#stream;
    this.#stream = undefined;
    if (stream !== undefined) {
      stream.sink = SILENT_SINK;
      stream.reset('SLW_STREAM_CANCELLED');
    }
    this.#onDone();
  }
}
