// Objects that have to be looked at, one at a time: each once, however often it changed.
//
//   add --> ready --> running --settled--> forgotten
//             ^          |-----waiting---> a look in a moment
//             '----------'-----blocked---> later and later, with jitter; an error is the same
//
// Invariant: a key is never worked on twice at once, and one that changes meanwhile is worked on
// again; keys are bounded, and when some found no room everything is looked at again. Must not
// know: what the keys are of.

import { Backoff } from '../base/backoff.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Plan } from './actions.ts';

/** Guess: ten times the largest cluster that would have so many Services of this kind. */
const KEYS_MAX = 50_000;
/** Something is under way elsewhere: a pod that starts, a machine that boots. */
const LOOK_AGAIN_MS = 2_000;
const RETRY_BASE_MS = 2_000;
const RETRY_MAX_MS = 300_000;

export interface WorkQueueOptions {
  readonly clock: Clock;
  readonly random: () => number;
  readonly work: (key: string) => Promise<Plan['next']>;
  readonly onError: (key: string, error: unknown) => void;
  /** Room again after keys were turned away. */
  readonly onRoom: () => void;
  readonly keysMax?: number;
}

interface Pause {
  readonly backoff: Backoff;
  timer: Timer | undefined;
}

export class WorkQueue {
  readonly #options: WorkQueueOptions;
  readonly #keysMax: number;
  readonly #ready = new Set<string>();
  readonly #pauses = new Map<string, Pause>();
  #state: 'stopped' | 'idle' | 'running' = 'stopped';
  #hasOverflown = false;
  /** Settles when the key that is being worked on is done. */
  #work: Promise<void> = Promise.resolve();

  constructor(options: WorkQueueOptions) {
    this.#options = options;
    this.#keysMax = options.keysMax ?? KEYS_MAX;
  }

  /** Waiting to be worked on now. */
  get depth(): number {
    return this.#ready.size;
  }

  start(): void {
    if (this.#state !== 'stopped') return;
    this.#state = 'idle';
    this.#proceed();
  }

  /** Forgets everything; resolves when nothing is being worked on. */
  async stop(): Promise<void> {
    this.#state = 'stopped';
    this.#ready.clear();
    for (const { timer } of this.#pauses.values()) timer?.cancel();
    this.#pauses.clear();
    this.#hasOverflown = false;
    await this.#work;
  }

  add(key: string): void {
    if (this.#state === 'stopped') return;
    const isKnown = this.#ready.has(key) || this.#pauses.has(key);
    if (!isKnown && this.#ready.size + this.#pauses.size >= this.#keysMax) {
      this.#hasOverflown = true;
      return;
    }
    this.#ready.add(key);
    this.#proceed();
  }

  #proceed(): void {
    if (this.#state !== 'idle') return;
    const [key] = this.#ready;
    if (key === undefined) {
      if (!this.#hasOverflown) return;
      this.#hasOverflown = false;
      this.#options.onRoom();
      return;
    }
    this.#state = 'running';
    this.#ready.delete(key);
    this.#pauses.get(key)?.timer?.cancel();
    this.#work = this.#run(key);
  }

  async #run(key: string): Promise<void> {
    let next: Plan['next'] = 'blocked';
    try {
      next = await this.#options.work(key);
    } catch (error) {
      this.#options.onError(key, error);
    }
    // Stopped meanwhile: nothing is to follow, and another start does not wait for this one.
    if (this.#state !== 'running') return;
    this.#pause(key, next);
    this.#state = 'idle';
    this.#proceed();
  }

  #pause(key: string, next: Plan['next']): void {
    if (next === 'settled') {
      this.#pauses.delete(key);
      return;
    }
    const { clock, random } = this.#options;
    const pause = this.#pauses.get(key) ?? {
      backoff: new Backoff({ baseMs: RETRY_BASE_MS, maxMs: RETRY_MAX_MS, random }),
      timer: undefined,
    };
    if (next === 'waiting') pause.backoff.reset();
    const delayMs =
      next === 'waiting'
        ? LOOK_AGAIN_MS * (0.5 + random())
        : pause.backoff.nextMs() + RETRY_BASE_MS;
    pause.timer = clock.after(delayMs, () => {
      pause.timer = undefined;
      this.add(key);
    });
    this.#pauses.set(key, pause);
  }
}
