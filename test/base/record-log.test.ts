// A line of a record log is pino's, whatever its values hold, and its time is the clock's.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createLogger, createRecordLog } from '../../src/base/log.ts';
import { type RecordFields, RecordLog } from '../../src/base/record-log.ts';
import { FakeClock } from '../support/fake-clock.ts';

const TIME = /"time":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"/;

/** The line without its time, which must be there. */
function timeless(line: string): string {
  assert.match(line, TIME);
  return line.replace(TIME, '"time":""');
}

test('a line is what pino writes of the same fields', () => {
  const lines: string[] = [];
  const stream = { write: (line: string) => lines.push(line) };
  const options = { component: 'access', format: 'json', stream } as const;
  const log = createLogger({ ...options, level: 'info' });
  const records = createRecordLog(options);
  const value = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.constantFrom('"', '\\', '\u0000', '\n', '\u2028', '\ud800', 'é', '</script>'),
    fc.double(),
    fc.integer(),
    fc.boolean(),
    fc.constant(undefined),
  );
  const key = fc.constantFrom('tunnel', 'visitor', 'path', 'status', 'durationMs', 'userAgent');
  const property = fc.property(fc.dictionary(key, value), (fields: RecordFields) => {
    lines.length = 0;
    log.info(fields, 'request');
    records.write(fields, 'request');
    const [theirs, ours] = lines.map(timeless);
    assert.equal(ours, theirs);
  });
  fc.assert(property);
});

test('a line has the time of its own moment', () => {
  const clock = new FakeClock();
  const lines: string[] = [];
  const records = new RecordLog('access', { write: (line) => lines.push(line) }, clock);
  const moments: number[] = [];
  for (const ms of [0, 0.25, 1, 0, 61_000]) {
    clock.advance(ms);
    moments.push(Math.trunc(clock.wallMs()));
    records.write({ tunnel: 'a.example' }, 'request');
  }
  const times = lines.map((line) => Date.parse((JSON.parse(line) as { time: string }).time));
  assert.deepEqual(times, moments);
});
