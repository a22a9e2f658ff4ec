// Which passwords let somebody in of late, by the address they came from and the tunnel they
// opened: theirs are not held off while somebody else guesses at the same address.
//
// Invariant: what is kept is a salted digest, which is worth nothing elsewhere; so many are kept,
// those not shown for the longest time go first. A password that is kept for one tunnel or address
// says nothing of another, as whoever guesses may have a tunnel of its own. Must not know: what is
// right, or who is held off.

import { createHash, randomBytes } from 'node:crypto';
import { addressKey } from '../base/address-key.ts';

/** Guess: as many as the throttle remembers addresses; some 1 MB. */
const PASSWORDS_MAX = 10_000;
const SALT_BYTES = 16;

export interface ShownPassword {
  readonly address: string;
  readonly tunnel: string;
  /** The Authorization field as it was shown. */
  readonly field: string;
}

export class AdmittedPasswords {
  readonly #salt = randomBytes(SALT_BYTES);
  readonly #digests = new Set<string>();

  get count(): number {
    return this.#digests.size;
  }

  remember(shown: ShownPassword): void {
    const digest = this.#digestOf(shown);
    this.#digests.delete(digest);
    const [oldest] = this.#digests;
    if (this.#digests.size >= PASSWORDS_MAX && oldest !== undefined) this.#digests.delete(oldest);
    this.#digests.add(digest);
  }

  has(shown: ShownPassword): boolean {
    return this.#digests.has(this.#digestOf(shown));
  }

  #digestOf({ address, tunnel, field }: ShownPassword): string {
    const hash = createHash('sha256').update(this.#salt);
    return hash.update(`${addressKey(address)}\n${tunnel}\n${field}`).digest('base64');
  }
}
