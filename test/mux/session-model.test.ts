// Goal: invariants 3 to 7 of docs/architecture.md hold for any order of writes, reads, splits and
// delays, and at the memory limit those pay who took nothing for the longest. Method: random
// scripts in the world of session-world.ts, which compares after each step and after everything
// was let through. SLUICEWAY_MUX_RUNS sets the number of sequences; the seed is printed, and
// SLUICEWAY_MUX_SEED repeats one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { SessionLimits } from '../../src/wire/limits.ts';
import { apply, checkSettled, steps, World } from './session-world.ts';

const isCi = process.env.CI === 'true';
const RUNS = Number(process.env.SLUICEWAY_MUX_RUNS ?? (isCi ? 10_000 : 1500));
const SEED = Number(process.env.SLUICEWAY_MUX_SEED ?? Date.now() % 0x7fff_ffff);

test(`any script of streams keeps the invariants (${RUNS} sequences, seed ${SEED})`, () => {
  const limits = fc.record({
    frameBytes: fc.constantFrom(4096, 5000, 16_384),
    windowInitialBytes: fc.constantFrom(4096, 6000, 65_536, 100_000),
    growth: fc.constantFrom(1, 4),
    congestionBytes: fc.constantFrom(1, 500, 20_000),
    bytesPerSecond: fc.constantFrom(0, 0, 1024, 20_000, 1_000_000),
    steps: steps(6),
  });
  fc.assert(
    fc.property(limits, (script) => {
      const { frameBytes, windowInitialBytes, growth, congestionBytes } = script;
      const sessionLimits: SessionLimits = {
        frameBytes,
        streams: 100,
        windowInitialBytes,
        windowMaxBytes: windowInitialBytes * growth,
        memoryBytes: 1 << 21,
      };
      const world = new World(sessionLimits, congestionBytes, script.bytesPerSecond);
      for (const one of script.steps) {
        apply(world, one);
        world.check();
      }
      world.settle();
      checkSettled(world);
    }),
    { numRuns: RUNS, seed: SEED },
  );
});

test('at the memory limit who took nothing for the longest is reset, and nobody else', () => {
  const limits = fc.record({
    frameBytes: fc.constantFrom(4096, 16_384),
    windowInitialBytes: fc.constantFrom(4096, 6000, 20_000),
    growth: fc.constantFrom(1, 4),
    /** Windows that the memory has room for: fewer than there are streams. */
    windows: fc.constantFrom(1, 1.5, 3),
    bytesPerSecond: fc.constantFrom(0, 0, 20_000),
    steps: steps(1),
  });
  let reached = 0;
  fc.assert(
    fc.property(limits, ({ windowInitialBytes, growth, ...script }) => {
      const world = new World(
        {
          frameBytes: script.frameBytes,
          streams: 100,
          windowInitialBytes,
          windowMaxBytes: windowInitialBytes * growth,
          memoryBytes: windowInitialBytes * script.windows,
        },
        20_000,
        script.bytesPerSecond,
      );
      for (const one of script.steps) {
        apply(world, one);
        world.check();
      }
      world.settle();
      checkSettled(world);
      if (world.memoryResets > 0) reached += 1;
    }),
    { numRuns: RUNS, seed: SEED },
  );
  assert.ok(reached > RUNS / 20, `${reached} of ${RUNS} sequences reached the limit`);
});

test('a lost link resets every stream, and none sees a clean end', () => {
  fc.assert(
    fc.property(steps(6), (script) => {
      const limits: SessionLimits = {
        frameBytes: 4096,
        streams: 100,
        windowInitialBytes: 8192,
        windowMaxBytes: 8192,
        memoryBytes: 1 << 21,
      };
      const world = new World(limits, 2000);
      for (const one of script) apply(world, one);
      const before = world.pairs.map((pair) => pair.map((end) => end.fins));
      world.links[0].destroy();
      assert.deepEqual(
        world.pairs.map((pair) => pair.map((end) => end.fins)),
        before,
        'a lost link brings no FIN',
      );
      for (const pair of world.pairs) {
        for (const end of pair) {
          if (end.stream === undefined) continue;
          assert.ok(
            (end.isDone && end.stream.isEnded) || end.resets.length === 1,
            'reset, or ended before',
          );
        }
      }
      for (const session of world.sessions) assert.equal(session.streamsCount, 0);
    }),
    { numRuns: Math.ceil(RUNS / 5), seed: SEED },
  );
});
