// When each of many is visited: after a pause, and then in turn.
//
//   waiting --time has come--> queued --its turn--> visited --> waiting …          stopped
//
// Queued, each is looked at at once, and a question is asked where it needs one. Looks, questions
// and visits each follow their like, and nothing else: an answer that is slow holds up no visit.
//
// Invariant: one visit or sweep at a time; each is visited every VISIT_MS at least; once stopped,
// nothing begins. Must not know: what is visited, or why.

import type { Clock, Timer } from '../base/clock.ts';
import { Turns } from './turns.ts';

/** A visit at least this often: clocks move, and the issuer's advice changes (RFC 9773 4.3.2). */
export const VISIT_MS = 6 * 3_600_000;
/** Not before the first of these: a wall clock that is wrong at a start is set right by then. */
const SWEEP_MS = 6 * 3_600_000;

/** None of these fails: each says itself what went wrong. */
export interface VisitSteps<T> {
  readonly look: (one: T) => Promise<void>;
  readonly needsQuestion: (one: T) => boolean;
  readonly ask: (one: T) => Promise<void>;
  /** Gives the time to the next visit; undefined: this was the last one. */
  readonly visit: (one: T) => Promise<number | undefined>;
  /** Between two visits, so that neither sees what the other has half done. */
  readonly sweep: () => Promise<void>;
}

export class Visits<T> {
  readonly #clock: Clock;
  readonly #steps: VisitSteps<T>;
  /** Those that wait, by what ends it, and those that are queued or visited. */
  readonly #known = new Map<T, Timer | 'queued'>();
  readonly #looks = new Turns();
  readonly #questions = new Turns();
  readonly #visits = new Turns();
  /** Whoever is queued, until its visit is over, and sweeps. */
  readonly #underWay = new Set<Promise<void>>();
  #sweepTimer: Timer | undefined;
  #state: 'running' | 'stopped' = 'running';

  constructor(clock: Clock, steps: VisitSteps<T>) {
    this.#clock = clock;
    this.#steps = steps;
  }

  /** In place of the visit that it waits for; one that is queued comes anyway. */
  visitAfter(one: T, delayMs: number): void {
    if (this.#state === 'stopped' || this.isQueued(one)) return;
    this.drop(one);
    const waitMs = Math.min(Math.max(0, delayMs), VISIT_MS);
    this.#known.set(
      one,
      this.#clock.after(waitMs, () => this.#enqueue(one)),
    );
  }

  /** Is its visit under way, or waiting for its turn alone? */
  isQueued(one: T): boolean {
    return this.#known.get(one) === 'queued';
  }

  /** The visit that it waits for does not come. */
  drop(one: T): void {
    const timer = this.#known.get(one);
    if (timer === 'queued') return;
    timer?.cancel();
    this.#known.delete(one);
  }

  /** From now on there is a sweep now and then. */
  startSweeps(): void {
    if (this.#state === 'stopped') return;
    this.#sweepTimer = this.#clock.after(SWEEP_MS, () => {
      this.#run(async () => {
        await this.#take(this.#visits, () => this.#steps.sweep());
        this.startSweeps();
      });
    });
  }

  /** Resolves when no visit is under way or waits for its turn. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  stop(): void {
    this.#state = 'stopped';
    this.#sweepTimer?.cancel();
    for (const one of this.#known.keys()) this.drop(one);
  }

  #enqueue(one: T): void {
    this.#known.set(one, 'queued');
    const { look, needsQuestion, ask } = this.#steps;
    this.#run(async () => {
      await this.#take(this.#looks, () => look(one));
      if (needsQuestion(one)) await this.#take(this.#questions, () => ask(one));
      await this.#take(this.#visits, () => this.#visit(one));
    });
  }

  async #visit(one: T): Promise<void> {
    const delayMs = await this.#steps.visit(one);
    this.#known.delete(one);
    if (delayMs !== undefined) this.visitAfter(one, delayMs);
  }

  #take(turns: Turns, step: () => Promise<void>): Promise<void> {
    return turns.take(async () => {
      if (this.#state === 'running') await step();
    });
  }

  #run(steps: () => Promise<void>): void {
    const run = steps().finally(() => this.#underWay.delete(run));
    this.#underWay.add(run);
  }
}
