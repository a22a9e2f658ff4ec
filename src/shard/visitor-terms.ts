// What the clients of one tunnel ask of its visitors, all together: addresses, logins, affinity.
//
//   a route's declaration --add--> counted, by its texts --delete--> gone with the last that had it
//
// Invariant: what several declare alike is made ready once and kept once; a change costs what is
// declared, however many others there are; `logins` is another array when, and only when, other
// logins are asked for. Must not know: routes, links, or who visits.

import { assert } from '../base/assert.ts';
import { type Network, readNetwork } from '../base/network.ts';
import { type AddressSet, NetworkSet } from '../base/network-set.ts';
import { VisitorLogins } from '../base/visitor-login.ts';
import { type Affinity, strongest } from './affinity.ts';

/** What one client declares for a tunnel; undefined: it asks for nothing of the kind. */
export interface DeclaredTerms {
  /** Who may visit. */
  readonly networks: readonly string[] | undefined;
  /** What they must show. */
  readonly logins: readonly string[] | undefined;
  readonly affinity: Affinity | undefined;
}

export class VisitorTerms {
  /** Made with the first list: most tunnels have none. */
  #networks: DeclaredLists<AddressSet> | undefined;
  #logins: DeclaredLists<VisitorLogins> | undefined;
  readonly #affine: Record<Affinity, number> = { ip: 0, cookie: 0 };

  /** Undefined: everyone may visit. */
  get networks(): readonly AddressSet[] | undefined {
    return this.#networks?.all;
  }

  /** Undefined: nothing need be shown. */
  get logins(): readonly VisitorLogins[] | undefined {
    return this.#logins?.all;
  }

  /** By what visitors stay with a client; undefined: by nothing. */
  get affinity(): Affinity | undefined {
    return strongest(this.#affine);
  }

  add({ networks, logins, affinity }: DeclaredTerms): void {
    if (networks !== undefined) {
      this.#networks ??= new DeclaredLists(createNetworkSet);
      this.#networks.add(networks);
    }
    if (logins !== undefined) {
      this.#logins ??= new DeclaredLists(createLogins);
      this.#logins.add(logins);
    }
    if (affinity !== undefined) this.#affine[affinity] += 1;
  }

  /** What was added alike is there once less. */
  delete({ networks, logins, affinity }: DeclaredTerms): void {
    if (networks !== undefined) this.#networks?.delete(networks);
    if (logins !== undefined) this.#logins?.delete(logins);
    if (affinity !== undefined) this.#affine[affinity] -= 1;
  }
}

interface Declared<List> {
  readonly list: List;
  count: number;
}

/** Lists of texts, each once. */
class DeclaredLists<List> {
  readonly #create: (texts: readonly string[]) => List;
  readonly #byTexts = new Map<string, Declared<List>>();
  /** `stale`: there are others since it was made, which costs whoever asks, and no change. */
  #all: readonly List[] | 'stale' | undefined;

  constructor(create: (texts: readonly string[]) => List) {
    this.#create = create;
  }

  /** Undefined for none. */
  get all(): readonly List[] | undefined {
    if (this.#all === 'stale') this.#all = [...this.#byTexts.values()].map(({ list }) => list);
    return this.#all;
  }

  add(texts: readonly string[]): void {
    const key = keyOf(texts);
    const known = this.#byTexts.get(key);
    if (known !== undefined) {
      known.count += 1;
      return;
    }
    this.#byTexts.set(key, { list: this.#create(texts), count: 1 });
    this.#all = 'stale';
  }

  delete(texts: readonly string[]): void {
    const key = keyOf(texts);
    const known = this.#byTexts.get(key);
    assert(known !== undefined, 'what is taken back was declared');
    known.count -= 1;
    if (known.count > 0) return;
    this.#byTexts.delete(key);
    this.#all = this.#byTexts.size === 0 ? undefined : 'stale';
  }
}

/** No text has a line break, as all are of visible ASCII; a login may have a comma. */
function keyOf(texts: readonly string[]): string {
  return texts.join('\n');
}

function createLogins(texts: readonly string[]): VisitorLogins {
  return new VisitorLogins(texts);
}

function createNetworkSet(texts: readonly string[]): AddressSet {
  return new NetworkSet(texts.map(networkOf));
}

function networkOf(text: string): Network {
  const read = readNetwork(text);
  assert(typeof read !== 'string', 'control has checked it');
  return read;
}
