// Goal: a slow line stays full and little waits for it, alone, with bulk in both directions, with
// several links and when the line changes; one with little to do never stands still; a fast one is
// never held back; and nothing that a peer answers can stop a sender for good. Method: a line in
// virtual time, and for the last random answers. SLUICEWAY_MUX_RUNS sets the number of sequences;
// SLUICEWAY_MUX_SEED repeats one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  FLIGHT,
  FLIGHT_BYTES_MIN,
  FLIGHT_BYTES_START,
  Flight,
  INTERVAL_MS,
  PACE_MS,
  SMALL_BYTES_MAX,
  SMALL_PIECE_BYTES,
} from '../../src/mux/flight.ts';
import { MARKS_MAX, timeValue } from '../../src/mux/line-marks.ts';
import { QUEUE_MORE_MS_MAX, QUEUE_MS } from '../../src/mux/line-queue.ts';
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, MIB } from '../../src/wire/limits.ts';
import { BulkSender, SlowLine, VirtualTime } from './slow-line.ts';

const RUNS = Number(process.env.SLUICEWAY_MUX_RUNS ?? 500);
const SEED = Number(process.env.SLUICEWAY_MUX_SEED ?? Date.now() % 0x7fff_ffff);
/** Bytes a millisecond. */
const MBIT = 125;
const START_MS = 1000;
/** Where a queue that is being measured may stand above what is meant, at some moments. */
const QUEUE_MS_MAX = QUEUE_MS + QUEUE_MORE_MS_MAX;

interface World {
  readonly time: VirtualTime;
  readonly out: SlowLine;
  readonly back: SlowLine;
}

function createWorld(mbit: number, roundTripMs: number, backMbit = 8000): World {
  const time = new VirtualTime();
  return {
    time,
    out: new SlowLine(time, mbit * MBIT, roundTripMs / 2),
    back: new SlowLine(time, backMbit * MBIT, roundTripMs / 2),
  };
}

function startAll(world: World, senders: readonly BulkSender[]): void {
  world.time.run(START_MS);
  for (const sender of senders) sender.start();
}

interface Watched {
  /** Share of the line's rate, of each sender. */
  readonly shares: number[];
  readonly waitMsP95: number;
  readonly waitMsMax: number;
}

/** What happens in the next `ms`; times do not fall together with anything else's. */
function watch({ time, out }: World, senders: readonly BulkSender[], ms: number): Watched {
  const before = senders.map(({ deliveredBytes }) => deliveredBytes);
  const waits: number[] = [];
  const endMs = time.nowMs + ms;
  while (time.nowMs < endMs) {
    time.run(Math.min(endMs, time.nowMs + 7.3));
    waits.push(out.waitMs);
  }
  waits.sort((a, b) => a - b);
  const delivered = senders.map(({ deliveredBytes }, index) => {
    return (deliveredBytes - (before[index] as number)) / (out.bytesPerMs * ms);
  });
  const at = (share: number): number => waits[Math.floor((waits.length - 1) * share)] as number;
  return { shares: delivered, waitMsP95: at(0.95), waitMsMax: at(1) };
}

function sumOf(shares: readonly number[]): number {
  return shares.reduce((sum, share) => sum + share, 0);
}

for (const mbit of [1, 2, 5, 10]) {
  for (const roundTripMs of [20, 50, 100, 200]) {
    test(`${mbit} Mbit/s, ${roundTripMs} ms: the line is full, and little waits`, () => {
      const world = createWorld(mbit, roundTripMs);
      const sender = new BulkSender(world);
      startAll(world, [sender]);
      const first = watch(world, [sender], 2000);
      assert.ok(first.waitMsMax < 700, `at first ${first.waitMsMax} ms`);
      const { shares, waitMsP95, waitMsMax } = watch(world, [sender], 60_000);
      assert.ok((shares[0] as number) > 0.95, `${shares} of the rate`);
      assert.ok(waitMsP95 < QUEUE_MS_MAX, `95 % of the time ${waitMsP95} ms or less wait`);
      assert.ok(waitMsMax < QUEUE_MS_MAX + 50, `${waitMsMax} ms wait`);
      assert.ok(sender.marks < 62 * 210, `${sender.marks} marks`);
    });
  }
}

