// What a cluster made of the clients that were applied: admission may have another word in it.
//
// Invariant: of each Deployment one generation, that of the answer to what was applied last; who
// writes to its spec since makes another one. Lost with the process: what is not known is applied
// once more, which changes nothing. Must not know: what is in a Deployment.

import type { KubeObject } from './objects.ts';

/** Guess: more clients than a namespace holds. */
const KNOWN_MAX = 100_000;

export class AppliedClients {
  /** By uid, the one that was applied longest ago first. */
  readonly #generations = new Map<string, number>();
  readonly #most: number;

  constructor(most = KNOWN_MAX) {
    this.#most = most;
  }

  note({ kind, metadata }: KubeObject): void {
    const { uid, generation } = metadata;
    if (kind !== 'Deployment' || uid === undefined || generation === undefined) return;
    this.#generations.delete(uid);
    this.#generations.set(uid, generation);
    const [oldest] = this.#generations.keys();
    if (this.#generations.size > this.#most && oldest !== undefined) {
      this.#generations.delete(oldest);
    }
  }

  forget({ metadata }: KubeObject): void {
    this.#generations.delete(metadata.uid ?? '');
  }

  generationOf(object: KubeObject | undefined): number | undefined {
    return this.#generations.get(object?.metadata.uid ?? '');
  }
}
