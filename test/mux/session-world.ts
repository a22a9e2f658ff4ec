// Two sessions over links joined in memory, and a model of every stream between them.
//
// A script of steps opens, writes, takes, ends and resets, and moves bytes in pieces; the model has
// what each end sent, got and took, and since when it took nothing. The bytes are a running
// pattern, so that loss, doubling and reordering show. Invariant: a step that the model forbids is
// not taken, so whatever fails is the sessions' fault. Must not know: which limits a test chose.

import assert from 'node:assert/strict';
import fc from 'fast-check';
import type { Clock } from '../../src/base/clock.ts';
import type { ErrorCode } from '../../src/base/errors.ts';
import { Session } from '../../src/mux/session.ts';
import type { SessionEvents } from '../../src/mux/session-options.ts';
import type { Stream, StreamSink } from '../../src/mux/stream.ts';
import { Throttle } from '../../src/mux/throttle.ts';
import type { SessionLimits } from '../../src/wire/limits.ts';
import type { Open } from '../../src/wire/open.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createLinkPair, type MemoryLink } from '../support/memory-link.ts';

/** As throttles have it. */
const ROUND_MS = 25;
/** So many without anything that moves, each twice as long as the one before, 12 s together: a
 * sender that is paced waits for most of the time that the line took, which a script makes long. */
const QUIET_ROUNDS = 9;

/** One end of one stream, and what it has seen. */
class End implements StreamSink {
  readonly side: 0 | 1;
  stream: Stream | undefined;
  /** When it was made known to its side, then when it last took something. */
  progressMs = 0;
  sentBytes = 0;
  receivedBytes = 0;
  takenBytes = 0;
  isBlocked = false;
  hasEnded = false;
  fins = 0;
  resets: ErrorCode[] = [];
  isOpened = false;
  readonly salt: number;

  constructor(salt: number, side: 0 | 1) {
    this.salt = salt;
    this.side = side;
  }

  peer: End | undefined;

  /** Bytes that it was given and has not taken. */
  get heldBytes(): number {
    return this.resets.length > 0 ? 0 : this.receivedBytes - this.takenBytes;
  }

  /** Both directions ended well, as seen from here: what the other does later is not told. */
  get isDone(): boolean {
    return this.hasEnded && this.fins === 1;
  }

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

  take(bytes: number, nowMs: number): void {
    const now = Math.min(this.heldBytes, bytes);
    if (now === 0) return;
    this.progressMs = nowMs;
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

export class World {
  readonly clock = new FakeClock();
  readonly links: [MemoryLink, MemoryLink];
  readonly sessions: [Session, Session];
  readonly pairs: [End, End][] = [];
  readonly ended: [ErrorCode[], ErrorCode[]] = [[], []];
  /** Shared by the streams that side 0 opens: what they send, and what they receive. */
  readonly throttles: readonly Throttle[];
  /** Streams that a session gave up at its memory limit. */
  memoryResets = 0;
  readonly #limits: SessionLimits;
  #accepting: { stream: Stream; end: End }[] = [];

  constructor(limits: SessionLimits, congestionBytes: number, bytesPerSecond = 0) {
    this.#limits = limits;
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
    const session = new Session({
      link: this.links[side],
      events,
      clock: this.clock,
      limits,
      keepalive: { pingIntervalMs: 10_000, deadAfterMs: 30_000, random: () => 0.5 },
      opens: side === 0 ? 'odd' : 'even',
      openTimeoutMs: 60_000,
    });
    const sendReset = session.sendReset.bind(session);
    session.sendReset = (stream, code) => {
      if (code === 'SLW_STREAM_MEMORY') this.#judgeMemoryReset(side, stream);
      sendReset(stream, code);
    };
    return session;
  }

  /** Who is given up held something, while all held too much, and took nothing for the longest. */
  #judgeMemoryReset(side: 0 | 1, stream: Stream): void {
    this.memoryResets += 1;
    const holding = this.#ends(side).filter((end) => (end.stream?.window.heldBytes ?? 0) > 0);
    const victim = holding.find((end) => end.stream === stream);
    assert.ok(victim !== undefined, 'only who holds something is given up');
    const held = holding.reduce((sum, end) => sum + (end.stream?.window.heldBytes ?? 0), 0);
    assert.ok(held > this.#limits.memoryBytes, 'nobody is given up below the limit');
    for (const { progressMs } of holding) {
      assert.ok(progressMs >= victim.progressMs, 'who took nothing for the longest is given up');
    }
  }

  #ends(side: 0 | 1): End[] {
    return this.pairs.flat().filter((end) => end.side === side);
  }

  #onOpen(side: 0 | 1, stream: Stream, open: Open): void {
    const pair = this.pairs[Number(open.tunnel)] as [End, End];
    const end = pair[1];
    assert.equal(open.address, side === 1 ? 'left' : 'right');
    end.stream = stream;
    end.progressMs = this.clock.nowMs();
    stream.sink = end;
    this.#accepting.push({ stream, end });
  }