for (const { mbit, roundTripMs, windowBytes } of [
  { mbit: 10_000, roundTripMs: 0.2, windowBytes: 320 * 1024 },
  { mbit: 480, roundTripMs: 100, windowBytes: 6 * MIB },
  { mbit: 10_000, roundTripMs: 2, windowBytes: 256 * 1024 },
]) {
  test(`${mbit} Mbit/s, ${roundTripMs} ms: receivers' windows alone hold bulk back`, () => {
    const world = createWorld(mbit, roundTripMs, 10_000);
    const sender = new BulkSender({ ...world, windowBytes });
    startAll(world, [sender]);
    watch(world, [sender], 20 * roundTripMs);
    const { shares } = watch(world, [sender], 2000);
    const byWindow = Math.min(1, windowBytes / (world.out.bytesPerMs * roundTripMs));
    assert.ok((shares[0] as number) > 0.95 * byWindow, `${shares} of the rate, not ${byWindow}`);
    assert.equal(sender.flight.state, FLIGHT.RISING);
    assert.equal(sender.flight.isFull, false);
    assert.ok(sender.marks < 3000, `${sender.marks} marks`);
  });
}

for (const skewMs of [0, 100, 3000]) {
  for (const roundTripMs of [20, 200]) {
    test(`bulk both ways, ${roundTripMs} ms, clocks ${skewMs} ms apart: both lines are full`, () => {
      const world = createWorld(4, roundTripMs, 4);
      const { time, out, back } = world;
      const there = new BulkSender(world);
      const here = new BulkSender({ time, out: back, back: out, wallMsAtZero: skewMs });
      startAll(world, [there, here]);
      watch(world, [there, here], 5000);
      const { shares, waitMsP95 } = watch(world, [there, here], 60_000);
      for (const share of shares) assert.ok(share > 0.9, `${shares} of the rate`);
      assert.ok(waitMsP95 < QUEUE_MS_MAX + 50, `${waitMsP95} ms`);
    });
  }
}

test('four links share a line and one queue, whenever they began', () => {
  const world = createWorld(10, 50);
  const senders = [0, 1, 2, 3].map(() => new BulkSender(world));
  world.time.run(START_MS);
  for (const sender of senders) {
    sender.start();
    world.time.run(world.time.nowMs + 3700);
  }
  watch(world, senders, 2 * INTERVAL_MS);
  const { shares, waitMsP95 } = watch(world, senders, 60_000);
  assert.ok(sumOf(shares) > 0.95, `${shares} of the rate`);
  for (const share of shares) assert.ok(share > 0.05, `${shares} of the rate`);
  assert.ok(waitMsP95 < QUEUE_MS_MAX + 50, `${waitMsP95} ms`);
});

test('a peer that stood still is not slow afterwards', () => {
  for (const mbit of [10, 480]) {
    const world = createWorld(mbit, 50);
    const sender = new BulkSender(world);
    startAll(world, [sender]);
    watch(world, [sender], 5000);
    world.out.stillUntilMs = world.time.nowMs + 8000;
    const still = watch(world, [sender], 8000);
    assert.ok((still.shares[0] as number) < 0.1, 'it stands still');
    watch(world, [sender], 2000);
    const { shares, waitMsP95 } = watch(world, [sender], 10_000);
    assert.ok((shares[0] as number) > 0.95, `${mbit} Mbit/s: ${shares} of the rate`);
    assert.ok(waitMsP95 < QUEUE_MS_MAX, `${waitMsP95} ms`);
  }
});

test('a line that becomes slower, then faster, is followed', () => {
  const world = createWorld(10, 50);
  const sender = new BulkSender(world);
  startAll(world, [sender]);
  for (const mbit of [10, 1, 40, 480]) {
    world.out.bytesPerMs = mbit * MBIT;
    watch(world, [sender], 2 * INTERVAL_MS);
    const { shares, waitMsP95 } = watch(world, [sender], 20_000);
    assert.ok((shares[0] as number) > 0.95, `${mbit} Mbit/s: ${shares} of the rate`);
    assert.ok(waitMsP95 < QUEUE_MS_MAX, `${mbit} Mbit/s: ${waitMsP95} ms`);
  }
});

test('a way that becomes longer, then shorter, is followed', () => {
  const world = createWorld(10, 20);
  const sender = new BulkSender(world);
  startAll(world, [sender]);
  for (const oneWayMs of [10, 150, 5]) {
    world.out.delayMs = oneWayMs;
    world.back.delayMs = oneWayMs;
    watch(world, [sender], 3 * INTERVAL_MS);
    const { shares, waitMsP95 } = watch(world, [sender], 20_000);
    assert.ok((shares[0] as number) > 0.94, `${oneWayMs} ms: ${shares} of the rate`);
    assert.ok(waitMsP95 < QUEUE_MS_MAX + 50, `${oneWayMs} ms: ${waitMsP95} ms`);
  }
});

