// How many orders fit into an hour, of one name and of all names that clients brought.
//
// Invariant: what is over an hour old costs nothing. Orders of a name are counted by the wall
// clock, as the folder remembers them beyond restarts; those of clients by the monotonic one, which
// nobody sets. Must not know: who orders, or where a name's orders are remembered.

import type { Moment } from './certificate-schedule.ts';

/** In which orders are counted. */
export const BUDGET_MS = 3_600_000;
/** Let's Encrypt: five failures an hour for one host. One is left for the operator. */
const ORDERS_PER_HOUR_MAX = 4;
/** New names of clients, of all together. Guess: far below 300 orders in three hours. */
const ON_DEMAND_PER_HOUR_MAX = 20;

export interface NameOrders {
  /** When it was ordered in the last hour, of the wall clock, oldest first. */
  readonly earlierMs: readonly number[];
  /** Is it of a client? */
  readonly isOnDemand: boolean;
}

export class OrderBudget {
  /** When hosts on demand were ordered, on the monotonic clock, oldest first. */
  #onDemandMs: number[] = [];

  /** Until one more order of the name fits in; 0: it does now. */
  waitMs({ earlierMs, isOnDemand }: NameOrders, { nowMs, wallMs }: Moment): number {
    const hourAgoMs = nowMs - BUDGET_MS;
    this.#onDemandMs = this.#onDemandMs.filter((time) => time > hourAgoMs);
    const ofNameMs = excessMs(earlierMs, ORDERS_PER_HOUR_MAX, wallMs - BUDGET_MS);
    if (!isOnDemand) return ofNameMs;
    return Math.max(ofNameMs, excessMs(this.#onDemandMs, ON_DEMAND_PER_HOUR_MAX, hourAgoMs));
  }

  noteOnDemand(nowMs: number): void {
    this.#onDemandMs.push(nowMs);
  }
}

/** Until the oldest of too many is an hour old. */
function excessMs(timesMs: readonly number[], max: number, hourAgoMs: number): number {
  const [oldestMs = hourAgoMs] = timesMs.length < max ? [] : timesMs;
  return oldestMs - hourAgoMs;
}
