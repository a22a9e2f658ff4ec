// Names to addresses by the system's resolver, for those who dial.
//
// Invariant: one look-up of a name at a time, whoever asks for it; LOOKUPS_MAX names at a time, and
// no answer is kept: the next to ask asks anew. Must not know: who asks, or what is dialled.

import { type LookupAddress, lookup } from 'node:dns';
import { SluicewayError } from '../base/errors.ts';

/** Guess: the resolver of the system works on a few at a time. */
const LOOKUPS_MAX = 256;

export type OnAddresses = (error: Error | undefined, addresses: readonly LookupAddress[]) => void;

export class Lookups {
  readonly #waiting = new Map<string, OnAddresses[]>();

  lookUp(name: string, onAddresses: OnAddresses): void {
    const waiting = this.#waiting.get(name);
    if (waiting !== undefined) {
      waiting.push(onAddresses);
      return;
    }
    if (this.#waiting.size >= LOOKUPS_MAX) {
      const busy = new SluicewayError('SLW_STREAM_LIMIT', 'too many names are looked up');
      setImmediate(() => onAddresses(busy, []));
      return;
    }
    const asked = [onAddresses];
    this.#waiting.set(name, asked);
    lookup(name, { all: true, order: 'verbatim' }, (error, addresses) => {
      this.#waiting.delete(name);
      for (const tell of asked) tell(error ?? undefined, addresses ?? []);
    });
  }
}
