// The budgets of the limited tokens in this shard, by name.
//
// Invariant: a token that is not listed has no limit here, and costs nothing; a budget lives while
// control lists its token, so that a rate that changes holds for the streams under it. Must not
// know: what a budget limits.

import type { Clock } from '../base/clock.ts';
import type { TokenBudgetChange, TokenUse } from '../bridge/exit-messages.ts';
import { TokenBudget } from './token-budget.ts';

export interface TokenBudgetsOptions {
  readonly clock: Clock;
  /** Asks control for slots of a token; `gain` is told of what there are. */
  readonly askSlots: (token: string) => void;
}

export class TokenBudgets {
  readonly #options: TokenBudgetsOptions;
  readonly #budgets = new Map<string, TokenBudget>();

  constructor(options: TokenBudgetsOptions) {
    this.#options = options;
  }

  of(token: string | undefined): TokenBudget | undefined {
    return token === undefined ? undefined : this.#budgets.get(token);
  }

  /** True: other tokens than before are limited. */
  apply({ isWhole, shares }: TokenBudgetChange): boolean {
    for (const share of shares) {
      const known = this.#budgets.get(share.token);
      // After a change that no longer listed it.
      if (known === undefined && !isWhole) continue;
      const budget = known ?? this.#create(share.token);
      budget.apply(share);
    }
    if (!isWhole) return false;
    const listed = new Set(shares.map(({ token }) => token));
    for (const [token, budget] of this.#budgets) {
      if (listed.has(token)) continue;
      budget.lift();
      this.#budgets.delete(token);
    }
    return true;
  }

  gain(token: string, count: number): void {
    this.#budgets.get(token)?.gain(count);
  }

  recall(token: string, isAll: boolean): number {
    return this.#budgets.get(token)?.recall(isAll) ?? 0;
  }

  /** About once a second. */
  takeUses(): TokenUse[] {
    return [...this.#budgets.values()].flatMap((budget) => budget.takeUse() ?? []);
  }

  #create(token: string): TokenBudget {
    const { clock, askSlots } = this.#options;
    const budget = new TokenBudget({ token, clock, ask: () => askSlots(token) });
    this.#budgets.set(token, budget);
    return budget;
  }
}