for (const mbit of [0.4, 1, 2.4]) {
  for (const roundTripMs of [10, 40]) {
    test(`${mbit} Mbit/s, ${roundTripMs} ms: requests after bulk never stand still`, () => {
      for (const requestBytes of [3000, 4096, 8192, 12_000]) {
        const world = createWorld(mbit, roundTripMs);
        const sender = new BulkSender(world);
        startAll(world, [sender]);
        watch(world, [sender], 4000);
        assert.equal(sender.flight.state, FLIGHT.HOLDING);
        sender.converse(requestBytes, 20);
        watch(world, [sender], 2 * INTERVAL_MS);
        const stillMs = Math.max(sender.stillMsMax, sender.stillMs);
        assert.ok(stillMs < 700, `of ${requestBytes} bytes nothing left for ${stillMs} ms`);
      }
    });
  }
}

// --- by hand -------------------------------------------------------------------------------------

/** A flight whose peer told a time: it measures from now on. */
function risen(): Flight {
  const flight = new Flight(0);
  const value = flight.mark(0);
  flight.answer(timeValue(0), 1);
  flight.answer(value, 1);
  assert.equal(flight.state, FLIGHT.RISING);
  return flight;
}

test('a peer that tells no times is left alone, also one that tells them no longer', () => {
  const flight = new Flight(0);
  for (let round = 0; round < 40; round += 1) {
    const value = flight.mark(round * 1000);
    assert.notEqual(value, 0);
    assert.equal(flight.send(64 * MIB), false);
    assert.equal(flight.answer(value, round * 1000 + 900), 0);
    assert.equal(flight.roomBytes(MIB), FRAME_BYTES_MAX);
  }
  const told = risen();
  const value = told.mark(5);
  while (told.roomBytes(MIB) > 0) told.send(told.roomBytes(MIB));
  assert.ok(told.underWayBytes <= FLIGHT_BYTES_START + FRAME_BYTES_MIN);
  told.answer(value, 6);
  assert.equal(told.state, FLIGHT.LOOSE);
  assert.equal(told.roomBytes(MIB), FRAME_BYTES_MAX);
});

test('answers that are none change nothing', () => {
  const flight = risen();
  flight.send(20_000);
  const value = flight.mark(10);
  const strangers = [0, 1, 0x7fff_ffff, value + 1, value - 1, value + MARKS_MAX, 0xbfff_ffff];
  for (const stranger of strangers) {
    flight.answer(timeValue(0), 11);
    assert.equal(flight.answer(stranger, 11), 0);
    assert.equal(flight.underWayBytes, 20_000);
  }
  flight.answer(timeValue(0), 12);
  flight.answer(value, 12);
  assert.equal(flight.underWayBytes, 0);
  flight.answer(value, 13);
  assert.equal(flight.underWayBytes, 0);
});

test('small pieces go although the line is full, and only so many', () => {
  const flight = risen();
  while (flight.roomBytes(MIB) > 0) flight.send(flight.roomBytes(MIB));
  assert.equal(flight.isFull, true);
  assert.equal(flight.roomBytes(SMALL_PIECE_BYTES + 1), 0);
  const before = flight.underWayBytes;
  while (flight.roomBytes(100) > 0) flight.send(flight.roomBytes(100));
  const small = flight.underWayBytes - before;
  assert.ok(small > 1000 && small < SMALL_BYTES_MAX + 100, `${small} bytes`);
});

test('answers that come at once are no reason for more than 200 marks a second', () => {
  const flight = risen();
  let marks = 0;
  for (let step = 0; step < 1_000_000; step += 1) {
    const nowMs = 10 + step / 1000;
    if (!flight.send(100)) continue;
    const value = flight.mark(nowMs);
    if (value === 0) continue;
    marks += 1;
    flight.answer(timeValue(nowMs), nowMs);
    flight.answer(value, nowMs);
  }
  assert.ok(marks > 50 && marks <= 201, `${marks} marks`);
  assert.equal(flight.roomBytes(MIB) >= FRAME_BYTES_MIN, true);
});

test('a rate that late answers made next to none stops nobody', () => {
  const flight = risen();
  const lateMs = INTERVAL_MS - 1000;
  const first = flight.mark(10);
  flight.send(FLIGHT_BYTES_MIN);
  const second = flight.mark(20);
  for (const value of [first, second]) {
    flight.answer(timeValue(lateMs), lateMs);
    flight.answer(value, lateMs);
  }
  assert.equal(flight.state, FLIGHT.HOLDING);
  let sentBytes = 0;
  for (let nowMs = lateMs; nowMs < lateMs + 200; nowMs += PACE_MS) {
    while (flight.roomBytes(MIB) > 0) {
      const bytes = flight.roomBytes(MIB);
      sentBytes += bytes;
      flight.send(bytes);
    }
    flight.pace(nowMs);
  }
  assert.ok(sentBytes >= FLIGHT_BYTES_MIN, `${sentBytes} bytes in 200 ms`);
});

