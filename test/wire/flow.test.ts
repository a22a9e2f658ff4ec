// Goal: credit is neither lost nor made, a window grows only when it is too small for the rate, and
// never beyond its caps. Method: a model of numbers beside the real ones, driven by fast-check
// (SLUICEWAY_WIRE_SEED repeats a run; the seed is in the name), then each rule by itself.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { AssertionFailure } from '../../src/base/assert.ts';
import { memoryPressure, PRESSURE } from '../../src/base/memory-pressure.ts';
import { grantBytesMin, ReceiveWindow, SendCredit, SessionMemory } from '../../src/wire/flow.ts';
import {
  CREDIT_INITIAL,
  CREDIT_MAX,
  DEFAULT_LIMITS,
  KIB,
  MIB,
  type SessionLimits,
} from '../../src/wire/limits.ts';

const SEED = Number(process.env.SLUICEWAY_WIRE_SEED ?? Date.now() % 0x7fff_ffff);
const RUNS = process.env.CI === 'true' ? 20_000 : 3000;
const RTT_MS = 10;

function createMemory(limits: Partial<SessionLimits> = {}): SessionMemory {
  return new SessionMemory({ ...DEFAULT_LIMITS, ...limits });
}

/** Fills the window and takes all of it, in quarters; returns the credit granted. */
function useUp(window: ReceiveWindow, startMs: number, stepMs: number): number {
  let granted = 0;
  let nowMs = startMs;
  const quarter = window.windowBytes / 4;
  for (let step = 0; step < 4; step += 1) {
    window.receive(quarter);
    nowMs += stepMs;
    granted += window.take(quarter, nowMs, RTT_MS);
  }
  return granted;
}

test(`credit is conserved, whatever comes and is taken (${RUNS} runs, seed ${SEED})`, () => {
  const step = fc.record({
    stream: fc.nat({ max: 2 }),
    kind: fc.constantFrom('receive', 'receive', 'take', 'take', 'release'),
    bytes: fc.oneof(fc.integer({ min: 1, max: 50 }), fc.integer({ min: 1, max: 20_000 })),
    waitMs: fc.nat({ max: 60 }),
  });
  const script = fc.record({
    windowBytes: fc.constantFrom(1, 7, 4096, 65_536),
    windowMaxBytes: fc.constantFrom(65_536, 100_000, 1_000_000),
    memoryBytes: fc.constantFrom(100_000, 2_000_000),
    extendBytes: fc.constantFrom(0, 1, 10_000),
    steps: fc.array(step, { maxLength: 80, size: 'max' }),
  });
  fc.assert(
    fc.property(script, ({ windowBytes, windowMaxBytes, memoryBytes, extendBytes, steps }) => {
      const memory = createMemory({ windowMaxBytes, memoryBytes });
      const streams = [0, 1, 2].map(() => ({
        window: new ReceiveWindow(memory, windowBytes),
        sender: new SendCredit(windowBytes),
        heldBytes: 0,
        isReleased: false,
      }));
      for (const { window, sender } of streams) {
        window.extend(extendBytes);
        if (extendBytes > 0) sender.grant(extendBytes);
      }
      let nowMs = 0;
      for (const { stream, kind, bytes, waitMs } of steps) {
        const one = streams[stream] ?? assert.fail();
        nowMs += waitMs;
        if (one.isReleased) continue;
        if (kind === 'receive') {
          const sent = Math.min(bytes, one.sender.availableBytes);
          if (sent === 0) continue;
          one.sender.spend(sent);
          one.window.receive(sent);
          one.heldBytes += sent;
        } else if (kind === 'take') {
          const taken = Math.min(bytes, one.heldBytes);
          const grant = one.window.take(taken, nowMs, RTT_MS);
          one.heldBytes -= taken;
          if (grant > 0) one.sender.grant(grant);
        } else {
          one.window.release();
          one.isReleased = true;
          one.heldBytes = 0;
        }
        if (one.isReleased) assert.equal(one.window.heldBytes, 0);
        else {
          assert.equal(one.sender.availableBytes, one.window.availableBytes, 'both count alike');
          assert.equal(one.window.heldBytes, one.heldBytes);
          const full = windowBytes + extendBytes;
          assert.ok(one.window.windowBytes >= full, 'a window never shrinks');
          assert.ok(one.window.windowBytes <= Math.max(windowMaxBytes, full), 'nor passes its cap');
          const owed = one.window.windowBytes - one.window.availableBytes - one.heldBytes;
          assert.ok(
            owed >= 0 && owed < grantBytesMin(one.window.windowBytes, RTT_MS),
            'is granted',
          );
        }
        const heldBytes = streams.reduce((sum, { window }) => sum + window.heldBytes, 0);
        assert.equal(memory.heldBytes, heldBytes, 'the session counts what its streams hold');
        assert.ok(memory.grownBytes >= 0 && memory.grownBytes <= memoryBytes, 'growth is bounded');
      }
      for (const { window } of streams) window.release();
      assert.deepEqual([memory.heldBytes, memory.grownBytes], [0, 0], 'all is free at the end');
    }),
    { numRuns: RUNS, seed: SEED },
  );
});

