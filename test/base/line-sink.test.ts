import assert from 'node:assert/strict';
import { describe, type TestContext, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { LineSink } from '../../src/base/line-sink.ts';
import type { LineTarget, OnWritten } from '../../src/base/stderr.ts';

const WHOLE_BYTES_MAX = 4096;
const TURN_BYTES_MAX = 64 * 1024;
const RETRY_MS_MAX = 100;

/** A target that takes what a test lets it take, when it lets it. */
class SlowTarget implements LineTarget {
  readonly wholeBytesMax: number;
  readonly isImmediate = false;
  /** What was tried, as it was then. */
  readonly tried: string[] = [];
  #asked: { bytes: Uint8Array; onWritten: OnWritten } | undefined;

  constructor(wholeBytesMax = WHOLE_BYTES_MAX) {
    this.wholeBytesMax = wholeBytesMax;
  }

  write(bytes: Uint8Array, onWritten: OnWritten): void {
    assert.equal(this.#asked, undefined, 'one write at a time');
    this.tried.push(Buffer.from(bytes).toString());
    this.#asked = { bytes, onWritten };
  }

  get isAsked(): boolean {
    return this.#asked !== undefined;
  }

  take(count?: number): void {
    const { bytes, onWritten } = this.#answer();
    onWritten(null, count ?? bytes.length);
  }

  fail(code: string): void {
    this.#answer().onWritten(Object.assign(new Error(code), { code }), 0);
  }

  #answer(): { bytes: Uint8Array; onWritten: OnWritten } {
    const asked = this.#asked;
    assert.ok(asked, 'a write waits');
    this.#asked = undefined;
    return asked;
  }
}

/** One that answers at once, by `answer`: how many bytes it takes, or why it takes none. */
class QuickTarget implements LineTarget {
  readonly wholeBytesMax = WHOLE_BYTES_MAX;
  readonly isImmediate = true;
  readonly taken: string[] = [];
  answer: (bytes: Uint8Array) => number | string = (bytes) => bytes.length;

  write(bytes: Uint8Array, onWritten: OnWritten): void {
    const answer = this.answer(bytes);
    if (typeof answer === 'string') {
      onWritten(Object.assign(new Error(answer), { code: answer }), 0);
      return;
    }
    this.taken.push(Buffer.from(bytes.subarray(0, answer)).toString());
    onWritten(null, answer);
  }
}

function world<T extends LineTarget>(t: TestContext, target: T) {
  t.mock.timers.enable({ apis: ['setTimeout', 'setImmediate'] });
  const sink = new LineSink(target);
  return { sink, target, endTurn: () => t.mock.timers.tick(0), timers: t.mock.timers };
}

describe('lines of one turn', () => {
  test('leave together at its end, in order', (t) => {
    const { sink, target, endTurn } = world(t, new SlowTarget());
    for (const line of ['one\n', 'two\n', 'three\n']) sink.write(line);
    assert.deepEqual(target.tried, []);
    endTurn();
    assert.deepEqual(target.tried, ['one\ntwo\nthree\n']);
  });

  test('wait while a write is under way, and do not change what it writes', (t) => {
    const { sink, target, endTurn } = world(t, new SlowTarget());
    sink.write('one\n');
    endTurn();
    sink.write('two\n');
    endTurn();
    assert.deepEqual(target.tried, ['one\n']);
    target.take();
    assert.deepEqual(target.tried, ['one\n', 'two\n']);
    target.take();
    sink.write('three\n');
    endTurn();
    assert.deepEqual(target.tried, ['one\n', 'two\n', 'three\n']);
  });

  test('are written whole, no more at once than is taken whole', (t) => {
    const { sink, target, endTurn } = world(t, new QuickTarget());
    const lines = ['one', ...Array.from({ length: 40 }, () => 'x'.repeat(200)), 'y'.repeat(5000)]
      .concat(['two', 'z'.repeat(WHOLE_BYTES_MAX - 1), 'three', 'grün'])
      .map((text) => `${text}\n`);
    for (const line of lines) sink.write(line);
    endTurn();
    assert.equal(target.taken.join(''), lines.join(''));
    assert.ok(target.taken.every((text) => text.endsWith('\n')));
    const long = target.taken.filter((text) => Buffer.byteLength(text) > WHOLE_BYTES_MAX);
    assert.deepEqual(long, [`${'y'.repeat(5000)}\n`], 'one that is longer goes alone');
    assert.ok(target.taken.length < 8, 'several lines at once');
  });

  test('are written over several turns when they are many, so that others have theirs', async () => {
    const target = new QuickTarget();
    const sink = new LineSink(target);
    const line = `${'x'.repeat(255)}\n`;
    for (let count = 0; count < 512; count += 1) sink.write(line);
    await nextTurn();
    const first = target.taken.join('').length;
    assert.ok(first >= TURN_BYTES_MAX && first < TURN_BYTES_MAX + WHOLE_BYTES_MAX, String(first));
    await nextTurn();
    assert.equal(target.taken.join(''), line.repeat(512));
    assert.equal(sink.droppedLines, 0);
  });

  test('that are longer than a block come through', (t) => {
    const { sink, target, endTurn } = world(t, new SlowTarget(64 * 1024));
    const lines = ['one\n', `${'ü'.repeat(100_000)}\n`, 'two\n'];
    for (const line of lines) sink.write(line);
    endTurn();
    while (target.isAsked) {
      target.take();
      endTurn();
    }
    assert.equal(target.tried.join(''), lines.join(''));
    sink.write(lines[1] ?? '');
    endTurn();
    assert.equal(target.tried.join(''), lines.join('') + lines[1]);
  });
});

describe('a target', () => {
  test('that takes a part gets the rest next', (t) => {
    const { sink, target, endTurn } = world(t, new SlowTarget());
    sink.write('grün\n');
    endTurn();
    target.take(3);
    assert.equal(target.tried.length, 2);
    target.take(1);
    assert.deepEqual(target.tried.at(-1), 'n\n');
  });

  test('that has no room is tried again, soon and then more rarely, and loses nothing', (t) => {
    const { sink, target, endTurn, timers } = world(t, new SlowTarget());
    sink.write('one\n');
    endTurn();
    const waits: number[] = [];
    for (let tries = 1; tries <= 10; tries += 1) {
      target.fail('EAGAIN');
      sink.write('more\n');
      let waitMs = 0;
      for (; !target.isAsked && waitMs < 1000; waitMs += 1) timers.tick(1);
      waits.push(waitMs);
    }
    assert.deepEqual(waits, [1, 2, 4, 8, 16, 32, 64, RETRY_MS_MAX, RETRY_MS_MAX, RETRY_MS_MAX]);
    target.take();
    assert.equal(target.isAsked, false);
    assert.equal(target.tried.at(-1), `one\n${'more\n'.repeat(10)}`);
    sink.write('last\n');
    endTurn();
    assert.equal(target.tried.at(-1), 'last\n');
    target.fail('EAGAIN');
    timers.tick(1);
    assert.ok(target.isAsked, 'soon again');
    assert.equal(sink.droppedLines, 0);
  });

  test('that stalls costs lines, not memory', (t) => {
    const { sink, target, endTurn } = world(t, new SlowTarget());
    const line = `${'x'.repeat(199)}\n`;
    for (let count = 0; count < 10_000; count += 1) sink.write(line);
    const kept = 10_000 - sink.droppedLines;
    assert.equal(kept, Math.floor((1024 * 1024) / line.length));
    endTurn();
    while (target.isAsked) {
      target.take();
      endTurn();
    }
    assert.equal(target.tried.join(''), line.repeat(kept), 'what was kept is written');
    sink.write('next\n');
    endTurn();
    assert.equal(target.tried.at(-1), 'next\n');
  });

  test('that fails loses what was tried, each line counted once, and is tried with the next', (t) => {
    const { sink, target, endTurn, timers } = world(t, new SlowTarget());
    sink.write('one\n');
    endTurn();
    target.fail('ENOSPC');
    assert.equal(sink.droppedLines, 1);
    for (const line of ['two\n', 'three\n', 'four\n']) sink.write(line);
    endTurn();
    timers.tick(RETRY_MS_MAX);
    assert.equal(target.tried.at(-1), 'two\nthree\nfour\n');
    target.take('two\nthree\nfo'.length);
    target.fail('ENOSPC');
    assert.equal(sink.droppedLines, 2, 'three was written, the end of four was not');
  });

  test('that fails is not tried by every turn', (t) => {
    const { sink, target, endTurn, timers } = world(t, new QuickTarget());
    let tries = 0;
    target.answer = () => {
      tries += 1;
      return 'EPIPE';
    };
    for (let turn = 0; turn < 1000; turn += 1) {
      sink.write('line\n');
      endTurn();
      timers.tick(1);
    }
    timers.tick(RETRY_MS_MAX);
    assert.ok(tries >= 10 && tries <= 20, `${tries} tries in a second`);
    assert.equal(sink.droppedLines, 1000);
    target.answer = (bytes) => bytes.length;
    timers.tick(RETRY_MS_MAX);
    sink.write('heard\n');
    endTurn();
    assert.deepEqual(target.taken, ['heard\n']);
  });
});

test('a flush waits until everything is written or given up', (t) => {
  const { sink, target, endTurn } = world(t, new SlowTarget());
  const done: string[] = [];
  sink.flush(() => done.push('idle'));
  sink.write('one\n');
  sink.flush(() => done.push('written'));
  endTurn();
  assert.deepEqual(done, ['idle']);
  target.take();
  assert.deepEqual(done, ['idle', 'written']);
  sink.write('two\n');
  endTurn();
  sink.flush(() => done.push('given up'));
  sink.close();
  assert.deepEqual(done, ['idle', 'written', 'given up']);
  target.take();
  sink.write('three\n');
  endTurn();
  assert.deepEqual(target.tried, ['one\n', 'two\n']);
});

test('the last lines are written without another turn where the target answers at once', (t) => {
  const quick = world(t, new QuickTarget());
  quick.sink.write('one\n');
  quick.sink.writeLast();
  assert.deepEqual(quick.target.taken, ['one\n']);
  quick.endTurn();
  assert.deepEqual(quick.target.taken, ['one\n']);
  const slow = new SlowTarget();
  const sink = new LineSink(slow);
  sink.write('one\n');
  sink.writeLast();
  assert.deepEqual(slow.tried, []);
});
