// Shares what each limited token may use out among the shards, by what they use (decision 0020).
//
//   limits --replace--> ledgers --shares--> shards --tokenUse, about once a second--> new shares
//   slots of streams: pool --bringUp, slotsGiven--> held by a shard --slotsBack, gone--> pool
//   askSlots, none in the pool --recallSlots--> shards --slotsBack, soon or late--> pool
//
// Invariant: the shares of a rate add up to it; of slots, what shards hold and what is in the pool
// do, however late a shard answers; a month that is used up is told to every shard at once. Must
// not know: secrets, clients, streams, or how a shard holds a limit.

import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { TOKEN_LIMITS, type TokenLimits, tokenLimitsOf } from '../base/token-limits.ts';
import type { Bridge } from '../bridge/calls.ts';
import type {
  ExitControlMethods,
  ExitShardMethods,
  SlotsBack,
  TokenBudgetShare,
  TokenRateUse,
  TokenUse,
} from '../bridge/exit-messages.ts';
import { evenPart, shareOut } from './share-out.ts';
import type { TokenUsage } from './token-usage.ts';

/** Between two looks at what was used: as often as shards report. */
const ROUND_MS = 1000;
/** Between two writes of the month's bytes: what a kill may lose of them. */
const SAVE_MS = 60_000;
/** A token and limit are logged so often. */
const LOG_MS = 3_600_000;
/** A shard that asks is given a part of all slots, one in so many for each shard. Guess. */
const SLOT_PARTS = 4;
const NO_USE: TokenRateUse = { used: 0, waiting: 0 };

type ShardBridge = Bridge<ExitControlMethods, ExitShardMethods>;

export interface TokenSharesOptions {
  /** Shards that visitors come to: the first so many. */
  readonly accepting: number;
  readonly bridges: () => Iterable<readonly [number, ShardBridge]>;
  /** Undefined where there is no tokens file. */
  readonly usage: TokenUsage | undefined;
  readonly clock: Clock;
  readonly log: Logger;
}

interface Ledger {
  readonly token: string;
  limits: TokenLimits;
  month: 'open' | 'spent';
  /** Slots that no shard holds; below zero: the limit was lowered, and some are to come back. */
  pool: number;
  readonly held: Map<number, number>;
  /** Of these slots: what comes back of an earlier one was not given out of this pool. */
  epoch: number;
  /** Shards that wait for slots, in turn. */
  readonly asking: Set<number>;
  /** Shards that have not said yet what they give back. */
  readonly recalled: Set<number>;
  readonly uses: Map<number, TokenUse>;
  /** Something was reported since the last round. */
  isNews: boolean;
  readonly limited: Map<string, number>;
  readonly loggedMs: Map<string, number>;
}

export class TokenShares {
  readonly #options: TokenSharesOptions;
  readonly #ledgers = new Map<string, Ledger>();
  #timer: Timer | undefined;
  #savedMs = 0;
  #epoch = 0;

  constructor(options: TokenSharesOptions) {
    this.#options = options;
  }