test('one byte over the credit is a WireError and changes nothing', () => {
  const memory = createMemory();
  const window = new ReceiveWindow(memory, 100);
  window.receive(60);
  assert.throws(() => window.receive(41), { code: 'SLW_WIRE_WINDOW_EXCEEDED' });
  assert.deepEqual([window.availableBytes, window.heldBytes, memory.heldBytes], [40, 60, 60]);
  window.receive(40);
  assert.equal(window.availableBytes, 0);
});

test('credit comes back once a quarter of the window was taken, all of it at once', () => {
  const window = new ReceiveWindow(createMemory(), 1000);
  window.receive(1000);
  assert.equal(window.take(249, 0, RTT_MS), 0);
  assert.equal(window.take(1, 0, RTT_MS), 250);
  assert.equal(window.take(250, 0, RTT_MS), 250);
  assert.equal(window.take(500, 1e9, RTT_MS), 500);
});

test('far away less than a quarter of a large window comes back at a time', () => {
  const shares = [
    [4 * KIB, KIB],
    [256 * KIB, 64 * KIB],
    [MIB, 64 * KIB],
    [2 * MIB, 128 * KIB],
    [8 * MIB, 512 * KIB],
  ] as const;
  for (const [windowBytes, bytes] of shares) assert.equal(grantBytesMin(windowBytes, 5), bytes);
  assert.equal(grantBytesMin(8 * MIB, 4.9), 2 * MIB);
  const window = new ReceiveWindow(createMemory(), 8 * MIB);
  window.receive(4 * MIB);
  assert.equal(window.take(MIB / 2 - 1, 0, 5), 0);
  assert.equal(window.take(1, 0, 5), MIB / 2);
  assert.equal(window.take(MIB, 0, 4.9), 0);
});

test('a window doubles when it is used up within four round trips, up to its maximum', () => {
  const limits = { windowMaxBytes: 1_000_000, memoryBytes: 64 * MIB };
  const memory = createMemory(limits);
  const window = new ReceiveWindow(memory, 262_144);
  const sizes: number[] = [];
  for (let nowMs = 1000; nowMs < 1500; nowMs += 4 * RTT_MS) {
    useUp(window, nowMs, RTT_MS);
    sizes.push(window.windowBytes);
  }
  // The first round only starts the measuring.
  assert.deepEqual(sizes.slice(0, 4), [262_144, 524_288, 1_000_000, 1_000_000]);
  assert.equal(memory.grownBytes, 1_000_000 - 262_144);
});

test('a window that is used up more slowly stays as it is', () => {
  const window = new ReceiveWindow(createMemory(), 262_144);
  for (let nowMs = 1000; nowMs < 10_000; nowMs += 4 * RTT_MS + 4) {
    assert.equal(useUp(window, nowMs, RTT_MS + 1), 262_144);
  }
  assert.equal(window.windowBytes, 262_144);
});

