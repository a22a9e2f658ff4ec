// Goal: a stream that sends for long over a line that is full keeps all of its window, so that it
// never comes to stand still. Method: two sessions over links in memory of which one direction
// moves few bytes a round, a writer that always has more, a reader that takes all at once; at the
// end both count the same credit.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KIB, type SessionLimits } from '../../src/wire/limits.ts';
import { checkSettled, World } from './session-world.ts';

const LIMITS: SessionLimits = {
  frameBytes: 16 * KIB,
  streams: 10,
  windowInitialBytes: 256 * KIB,
  windowMaxBytes: 256 * KIB,
  memoryBytes: 16 * KIB * KIB,
};
const PIECE_BYTES = 16 * KIB;

/** A round's time, of which rates are no whole numbers, and what the line moves in it. */
const LINES: readonly (readonly [roundMs: number, bytes: number])[] = [
  [3, 5003],
  [3, 10_007],
  [13, 9001],
];

for (const [roundMs, bytes] of LINES) {
  test(`a line of ${bytes} bytes in ${roundMs} ms costs a stream none of its window`, () => {
    const world = new World(LIMITS, 16 * KIB * KIB);
    world.open(0);
    world.accept();
    world.settle();
    const [writer, reader] = world.pairs[0] ?? assert.fail('no stream');
    for (let round = 0; round < 3000; round += 1) {
      writer.write(PIECE_BYTES);
      world.links[0].move(bytes);
      world.links[1].move(64 * KIB);
      reader.take(Number.MAX_SAFE_INTEGER, world.clock.nowMs());
      world.clock.advance(roundMs);
      // Its PINGs begin to measure the line.
      for (const session of world.sessions) session.tick(world.clock.nowMs());
    }
    assert.ok(reader.takenBytes > 1000 * bytes, `${reader.takenBytes} bytes went through`);
    world.settle();
    checkSettled(world);
  });
}
