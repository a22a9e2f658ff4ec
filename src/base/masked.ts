// A secret that cannot be printed by accident.
//
// Invariant: toString, toJSON and util.inspect give `[masked]`; only `reveal` gives the text.
// Must not know: what the secret is for. It does not survive structured clone, by design: what
// must cross to another thread is revealed by the one place that sends it.

import { inspect } from 'node:util';

const MASK = '[masked]';

export class Masked {
  readonly #secret: string;

  constructor(secret: string) {
    this.#secret = secret;
  }

  reveal(): string {
    return this.#secret;
  }

  toString(): string {
    return MASK;
  }

  toJSON(): string {
    return MASK;
  }

  [inspect.custom](): string {
    return MASK;
  }
}
