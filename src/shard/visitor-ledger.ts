// How many visitor connections a shard has, HTTP and TCP together, in all and by address, and how
// many new ones a second by address.
//
// Invariant: what was entered leaves once, so no count is below zero; an address is known only
// while it has connections, so that the map is bounded by them, or as its rate is
// (address-rates.ts); who is refused is not entered, unless it is to be told so. Must not know:
// sockets, or what a connection is for.

import { addressKey } from '../base/address-key.ts';
import type { ErrorCode } from '../base/errors.ts';
import { memoryPressure, PRESSURE } from '../base/memory-pressure.ts';
import { AddressRates } from './address-rates.ts';
import type { Limit } from './limited.ts';

/** Visitors beyond the limit who get an answer at the same time. Guess. */
const SURPLUS_MAX = 256;
/** Of those, from one address beyond its own limit: it must not use up the places of all. As many
 * a second are told that they come too often, for likewise. Guess. */
const ADDRESS_SURPLUS_MAX = 16;

export interface LedgerLimits {
  readonly visitorConnectionsMax: number;
  /** 0 is off. */
  readonly connectionsPerAddressMax: number;
  /** Absent or 0 is off. */
  readonly addressConnectionsPerSecondMax?: number;
}

/** May a visitor come in? `code` says why not; `isTold` whether there is room to say so. */
export interface Admission {
  readonly code: ErrorCode;
  readonly isTold: boolean;
}

const WELCOME: Admission = { code: 'SLW_NONE', isTold: true };

export class VisitorLedger {
  readonly #limits: LedgerLimits;
  readonly #onLimited: (limit: Limit) => void;
  readonly #addresses = new Map<string, number>();
  readonly #told = new AddressRates(ADDRESS_SURPLUS_MAX);
  /** Made anew when the rate has changed. */
  #rates = new AddressRates(0);
  #count = 0;
  /** Connections there were when memory became full; undefined while it is not. */
  #fullCount: number | undefined;

  constructor(limits: LedgerLimits, onLimited: (limit: Limit) => void = () => {}) {
    this.#limits = limits;
    this.#onLimited = onLimited;
  }

  get count(): number {
    return this.#count;
  }

  get addressesCount(): number {
    return this.#addresses.size;
  }

  /** Addresses whose rate has something to remember. */
  get ratedCount(): number {
    return this.#rates.size + this.#told.size;
  }

  /**
   * As `judge`, of a connection that is new: takes one of those that its address may open a second.
   * Who may not come in for another reason takes none.
   */
  arrive(address: string, nowMs: number, who: 'visitor' | 'anybody' = 'visitor'): Admission {
    const admission = this.judge(address, who);
    const { addressConnectionsPerSecondMax: perSecond = 0 } = this.#limits;
    if (perSecond === 0 || address === '' || admission.code !== 'SLW_NONE') return admission;
    if (this.#rates.perSecond !== perSecond) this.#rates = new AddressRates(perSecond);
    if (this.#rates.take(address, nowMs)) return admission;
    this.#onLimited('connections-per-second-per-ip');
    return { code: 'SLW_HTTP_ADDRESS_LIMIT', isTold: this.#told.take(address, nowMs) };
  }

  /** About once a second: forgets who has not come for a second. */
  sweep(nowMs: number): void {
    this.#rates.sweep(nowMs);
    this.#told.sweep(nowMs);
  }

  /**
   * Looks, and enters nobody. Without an address only the limit of all connections holds, and that
   * of memory: of this who may be a client is not judged yet.
   */
  judge(address: string, who: 'visitor' | 'anybody' = 'visitor'): Admission {
    const { visitorConnectionsMax, connectionsPerAddressMax } = this.#limits;
    const surplus = this.#count - visitorConnectionsMax;
    if (surplus >= 0) {
      this.#onLimited('visitor-connections');
      return { code: 'SLW_HTTP_VISITOR_LIMIT', isTold: surplus < SURPLUS_MAX };
    }
    const told = who === 'visitor' ? this.#judgeMemory() : undefined;
    if (told !== undefined) {
      this.#onLimited('memory');
      return { code: 'SLW_HTTP_VISITOR_LIMIT', isTold: told };
    }
    if (connectionsPerAddressMax === 0 || address === '') return WELCOME;
    const mine = this.#addresses.get(addressKey(address)) ?? 0;
    if (mine < connectionsPerAddressMax) return WELCOME;
    this.#onLimited('visitor-connections-per-ip');
    const isTold = mine < connectionsPerAddressMax + ADDRESS_SURPLUS_MAX;
    return { code: 'SLW_HTTP_ADDRESS_LIMIT', isTold };
  }

  /** Undefined: there is memory; else whether there is room to tell one more that there is none. */
  #judgeMemory(): boolean | undefined {
    if (memoryPressure.level !== PRESSURE.FULL) {
      this.#fullCount = undefined;
      return undefined;
    }
    this.#fullCount ??= this.#count;
    return this.#count - this.#fullCount < SURPLUS_MAX;
  }

  /**
   * May one more wait to be judged, beside `waitingCount` who do and were not entered? There is
   * room for those who are to be told that they may not come in.
   */
  hasRoom(waitingCount: number): boolean {
    const surplus = this.#count + waitingCount - this.#limits.visitorConnectionsMax;
    if (surplus < SURPLUS_MAX) return true;
    this.#onLimited('visitor-connections');
    return false;
  }

  /** Counts a connection; what it returns is for `leave`, once. */
  enter(address: string): string {
    this.#count += 1;
    if (this.#limits.connectionsPerAddressMax === 0 || address === '') return '';
    const key = addressKey(address);
    this.#addresses.set(key, (this.#addresses.get(key) ?? 0) + 1);
    return key;
  }

  leave(key: string): void {
    this.#count -= 1;
    if (key === '') return;
    const left = (this.#addresses.get(key) ?? 0) - 1;
    if (left > 0) this.#addresses.set(key, left);
    else this.#addresses.delete(key);
  }
}