  /** These tokens are limited from now on, and no others. */
  replace(entries: readonly (TokenLimits & { readonly name: string })[]): void {
    this.#options.usage?.turn();
    const listed = new Set<string>();
    for (const entry of entries) {
      const limits = tokenLimitsOf(entry);
      if (limits === undefined) continue;
      listed.add(entry.name);
      this.#set(entry.name, limits);
    }
    for (const name of this.#ledgers.keys()) if (!listed.has(name)) this.#ledgers.delete(name);
    for (const [shard, bridge] of this.#accepting()) this.bringUp(shard, bridge);
    if (this.#ledgers.size > 0) this.#timer ??= this.#nextRound();
  }

  /** Does a limit of the month hold for anybody? */
  get countsMonths(): boolean {
    return [...this.#ledgers.values()].some(({ limits }) => limits.bytesMonthMax !== undefined);
  }

  /** A shard has started, or is to have all shares again. */
  bringUp(shard: number, bridge: ShardBridge): void {
    if (shard >= this.#options.accepting) return;
    const shares = [...this.#ledgers.values()].map((ledger) => {
      if (ledger.limits.streamsMax === undefined || ledger.held.has(shard)) {
        return this.#shareOf(ledger, shard, 0);
      }
      const part = evenPart(ledger.limits.streamsMax, shard, this.#options.accepting);
      return this.#shareOf(ledger, shard, give(ledger, shard, part));
    });
    bridge.tell('tokenBudgets', { isWhole: true, shares });
  }

  /** A shard has ended, and its streams with it. */
  gone(shard: number): void {
    for (const ledger of this.#ledgers.values()) {
      ledger.pool += ledger.held.get(shard) ?? 0;
      ledger.held.delete(shard);
      ledger.uses.delete(shard);
      ledger.asking.delete(shard);
      ledger.recalled.delete(shard);
      ledger.isNews = true;
      this.#giveAsking(ledger);
    }
  }

  serve(shard: number) {
    return {
      askSlots: ({ token }: { token: string }) => this.#ask(shard, token),
      slotsBack: (back: SlotsBack) => this.#takeBack(shard, back),
      tokenUse: (uses: readonly TokenUse[]) => {
        for (const use of uses) this.#note(shard, use);
      },
    };
  }

  /** By token, by limit: how often it refused or held back. */
  *limited(): Iterable<readonly [token: string, limit: string, count: number]> {
    for (const { token, limited } of this.#ledgers.values()) {
      for (const [limit, count] of limited) yield [token, limit, count];
    }
  }

  /** For the end: what is used is written, and nothing goes on. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    await this.#options.usage?.save();
  }

  #set(token: string, limits: TokenLimits): void {
    const known = this.#ledgers.get(token);
    const ledger = known ?? createLedger(token, limits, this.#nextEpoch());
    this.#ledgers.set(token, ledger);
    const before = ledger.limits.streamsMax;
    ledger.limits = limits;
    ledger.month = this.#monthOf(ledger);
    if (known === undefined) return;
    if (before === undefined || limits.streamsMax === undefined) {
      ledger.held.clear();
      ledger.asking.clear();
      ledger.recalled.clear();
      ledger.epoch = this.#nextEpoch();
      ledger.pool = limits.streamsMax ?? 0;
    } else ledger.pool += limits.streamsMax - before;
  }

  #nextEpoch(): number {
    this.#epoch += 1;
    return this.#epoch;
  }

  #monthOf({ token, limits: { bytesMonthMax } }: Ledger): Ledger['month'] {
    const usedBytes = this.#options.usage?.bytesOf(token) ?? 0;
    return bytesMonthMax !== undefined && usedBytes >= bytesMonthMax ? 'spent' : 'open';
  }

  #accepting(): (readonly [number, ShardBridge])[] {
    const { accepting, bridges } = this.#options;
    return [...bridges()].filter(([shard]) => shard < accepting);
  }

  #shareOf(ledger: Ledger, shard: number, slots: number): TokenBudgetShare {
    const { token, limits, month } = ledger;
    const { requestsPerSecondMax, bytesInPerSecondMax, bytesOutPerSecondMax } = limits;
    const part = (rate: number, of: 'requests' | 'bytesIn' | 'bytesOut'): number => {
      const uses = Array.from({ length: this.#options.accepting }, (_none, index) => {
        return ledger.uses.get(index)?.[of] ?? NO_USE;
      });
      return shareOut(rate, uses)[shard] ?? 0;
    };
    return {
      token,
      ...(limits.streamsMax === undefined ? {} : { slots, isFull: ledger.pool < 0 }),
      ...(requestsPerSecondMax === undefined
        ? {}
        : { requestsPerSecond: part(requestsPerSecondMax, 'requests') }),
      ...(bytesInPerSecondMax === undefined
        ? {}
        : { bytesInPerSecond: part(bytesInPerSecondMax, 'bytesIn') }),
      ...(bytesOutPerSecondMax === undefined
        ? {}
        : { bytesOutPerSecond: part(bytesOutPerSecondMax, 'bytesOut') }),
      ...(limits.bytesMonthMax === undefined ? {} : { month }),
    };
  }

  #note(shard: number, use: TokenUse): void {
    const ledger = this.#ledgers.get(use.token);
    if (ledger === undefined) return;
    ledger.uses.set(shard, use);
    ledger.isNews = true;
    for (const [limit, count] of use.limited) this.#count(ledger, limit, count);
    if (ledger.limits.bytesMonthMax === undefined) return;
    this.#options.usage?.add(use.token, use.bytesIn.used + use.bytesOut.used);
    const month = this.#monthOf(ledger);
    if (month === ledger.month) return;
    ledger.month = month;
    this.#count(ledger, TOKEN_LIMITS.bytesMonthMax.key, 1);
    this.#tell([ledger]);
  }

  #count({ token, limited, loggedMs }: Ledger, limit: string, count: number): void {
    limited.set(limit, (limited.get(limit) ?? 0) + count);
    const nowMs = this.#options.clock.nowMs();
    const loggedAtMs = loggedMs.get(limit);
    if (loggedAtMs !== undefined && nowMs - loggedAtMs < LOG_MS) return;
    loggedMs.set(limit, nowMs);
    this.#options.log.warn({ token, limit }, 'a token is at its limit');
  }

  #tell(ledgers: readonly Ledger[]): void {
    if (ledgers.length === 0) return;
    for (const [shard, bridge] of this.#accepting()) {
      const shares = ledgers.map((ledger) => this.#shareOf(ledger, shard, 0));
      bridge.tell('tokenBudgets', { isWhole: false, shares });
    }
  }

  #nextRound(): Timer {
    return this.#options.clock.after(ROUND_MS, () => {
      this.#timer = this.#ledgers.size > 0 ? this.#nextRound() : undefined;
      this.#round();
    });
  }

  #round(): void {
    const { usage, clock, accepting } = this.#options;
    const all = [...this.#ledgers.values()];
    const isNewMonth = usage?.turn() === true;
    if (isNewMonth) for (const ledger of all) ledger.month = this.#monthOf(ledger);
    // A single shard has all of every rate, whatever it uses.
    const changed = all.filter(({ isNews }) => isNewMonth || (isNews && accepting > 1));
    this.#tell(changed);
    for (const ledger of all) {
      ledger.isNews = false;
      if (ledger.pool < 0) this.#recall(ledger, undefined);
    }
    const nowMs = clock.nowMs();
    if (nowMs - this.#savedMs < SAVE_MS) return;
    this.#savedMs = nowMs;
    void usage?.save();
  }

  #ask(shard: number, token: string): void {
    const ledger = this.#ledgers.get(token);
    // Its streams are not limited any more, which it will read soon.
    if (ledger === undefined || !ledger.held.has(shard)) return;
    ledger.asking.add(shard);
    if (ledger.pool <= 0) this.#recall(ledger, shard);
    this.#giveAsking(ledger);
  }

  /** Asks for the free slots of all shards but the one that asks: half, or all when too many. One
   * that has not answered yet is not asked again: it would give of the rest, and once more. */
  #recall({ token, pool, epoch, recalled }: Ledger, asking: number | undefined): void {
    for (const [shard, bridge] of this.#accepting()) {
      if (shard === asking || recalled.has(shard)) continue;
      recalled.add(shard);
      bridge.tell('recallSlots', { token, isAll: pool < 0, epoch });
    }
  }

  #takeBack(shard: number, { token, count, epoch }: SlotsBack): void {
    const ledger = this.#ledgers.get(token);
    if (ledger?.epoch !== epoch || !ledger.recalled.delete(shard)) return;
    const wasFull = ledger.pool < 0;
    ledger.held.set(shard, (ledger.held.get(shard) ?? 0) - count);
    ledger.pool += count;
    // Room again: they may go on.
    if (wasFull && ledger.pool >= 0) this.#tell([ledger]);
    this.#giveAsking(ledger);
  }

  /** To those who have asked, in turn; who is left when nothing more comes back asks again. */
  #giveAsking(ledger: Ledger): void {
    const { token, asking, recalled, limits } = ledger;
    const part = Math.ceil((limits.streamsMax ?? 0) / (SLOT_PARTS * this.#options.accepting));
    const bridges = new Map(this.#accepting());
    for (const shard of asking) {
      if (ledger.pool <= 0) break;
      asking.delete(shard);
      const count = give(ledger, shard, part);
      bridges.get(shard)?.tell('slotsGiven', { token, count });
    }
    if (recalled.size === 0) asking.clear();
  }
}

function createLedger(token: string, limits: TokenLimits, epoch: number): Ledger {
  return {
    ...{ token, limits, month: 'open', pool: limits.streamsMax ?? 0, held: new Map() },
    ...{ epoch, asking: new Set(), recalled: new Set(), uses: new Map(), isNews: false },
    ...{ limited: new Map(), loggedMs: new Map() },
  };
}

/** Moves up to `slots` from the pool to the shard; gives how many. */
function give(ledger: Ledger, shard: number, slots: number): number {
  const given = Math.max(0, Math.min(ledger.pool, slots));
  ledger.pool -= given;
  ledger.held.set(shard, (ledger.held.get(shard) ?? 0) + given);
  return given;
}
