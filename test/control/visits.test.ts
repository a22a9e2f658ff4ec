// Visits in turn, with steps that end when the test says so.

import assert from 'node:assert/strict';
import test from 'node:test';
import { Visits } from '../../src/control/visits.ts';
import { FakeClock } from '../support/fake-clock.ts';

const VISIT_MS = 6 * 3_600_000;

class Bench {
  readonly clock = new FakeClock();
  /** What has begun, in order. */
  readonly log: string[] = [];
  /** Steps that do not end by themselves, by what they are called. */
  readonly held = new Map<string, PromiseWithResolvers<void>>();
  readonly asking = new Set<string>();
  nextMs: number | undefined = 1000;
  readonly visits = new Visits<string>(this.clock, {
    look: (name) => this.#step(`look ${name}`),
    needsQuestion: (name) => this.asking.has(name),
    ask: (name) => this.#step(`ask ${name}`),
    visit: async (name) => {
      await this.#step(`visit ${name}`);
      return this.nextMs;
    },
    sweep: () => this.#step('sweep'),
  });

  hold(step: string): void {
    this.held.set(step, Promise.withResolvers());
  }

  async #step(step: string): Promise<void> {
    this.log.push(step);
    await this.held.get(step)?.promise;
  }

  /** Lets the time pass, and all that can go on do so. */
  async pass(ms: number): Promise<void> {
    this.clock.advance(ms);
    for (let turn = 0; turn < 4; turn += 1) await new Promise((done) => setImmediate(done));
  }

  /** What has begun since the last time. */
  begun(): string[] {
    return this.log.splice(0);
  }
}

test('each is visited when its time has come, again after what it says, and every six hours', async () => {
  const bench = new Bench();
  bench.visits.visitAfter('a', 500);
  await bench.pass(499);
  assert.deepEqual(bench.begun(), []);
  await bench.pass(1);
  assert.deepEqual(bench.begun(), ['look a', 'visit a']);
  bench.nextMs = 1e12;
  await bench.pass(1000);
  assert.deepEqual(bench.begun(), ['look a', 'visit a']);
  await bench.pass(VISIT_MS - 1);
  assert.deepEqual(bench.begun(), []);
  bench.nextMs = undefined;
  await bench.pass(1);
  assert.deepEqual(bench.begun(), ['look a', 'visit a']);
  await bench.pass(VISIT_MS);
  assert.deepEqual(bench.begun(), [], 'the last one');
});

test('a visit or a question that waits holds up its like, and nothing else', async () => {
  const bench = new Bench();
  bench.asking.add('a').add('b');
  bench.hold('ask a');
  bench.hold('visit c');
  for (const name of ['a', 'b', 'c', 'd']) bench.visits.visitAfter(name, 0);
  await bench.pass(0);
  assert.deepEqual(bench.begun(), ['look a', 'look b', 'ask a', 'look c', 'look d', 'visit c']);
  bench.held.get('ask a')?.resolve();
  await bench.pass(0);
  assert.deepEqual(bench.begun(), ['ask b']);
  bench.held.get('visit c')?.resolve();
  await bench.visits.settled();
  assert.deepEqual(bench.begun(), ['visit d', 'visit a', 'visit b']);
});

test('a later time takes the place of the one before, but not of a visit that is queued', async () => {
  const bench = new Bench();
  bench.visits.visitAfter('a', 10);
  bench.visits.visitAfter('a', 20);
  await bench.pass(10);
  assert.deepEqual(bench.begun(), []);
  bench.hold('visit a');
  await bench.pass(10);
  assert.equal(bench.visits.isQueued('a'), true);
  bench.visits.visitAfter('a', 0);
  await bench.pass(1);
  bench.visits.drop('a');
  bench.held.get('visit a')?.resolve();
  await bench.pass(0);
  assert.deepEqual(bench.begun(), ['look a', 'visit a']);
  assert.equal(bench.visits.isQueued('a'), false);
  bench.visits.drop('a');
  await bench.pass(VISIT_MS);
  assert.deepEqual(bench.begun(), [], 'dropped while it waited');
});

test('a sweep comes every six hours, between two visits', async () => {
  const bench = new Bench();
  bench.nextMs = undefined;
  bench.visits.startSweeps();
  bench.hold('visit a');
  bench.visits.visitAfter('a', VISIT_MS - 1);
  await bench.pass(VISIT_MS - 1);
  await bench.pass(1);
  assert.deepEqual(bench.begun(), ['look a', 'visit a']);
  bench.held.get('visit a')?.resolve();
  await bench.pass(0);
  assert.deepEqual(bench.begun(), ['sweep']);
  await bench.pass(VISIT_MS);
  assert.deepEqual(bench.begun(), ['sweep']);
});

test('once stopped, nothing begins: no step of who is queued, no visit that waits, no sweep', async () => {
  const bench = new Bench();
  bench.asking.add('b');
  bench.visits.startSweeps();
  bench.hold('visit a');
  bench.hold('look b');
  for (const name of ['a', 'b', 'c']) bench.visits.visitAfter(name, 0);
  bench.visits.visitAfter('d', 1000);
  await bench.pass(0);
  assert.deepEqual(bench.begun(), ['look a', 'look b', 'visit a']);
  bench.visits.stop();
  bench.held.get('visit a')?.resolve();
  bench.held.get('look b')?.resolve();
  await bench.visits.settled();
  bench.visits.visitAfter('e', 0);
  bench.visits.startSweeps();
  await bench.pass(2 * VISIT_MS);
  assert.deepEqual(bench.begun(), []);
});
