// Goal: a line is full whatever its rate and its way, also one that delivers in bursts, stands
// still now and then, or becomes longer; on a fast one next to nothing waits, on a slow one what is
// meant; and beside a rival, who leaves a queue of his own, neither gets next to nothing. Method: a
// line in virtual time, and the queue by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  LineQueue,
  PAUSE_BYTES_MAX,
  PAUSE_MS_MAX,
  QUEUE_BYTES,
  QUEUE_MORE_MS_MAX,
  QUEUE_MS,
  QUEUE_MS_MIN,
  ROUNDS,
} from '../../src/mux/line-queue.ts';
import { MIB } from '../../src/wire/limits.ts';
import { BulkSender, SlowLine, VirtualTime } from './slow-line.ts';

/** Bytes a millisecond. */
const MBIT = 125;
const START_MS = 1000;
/** By then the flight has found the line. */
const SETTLED_MS = 6000;
const WATCHED_MS = 10_000;

interface Seen {
  /** Share of the line's rate. */
  readonly share: number;
  readonly waitMsP95: number;
}

interface World {
  readonly time: VirtualTime;
  readonly out: SlowLine;
  readonly back: SlowLine;
  readonly sender: BulkSender;
}

function settle(mbit: number, roundTripMs: number, prepare?: (world: World) => void): World {
  const time = new VirtualTime();
  const out = new SlowLine(time, mbit * MBIT, roundTripMs / 2);
  const back = new SlowLine(time, 8000 * MBIT, roundTripMs / 2);
  const sender = new BulkSender({ time, out, back, windowBytes: 256 * MIB });
  const world = { time, out, back, sender };
  prepare?.(world);
  time.run(START_MS);
  sender.start();
  time.run(SETTLED_MS);
  return world;
}

/** The next WATCHED_MS; times do not fall together with anything else's. */
function watch({ time, out, sender }: World): Seen {
  const fromMs = time.nowMs;
  const beforeBytes = sender.deliveredBytes;
  const waits: number[] = [];
  while (time.nowMs < fromMs + WATCHED_MS) {
    time.run(time.nowMs + 7.3);
    waits.push(out.waitMs);
  }
  waits.sort((a, b) => a - b);
  const deliveredBytes = sender.deliveredBytes - beforeBytes;
  const waitMsP95 = waits[Math.floor((waits.length - 1) * 0.95)] as number;
  return { share: deliveredBytes / (out.bytesPerMs * (time.nowMs - fromMs)), waitMsP95 };
}

for (const mbit of [2, 10, 50, 100, 500]) {
  for (const roundTripMs of [0.2, 20, 100]) {
    test(`${mbit} Mbit/s, ${roundTripMs} ms: full, also where it delivers in bursts`, () => {
      for (const burstMs of [0, 5, 20, 50, 100]) {
        for (const doesAnswerSo of [false, true]) {
          const world = settle(mbit, roundTripMs, ({ out, back }) => {
            out.burstMs = burstMs;
            if (doesAnswerSo) back.burstMs = burstMs;
          });
          const { share, waitMsP95 } = watch(world);
          assert.ok(share > 0.93, `bursts of ${burstMs} ms: ${share} of the rate`);
          const meantMs = QUEUE_MS + roundTripMs / 4 + 2 * burstMs + 20;
          assert.ok(waitMsP95 < meantMs, `bursts of ${burstMs} ms: ${waitMsP95} ms wait`);
        }
      }
    });
  }
}

for (const mbit of [50, 500]) {
  test(`${mbit} Mbit/s, 20 ms: full, also where answers alone come in heaps`, () => {
    for (const burstMs of [10, 20, 50]) {
      const { share } = watch(
        settle(mbit, 20, ({ back }) => {
          back.burstMs = burstMs;
        }),
      );
      assert.ok(share > 0.95, `heaps of ${burstMs} ms: ${share} of the rate`);
    }
  });
}

/** Like a radio that is disturbed: still for up to twice as long, then well, again and again. */
function disturb({ time, out }: World, stillMs: number): void {
  let state = 7;
  const random = (): number => {
    state = (state * 48_271) % 0x7fff_ffff;
    return state / 0x7fff_ffff;
  };
  const stop = (): void => {
    out.stillUntilMs = time.nowMs + 2 * stillMs * random();
    time.at(time.nowMs + 2 * stillMs + 4 * stillMs * random(), stop);
  };
  stop();
}

