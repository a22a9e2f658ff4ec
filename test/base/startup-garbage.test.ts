import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { collectStartupGarbage } from '../../src/base/startup-garbage.ts';

const URL_OF_IT = new URL('../../src/base/startup-garbage.ts', import.meta.url).href;

test('garbage of a start is collected', () => {
  let garbage: object[] | undefined = Array.from({ length: 200_000 }, (_, index) => ({ index }));
  const before = process.memoryUsage().heapUsed;
  assert.equal(garbage.length, 200_000);
  garbage = undefined;
  collectStartupGarbage();
  assert.ok(process.memoryUsage().heapUsed < before - 2_000_000);
});

test("threads that collect in the same moment are not in each other's way", async () => {
  // Each thread collects once, each module of the same name by another address likewise.
  const code = `for (let count = 0; count < 30; count += 1) {
    const { collectStartupGarbage } = await import(${JSON.stringify(URL_OF_IT)} + '?' + count);
    collectStartupGarbage();
  }`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const workers = Array.from({ length: 4 }, () => new Worker(url));
  const codes = await Promise.all(workers.map((worker) => once(worker, 'exit')));
  assert.deepEqual(codes, [[0], [0], [0], [0]]);
});

test('what starts in a thread later does not make it collect again', () => {
  const garbage: object[] = Array.from({ length: 200_000 }, (_, index) => ({ index }));
  const before = process.memoryUsage().heapUsed;
  garbage.length = 0;
  collectStartupGarbage();
  assert.ok(process.memoryUsage().heapUsed > before - 2_000_000);
});
