// The keys of an issuer of JWTs: fetched when they are needed, and kept for a while.
//
//   read --none, or old--> fetched --> kept --a key that is not among them--> fetched again
//
// Invariant: a fetch is no nearer to the one before than the cool-downs say, whatever is asked for
// and whether it failed. Must not know: what a key is, or what it is for.

import { SoleFetch, type SoleFetchOptions } from './sole-fetch.ts';

export interface IssuerKeysOptions<Keys> extends SoleFetchOptions<Keys> {
  /** A key that the issuer has withdrawn is believed for so long. */
  readonly keptMs: number;
  /** A key that is not known makes the keys be fetched again, this often at most. */
  readonly unknownMs: number;
}

export class IssuerKeys<Keys> {
  readonly #options: IssuerKeysOptions<Keys>;
  readonly #fetch: SoleFetch<Keys>;

  constructor(options: IssuerKeysOptions<Keys>) {
    this.#options = options;
    this.#fetch = new SoleFetch(options);
  }

  /** Rejects while there are none, or old ones only, and the issuer does not give any. */
  async read(): Promise<Keys> {
    const kept = this.#fetch.lastWithin(this.#options.keptMs);
    return kept === undefined ? this.#fetch.run() : kept.found;
  }

  /** For a key that is not among `known`. Undefined: there are no others, as of a moment ago. */
  async readBeyond(known: Keys): Promise<Keys | undefined> {
    const fresh = this.#fetch.lastWithin(this.#options.unknownMs);
    if (fresh === undefined) return this.#fetch.run();
    return fresh.found === known ? undefined : fresh.found;
  }
}
