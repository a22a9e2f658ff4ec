// Goal: invariants 3 to 7 of docs/architecture.md hold for any order of writes, reads, splits and
// delays. Method: two sessions over links joined in memory run a random script; the test keeps a
// model of every stream (bytes sent, received, taken, ends seen) and compares after each step and
// after everything was let through. The bytes themselves are a running pattern, so that loss,
// doubling and reordering show. SLUICEWAY_MUX_RUNS sets the number of sequences; the seed is
// printed, and SLUICEWAY_MUX_SEED repeats one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { Clock } from '../../src/base/clock.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { Session, type SessionEvents } from '../../src/mux/session.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { Throttle } from '../../src/mux/throttle.ts';
import type { SessionLimits } from '../../src/wire/limits.ts';
import type { Open } from '../../src/wire/open.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createLinkPair, type MemoryLink } from '../support/memory-link.ts';

const isCi = process.env.CI === 'true';
const RUNS = Number(process.env.SLUICEWAY_MUX_RUNS ?? (isCi ? 10_000 : 1500));
const SEED = Number(process.env.SLUICEWAY_MUX_SEED ?? Date.now() % 0x7fff_ffff);

/** One end of one stream, and what it has seen. */
class End implements StreamSink {
  stream: Stream | undefined;
  sentBytes = 0;
  receivedBytes = 0;
  takenBytes = 0;
  isBlocked = false;
  hasEnded = false;
  fins = 0;
  resets: ErrorCode[] = [];
  isOpened = false;
  readonly salt: number;

  constructor(salt: number) {
    this.salt = salt;
  }

  peer: End | undefined;

  get isOver(): boolean {
    return this.resets.length > 0 || this.stream === undefined;
  }

  onOpened(): void {
    this.isOpened = true;
  }

  onData(piece: Buffer): void {
    assert.equal(this.fins, 0, 'data after FIN');
    assert.equal(this.resets.length, 0, 'data after RST');
    for (const byte of piece) {
      assert.equal(byte, patternAt(this.peer as End, this.receivedBytes), 'bytes in order');
      this.receivedBytes += 1;
    }
  }

  onFin(): void {
    this.fins += 1;
    assert.equal(this.receivedBytes, this.peer?.sentBytes, 'FIN comes after all bytes');
    assert.ok(this.peer?.hasEnded, 'FIN only when the peer ended');
  }

  onReset(code: ErrorCode): void {
    this.resets.push(code);
    assert.equal(this.resets.length, 1, 'one reset');
  }

  onWritable(): void {
    this.isBlocked = false;
  }

  write(bytes: number): void {
    if (this.isOver || this.hasEnded || this.isBlocked || this.stream === undefined) return;
    const piece = Buffer.alloc(bytes);
    for (let index = 0; index < bytes; index += 1) {
      piece[index] = patternAt(this, this.sentBytes + index);
    }
    this.sentBytes += bytes;
    this.isBlocked = !this.stream.write(piece);
  }

  take(bytes: number): void {
    const held = this.receivedBytes - this.takenBytes;
    const now = Math.min(held, bytes);
    if (now === 0 || this.resets.length > 0) return;
    this.takenBytes += now;
    this.stream?.consumed(now);
  }

  end(): void {
    if (this.isOver || this.hasEnded) return;
    this.hasEnded = true;
    this.stream?.end();
  }

  reset(): void {
    if (this.isOver) return;
    this.resets.push('SLW_NONE');
    this.stream?.reset('SLW_STREAM_CANCELLED');
  }
}

function patternAt(end: End, index: number): number {
  return (index * 31 + end.salt * 17 + (index >>> 8)) & 0xff;
}

class World {
  readonly clock = new FakeClock();
  readonly links: [MemoryLink, MemoryLink];
  readonly sessions: [Session, Session];
  readonly pairs: [End, End][] = [];
  readonly ended: [ErrorCode[], ErrorCode[]] = [[], []];
  /** Shared by the streams that side 0 opens: what they send, and what they receive. */
  readonly throttles: readonly Throttle[];
  #accepting: { stream: Stream; end: End }[] = [];

