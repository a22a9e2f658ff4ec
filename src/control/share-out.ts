// Divides a rate among shards by what each has used of it.
//
//   rate = a floor for each + what those use who have enough + the rest, for those who wait
//
// Invariant: pure; the shares add up to the rate and never to more; each is above zero, so that a
// shard that was idle can show that it needs more. Must not know: tokens, shards, what is counted.

import type { TokenRateUse } from '../bridge/exit-messages.ts';

/** Of the rate, for shards that use none of it now. Guess: little, and enough to be noticed. */
const FLOOR_SHARE = 0.1;
/** A shard that does not wait keeps more than it used: no second is like the one before. Guess. */
const HEADROOM = 1.25;

/** One share for each of `uses`: what was used in the last second, and how many waited for more. */
export function shareOut(rate: number, uses: readonly TokenRateUse[]): number[] {
  const floor = (rate * FLOOR_SHARE) / uses.length;
  const spare = rate * (1 - FLOOR_SHARE);
  const needs = uses.map(({ used, waiting }) => (waiting > 0 ? 0 : used * HEADROOM));
  const waiting = sumOf(uses.map((use) => use.waiting));
  // Those who wait get at least what is theirs by number, however much the others use.
  const ofWaiting = (spare * uses.filter((use) => use.waiting > 0).length) / uses.length;
  const needed = sumOf(needs);
  const forNeeds = Math.min(needed, spare - ofWaiting);
  const rest = spare - forNeeds;
  return uses.map((use, index) => {
    const need = needed === 0 ? 0 : (forNeeds * (needs[index] ?? 0)) / needed;
    const extra = waiting === 0 ? rest / uses.length : (rest * use.waiting) / waiting;
    return floor + need + extra;
  });
}

/** The part of a count for the shard with this number, so that all parts add up to it. */
export function evenPart(count: number, shard: number, shards: number): number {
  return Math.floor(count / shards) + (shard < count % shards ? 1 : 0);
}

function sumOf(numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0);
}
