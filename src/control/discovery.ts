// What an issuer says of itself (OpenID Connect Discovery 1.0), and when it is asked again.
//
//   read --first, each hour--> the document --use--> what is kept
//     failed --cool-down--> asked again by whoever comes next; what is kept goes on, for a day
//
// Invariant: what is kept came from the issuer of this name; after a failure it is left alone for a
// while, and whoever comes has what is kept, or fails at once. Must not know: what is made of the
// document.

import type { Clock } from '../base/clock.ts';
import { getDocument } from './https-get.ts';
import { SoleFetch } from './sole-fetch.ts';

/** The document changes hardly ever. Guess. */
const KEPT_MS = 3_600_000;
/** While it cannot be asked: an outage of the issuer is not one of ours. Guess. */
const KEPT_MAX_MS = 24 * 3_600_000;

export interface DiscoveryOptions<Found> {
  readonly find: () => Promise<Found>;
  /** It was asked again in vain, and what is kept goes on. */
  readonly onKept: (error: unknown) => void;
  /** After a failure it is left alone for so long. */
  readonly cooldownMs: number;
  readonly clock: Clock;
}

export class Discovery<Found> {
  readonly #fetch: SoleFetch<Found>;

  constructor({ find, onKept, cooldownMs, clock }: DiscoveryOptions<Found>) {
    const fetch = async (): Promise<Found> => {
      try {
        return await find();
      } catch (error) {
        if (this.#fetch.lastWithin(KEPT_MAX_MS) !== undefined) onKept(error);
        throw error;
      }
    };
    this.#fetch = new SoleFetch({ fetch, cooldownMs, clock });
  }

  async read(): Promise<Found> {
    const fresh = this.#fetch.lastWithin(KEPT_MS);
    if (fresh !== undefined) return fresh.found;
    const kept = this.#fetch.lastWithin(KEPT_MAX_MS);
    try {
      return await this.#fetch.run();
    } catch (error) {
      if (kept === undefined) throw error;
      return kept.found;
    }
  }
}

/** The document of an issuer, which names itself to the letter. */
export async function fetchDiscovery(
  issuer: string,
  limits: Parameters<typeof getDocument>[1],
): Promise<Readonly<Record<string, unknown>>> {
  const url = `${issuer.replace(/\/$/, '')}/.well-known/openid-configuration`;
  const { status, body } = await getDocument(url, limits);
  if (status !== 200) throw new Error(`discovery answered ${status}`);
  const document = (JSON.parse(body.toString()) ?? {}) as Readonly<Record<string, unknown>>;
  if (document.issuer !== issuer) throw new Error('discovery names another issuer');
  return document;
}