test('a window that nobody empties never grows', () => {
  const memory = createMemory();
  const window = new ReceiveWindow(memory, 262_144);
  window.receive(262_144);
  assert.deepEqual([window.windowBytes, memory.grownBytes], [262_144, 0]);
  assert.throws(() => window.receive(1), { code: 'SLW_WIRE_WINDOW_EXCEEDED' });
});

test('a window alone grows by a quarter of half the memory: in the default, to its maximum', () => {
  for (const memoryBytes of [8 * MIB, 64 * MIB]) {
    const window = new ReceiveWindow(createMemory({ memoryBytes, windowMaxBytes: 9 * MIB }), MIB);
    for (let nowMs = 1000; nowMs < 1500; nowMs += 4 * RTT_MS) useUp(window, nowMs, RTT_MS);
    assert.equal(window.windowBytes, MIB + memoryBytes / 8);
  }
});

test('many windows grow alike and leave room, so that one that comes later grows as well', () => {
  const memory = createMemory({ memoryBytes: 64 * MIB, windowMaxBytes: 8 * MIB });
  const windows = Array.from({ length: 50 }, () => new ReceiveWindow(memory, 256 * KIB));
  for (let nowMs = 1000; nowMs < 2000; nowMs += 4 * RTT_MS) {
    for (const window of windows) useUp(window, nowMs, RTT_MS);
  }
  const sizes = windows.map(({ windowBytes }) => windowBytes).sort((a, b) => a - b);
  assert.ok(sizes[0] !== undefined && sizes[0] >= 512 * KIB, `the least has ${sizes[0]} bytes`);
  const leftShare = 1 - memory.grownBytes / (32 * MIB);
  assert.ok(leftShare > 1 / 6, `of growth's half of the memory ${leftShare} is left`);
  // They stand still now, with all that they were given.
  for (const window of windows) window.receive(window.availableBytes);
  const later = new ReceiveWindow(memory, memory.initialWindowBytes());
  for (let nowMs = 3000; nowMs < 3500; nowMs += 4 * RTT_MS) useUp(later, nowMs, RTT_MS);
  assert.ok(later.windowBytes >= 384 * KIB, `the later one has ${later.windowBytes} bytes`);
});

test('a stream that ends gives its growth back for others', () => {
  const memory = createMemory({ memoryBytes: 2 * MIB, windowMaxBytes: 524_288 });
  const first = new ReceiveWindow(memory, 262_144);
  useUp(first, 1000, RTT_MS);
  useUp(first, 1040, RTT_MS);
  assert.equal(memory.grownBytes, 262_144);
  first.release();
  first.release();
  assert.equal(memory.grownBytes, 0);
  const second = new ReceiveWindow(memory, 262_144);
  useUp(second, 2000, RTT_MS);
  useUp(second, 2040, RTT_MS);
  assert.equal(second.windowBytes, 524_288);
});

test('a window that has grown falls back to its first size while memory is short', () => {
  const memory = createMemory({ memoryBytes: 8 * MIB, windowMaxBytes: MIB });
  const window = new ReceiveWindow(memory, 262_144);
  for (let nowMs = 1000; nowMs < 1200; nowMs += 4 * RTT_MS) useUp(window, nowMs, RTT_MS);
  assert.equal(window.windowBytes, MIB);
  const hog = new ReceiveWindow(memory, 8 * MIB);
  hog.receive(7 * MIB);
  for (let round = 0; round < 10; round += 1) useUp(window, 2000, RTT_MS);
  assert.deepEqual([window.windowBytes, memory.grownBytes], [262_144, 0]);
  assert.equal(window.availableBytes + window.heldBytes, 262_144, 'credit is conserved');
});

test('new streams start small once three quarters of the memory are held', () => {
  const memory = createMemory({ memoryBytes: 1000 * KIB, windowInitialBytes: 256 * KIB });
  const window = new ReceiveWindow(memory, MIB);
  window.receive(750 * KIB);
  assert.equal(memory.initialWindowBytes(), 256 * KIB);
  window.receive(1);
  assert.equal(memory.initialWindowBytes(), CREDIT_INITIAL);
  assert.equal(memory.isFull, false);
  window.receive(250 * KIB);
  assert.equal(memory.isFull, true);
});

