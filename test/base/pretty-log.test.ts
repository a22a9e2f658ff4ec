import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { formatLine, PrettyLog, type WriteBytes } from '../../src/base/pretty-log.ts';

const TIME = '2026-08-01T10:20:30.456Z';

function line(fields: object): string {
  return `${JSON.stringify({ level: 'info', time: TIME, component: 'control', ...fields })}\n`;
}

/** A descriptor that takes what a test lets it take. */
function slowSink() {
  const calls: { bytes: Buffer; done: Parameters<WriteBytes>[1] }[] = [];
  const log = new PrettyLog((bytes, done) => calls.push({ bytes, done }));
  return { log, calls, text: () => calls.map(({ bytes }) => bytes.toString()).join('') };
}

describe('a line', () => {
  test('holds time, level, component, message, then the other fields', () => {
    const text = line({ msg: 'listening', name: 'http', count: 2, err: { code: 'X' } });
    assert.equal(
      formatLine(text),
      '10:20:30.456 INFO  control: listening name=http count=2 err={"code":"X"}\n',
    );
  });

  test('cannot move the cursor', () => {
    const text = line({ msg: 'a\u001b[2Jb', name: 'c\nd' });
    assert.equal(formatLine(text), '10:20:30.456 INFO  control: a?[2Jb name=c?d\n');
  });

  test('that is not JSON passes as it is', () => {
    assert.equal(formatLine('plain\n'), 'plain\n');
    assert.equal(formatLine('7\n'), '7\n');
  });
});

describe('a slow terminal', () => {
  test('gets the lines in order, in batches', () => {
    const { log, calls, text } = slowSink();
    for (const msg of ['one', 'two', 'three']) log.write(line({ msg }));
    assert.equal(calls.length, 1);
    calls[0]?.done(null, calls[0].bytes.length);
    assert.equal(calls.length, 2);
    assert.match(text(), /one\n.*two\n.*three\n$/);
  });

  test('that takes half of a batch gets the rest next', () => {
    const { log, calls } = slowSink();
    log.write(line({ msg: 'grün' }));
    const whole = calls[0]?.bytes ?? Buffer.alloc(0);
    const half = whole.indexOf('ü') + 1;
    calls[0]?.done(null, half);
    assert.deepEqual(calls[1]?.bytes, whole.subarray(half));
  });

  test('that takes nothing is tried again later', (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] });
    const { log, calls } = slowSink();
    log.write(line({ msg: 'one' }));
    calls[0]?.done(Object.assign(new Error('busy'), { code: 'EAGAIN' }), 0);
    assert.equal(calls.length, 1);
    t.mock.timers.tick(50);
    assert.equal(calls.length, 2);
    assert.deepEqual(calls[1]?.bytes, calls[0]?.bytes);
  });

  test('that stalls costs lines, not memory', () => {
    const { log } = slowSink();
    const msg = 'x'.repeat(200);
    for (let count = 0; count < 10_000; count += 1) log.write(line({ msg }));
    assert.ok(log.droppedLines > 4000 && log.droppedLines < 6000, String(log.droppedLines));
  });

  test('that fails loses the batch and is tried with the next', () => {
    const { log, calls } = slowSink();
    const full = Object.assign(new Error('full'), { code: 'ENOSPC' });
    log.write(line({ msg: 'one' }));
    calls[0]?.done(full, 0);
    assert.equal(log.droppedLines, 1);
    for (const msg of ['two', 'three', 'four']) log.write(line({ msg }));
    assert.match(calls[1]?.bytes.toString() ?? '', /two\n$/);
    calls[1]?.done(null, calls[1].bytes.length);
    calls[2]?.done(null, (calls[2]?.bytes.indexOf('\n') ?? 0) + 5);
    calls[3]?.done(full, 0);
    assert.equal(log.droppedLines, 2, 'three was written, the end of four was not');
  });

  test('is given whole lines, no more at once than a pipe takes whole', () => {
    const { log, calls } = slowSink();
    const msgs = ['one', ...Array.from({ length: 40 }, () => 'x'.repeat(200)), 'y'.repeat(5000)];
    for (const msg of msgs) log.write(line({ msg }));
    for (let at = 0; at < calls.length; at += 1)
      calls[at]?.done(null, calls[at]?.bytes.length ?? 0);
    const batches = calls.map(({ bytes }) => bytes.toString());
    assert.ok(batches.every((batch) => batch.endsWith('\n')));
    assert.ok(batches.every((batch) => batch.length <= 4096));
    assert.ok(batches.length < 6, 'several lines at once');
    assert.equal(batches.join(''), msgs.map((msg) => formatLine(line({ msg }))).join(''));
  });
});

test('a flush waits until everything is written', () => {
  const { log, calls } = slowSink();
  const done: string[] = [];
  log.flush(() => done.push('idle'));
  log.write(line({ msg: 'one' }));
  log.flush(() => done.push('written'));
  assert.deepEqual(done, ['idle']);
  calls[0]?.done(null, calls[0].bytes.length);
  assert.deepEqual(done, ['idle', 'written']);
});
