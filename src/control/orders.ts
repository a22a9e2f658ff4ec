// Has a certificate for each name that wants one: loads it, renews it in time, orders it anew.
//
//   waiting --time has come--> queued --its turn--> visited --> waiting …          stopped
//
// Queued, it has the folder looked at at once, as another process may have ordered, and the issuer
// asked for advice. A visit looks again, then at the time; and orders last, under the folder's
// lock, in a budget beyond restarts.
//
// Invariant: no order while a certificate is valid and not due; a failure changes nothing but the
// time of the next try, which grows, has jitter and obeys the issuer, for a day; one visit at a
// time; no jump of the wall clock delays an order once that is right. Must not know: ACME, sockets,
// or who serves the certificates.

import { Backoff } from '../base/backoff.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import type { ChallengeKind, ChallengeSolver, Issuer } from './acme.ts';
import { type CertificateFolder, KEPT_AFTER_END_MS } from './certificate-folder.ts';
import { type CheckedPair, checkPair, isForName } from './certificate-pair.ts';
import { ariIdOf, type RenewalWindow, renewAtMs } from './renewal.ts';
import { Turns } from './turns.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** A visit at least this often: clocks move, and the issuer's advice changes (RFC 9773 4.3.2). */
const VISIT_MS = 6 * HOUR_MS;
/** Not before the first of these: a wall clock that is wrong at a start is set right by then. */
const SWEEP_MS = 6 * HOUR_MS;
/** Advice is not asked for more often, whatever the issuer says, nor is it forgotten for longer. */
const ADVICE_MS_MIN = MINUTE_MS;
const ADVICE_MS_MAX = DAY_MS;
/** An issuer asks for hours; asked again after a day, it may say so again. */
const RETRY_AFTER_MS_MAX = DAY_MS;
/** While another process orders. Guess: an order takes some ten seconds. */
const LOCKED_MS = 5000;
/** Let's Encrypt: five failures an hour for one host. One is left for the operator. */
const ORDERS_PER_HOUR_MAX = 4;
/** New names of clients, of all together. Guess: far below 300 orders in three hours. */
const ON_DEMAND_PER_HOUR_MAX = 20;
/** Names at once. Guess: ten times a large site. */
export const NAMES_MAX = 1000;

export interface OrdersOptions {
  readonly folder: CertificateFolder;
  readonly openIssuer: () => Promise<Issuer>;
  readonly solver: ChallengeSolver;
  readonly challengeFor: (name: string) => ChallengeKind;
  /** May it be ordered now? A host on demand is when a client serves it. */
  readonly isWanted: (name: string) => boolean;
  /** A certificate to be served from now on. */
  readonly onPair: (pair: CheckedPair) => void;
  /** Nobody serves this host any more, and others need its place, or its certificate is over. */
  readonly onForgotten: (name: string) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

/** What became of an order: a label of a metric. */
export type OrderResult = 'ok' | 'unreachable' | 'limited' | 'refused' | 'store';

interface Tracked {
  readonly name: string;
  readonly isOnDemand: boolean;
  readonly backoffs: { readonly short: Backoff; readonly long: Backoff };
  state: 'waiting' | 'queued';
  timer: Timer | undefined;
  pair: CheckedPair | undefined;
  /** Got, and not yet in the folder. */
  isUnsaved: boolean;
  draw: number;
  window: RenewalWindow | undefined;
  /** Both of the monotonic clock: the other one may be set back. */
  adviceAtMs: number;
  notBeforeMs: number;
}

export class Orders {
  readonly results = new Map<OrderResult, number>();
  readonly #options: OrdersOptions;
  readonly #tracked = new Map<string, Tracked>();
  /** First looks, questions for advice and visits: each follow their like, and nothing else. */
  readonly #looks = new Turns();
  readonly #questions = new Turns();
  readonly #visits = new Turns();
  /** Whoever is queued, until its visit is over, and sweeps. */
  readonly #underWay = new Set<Promise<void>>();
  #sweepTimer: Timer | undefined;
  #issuer: Promise<Issuer> | undefined;
  #state: 'running' | 'stopped' = 'running';
  /** When hosts on demand were ordered, on the monotonic clock. */
  #onDemandMs: number[] = [];

  constructor(options: OrdersOptions) {
    this.#options = options;
  }

  /** Loads what the folder has for `name`, before anybody listens; orders nothing. */
  async load(name: string): Promise<void> {
    const tracked = this.#track(name, false);
    try {
      this.#adopt(tracked, await this.#options.folder.load(name));
    } catch (error) {
      this.#options.log.error({ name, reason: messageOf(error) }, 'certificate cannot be loaded');
    }
  }