  constructor(limits: SessionLimits, congestionBytes: number, bytesPerSecond = 0) {
    const isThrottled = bytesPerSecond > 0;
    this.throttles = isThrottled
      ? [
          new Throttle(bytesPerSecond, this.#running()),
          new Throttle(bytesPerSecond, this.#running()),
        ]
      : [];
    this.links = createLinkPair(congestionBytes);
    this.sessions = [this.#createSession(0, limits), this.#createSession(1, limits)];
    for (const session of this.sessions) session.start();
    this.sessions[0].activate(this.sessions[1].announce());
    this.sessions[1].activate(this.sessions[0].announce());
  }

  /** Time passes while a stream is written to, so that a throttle may open in between. */
  #running(): Clock {
    let readsMs = 0;
    return {
      nowMs: () => {
        readsMs += 0.5;
        return this.clock.nowMs() + readsMs;
      },
      wallMs: () => 0,
      after: (delayMs, callback) => this.clock.after(delayMs, callback),
    };
  }

  #createSession(side: 0 | 1, limits: SessionLimits): Session {
    const events: SessionEvents = {
      onControl: () => assert.fail('no control frames here'),
      onOpen: (stream, open) => this.#onOpen(side, stream, open),
      onGoAway: () => {},
      onIdle: () => {},
      onEnd: (code) => this.ended[side].push(code),
    };
    return new Session({
      link: this.links[side],
      events,
      clock: this.clock,
      limits,
      keepalive: { pingIntervalMs: 10_000, deadAfterMs: 30_000, random: () => 0.5 },
      opens: side === 0 ? 'odd' : 'even',
      openTimeoutMs: 60_000,
    });
  }

  #onOpen(side: 0 | 1, stream: Stream, open: Open): void {
    const pair = this.pairs[Number(open.tunnel)] as [End, End];
    const end = pair[1];
    assert.equal(open.address, side === 1 ? 'left' : 'right');
    end.stream = stream;
    stream.sink = end;
    this.#accepting.push({ stream, end });
  }

  open(side: 0 | 1): void {
    const index = this.pairs.length;
    const pair: [End, End] = [new End(index * 2), new End(index * 2 + 1)];
    pair[0].peer = pair[1];
    pair[1].peer = pair[0];
    this.pairs.push(pair);
    const small = side === 0 && this.throttles.length > 0 ? { windowBytesMax: 5000 } : {};
    const opened = this.sessions[side].open(
      {
        tunnel: String(index),
        address: side === 0 ? 'left' : 'right',
        port: 1,
        link: '',
        ...small,
      },
      pair[0],
    );
    if (typeof opened === 'string') {
      this.pairs.pop();
      return;
    }
    pair[0].stream = opened;
    if (side === 0) opened.throttle(this.throttles[0], this.throttles[1]);
  }

  accept(): void {
    const first = this.#accepting.shift();
    if (first !== undefined && !first.stream.isEnded) first.stream.accept();
  }

  get isAccepting(): boolean {
    return this.#accepting.length > 0;
  }

  check(limits: SessionLimits): void {
    for (const session of this.sessions) {
      assert.ok(
        session.memory.heldBytes <= limits.memoryBytes + limits.frameBytes,
        'session memory is bounded',
      );
      assert.ok(session.memory.grownBytes <= limits.memoryBytes, 'growth is bounded');
    }
    for (const pair of this.pairs) {
      for (const end of pair) {
        const held = end.receivedBytes - end.takenBytes;
        assert.ok(held <= limits.windowMaxBytes, 'held within the window');
      }
    }
  }

  /** Lets everything through: all accept, all read, until nothing moves. */
  settle(): void {
    for (let round = 0; round < 100_000; round += 1) {
      let moved = 0;
      while (this.isAccepting) this.accept();
      for (const link of this.links) moved += link.move(1 << 20);
      for (const pair of this.pairs) {
        for (const end of pair) {
          moved += end.resets.length > 0 ? 0 : end.receivedBytes - end.takenBytes;
          end.take(Number.MAX_SAFE_INTEGER);
        }
      }
      const waiting = this.throttles.reduce((sum, { waitingCount }) => sum + waitingCount, 0);
      if (waiting > 0) this.clock.advance(25);
      else if (moved === 0 && !this.isAccepting) return;
    }
    assert.fail('never quiet');
  }
}

type Step =
  | { kind: 'open'; side: 0 | 1 }
  | { kind: 'accept' }
  | { kind: 'write'; stream: number; end: 0 | 1; bytes: number }
  | { kind: 'take'; stream: number; end: 0 | 1; bytes: number }
  | { kind: 'end'; stream: number; end: 0 | 1 }
  | { kind: 'reset'; stream: number; end: 0 | 1 }
  | { kind: 'move'; side: 0 | 1; bytes: number }
  | { kind: 'pass'; ms: number };

