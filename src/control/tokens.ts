// Who may connect: the shared token, compared so that time tells nothing.
//
// Invariant: digests of equal length are compared in constant time; an empty or missing header
// never passes. Must not know: where the token came from. Keeps the digest only.

import { createHash, timingSafeEqual } from 'node:crypto';
import type { Masked } from '../base/masked.ts';

/** Longest Authorization header that is looked at: a token and its scheme. */
const AUTHORIZATION_LENGTH_MAX = 8192;
const SCHEME = /^bearer +/i;

export class TokenGate {
  /** Absent: no token opens. */
  readonly #digest: Buffer | undefined;

  constructor(token: Masked | undefined) {
    this.#digest = token === undefined ? undefined : digestOf(token.reveal());
  }

  /** Does this Authorization header carry the token? */
  allows(authorization: string | undefined): boolean {
    if (this.#digest === undefined) return false;
    if (authorization === undefined || authorization.length > AUTHORIZATION_LENGTH_MAX)
      return false;
    if (!SCHEME.test(authorization)) return false;
    const presented = authorization.replace(SCHEME, '').trimEnd();
    return timingSafeEqual(digestOf(presented), this.#digest);
  }
}

function digestOf(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
