// Goal: every key is worked on once at a time, again when it has to be, and never all the time.
// Method: work whose end the test decides, and a clock that it moves.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Plan } from '../../src/operator/actions.ts';
import { WorkQueue } from '../../src/operator/work-queue.ts';
import { FakeClock } from '../support/fake-clock.ts';

class Bench {
  readonly clock = new FakeClock();
  readonly started: string[] = [];
  readonly errors: string[] = [];
  rooms = 0;
  readonly queue: WorkQueue;
  #end: ((next: Plan['next'] | Error) => void) | undefined;

  constructor(keysMax?: number) {
    this.queue = new WorkQueue({
      ...{ clock: this.clock, random: () => 0.5 },
      work: (key) => {
        this.started.push(key);
        return new Promise((resolve, reject) => {
          this.#end = (next) => (next instanceof Error ? reject(next) : resolve(next));
        });
      },
      onError: (key) => this.errors.push(key),
      onRoom: () => {
        this.rooms += 1;
      },
      ...(keysMax === undefined ? {} : { keysMax }),
    });
    this.queue.start();
  }

  async end(next: Plan['next'] | Error): Promise<void> {
    this.#end?.(next);
    await turn();
  }

  async advance(ms: number): Promise<void> {
    this.clock.advance(ms);
    await turn();
  }
}

test('keys are worked on in turn, each once however often it was added', async () => {
  const bench = new Bench();
  for (const key of ['a', 'b', 'b', 'a']) bench.queue.add(key);
  assert.deepEqual(bench.started, ['a']);
  await bench.end('settled');
  await bench.end('settled');
  // It changed while it was worked on.
  assert.deepEqual(bench.started, ['a', 'b', 'a']);
  await bench.end('settled');
  await bench.advance(3_600_000);
  assert.deepEqual(bench.started, ['a', 'b', 'a']);
});

test('what is under way is looked at again in a moment, each time', async () => {
  const bench = new Bench();
  bench.queue.add('a');
  for (let look = 1; look < 5; look += 1) {
    await bench.end('waiting');
    assert.equal(bench.started.length, look);
    await bench.advance(2000);
    assert.equal(bench.started.length, look + 1);
  }
});

test('what is blocked, or failed, is tried later and later, to a limit', async () => {
  const bench = new Bench();
  bench.queue.add('a');
  const delays: number[] = [];
  for (let attempt = 0; attempt < 12; attempt += 1) {
    await bench.end(attempt % 2 === 0 ? 'blocked' : new Error('no'));
    const before = bench.started.length;
    let waitedMs = 0;
    while (bench.started.length === before) {
      await bench.advance(500);
      waitedMs += 500;
    }
    delays.push(waitedMs);
  }
  assert.deepEqual(
    delays,
    [...delays].sort((a, b) => a - b),
  );
  assert.ok((delays[0] ?? 0) >= 2000 && (delays[0] ?? 0) <= 4000, String(delays));
  assert.ok((delays.at(-1) ?? 0) <= 302_000, String(delays));
  assert.equal(bench.errors.length, 6);
});

test('a change is looked at at once, though its key was to wait', async () => {
  const bench = new Bench();
  bench.queue.add('a');
  await bench.end('blocked');
  bench.queue.add('a');
  assert.equal(bench.started.length, 2);
  await bench.end('settled');
  await bench.advance(3_600_000);
  assert.equal(bench.started.length, 2);
});

test('keys beyond the limit are turned away, and everything is looked at when there is room', async () => {
  const bench = new Bench(2);
  for (const key of ['a', 'b', 'c', 'd']) bench.queue.add(key);
  await bench.end('settled');
  assert.equal(bench.rooms, 0);
  await bench.end('settled');
  await bench.end('settled');
  assert.deepEqual([bench.rooms, bench.started.length], [1, 3]);
});

test('a queue that stops waits for its work, and does nothing more', async () => {
  const bench = new Bench();
  bench.queue.add('a');
  bench.queue.add('b');
  let hasStopped = false;
  const stopping = bench.queue.stop().then(() => {
    hasStopped = true;
  });
  await turn();
  assert.equal(hasStopped, false);
  await bench.end('waiting');
  await stopping;
  bench.queue.add('c');
  await bench.advance(3_600_000);
  assert.deepEqual(bench.started, ['a']);
  bench.queue.start();
  bench.queue.add('d');
  assert.deepEqual(bench.started, ['a', 'd']);
});
