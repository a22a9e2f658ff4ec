// The account of what waits for slow visitors, or for upstreams, behind sessions that have ended.
//
//   a session lives --its own account--> it ends --this account--> taken, or dropped beyond a bound
//
// Invariant: one bound for all of a shard, as much as one session may hold; who took nothing since
// the last sweep pays first, and of those who came first. Must not know: what holds the bytes, or
// for whom.

import { memoryPressure, PRESSURE } from '../base/memory-pressure.ts';
import { DEFAULT_LIMITS } from '../wire/limits.ts';

/** Of sessions that have ended, all together: guess, as much as one that lives. */
const ORPHANED_BYTES_MAX = DEFAULT_LIMITS.memoryBytes;
/** Of that, while the process has no memory left (wire/flow.ts). */
const PRESSED_SHARE = 1 / 8;

/** Holds bytes that a stream has brought, and that wait. */
export interface Holding {
  /** What waits and is on no session's account. */
  readonly orphanedBytes: number;
  /** For whom: what of one's holdings is given back, all of them give. */
  readonly holder: object;
  /** Was some of it taken since this was asked last? */
  hasMoved(): boolean;
  /** There is no room for it. */
  giveBack(): void;
}

export class OrphanedBytes {
  readonly #sources: Iterable<Holding>[] = [];
  readonly #bytesMax: number;

  constructor(bytesMax = ORPHANED_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** From now on those of `source` count, too. */
  watch(source: Iterable<Holding>): void {
    this.#sources.push(source);
  }

  /** About once a second. */
  sweep(): void {
    const still: Holding[] = [];
    const moving: Holding[] = [];
    let bytes = 0;
    for (const source of this.#sources) {
      for (const holding of source) {
        // Asked of all, so that it is known of those whose session ends next.
        const list = holding.hasMoved() ? moving : still;
        const { orphanedBytes } = holding;
        if (orphanedBytes === 0) continue;
        bytes += orphanedBytes;
        list.push(holding);
      }
    }
    const isPressed = memoryPressure.level === PRESSURE.FULL;
    const bytesMax = isPressed ? this.#bytesMax * PRESSED_SHARE : this.#bytesMax;
    if (bytes > bytesMax) giveBack([...still, ...moving], bytes - bytesMax);
  }
}

/** The first of `holdings`, as many as it takes, for `excessBytes` at least. */
function giveBack(holdings: readonly Holding[], excessBytes: number): void {
  const bytesOf = new Map<object, number>();
  for (const { holder, orphanedBytes } of holdings) {
    bytesOf.set(holder, (bytesOf.get(holder) ?? 0) + orphanedBytes);
  }
  let leftBytes = excessBytes;
  for (const holding of holdings) {
    if (leftBytes <= 0) return;
    // Empty by now when an earlier one was the same holder's.
    if (holding.orphanedBytes === 0) continue;
    leftBytes -= bytesOf.get(holding.holder) ?? 0;
    holding.giveBack();
  }
}