interface Step {
  readonly kind: 'send' | 'answer' | 'skip' | 'pace' | 'keepalive' | 'noise';
  readonly ms: number;
  readonly value: number;
}

const STEP: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom(
    'send',
    'send',
    'send',
    'answer',
    'answer',
    'skip',
    'pace',
    'keepalive',
    'noise',
  ),
  ms: fc.oneof(
    fc.double({ min: 0, max: 30, noNaN: true }),
    fc.double({ min: 0, max: 15_000, noNaN: true }),
  ),
  value: fc.integer({ min: 0, max: 0xffff_ffff }),
});

/** A flight, and a peer whose answers and clock are whatever the script says. */
class Script {
  readonly flight = new Flight(123);
  readonly open: number[] = [];
  nowMs = 0;

  run({ kind, ms, value }: Step): void {
    this.nowMs += ms;
    const { flight, nowMs } = this;
    if (kind === 'send') this.send(value % 300_000);
    if (kind === 'answer') this.answer(value);
    if (kind === 'skip') this.open.splice(0, value % 4);
    if (kind === 'pace') this.#ping(flight.pace(nowMs));
    if (kind === 'keepalive') this.#ping(flight.mark(nowMs));
    if (kind === 'noise') this.#ping(flight.answer(value, nowMs));
    assert.ok(flight.capBytes >= FLIGHT_BYTES_MIN);
    assert.ok(flight.frameBytesMax >= FRAME_BYTES_MIN && flight.frameBytesMax <= FRAME_BYTES_MAX);
    assert.ok(flight.underWayBytes >= 0);
  }

  send(bytesMax: number): void {
    const { flight } = this;
    if (flight.state === FLIGHT.LOOSE) return;
    for (let left = bytesMax; left > 0; ) {
      const bytes = Math.min(left, flight.roomBytes(left));
      // A part of one would be taken from the credit, and never sent.
      assert.ok(Number.isInteger(bytes), `room for ${bytes} bytes`);
      if (bytes === 0) break;
      left -= bytes;
      if (flight.send(bytes)) this.#ping(flight.mark(this.nowMs));
    }
  }

  answer(clock: number): void {
    const value = this.open.shift();
    if (value === undefined) return;
    this.flight.answer(timeValue(clock), this.nowMs);
    this.#ping(this.flight.answer(value, this.nowMs));
  }

  #ping(value: number): void {
    if (value !== 0) this.open.push(value);
    assert.ok(this.open.length <= MARKS_MAX, 'marks are bounded');
  }
}

/** Lets a correct peer answer until something may be sent again. */
function recover(script: Script, stuck: () => void): void {
  const { flight } = script;
  for (let turn = 0; turn < 400 && flight.isFull; turn += 1) {
    script.nowMs += 10;
    if (script.open.length > 0) script.answer(script.nowMs);
    else if (flight.isPaced) script.run({ kind: 'pace', ms: 1000, value: 0 });
    else stuck();
  }
  assert.equal(flight.isFull, false);
  // While as many marks are open as may be, a keepalive is none.
  while (script.open.length > 0) script.answer(script.nowMs);
  script.run({ kind: 'keepalive', ms: 1000, value: 0 });
  while (script.open.length > 0) script.answer(script.nowMs);
  assert.equal(flight.underWayBytes, 0);
}

for (const doesSkip of [false, true]) {
  const name = doesSkip
    ? 'forgets to answer, a keepalive frees the sender'
    : 'answers, the sender goes on';
  test(`whatever a peer ${name}, seed ${SEED}`, () => {
    const steps = fc.array(doesSkip ? STEP : STEP.filter(({ kind }) => kind !== 'skip'), {
      minLength: 1,
      maxLength: 200,
      size: 'max',
    });
    fc.assert(
      fc.property(steps, (script) => {
        const run = new Script();
        for (const step of script) run.run(step);
        recover(run, () => {
          assert.ok(doesSkip, 'full, not paced, and no mark is open');
          run.run({ kind: 'keepalive', ms: 0, value: 0 });
        });
      }),
      { numRuns: RUNS, seed: SEED },
    );
  });
}
