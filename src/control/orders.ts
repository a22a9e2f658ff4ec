// The names that have a certificate kept: of the configuration for ever, of clients while there is
// room or anybody serves them.
//
//   names ──visits.ts, each in its turn──> kept-certificate.ts ──> folder, issuer, who serves it
//
// Invariant: each name is kept once, and visited again until it is forgotten; there are so many and
// no more. Must not know: when a certificate is due, ACME, or who serves it.

import type { Issuer } from './acme.ts';
import { type KeepOptions, KeptCertificate, type OrderResult } from './kept-certificate.ts';
import { OrderBudget } from './order-budget.ts';
import { Visits } from './visits.ts';

/** Names at once. Guess: ten times a large site. */
const NAMES_MAX = 1000;

export interface OrdersOptions extends Omit<KeepOptions, 'budget' | 'onResult'> {
  /** Nobody serves this host any more, and others need its place, or its certificate is over. */
  readonly onForgotten: (name: string) => void;
}

export class Orders {
  readonly results = new Map<OrderResult, number>();
  readonly #options: OrdersOptions;
  readonly #keepOptions: KeepOptions;
  readonly #kept = new Map<string, KeptCertificate>();
  readonly #visits: Visits<KeptCertificate>;
  #issuer: Promise<Issuer> | undefined;

  constructor(options: OrdersOptions) {
    this.#options = options;
    this.#keepOptions = {
      ...options,
      openIssuer: () => this.#openIssuer(),
      onResult: (result) => this.results.set(result, (this.results.get(result) ?? 0) + 1),
      budget: new OrderBudget(),
    };
    this.#visits = new Visits(options.clock, {
      look: (kept) => kept.lookEarly(),
      needsQuestion: (kept) => kept.needsAdvice,
      ask: (kept) => kept.askAdvice(),
      visit: (kept) => this.#visit(kept),
      sweep: () => this.#sweep(),
    });
  }

  /** Loads what the folder has for `name`, before anybody listens; orders nothing. */
  load(name: string): Promise<void> {
    return this.#add(name, false).load();
  }

  /** Keeps a certificate for `name` from now on; false: there are too many names. */
  keep(name: string, isOnDemand: boolean): boolean {
    const known = this.#kept.get(name);
    if (known === undefined && this.#kept.size >= NAMES_MAX) this.#forgetUnwanted();
    if (known === undefined && this.#kept.size >= NAMES_MAX) {
      this.#options.log.warn({ name, max: NAMES_MAX }, 'too many names, no certificate for this');
      return false;
    }
    this.#visits.visitAfter(known ?? this.#add(name, isOnDemand), 0);
    return true;
  }

  /** Resolves when no visit is under way or waits for its turn. */
  settled(): Promise<void> {
    return this.#visits.settled();
  }

  /** From now on, what ended long ago and nobody asks for any more is removed, now and then. */
  startSweeps(): void {
    this.#visits.startSweeps();
  }

  stop(): void {
    this.#visits.stop();
  }

  #add(name: string, isOnDemand: boolean): KeptCertificate {
    const kept = new KeptCertificate(name, isOnDemand, this.#keepOptions);
    this.#kept.set(name, kept);
    return kept;
  }

  #forgetUnwanted(): void {
    for (const kept of this.#kept.values()) {
      if (kept.isUnwanted && !this.#visits.isQueued(kept)) this.#forget(kept);
    }
  }

  #forget(kept: KeptCertificate): void {
    this.#visits.drop(kept);
    this.#kept.delete(kept.name);
    this.#options.onForgotten(kept.name);
  }

  /** Gives the time to the next visit; undefined: the name is forgotten. */
  async #visit(kept: KeptCertificate): Promise<number | undefined> {
    const delayMs = await kept.keepUp();
    if (!kept.isUnwanted || !kept.isLongOver) return delayMs;
    this.#forget(kept);
    return undefined;
  }

  async #sweep(): Promise<void> {
    const { folder, log } = this.#options;
    try {
      const names = await folder.sweep((name) => this.#kept.has(name));
      if (names > 0) log.info({ names }, 'certificates that ended long ago are removed');
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.warn({ reason }, 'old certificates cannot be removed, trying later');
    }
  }

  /** One for all names; opened again when it could not be. */
  #openIssuer(): Promise<Issuer> {
    this.#issuer ??= this.#options.openIssuer().catch((error: unknown) => {
      this.#issuer = undefined;
      throw error;
    });
    return this.#issuer;
  }
}