  open(side: 0 | 1): void {
    const index = this.pairs.length;
    const other = side === 0 ? 1 : 0;
    const pair: [End, End] = [new End(index * 2, side), new End(index * 2 + 1, other)];
    pair[0].progressMs = this.clock.nowMs();
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

  check(): void {
    const { memoryBytes, windowMaxBytes } = this.#limits;
    for (const side of [0, 1] as const) {
      const { memory } = this.sessions[side];
      assert.ok(memory.heldBytes <= memoryBytes, 'session memory is bounded');
      assert.ok(memory.grownBytes <= memoryBytes, 'growth is bounded');
      const ends = this.#ends(side);
      const given = ends.reduce((sum, end) => sum + end.heldBytes, 0);
      assert.ok(given <= memory.heldBytes, 'what sinks were given is counted');
      for (const end of ends) assert.ok(end.heldBytes <= windowMaxBytes, 'held within the window');
    }
  }

  /** Lets everything through: all accept, all read, until nothing moves, nor does with time. */
  settle(): void {
    let quietRounds = 0;
    for (let round = 0; round < 100_000 && quietRounds < QUIET_ROUNDS; round += 1) {
      while (this.isAccepting) this.accept();
      let moved = this.throttles.reduce((sum, { waitingCount }) => sum + waitingCount, 0);
      if (moved > 0 || quietRounds > 0) this.clock.advance(ROUND_MS * 2 ** quietRounds);
      for (const link of this.links) moved += link.move(1 << 20);
      for (const end of this.pairs.flat()) {
        moved += end.heldBytes;
        end.take(Number.MAX_SAFE_INTEGER, this.clock.nowMs());
      }
      quietRounds = moved > 0 || this.isAccepting ? 0 : quietRounds + 1;
    }
    assert.equal(quietRounds, QUIET_ROUNDS, 'it becomes quiet');
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
const openStep = fc.record({ kind: fc.constant('open' as const), side });

/** Scripts of streams. `takes`: how often their ends take something, beside 8 writes. */
export function steps(takes: number): fc.Arbitrary<Step[]> {
  const step: fc.Arbitrary<Step> = fc.oneof(
    { weight: 2, arbitrary: openStep },
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
      weight: takes,
      arbitrary: fc.record({
        kind: fc.constant('take' as const),
        stream: index,
        end: side,
        bytes: fc.integer({ min: 1, max: 5000 }),
      }),
    },
    {
      weight: 1,
      arbitrary: fc.record({ kind: fc.constantFrom('end', 'reset'), stream: index, end: side }),
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
  const opens = fc.array(openStep, { minLength: 1, maxLength: 4 });
  // By itself fast-check keeps arrays to some ten entries, whatever may be.
  const rest = fc.array(step, { minLength: 5, maxLength: 120, size: 'max' });
  return fc.tuple(opens, rest).map((parts) => parts.flat());
}

export function apply(world: World, step: Step): void {
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
      else if (step.kind === 'take') end.take(step.bytes, world.clock.nowMs());
      else if (step.kind === 'end') end.end();
      else end.reset();
    }
  }
}

/** After everything was let through: nothing lost, nothing held, ids released. */
export function checkSettled(world: World): void {
  assert.deepEqual(world.ended, [[], []], 'no session ended');
  for (const [opener, acceptor] of world.pairs) {
    const reset = opener.resets.length + acceptor.resets.length > 0;
    if (reset) {
      const ends = [opener, acceptor].filter((end) => end.stream !== undefined);
      for (const end of ends)
        assert.ok(end.isDone || end.resets.length === 1, 'both ends know of a reset');
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
