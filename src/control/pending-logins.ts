// Logins that have begun: a visitor is at its provider, and is to come back with its state.
//
// Invariant: each is taken once at most, by its state, and not after its time; how many there are
// is bounded, for each address and in all, the oldest going first: who begins many loses its own.
// Must not know: providers, or what a login gives.

import { addressKey } from '../base/address-key.ts';
import { LOGIN_SECONDS_MAX } from '../base/login-way.ts';
import type { LoginBeginning } from '../bridge/login-messages.ts';

const LOGIN_MS_MAX = LOGIN_SECONDS_MAX * 1000;
/** At once, in all. Guess: some 10 MB, and eight a second that are never ended. */
export const PENDING_MAX = 5000;
/** Of one address, behind which an office may begin its day. Guess. */
export const PENDING_PER_ADDRESS_MAX = 200;

/** As it began, and proofs for the provider that its answer is for this login. */
export interface PendingLogin extends Omit<LoginBeginning, 'visitor' | 'isAgain'> {
  readonly verifier: string;
  readonly nonce: string;
}

interface Entry extends PendingLogin {
  readonly address: string;
  readonly beganMs: number;
}

export class PendingLogins {
  /** The oldest first, as all of them live equally long. */
  readonly #entries = new Map<string, Entry>();
  readonly #byAddress = new Map<string, Set<string>>();

  get count(): number {
    return this.#entries.size;
  }

  add(state: string, login: PendingLogin, visitor: string, nowMs: number): void {
    this.#forgetOld(nowMs);
    const address = addressKey(visitor);
    const own = this.#byAddress.get(address) ?? new Set();
    if (own.size >= PENDING_PER_ADDRESS_MAX) this.#forgetFirst(own);
    if (this.#entries.size >= PENDING_MAX) this.#forgetFirst(this.#entries.keys());
    own.add(state);
    this.#byAddress.set(address, own);
    this.#entries.set(state, { ...login, address, beganMs: nowMs });
  }

  /** The login of a state, which nobody gets again. */
  take(state: string, nowMs: number): PendingLogin | undefined {
    this.#forgetOld(nowMs);
    const entry = this.#entries.get(state);
    if (entry !== undefined) this.#forget(state, entry);
    return entry;
  }

  #forgetOld(nowMs: number): void {
    for (const [state, entry] of this.#entries) {
      if (nowMs - entry.beganMs < LOGIN_MS_MAX) return;
      this.#forget(state, entry);
    }
  }

  #forgetFirst(states: Iterable<string>): void {
    for (const state of states) {
      const entry = this.#entries.get(state);
      if (entry !== undefined) this.#forget(state, entry);
      return;
    }
  }

  #forget(state: string, { address }: Entry): void {
    this.#entries.delete(state);
    const own = this.#byAddress.get(address);
    own?.delete(state);
    if (own?.size === 0) this.#byAddress.delete(address);
  }
}