for (const mbit of [20, 500]) {
  test(`${mbit} Mbit/s that stand still now and then are full all the same`, () => {
    for (const stillMs of [10, 30, 80]) {
      const { share } = watch(settle(mbit, 2, (world) => disturb(world, stillMs)));
      assert.ok(share > 0.93, `${stillMs} ms: ${share} of the rate`);
    }
  });

  test(`${mbit} Mbit/s: a way that becomes longer is never taken for a queue alone`, () => {
    for (const roundTripMs of [20, 60, 150]) {
      const world = settle(mbit, 4);
      world.out.delayMs = roundTripMs / 2;
      world.back.delayMs = roundTripMs / 2;
      const first = watch(world);
      assert.ok(first.share > 0.85, `to ${roundTripMs} ms: at first ${first.share} of the rate`);
      const { share } = watch(world);
      assert.ok(share > 0.95, `to ${roundTripMs} ms: ${share} of the rate`);
    }
  });
}

for (const { mbit, roundTripMs, waitMsMax } of [
  { mbit: 100, roundTripMs: 0.2, waitMsMax: 15 },
  { mbit: 500, roundTripMs: 0.2, waitMsMax: 8 },
  { mbit: 8000, roundTripMs: 0.2, waitMsMax: 8 },
  { mbit: 500, roundTripMs: 20, waitMsMax: 25 },
  { mbit: 8000, roundTripMs: 20, waitMsMax: 25 },
]) {
  test(`${mbit} Mbit/s, ${roundTripMs} ms: next to nothing waits for a fast line`, () => {
    const { share, waitMsP95 } = watch(settle(mbit, roundTripMs));
    assert.ok(share > 0.96, `${share} of the rate`);
    assert.ok(waitMsP95 < waitMsMax, `${waitMsP95} ms wait`);
  });
}

/** Keeps a window of bytes under way, as TCP's: what is delivered is sent again. */
class Rival {
  windowBytes = 0;
  deliveredBytes = 0;
  #underWayBytes = 0;
  readonly #out: SlowLine;
  readonly #back: SlowLine;
  readonly #pieceBytes: number;

  constructor(out: SlowLine, back: SlowLine) {
    this.#out = out;
    this.#back = back;
    this.#pieceBytes = Math.max(1500, out.bytesPerMs / 4);
  }

  pump(): void {
    const bytes = this.#pieceBytes;
    while (this.#underWayBytes + bytes <= this.windowBytes) {
      this.#underWayBytes += bytes;
      this.#out.send(bytes, () => {
        this.#back.send(40, () => {
          this.#underWayBytes -= bytes;
          this.deliveredBytes += bytes;
          this.pump();
        });
      });
    }
  }
}

/** `queueMs`: of the queue in which the rival's largest window is half of all. It loses 0.4 of it
 * every four seconds, as CUBIC does where a router's queue ends. */
function compete(mbit: number, roundTripMs: number, queueMs: number): number {
  const { time, out, back, sender } = settle(mbit, roundTripMs);
  const rival = new Rival(out, back);
  const beforeBytes = sender.deliveredBytes;
  const halfBytes = (out.bytesPerMs * (roundTripMs + queueMs)) / 2;
  for (let ms = 0; ms < 4 * WATCHED_MS; ms += 20) {
    rival.windowBytes = halfBytes * (0.6 + 0.4 * ((ms % 4000) / 4000));
    rival.pump();
    time.run(time.nowMs + 20);
  }
  const deliveredBytes = sender.deliveredBytes - beforeBytes;
  return deliveredBytes / (deliveredBytes + rival.deliveredBytes);
}

for (const mbit of [50, 500]) {
  for (const roundTripMs of [2, 50]) {
    for (const queueMs of [50, 150]) {
      test(`${mbit} Mbit/s, ${roundTripMs} ms: a share beside a rival with ${queueMs} ms`, () => {
        const share = compete(mbit, roundTripMs, queueMs);
        assert.ok(share > 0.28 && share < 0.72, `${share} of what both have`);
      });
    }
  }
}

