// The certificate of one name: taken from the folder, ordered when it is due, and stored.
//
// The folder is looked into first, as another process may have ordered; then at the time; and an
// order comes last, under the folder's lock, in a budget beyond restarts.
//
// Invariant: no order while a certificate is valid and not due; a failure changes nothing but the
// time of the next try. Must not know: ACME, other names, or who serves the certificate.

import type { Clock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { ChallengeKind, ChallengeSolver, Issuer } from './acme.ts';
import type { CertificateFolder } from './certificate-folder.ts';
import { type CheckedPair, checkPair, isForName } from './certificate-pair.ts';
import { CertificateSchedule, type Moment } from './certificate-schedule.ts';
import { BUDGET_MS, type OrderBudget } from './order-budget.ts';
import { type FailureResult, OrderRetry } from './order-retry.ts';
import { ariIdOf } from './renewal.ts';
import { VISIT_MS } from './visits.ts';

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** While another process orders. Guess: an order takes some ten seconds. */
const LOCKED_MS = 5000;

/** What became of an order: a label of a metric. */
export type OrderResult = 'ok' | FailureResult;

/** What all names have in common. */
export interface KeepOptions {
  readonly folder: CertificateFolder;
  readonly openIssuer: () => Promise<Issuer>;
  readonly solver: ChallengeSolver;
  readonly challengeFor: (name: string) => ChallengeKind;
  /** May it be ordered now? A host on demand is when a client serves it. */
  readonly isWanted: (name: string) => boolean;
  /** A certificate to be served from now on. */
  readonly onPair: (pair: CheckedPair) => void;
  readonly onResult: (result: OrderResult) => void;
  readonly budget: OrderBudget;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

export class KeptCertificate {
  readonly name: string;
  /** Brought by a client: the configuration wants its own names for ever. */
  readonly isOnDemand: boolean;
  readonly #options: KeepOptions;
  readonly #schedule = new CertificateSchedule();
  readonly #retry: OrderRetry;
  /** Got, and not yet in the folder. */
  #isUnsaved = false;

  constructor(name: string, isOnDemand: boolean, options: KeepOptions) {
    this.name = name;
    this.isOnDemand = isOnDemand;
    this.#options = options;
    this.#retry = new OrderRetry(options.random);
  }

  /** Nobody serves it any more, if ever a client did. */
  get isUnwanted(): boolean {
    return this.isOnDemand && !this.#options.isWanted(this.name);
  }

  /** Nobody will come back for it. */
  get isLongOver(): boolean {
    return this.#schedule.isLongOver(this.#options.clock.wallMs());
  }

  /** Takes what the folder has; orders nothing. */
  async load(): Promise<void> {
    const { name } = this;
    try {
      this.#adopt(await this.#options.folder.load(name));
    } catch (error) {
      this.#options.log.error({ name, reason: messageOf(error) }, 'certificate cannot be loaded');
    }
  }

  /** What is stored is served however long a turn takes to come. */
  async lookEarly(): Promise<void> {
    try {
      await this.#lookIntoFolder();
    } catch {
      // The visit looks again, and says what is wrong.
    }
  }

  get needsAdvice(): boolean {
    return this.#options.isWanted(this.name) && this.#schedule.needsAdvice(this.#moment());
  }

  /** The issuer may want certificates renewed early. */
  async askAdvice(): Promise<void> {
    const schedule = this.#schedule;
    if (schedule.pair === undefined) return;
    const { nowMs } = this.#moment();
    schedule.onAdviceAsked(nowMs);
    try {
      const ariId = ariIdOf(schedule.pair.cert);
      if (ariId === undefined) return;
      const advice = await (await this.#options.openIssuer()).advice(ariId);
      if (advice !== undefined) schedule.onAdvice(advice, nowMs);
    } catch (error) {
      const { name } = this;
      this.#options.log.debug({ name, reason: messageOf(error) }, 'no renewal advice');
    }
  }

  /** Orders it if it is due. Gives the time until it has something to do. */
  async keepUp(): Promise<number> {
    try {
      await this.#lookIntoFolder();
      const leftMs = this.#timeLeftMs();
      if (leftMs > 0) return leftMs;
      return await this.#order();
    } catch (error) {
      return this.#failed(error);
    }
  }

  async #lookIntoFolder(): Promise<void> {
    const stored = this.#isUnsaved ? undefined : await this.#options.folder.load(this.name);
    const { pair } = this.#schedule;
    if (stored !== undefined) this.#adopt(stored);
    else if (pair !== undefined) await this.#save(pair);
  }

  /** 0 or less: order. */
  #timeLeftMs(): number {
    if (!this.#options.isWanted(this.name)) return VISIT_MS;
    return this.#schedule.timeLeftMs(this.#moment());
  }

  #moment(): Moment {
    const { clock } = this.#options;
    return { nowMs: clock.nowMs(), wallMs: clock.wallMs() };
  }

  async #order(): Promise<number> {
    const { folder, budget, log } = this.#options;
    const { name, isOnDemand } = this;
    const release = await folder.lock(name);
    if (release === undefined) return LOCKED_MS;
    try {
      // Another process may have been done just before.
      await this.#lookIntoFolder();
      const leftMs = this.#timeLeftMs();
      if (leftMs > 0) return leftMs;
      const moment = this.#moment();
      const earlierMs = await folder.ordersSince(name, moment.wallMs - BUDGET_MS);
      const waitMs = budget.waitMs({ earlierMs, isOnDemand }, moment);
      if (waitMs > 0) return this.#postpone(waitMs);
      await this.#take(earlierMs);
      return this.#timeLeftMs();
    } finally {
      // A lock that cannot be removed ends by its age.
      await release().catch((error: unknown) => log.warn(messageOf(error)));
    }
  }

  #postpone(waitMs: number): number {
    const { clock, log } = this.#options;
    const delayMs = Math.max(waitMs, MINUTE_MS);
    this.#schedule.pauseUntil(clock.nowMs() + delayMs);
    const waitSeconds = Math.ceil(delayMs / 1000);
    log.warn({ name: this.name, waitSeconds }, 'too many orders in an hour, waiting');
    return delayMs;
  }

  async #take(earlierMs: readonly number[]): Promise<void> {
    const { challengeFor, solver, log, clock, onResult } = this.#options;
    const { name } = this;
    const old = this.#schedule.pair;
    const issuer = await this.#options.openIssuer();
    const kind = challengeFor(name);
    log.info({ name, challenge: kind }, 'ordering a certificate');
    const replaces = old === undefined ? undefined : ariIdOf(old.cert);
    const onBegin = (): Promise<void> => this.#noteOrder(earlierMs);
    const got = await issuer.order({ name, kind, solver, replaces, onBegin });
    const pair = checkPair({ name, ...got });
    if (!isForName(pair.cert, name) || pair.notAfterMs <= clock.wallMs()) {
      throw new SluicewayError('SLW_ACME_REFUSED', 'the certificate is for others, or over');
    }
    onResult('ok');
    this.#retry.reset();
    this.#schedule.endPause();
    this.#isUnsaved = true;
    this.#use(pair);
    await this.#saveUnlessLate(pair, old);
  }

  /** While this machine slept, another may have taken the lock, and ordered: the later stays. */
  async #saveUnlessLate(pair: CheckedPair, old: CheckedPair | undefined): Promise<void> {
    const stored = await this.#options.folder.load(this.name);
    const isOthers = stored !== undefined && stored.fingerprint !== old?.fingerprint;
    if (!isOthers || stored.notBeforeMs <= pair.notBeforeMs) {
      await this.#save(pair);
      return;
    }
    this.#isUnsaved = false;
    this.#adopt(stored);
  }

  async #noteOrder(earlierMs: readonly number[]): Promise<void> {
    const { folder, budget, clock } = this.#options;
    await folder.noteOrder(this.name, earlierMs);
    if (this.isOnDemand) budget.noteOnDemand(clock.nowMs());
  }

  async #save(pair: CheckedPair): Promise<void> {
    this.#isUnsaved = true;
    await this.#options.folder.save(pair);
    this.#isUnsaved = false;
  }

  /** Serves what was stored, unless what is served was issued later. */
  #adopt(pair: CheckedPair | undefined): void {
    if (pair !== undefined && this.#schedule.isSucceededBy(pair)) this.#use(pair);
  }

  #use(pair: CheckedPair): void {
    const { clock, random, log, onPair } = this.#options;
    this.#schedule.use(pair, random());
    const daysLeft = Math.floor((pair.notAfterMs - clock.wallMs()) / DAY_MS);
    log.info({ name: this.name, daysLeft }, 'certificate in use');
    onPair(pair);
  }

  /** Nothing is lost but time: the old certificate stays. */
  #failed(error: unknown): number {
    const { clock, log, onResult } = this.#options;
    const { pair } = this.#schedule;
    const { code, result, hint, delayMs } = this.#retry.onFailure(error);
    onResult(result);
    if (this.#isUnsaved) this.#schedule.endPause();
    else this.#schedule.pauseUntil(clock.nowMs() + delayMs);
    const leftMs = pair === undefined ? 0 : pair.notAfterMs - clock.wallMs();
    const daysLeft = Math.floor(leftMs / DAY_MS);
    const retrySeconds = Math.ceil(delayMs / 1000);
    const fields = {
      name: this.name,
      code,
      reason: messageOf(error),
      hint,
      daysLeft,
      retrySeconds,
    };
    if (leftMs <= 0) log.error(fields, 'no certificate');
    else log.warn(fields, 'certificate not renewed, the old one stays');
    return delayMs;
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
