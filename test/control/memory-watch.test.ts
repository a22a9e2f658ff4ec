// Goal: shards hear of each level of memory once, when it begins and when it has ended for good.
// Method: a clock and a reading of memory of our own.

import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { type TestContext, test } from 'node:test';
import { PRESSURE } from '../../src/base/memory-pressure.ts';
import type { MemoryMax } from '../../src/config/limits.ts';
import { MemoryWatch } from '../../src/control/memory-watch.ts';
import { undoAfter } from '../support/cleanup.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';

const MAX = 1000;

function startWatch(t: TestContext, max: MemoryMax) {
  const clock = new FakeClock();
  const lines = new LogLines('control');
  const told: number[] = [];
  let used = 0;
  const watch = new MemoryWatch({
    max,
    tell: (level) => told.push(level),
    clock,
    log: lines.log,
    usedBytes: () => {
      if (Number.isNaN(used))
        throw new Error('EMFILE: too many open files, uv_resident_set_memory');
      return used;
    },
  });
  undoAfter(t, () => watch.stop());
  const use = (bytes: number, ms = 1000): number[] => {
    used = bytes;
    clock.advance(ms);
    return told.splice(0);
  };
  return { watch, use, lines, clock };
}

test('each level is told when it begins, and when memory is well below it again', (t) => {
  const { watch, use } = startWatch(t, MAX);
  assert.deepEqual(use(799), []);
  assert.deepEqual(use(800), [PRESSURE.HIGH]);
  assert.deepEqual(use(919), []);
  assert.deepEqual(use(920), [PRESSURE.SEVERE]);
  assert.deepEqual(use(950), [PRESSURE.FULL]);
  assert.deepEqual(use(2000), []);
  assert.deepEqual(use(921), [], 'it does not come and go');
  assert.deepEqual(use(919), [PRESSURE.SEVERE]);
  assert.deepEqual(use(889), [PRESSURE.HIGH]);
  assert.deepEqual(use(771), []);
  assert.equal(watch.level, PRESSURE.HIGH);
  assert.deepEqual(use(769), [PRESSURE.NONE]);
});

test('levels are passed over both ways, and the log says how much is in use', (t) => {
  const { use, lines } = startWatch(t, MAX);
  assert.deepEqual(use(999), [PRESSURE.FULL]);
  assert.deepEqual(use(1), [PRESSURE.NONE]);
  const [worse] = lines.all('memory is running out');
  assert.deepEqual([worse?.usedBytes, worse?.limitBytes], [999, MAX]);
  assert.deepEqual([worse?.level, worse?.pressure], ['warn', 'full: no visitor is let in']);
  assert.equal(lines.all('memory is given back').length, 1);
});

test('a limit that changes holds from the next look on, and off is none', (t) => {
  const { watch, use } = startWatch(t, 'off');
  assert.deepEqual(use(Number.MAX_SAFE_INTEGER), []);
  watch.setMax(MAX);
  assert.deepEqual(use(960), [PRESSURE.FULL]);
  watch.setMax(2 * MAX);
  assert.deepEqual(use(960), [PRESSURE.NONE]);
  watch.setMax('off');
  assert.deepEqual(use(1e15), []);
});

test('by itself the limit is that of the container, and at most the memory of the machine', (t) => {
  const { watch } = startWatch(t, 'auto');
  assert.ok(watch.limitBytes > 0 && watch.limitBytes <= totalmem());
  const container = process.constrainedMemory();
  if (container > 0 && container < totalmem()) assert.equal(watch.limitBytes, container);
  else assert.equal(watch.limitBytes, totalmem());
});

test('nothing is told any more once it has stopped', (t) => {
  const { watch, use } = startWatch(t, MAX);
  watch.stop();
  assert.deepEqual(use(999), []);
});

test('memory that cannot be read for a moment leaves the level as it was', (t) => {
  const { use, watch } = startWatch(t, MAX);
  assert.deepEqual(use(960), [PRESSURE.FULL]);
  assert.deepEqual(use(Number.NaN), []);
  assert.equal(watch.level, PRESSURE.FULL);
  assert.deepEqual(use(1), [PRESSURE.NONE], 'it is looked at again');
});

test('what stays resident without growing keeps nobody out for longer than ten seconds', (t) => {
  const { use } = startWatch(t, MAX);
  assert.deepEqual(use(960), [PRESSURE.FULL]);
  assert.deepEqual(use(960, 9000), []);
  assert.deepEqual(use(960, 2000), [PRESSURE.SEVERE], 'it may be free, and a visitor will show');
  assert.deepEqual(use(965, 60_000), [], 'it was');
  assert.deepEqual(use(980), [PRESSURE.FULL], 'or was not');
  assert.deepEqual(use(980, 18_000), [], 'twice as long then');
  assert.deepEqual(use(980, 4000), [PRESSURE.SEVERE]);
  assert.deepEqual(use(700), [PRESSURE.NONE]);
  assert.deepEqual(use(960), [PRESSURE.FULL], 'as if it were the first time');
  assert.deepEqual(use(960, 11_000), [PRESSURE.SEVERE]);
});

test('it is looked at ten times a second where there is little left, and once where there is much', (t) => {
  const { use } = startWatch(t, MAX);
  use(400);
  assert.deepEqual(use(960, 900), []);
  assert.deepEqual(use(960, 100), [PRESSURE.FULL]);
  assert.deepEqual(use(1, 100), [PRESSURE.NONE]);
  use(600);
  assert.deepEqual(use(960, 100), [PRESSURE.FULL]);
});