test('four links share a fast line, and next to nothing waits for it', () => {
  const time = new VirtualTime();
  const out = new SlowLine(time, 500 * MBIT, 2.5);
  const back = new SlowLine(time, 8000 * MBIT, 2.5);
  const senders = [0, 1, 2, 3].map(() => {
    return new BulkSender({ time, out, back, windowBytes: 64 * MIB });
  });
  const worlds = senders.map((sender) => ({ time, out, back, sender }));
  time.run(START_MS);
  for (const sender of senders) {
    sender.start();
    time.run(time.nowMs + 3700);
  }
  time.run(time.nowMs + 2 * WATCHED_MS);
  const before = senders.map(({ deliveredBytes }) => deliveredBytes);
  const { waitMsP95 } = watch(worlds[0] as World);
  const lineBytes = out.bytesPerMs * WATCHED_MS;
  const shares = senders.map(({ deliveredBytes }, index) => {
    return (deliveredBytes - (before[index] as number)) / lineBytes;
  });
  assert.ok(shares.reduce((sum, share) => sum + share) > 0.97, `${shares} of the rate`);
  for (const share of shares) assert.ok(share > 0.05, `${shares} of the rate`);
  assert.ok(waitMsP95 < 60, `${waitMsP95} ms wait`);
});

// --- by hand -------------------------------------------------------------------------------------

/** Bytes a millisecond at which QUEUE_BYTES are next to no time, and PAUSE_BYTES_MAX no end. */
const FAST = 35_000;
const FAST_MS = QUEUE_MS_MIN;

/** A round of marks that waited so long, one `stepMs` after the other. */
function round(queue: LineQueue, fromMs: number, stepMs: number, waitMs: number): number {
  let atMs = fromMs;
  for (let count = 0; count < 3; count += 1) {
    queue.note(atMs, waitMs, true);
    atMs += stepMs;
  }
  queue.startRound(true);
  return atMs;
}

test('a line of which nothing is known may have a queue as a slow one has', () => {
  assert.equal(new LineQueue().msMax(0, 0), QUEUE_MS);
});

test('the slower the line, the longer a queue may be, up to what is meant', () => {
  const queue = new LineQueue();
  assert.equal(queue.msMax(1, 0), QUEUE_MS);
  assert.equal(queue.msMax(QUEUE_BYTES / 50, 0), 50);
  assert.equal(queue.msMax(FAST, 0), FAST_MS);
  assert.equal(queue.msMax(FAST, 40), FAST_MS + 20 + 10);
});

test('a pause is what something waited while nothing came, for some rounds', () => {
  const queue = new LineQueue();
  let atMs = round(queue, 1000, 5, 60);
  assert.equal(queue.msMax(FAST, 0), 1.25 * 5, 'marks that come one after the other');
  atMs = round(queue, atMs + 80, 1, 60);
  assert.equal(queue.msMax(FAST, 0), 75, 'it waited no longer');
  for (let count = 1; count < ROUNDS; count += 1) {
    assert.equal(queue.msMax(FAST, 0), 75, `${count} rounds later`);
    atMs = round(queue, atMs, 1, 60);
  }
  assert.equal(queue.msMax(FAST, 0), FAST_MS);
  atMs = round(queue, atMs + 80, 5, 2);
  assert.equal(queue.msMax(FAST, 0), FAST_MS, 'nothing was there to come');
});

test('what was not behind bulk, and rounds that were not full, say nothing', () => {
  const queue = new LineQueue();
  queue.note(1000, 0, false);
  queue.note(1060, 60, false);
  assert.equal(queue.waitMsMax, 0);
  assert.equal(queue.msMax(FAST, 0), FAST_MS);
  queue.note(1100, 40, true);
  assert.equal(queue.waitMsMax, 40);
  for (let count = 0; count < 2 * ROUNDS; count += 1) queue.startRound(false);
  assert.equal(queue.waitMsMax, 0);
  assert.equal(queue.msMax(FAST, 0), 50);
});

test('whatever is told of pauses, they have an end, in time and in bytes', () => {
  const queue = new LineQueue();
  let atMs = -1e9;
  for (let count = 0; count < 2 * ROUNDS; count += 1) atMs = round(queue, atMs + 1e8, 1e6, 1e9);
  assert.equal(queue.msMax(FAST, 0), PAUSE_MS_MAX);
  assert.equal(queue.msMax(1e6, 0), PAUSE_BYTES_MAX / 1e6);
  assert.equal(queue.msMax(FAST, 1e9), PAUSE_MS_MAX + QUEUE_MORE_MS_MAX);
  assert.equal(queue.msMax(1e-9, 1e9), PAUSE_MS_MAX + QUEUE_MORE_MS_MAX);
  const back = new LineQueue();
  for (let count = 0; count < 2 * ROUNDS; count += 1) round(back, 1e9 - 1e7 * count, -1e6, -1e9);
  assert.equal(back.msMax(FAST, 0), FAST_MS);
});