test('credit of zero, and credit above the limit, is a WireError and changes nothing', () => {
  const credit = new SendCredit(10);
  for (const bytes of [0, CREDIT_MAX - 9, 0xffff_ffff]) {
    assert.throws(() => credit.grant(bytes), { code: 'SLW_WIRE_CREDIT_INVALID' });
    assert.equal(credit.availableBytes, 10);
  }
  credit.grant(CREDIT_MAX - 10);
  assert.equal(credit.availableBytes, CREDIT_MAX);
  assert.throws(() => credit.grant(1), { code: 'SLW_WIRE_CREDIT_INVALID' });
});

test('spending or taking what is not there is a bug of ours, not an error of the peer', () => {
  assert.throws(() => new SendCredit(10).spend(11), AssertionFailure);
  assert.throws(() => new SendCredit(10).spend(9.5), AssertionFailure);
  const window = new ReceiveWindow(createMemory(), 10);
  window.receive(5);
  assert.throws(() => window.take(6, 0, 0), AssertionFailure);
});

test('bytes that a throttle holds back are free to the session, and granted once paid', () => {
  const memory = createMemory();
  const window = new ReceiveWindow(memory, 100_000);
  window.receive(80_000);
  window.free(80_000);
  assert.deepEqual([window.heldBytes, memory.heldBytes, window.availableBytes], [0, 0, 20_000]);
  assert.equal(window.pay(10_000, 0, RTT_MS), 0, 'a tenth of the window is not worth a frame');
  assert.equal(window.pay(70_000, 0, RTT_MS), 80_000);
  assert.throws(() => window.pay(1, 0, RTT_MS), AssertionFailure);
  window.receive(1000);
  window.free(1000);
  window.release();
  assert.deepEqual([memory.heldBytes, memory.grownBytes], [0, 0]);
});

test('a window with an end to its growth stops there', () => {
  const window = new ReceiveWindow(createMemory(), 64 * KIB);
  window.growthBytesMax = 100 * KIB;
  for (let round = 0; round < 5; round += 1) useUp(window, round, 0);
  assert.equal(window.windowBytes, 100 * KIB);
  window.growthBytesMax = 10 * KIB;
  useUp(window, 10, 0);
  assert.equal(window.windowBytes, 100 * KIB, 'and never shrinks for it');
});

test('a session may hold an eighth while the process has no memory left', (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const memory = createMemory({ memoryBytes: 8 * MIB, windowMaxBytes: MIB });
  memory.heldBytes = MIB + 1;
  memoryPressure.level = PRESSURE.SEVERE;
  assert.equal(memory.isFull, false);
  memoryPressure.level = PRESSURE.FULL;
  assert.equal(memory.isFull, true);
  memory.heldBytes = MIB;
  assert.equal(memory.isFull, false);
});

test('windows neither grow nor begin large while the memory of the process is short', (t) => {
  t.after(() => {
    memoryPressure.level = PRESSURE.NONE;
  });
  const memory = createMemory({ memoryBytes: 8 * MIB, windowMaxBytes: MIB });
  const grown = new ReceiveWindow(memory, 262_144);
  for (let nowMs = 1000; nowMs < 1200; nowMs += 4 * RTT_MS) useUp(grown, nowMs, RTT_MS);
  assert.equal(grown.windowBytes, MIB);
  memoryPressure.level = PRESSURE.HIGH;
  for (let round = 0; round < 10; round += 1) useUp(grown, 2000 + round, RTT_MS);
  assert.equal(grown.windowBytes, 262_144);
  const young = new ReceiveWindow(memory, 262_144);
  for (let nowMs = 3000; nowMs < 3200; nowMs += 4 * RTT_MS) useUp(young, nowMs, RTT_MS);
  assert.equal(young.windowBytes, 262_144);
  assert.equal(memory.initialWindowBytes(), 65_536);
});