const side = fc.constantFrom<0 | 1>(0, 1);
const index = fc.nat({ max: 5 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('open' as const), side }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('accept' as const) }) },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      stream: index,
      end: side,
      bytes: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 6000 })),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('take' as const),
      stream: index,
      end: side,
      bytes: fc.integer({ min: 1, max: 5000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('end' as const), stream: index, end: side }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('reset' as const), stream: index, end: side }),
  },
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('move' as const),
      side,
      bytes: fc.oneof(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 1, max: 8000 })),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.nat({ max: 400 }) }),
  },
);

function apply(world: World, step: Step): void {
  switch (step.kind) {
    case 'open':
      world.open(step.side);
      return;
    case 'accept':
      world.accept();
      return;
    case 'move':
      world.links[step.side].move(step.bytes);
      return;
    case 'pass':
      world.clock.advance(step.ms);
      return;
    default: {
      const end = world.pairs[step.stream]?.[step.end];
      if (end === undefined) return;
      if (step.kind === 'write') end.write(step.bytes);
      else if (step.kind === 'take') end.take(step.bytes);
      else if (step.kind === 'end') end.end();
      else end.reset();
    }
  }
}

/** After everything was let through: nothing lost, nothing held, ids released. */
function checkSettled(world: World): void {
  assert.deepEqual(world.ended, [[], []], 'no session ended');
  for (const [opener, acceptor] of world.pairs) {
    const reset = opener.resets.length + acceptor.resets.length > 0;
    if (reset) {
      assert.equal(opener.resets.length, 1, 'both ends know of a reset');
      if (acceptor.stream !== undefined) assert.equal(acceptor.resets.length, 1);
      continue;
    }
    for (const end of [opener, acceptor]) {
      assert.equal(end.receivedBytes, end.peer?.sentBytes, 'all bytes arrive');
      assert.equal(end.isBlocked, false, 'no writer is left waiting');
      assert.equal(end.fins, end.peer?.hasEnded ? 1 : 0, 'FIN arrives exactly when sent');
      const stream = end.stream as Stream;
      // A direction that has ended is granted no more.
      if (stream.isEnded || end.peer?.hasEnded) continue;
      assert.equal(stream.window.heldBytes, 0);
      const { availableBytes, windowBytes } = stream.window;
      assert.ok(availableBytes > windowBytes / 2, 'credit is conserved when quiet');
      assert.equal(end.peer?.stream?.credit.availableBytes, availableBytes, 'both count alike');
    }
  }
  const open = world.pairs.filter((pair) => pair.some((end) => end.stream?.isEnded === false));
  for (const session of world.sessions) {
    assert.equal(session.memory.heldBytes, 0, 'nothing is held');
    assert.equal(session.streamsCount, open.length, 'ended ids are released');
  }
}

test(`any script of streams keeps the invariants (${RUNS} sequences, seed ${SEED})`, () => {
  const limits = fc.record({
    frameBytes: fc.constantFrom(4096, 5000, 16_384),
    windowInitialBytes: fc.constantFrom(4096, 6000, 65_536, 100_000),
    growth: fc.constantFrom(1, 4),
    congestionBytes: fc.constantFrom(1, 500, 20_000),
    bytesPerSecond: fc.constantFrom(0, 0, 1024, 20_000, 1_000_000),
    steps: fc.array(step, { minLength: 5, maxLength: 120 }),
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
        world.check(sessionLimits);
      }
      world.settle();
      checkSettled(world);
    }),
    { numRuns: RUNS, seed: SEED },
  );
});

test('a lost link resets every stream, and none sees a clean end', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 80 }), (steps) => {
      const limits: SessionLimits = {
        frameBytes: 4096,
        streams: 100,
        windowInitialBytes: 8192,
        windowMaxBytes: 8192,
        memoryBytes: 1 << 21,
      };
      const world = new World(limits, 2000);
      for (const one of steps) apply(world, one);
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
          const isClean = end.hasEnded && end.fins === 1 && end.stream.isEnded;
          assert.ok(isClean || end.resets.length === 1, 'reset, or ended before');
        }
      }
      for (const session of world.sessions) assert.equal(session.streamsCount, 0);
    }),
    { numRuns: Math.ceil(RUNS / 5), seed: SEED },
  );
});
