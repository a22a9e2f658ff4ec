// An issuer, a folder and a clock for tests of orders: nothing of them waits for real time.
//
// Invariant: the issuer gives what the test has put into `answers`, in order, and notes each
// question. Must not know: what orders do with it.

import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { TestContext } from 'node:test';
import type { Issuer, OrderRequest, RenewalAdvice } from '../../src/control/acme.ts';
import { CertificateFolder } from '../../src/control/certificate-folder.ts';
import type { CheckedPair } from '../../src/control/certificate-pair.ts';
import { Orders, type OrdersOptions } from '../../src/control/orders.ts';
import { undoAfter } from '../support/cleanup.ts';
import { within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { scratchFolder } from '../support/programs.ts';
import { PAIR_90_DAYS, type TestPair } from '../support/test-pairs.ts';

export const DAY_MS = 86_400_000;
const WAIT_MS = 5000;

/** Begins a day after the certificates of 90 days. */
export class PairClock extends FakeClock {
  readonly #offsetMs: number;

  constructor() {
    super();
    const startMs = new X509Certificate(PAIR_90_DAYS.cert).validFromDate.getTime() + DAY_MS;
    this.#offsetMs = startMs - super.wallMs();
  }

  override wallMs(): number {
    return super.wallMs() + (this.#offsetMs ?? 0);
  }
}

export class FakeIssuer implements Issuer {
  readonly answers: (TestPair | Error)[] = [];
  readonly requests: OrderRequest[] = [];
  adviceAnswer: RenewalAdvice | Error | undefined;
  adviceAsked = 0;

  async order(request: OrderRequest): Promise<TestPair> {
    this.requests.push(request);
    await request.onBegin();
    const answer = this.answers.shift();
    assert.ok(answer !== undefined, 'an order that the test did not expect');
    if (answer instanceof Error) throw answer;
    return answer;
  }

  async advice(): Promise<RenewalAdvice | undefined> {
    this.adviceAsked += 1;
    if (this.adviceAnswer instanceof Error) throw this.adviceAnswer;
    return this.adviceAnswer;
  }
}

export interface Bench {
  readonly orders: Orders;
  readonly issuer: FakeIssuer;
  readonly clock: PairClock;
  readonly folder: CertificateFolder;
  readonly log: LogLines;
  readonly served: CheckedPair[];
  readonly forgotten: string[];
  readonly wanted: Set<string>;
  /** Runs what is due, and waits until it is done, which is when a next visit is planned. */
  pass(ms: number): Promise<void>;
}

export interface BenchOptions {
  readonly dir?: string;
  readonly clock?: PairClock;
  readonly options?: Partial<OrdersOptions>;
}

export async function startBench(t: TestContext, given: BenchOptions = {}): Promise<Bench> {
  const { dir = scratchFolder(t), clock = new PairClock() } = given;
  const log = new LogLines('control');
  const issuer = new FakeIssuer();
  const folder = new CertificateFolder({
    dir,
    issuer: 'https://ca.test/dir',
    clock,
    log: log.log,
  });
  await folder.prepare();
  const served: CheckedPair[] = [];
  const forgotten: string[] = [];
  const wanted = new Set(['a.test']);
  const orders = new Orders({
    folder,
    openIssuer: async () => issuer,
    solver: { present: async () => {}, cleanup: async () => {} },
    challengeFor: () => 'http-01',
    isWanted: (name) => wanted.has(name),
    onPair: (pair) => served.push(pair),
    onForgotten: (name) => forgotten.push(name),
    clock,
    random: () => 0.5,
    log: log.log,
    ...given.options,
  });
  undoAfter(t, () => orders.stop());
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms);
    await within(WAIT_MS, 'the visits are done', orders.settled());
  };
  return { orders, issuer, clock, folder, log, served, forgotten, wanted, pass };
}
