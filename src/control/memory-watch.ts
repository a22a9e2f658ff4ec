// Watches how much memory the process has in use, of what it may have, and tells the shards.
//
//            80 %            92 %              95 %
//   NONE ----------> HIGH ----------> SEVERE ----------> FULL       down again 3 % below each
//                                       <--nothing grew--           and up again when it does
//
// Invariant: a level is told when it changes, and to a shard that starts; `off` is NONE; memory
// that cannot be read changes nothing; nobody is kept out for ever by memory that was freed and
// that the allocator did not give back. Must not know: what shards do at a level.

import { totalmem } from 'node:os';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { PRESSURE, type Pressure } from '../base/memory-pressure.ts';
import type { MemoryMax } from '../config/limits.ts';

export interface MemoryWatchOptions {
  readonly max: MemoryMax;
  readonly tell: (level: Pressure) => void;
  readonly clock: Clock;
  readonly log: Logger;
  /** Resident bytes of all that the limit is for. */
  readonly usedBytes: () => number;
}

const TICK_MS = 1000;
/** Where there is little left it may be gone within a second (measured: 0.5 GB a second). */
const CLOSE_TICK_MS = 100;
const CLOSE_SHARE = 0.5;
/** Shares of the limit from which on each level holds (design: reliability 4.2). */
const FROM: Readonly<Record<Pressure, number>> = {
  [PRESSURE.NONE]: 0,
  [PRESSURE.HIGH]: 0.8,
  [PRESSURE.SEVERE]: 0.92,
  [PRESSURE.FULL]: 0.95,
};
/** Below the share by so much it ends, so that it does not come and go with each second. Guess. */
const EASE = 0.03;
/** So long without growth FULL is held, and twice as long each time that it comes again: what is
 * resident may be free, which only a visitor can show. Guess. */
const HOLD_MS = 10_000;
const HOLD_MS_MAX = 600_000;
/** More than what was resident before by this share is growth. Guess. */
const GROWTH = 0.01;
const LEVELS = [PRESSURE.FULL, PRESSURE.SEVERE, PRESSURE.HIGH] as const;
const WORDS: Readonly<Record<Pressure, string>> = {
  [PRESSURE.NONE]: 'none',
  [PRESSURE.HIGH]: 'high: windows stop growing',
  [PRESSURE.SEVERE]: 'severe: answers end their connections',
  [PRESSURE.FULL]: 'full: no visitor is let in',
};

export class MemoryWatch {
  readonly #options: MemoryWatchOptions;
  #limitBytes: number;
  #level: Pressure = PRESSURE.NONE;
  #timer: Timer | undefined;
  /** Most that was resident since memory was last well below SEVERE. */
  #peakBytes = 0;
  /** Of the limit, at the last look. */
  #share = 0;
  #grownMs = 0;
  #holdMs = HOLD_MS;

  constructor(options: MemoryWatchOptions) {
    this.#options = options;
    this.#limitBytes = limitOf(options.max);
    this.#next();
  }

  get level(): Pressure {
    return this.#level;
  }

  /** Infinity when it is off. */
  get limitBytes(): number {
    return this.#limitBytes;
  }

  /** From now on. */
  setMax(max: MemoryMax): void {
    this.#limitBytes = limitOf(max);
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #next(): void {
    const isClose = this.#level > PRESSURE.NONE || this.#share > CLOSE_SHARE;
    this.#timer = this.#options.clock.after(isClose ? CLOSE_TICK_MS : TICK_MS, () => {
      this.#look();
      this.#next();
    });
  }

  #look(): void {
    const { tell, log } = this.#options;
    const used = this.#read();
    if (used === undefined) return;
    this.#share = used / this.#limitBytes;
    const level = this.#hold(levelOf(this.#share, this.#level), used);
    if (level === this.#level) return;
    const isWorse = level > this.#level;
    this.#level = level;
    tell(level);
    const about = { pressure: WORDS[level], usedBytes: used, limitBytes: this.#limitBytes };
    if (isWorse) log.warn(about, 'memory is running out');
    else log.info(about, 'memory is given back');
  }

  /** FULL while memory grows, and for a while after. */
  #hold(level: Pressure, used: number): Pressure {
    if (level < PRESSURE.SEVERE) {
      this.#peakBytes = 0;
      this.#holdMs = HOLD_MS;
    }
    if (level < PRESSURE.FULL) return level;
    const nowMs = this.#options.clock.nowMs();
    if (used > this.#peakBytes * (1 + GROWTH)) {
      this.#peakBytes = used;
      this.#grownMs = nowMs;
      return level;
    }
    if (this.#level < PRESSURE.FULL) return PRESSURE.SEVERE;
    if (nowMs - this.#grownMs < this.#holdMs) return level;
    this.#holdMs = Math.min(2 * this.#holdMs, HOLD_MS_MAX);
    return PRESSURE.SEVERE;
  }

  /** Undefined: it cannot be read now. Node opens a file for it, and there may be no descriptor. */
  #read(): number | undefined {
    try {
      return this.#options.usedBytes();
    } catch {
      // What was told stands: visitors without a descriptor are no reason to end.
      return undefined;
    }
  }
}

function levelOf(share: number, now: Pressure): Pressure {
  return LEVELS.find((level) => share >= FROM[level] - (level <= now ? EASE : 0)) ?? PRESSURE.NONE;
}

/** What the container may have, or else the machine has. */
function limitOf(max: MemoryMax): number {
  if (max === 'off') return Number.POSITIVE_INFINITY;
  if (max !== 'auto') return max;
  const [container, machine] = [process.constrainedMemory(), totalmem()];
  return container > 0 ? Math.min(container, machine) : machine;
}
