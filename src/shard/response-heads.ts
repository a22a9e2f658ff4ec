// The heads of a response: interim ones are passed on to the visitor, the final one is handed out.
//
//   free --push--> reading --interim--> reading --final--> read --release--> free
//
// Invariant: a parser is borrowed from the first byte of a response to `release`. Must not know:
// what follows a head, or what becomes of the exchange.

import { assert } from '../base/assert.ts';
import { PUSH } from '../http/head-parser.ts';
import { writeResponseHead } from '../http/head-writer.ts';
import type { RequestParser } from '../http/request-head.ts';
import type { ResponseParser } from '../http/response-head.ts';
import type { HttpContext } from './http-context.ts';
import type { SocketOutlet } from './socket-outlet.ts';

/** Interim responses before the final one (design, section 4.2). */
const INTERIMS_MAX = 16;

/** What it needs of each. */
type Context = Pick<HttpContext, 'slab' | 'borrowResponseParser' | 'returnResponseParser'>;
type Outlet = Pick<SocketOutlet, 'write'>;

export class ResponseHeads {
  readonly #context: Context;
  readonly #outlet: Outlet;
  #parser: ResponseParser | undefined;
  #method = '';
  #minor = 1;
  #wantsUpgrade = false;
  #interimsCount = 0;

  constructor(context: Context, outlet: Outlet) {
    this.#context = context;
    this.#outlet = outlet;
  }

  /** Of the request that the next response is for: an answer to it is read by these. */
  begin({ method, minor, isUpgrade }: RequestParser): void {
    this.#method = method;
    this.#minor = minor;
    this.#wantsUpgrade = isUpgrade;
    this.#interimsCount = 0;
  }

  /** The final head, once `push` has come to its end. */
  get parser(): ResponseParser {
    assert(this.#parser !== undefined, 'no head is looked at before it is read');
    return this.#parser;
  }

  /** The offset after the final head, or PUSH.MORE, or PUSH.REFUSED. */
  push(piece: Buffer): number {
    const parser = this.#borrow();
    let offset = 0;
    while (offset < piece.length) {
      offset = parser.push(piece, offset);
      if (offset < 0 || !parser.isInterim) return offset;
      this.#interimsCount += 1;
      if (this.#interimsCount > INTERIMS_MAX) return PUSH.REFUSED;
      this.#passInterim(parser);
    }
    return PUSH.MORE;
  }

  release(): void {
    if (this.#parser !== undefined) this.#context.returnResponseParser(this.#parser);
    this.#parser = undefined;
  }

  #borrow(): ResponseParser {
    if (this.#parser !== undefined) return this.#parser;
    this.#parser = this.#context.borrowResponseParser();
    this.#parser.prepare(this.#method, this.#wantsUpgrade);
    return this.#parser;
  }

  /** An HTTP/1.0 visitor would take an interim response for the final one. */
  #passInterim(parser: ResponseParser): void {
    if (this.#minor === 1) {
      const { slab } = this.#context;
      writeResponseHead(parser, { connection: 'none', isDecoded: false }, slab, 0);
      this.#outlet.write(slab.take());
    }
    parser.prepare(this.#method, this.#wantsUpgrade);
  }
}
