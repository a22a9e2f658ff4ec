// Goal: a Range gives parts that lie within the file, and never more than the file. Method: a
// table, and random texts of which every answer is checked.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type ByteRange, lengthOf, readRanges } from '../../src/files/ranges.ts';

const range = (first: number, last: number): ByteRange => ({ first, last });

const CASES: readonly (readonly [string | undefined, number, ReturnType<typeof readRanges>])[] = [
  [undefined, 10, 'whole'],
  ['', 10, 'whole'],
  ['bytes=0-', 10, [range(0, 9)]],
  ['bytes=0-0', 10, [range(0, 0)]],
  ['bytes=9-', 10, [range(9, 9)]],
  ['bytes=2-100', 10, [range(2, 9)]],
  ['BYTES=2-3', 10, [range(2, 3)]],
  ['bytes=-3', 10, [range(7, 9)]],
  ['bytes=-100', 10, [range(0, 9)]],
  ['bytes=0-1, 4-5 ,-1', 10, [range(0, 1), range(4, 5), range(9, 9)]],
  ['bytes=0-1,50-60', 10, [range(0, 1)]],
  ['bytes=10-', 10, 'none'],
  ['bytes=-0', 10, 'none'],
  ['bytes=0-', 0, 'none'],
  ['bytes=-5', 0, 'none'],
  ['bytes=999999999999999-', 10, 'none'],
  ['bytes=9999999999999999-', 10, 'whole'],
  ['bytes=3-2', 10, 'whole'],
  ['bytes=-', 10, 'whole'],
  ['bytes=', 10, 'whole'],
  ['bytes=a-b', 10, 'whole'],
  ['bytes=1-2-3', 10, 'whole'],
  ['bytes=1-2,', 10, 'whole'],
  ['bytes= 1 - 2', 10, 'whole'],
  ['lines=1-2', 10, 'whole'],
  ['bytes=0-5,0-5', 10, 'whole'],
  [`bytes=${'0-0,'.repeat(16)}0-0`, 100, 'whole'],
];

for (const [text, size, wanted] of CASES) {
  test(`${String(text).slice(0, 40)} of ${size} bytes`, () => {
    assert.deepEqual(readRanges(text, size), wanted);
  });
}

test('whatever is asked for, parts lie within the file and are no more than it', () => {
  const number = fc.oneof(fc.nat(30).map(String), fc.constant(''), fc.constant('x'));
  const part = fc.tuple(number, number).map(([from, to]) => `${from}-${to}`);
  const text = fc
    .array(part, { maxLength: 20, size: 'max' })
    .map((parts) => `bytes=${parts.join(',')}`);
  fc.assert(
    fc.property(text, fc.nat(20), (asked, size) => {
      const read = readRanges(asked, size);
      if (typeof read === 'string') return;
      for (const { first, last } of read) assert.ok(first >= 0 && first <= last && last < size);
      const bytes = read.reduce((sum, one) => sum + lengthOf(one), 0);
      assert.ok(read.length > 0 && bytes <= size);
    }),
  );
});
