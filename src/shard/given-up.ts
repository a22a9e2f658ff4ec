// Whom a visitor was given to in vain, and so whom it may be given to next.
//
//   given up unseen --by the client--> never that client again for this visitor
//                   --by its link----> another of its links, once no other client is left
//
// Invariant: bounded, and each step rules out one way at least, so that no visitor goes in a
// circle. Must not know: streams, or what was said on them.

import type { ErrorCode } from '../base/errors.ts';
import type { RouteClient } from './affinity.ts';
import type { OpenWish } from './route-choice.ts';
import type { Way } from './route-table.ts';
import { isOfLink } from './sent-request.ts';

/** Clients that one visitor, or one of its requests, is given to before it is told. Guess: more
 * behind one tunnel are not in trouble at once without anybody having met them in the seconds
 * before. */
export const CLIENTS_ASKED_MAX = 8;

export class GivenUp {
  readonly #clients: RouteClient[] = [];
  #gone: Way[] = [];

  /** Who went `way` was given up with `code`: whom to ask instead; undefined: enough were asked. */
  next(way: Way, code: ErrorCode): Pick<OpenWish, 'except' | 'gone'> | undefined {
    const { client } = way;
    this.#clients.push(client);
    if (this.#clients.length >= CLIENTS_ASKED_MAX) return undefined;
    if (isOfLink(code)) this.#gone.push(way);
    else this.#gone = this.#gone.filter((other) => other.client !== client);
    return { except: this.#clients, gone: this.#gone };
  }
}