  /** Keeps a certificate for `name` from now on; false: there are too many names. */
  keep(name: string, isOnDemand: boolean): boolean {
    const known = this.#tracked.get(name);
    if (known === undefined && this.#tracked.size >= NAMES_MAX) this.#forgetUnwanted();
    if (known === undefined && this.#tracked.size >= NAMES_MAX) {
      this.#options.log.warn({ name, max: NAMES_MAX }, 'too many names, no certificate for this');
      return false;
    }
    this.#visitAfter(known ?? this.#track(name, isOnDemand), 0);
    return true;
  }

  /** Resolves when no visit is under way or waits for its turn. */
  async settled(): Promise<void> {
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }

  /** From now on, what ended long ago and nobody asks for any more is removed, now and then. */
  startSweeps(): void {
    if (this.#state === 'stopped') return;
    this.#sweepTimer = this.#options.clock.after(SWEEP_MS, () => {
      // Between two visits, so that neither sees what the other has half done.
      this.#run(async () => {
        await this.#visits.take(() => this.#sweep());
        this.startSweeps();
      });
    });
  }

  stop(): void {
    this.#state = 'stopped';
    this.#sweepTimer?.cancel();
    for (const { timer } of this.#tracked.values()) timer?.cancel();
  }

  async #sweep(): Promise<void> {
    if (this.#state === 'stopped') return;
    const { folder, log } = this.#options;
    try {
      const names = await folder.sweep((name) => this.#tracked.has(name));
      if (names > 0) log.info({ names }, 'certificates that ended long ago are removed');
    } catch (error) {
      log.warn({ reason: messageOf(error) }, 'old certificates cannot be removed, trying later');
    }
  }

  #forgetUnwanted(): void {
    for (const tracked of this.#tracked.values()) {
      if (tracked.state === 'waiting' && this.#isUnwanted(tracked)) this.#forget(tracked);
    }
  }

  /** The configuration wants its own names for ever. */
  #isUnwanted({ name, isOnDemand }: Tracked): boolean {
    return isOnDemand && !this.#options.isWanted(name);
  }

  #forget({ name, timer }: Tracked): void {
    timer?.cancel();
    this.#tracked.delete(name);
    this.#options.onForgotten(name);
  }

  #track(name: string, isOnDemand: boolean): Tracked {
    const { random } = this.#options;
    const tracked: Tracked = {
      name,
      isOnDemand,
      backoffs: {
        short: new Backoff({ baseMs: 5000, maxMs: 10 * MINUTE_MS, random }),
        long: new Backoff({ baseMs: MINUTE_MS, maxMs: 6 * HOUR_MS, random }),
      },
      state: 'waiting',
      timer: undefined,
      pair: undefined,
      isUnsaved: false,
      draw: 0,
      window: undefined,
      adviceAtMs: 0,
      notBeforeMs: 0,
    };
    this.#tracked.set(name, tracked);
    return tracked;
  }

  #visitAfter(tracked: Tracked, delayMs: number): void {
    if (this.#state === 'stopped' || tracked.state === 'queued') return;
    tracked.timer?.cancel();
    const wait = Math.min(Math.max(0, delayMs), VISIT_MS);
    tracked.timer = this.#options.clock.after(wait, () => this.#enqueue(tracked));
  }

  #enqueue(tracked: Tracked): void {
    tracked.state = 'queued';
    this.#run(async () => {
      await this.#looks.take(() => this.#lookEarly(tracked));
      if (this.#needsAdvice(tracked)) await this.#questions.take(() => this.#askAdvice(tracked));
      await this.#visits.take(() => this.#visitInTurn(tracked));
    });
  }

  #run(steps: () => Promise<void>): void {
    const run = steps().finally(() => this.#underWay.delete(run));
    this.#underWay.add(run);
  }

  async #visitInTurn(tracked: Tracked): Promise<void> {
    if (this.#state === 'stopped') return;
    const delayMs = await this.#visit(tracked);
    tracked.state = 'waiting';
    if (this.#isUnwanted(tracked) && this.#isLongOver(tracked)) this.#forget(tracked);
    else this.#visitAfter(tracked, delayMs);
  }

  #isLongOver({ pair }: Tracked): boolean {
    return (
      pair !== undefined && pair.notAfterMs + KEPT_AFTER_END_MS <= this.#options.clock.wallMs()
    );
  }

  /** Gives the time to the next visit. */
  async #visit(tracked: Tracked): Promise<number> {
    try {
      await this.#lookIntoFolder(tracked);
      const leftMs = this.#timeLeft(tracked);
      if (leftMs > 0) return leftMs;
      return await this.#order(tracked);
    } catch (error) {
      return this.#failed(tracked, error);
    }
  }

  /** What is stored is served however long a turn takes to come. */
  async #lookEarly(tracked: Tracked): Promise<void> {
    if (this.#state === 'stopped') return;
    try {
      await this.#lookIntoFolder(tracked);
    } catch {
      // The visit looks again, and says what is wrong.
    }
  }

  async #lookIntoFolder(tracked: Tracked): Promise<void> {
    const { folder } = this.#options;
    const stored = tracked.isUnsaved ? undefined : await folder.load(tracked.name);
    if (stored !== undefined) this.#adopt(tracked, stored);
    else if (tracked.pair !== undefined) await this.#save(tracked, tracked.pair);
  }

  /** Until this name has something to do; 0 or less: order. */
  #timeLeft(tracked: Tracked): number {
    const { clock, isWanted } = this.#options;
    if (!isWanted(tracked.name)) return VISIT_MS;
    const pauseMs = tracked.notBeforeMs - clock.nowMs();
    if (tracked.pair === undefined) return pauseMs;
    const dueMs = renewAtMs({ ...tracked.pair, window: tracked.window, draw: tracked.draw });
    return Math.max(dueMs - clock.wallMs(), pauseMs);
  }

  /** What is to be ordered now is not held up by a question. */
  #needsAdvice(tracked: Tracked): boolean {
    const isDue = this.#timeLeft(tracked) <= 0;
    if (tracked.pair === undefined || isDue || !this.#options.isWanted(tracked.name)) return false;
    return this.#options.clock.nowMs() >= tracked.adviceAtMs;
  }

  /** The issuer may want certificates renewed early. Without an answer the usual time holds. */
  async #askAdvice(tracked: Tracked): Promise<void> {
    const { clock, log } = this.#options;
    if (this.#state === 'stopped' || tracked.pair === undefined) return;
    const nowMs = clock.nowMs();
    tracked.adviceAtMs = nowMs + VISIT_MS;
    try {
      const ariId = ariIdOf(tracked.pair.cert);
      if (ariId === undefined) return;
      const advice = await (await this.#openIssuer()).advice(ariId);
      if (advice === undefined) return;
      tracked.window = advice.window;
      const askAgainMs = Math.min(advice.retryAfterMs || VISIT_MS, ADVICE_MS_MAX);
      tracked.adviceAtMs = nowMs + Math.max(askAgainMs, ADVICE_MS_MIN);
    } catch (error) {
      log.debug({ name: tracked.name, reason: messageOf(error) }, 'no renewal advice');
    }
  }

  async #order(tracked: Tracked): Promise<number> {
    const { folder, clock } = this.#options;
    const { name } = tracked;
    const release = await folder.lock(name);
    if (release === undefined) return LOCKED_MS;
    try {
      // Another process may have been done just before.
      await this.#lookIntoFolder(tracked);
      const leftMs = this.#timeLeft(tracked);
      if (leftMs > 0) return leftMs;
      const hourAgoMs = clock.wallMs() - HOUR_MS;
      const earlier = await folder.ordersSince(name, hourAgoMs);
      const [oldestMs = hourAgoMs] = earlier.length < ORDERS_PER_HOUR_MAX ? [] : earlier;
      const waitMs = Math.max(oldestMs - hourAgoMs, this.#demandWaitMs(tracked));
      if (waitMs > 0) return this.#postpone(tracked, waitMs);
      await this.#take(tracked, async () => {
        await folder.noteOrder(name, earlier);
        if (tracked.isOnDemand) this.#onDemandMs.push(clock.nowMs());
      });
      return this.#timeLeft(tracked);
    } finally {
      // A lock that cannot be removed ends by its age.
      await release().catch((error: unknown) => this.#options.log.warn(messageOf(error)));
    }
  }

  /** 0, unless there were too many orders of clients' names in the last hour. */
  #demandWaitMs({ isOnDemand }: Tracked): number {
    const hourAgoMs = this.#options.clock.nowMs() - HOUR_MS;
    this.#onDemandMs = this.#onDemandMs.filter((time) => time > hourAgoMs);
    if (!isOnDemand || this.#onDemandMs.length < ON_DEMAND_PER_HOUR_MAX) return 0;
    const [oldestMs = hourAgoMs] = this.#onDemandMs;
    return oldestMs - hourAgoMs;
  }

  /** It waits so long however often it is offered meanwhile. */
  #postpone(tracked: Tracked, waitMs: number): number {
    const { clock, log } = this.#options;
    const delayMs = Math.max(waitMs, MINUTE_MS);
    tracked.notBeforeMs = clock.nowMs() + delayMs;
    const waitSeconds = Math.ceil(delayMs / 1000);
    log.warn({ name: tracked.name, waitSeconds }, 'too many orders in an hour, waiting');
    return delayMs;
  }

  async #take(tracked: Tracked, onBegin: () => Promise<void>): Promise<void> {
    const { challengeFor, solver, log } = this.#options;
    const { name, pair: old } = tracked;
    const issuer = await this.#openIssuer();
    const kind = challengeFor(name);
    log.info({ name, challenge: kind }, 'ordering a certificate');
    const replaces = old === undefined ? undefined : ariIdOf(old.cert);
    const got = await issuer.order({ name, kind, solver, replaces, onBegin });
    const pair = checkPair({ name, ...got });
    if (!isForName(pair.cert, name) || pair.notAfterMs <= this.#options.clock.wallMs()) {
      throw new SluicewayError('SLW_ACME_REFUSED', 'the certificate is for others, or over');
    }
    this.#count('ok');
    tracked.backoffs.long.reset();
    tracked.backoffs.short.reset();
    tracked.notBeforeMs = 0;
    tracked.isUnsaved = true;
    this.#use(tracked, pair);
    await this.#save(tracked, pair);
  }

  async #save(tracked: Tracked, pair: CheckedPair): Promise<void> {
    tracked.isUnsaved = true;
    await this.#options.folder.save(pair);
    tracked.isUnsaved = false;
  }

  /** Serves what was stored, unless what is served was issued later: it may well end later. */
  #adopt(tracked: Tracked, pair: CheckedPair | undefined): void {
    const old = tracked.pair;
    if (pair === undefined || pair.fingerprint === old?.fingerprint) return;
    if (old !== undefined && old.notBeforeMs > pair.notBeforeMs) return;
    this.#use(tracked, pair);
  }

  #use(tracked: Tracked, pair: CheckedPair): void {
    const { clock, random, log, onPair } = this.#options;
    tracked.pair = pair;
    tracked.draw = random();
    tracked.window = undefined;
    tracked.adviceAtMs = 0;
    const daysLeft = Math.floor((pair.notAfterMs - clock.wallMs()) / DAY_MS);
    log.info({ name: tracked.name, daysLeft }, 'certificate in use');
    onPair(pair);
  }

  #openIssuer(): Promise<Issuer> {
    this.#issuer ??= this.#options.openIssuer().catch((error: unknown) => {
      this.#issuer = undefined;
      throw error;
    });
    return this.#issuer;
  }

  /** Nothing is lost but time: the old certificate stays. */
  #failed(tracked: Tracked, error: unknown): number {
    const { clock, log } = this.#options;
    const { name, pair, backoffs } = tracked;
    const code = error instanceof SluicewayError ? error.code : 'SLW_ACME_REFUSED';
    const { result, hint, backoff } = FAILURES[code] ?? FAILURE;
    this.#count(result);
    const { retryAfterMs = 0 } = error as { retryAfterMs?: number };
    const askedMs = Math.min(retryAfterMs, RETRY_AFTER_MS_MAX);
    const { minMs } = BACKOFFS[backoff];
    const delayMs = Math.max(askedMs, minMs + backoffs[backoff].nextMs());
    tracked.notBeforeMs = tracked.isUnsaved ? 0 : clock.nowMs() + delayMs;
    const leftMs = pair === undefined ? 0 : pair.notAfterMs - clock.wallMs();
    const daysLeft = Math.floor(leftMs / DAY_MS);
    const retrySeconds = Math.ceil(delayMs / 1000);
    const fields = { name, code, reason: messageOf(error), hint, daysLeft, retrySeconds };
    if (leftMs <= 0) log.error(fields, 'no certificate');
    else log.warn(fields, 'certificate not renewed, the old one stays');
    return delayMs;
  }

  #count(result: OrderResult): void {
    this.results.set(result, (this.results.get(result) ?? 0) + 1);
  }
}

interface Failure {
  readonly result: OrderResult;
  readonly hint: string;
  readonly backoff: 'short' | 'long';
}

/** What a failure costs the issuer says how soon it is tried again. Guesses. */
const BACKOFFS = { short: { minMs: 1000 }, long: { minMs: 30_000 } } as const;
const FAILURE: Failure = {
  result: 'refused',
  hint: 'the host must resolve to this server, and its port 80 or 443 must be reachable',
  backoff: 'long',
};
const FAILURES: Readonly<Partial<Record<string, Failure>>> = {
  SLW_ACME_UNREACHABLE: {
    result: 'unreachable',
    hint: 'this server must reach the issuer; nothing to do if the issuer is down',
    backoff: 'short',
  },
  SLW_ACME_LIMITED: {
    result: 'limited',
    hint: 'nothing to do but wait; for tests use --letsencrypt-issuer staging',
    backoff: 'long',
  },
  SLW_CERTIFICATE_STORE: {
    result: 'store',
    hint: 'make room in, or give the right to write to, the folder of --letsencrypt-dir',
    backoff: 'short',
  },
};

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
