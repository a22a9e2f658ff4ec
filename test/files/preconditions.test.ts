// Goal: what a visitor has already is not sent again, and a part of another file is not joined to
// it. Method: the cases of RFC 9110, section 13, as a table.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isCurrent, judge, type Verdict } from '../../src/files/preconditions.ts';

const TAG = '"v1"';
const MODIFIED_MS = Date.UTC(2026, 10, 29, 12, 0, 0) + 789;
const SAME = 'Sun, 29 Nov 2026 12:00:00 GMT';
const BEFORE = 'Sun, 29 Nov 2026 11:59:59 GMT';
const AFTER = 'Sun, 29 Nov 2026 12:00:01 GMT';
const FILE = { tag: TAG, modifiedMs: MODIFIED_MS };

const VERDICTS: readonly (readonly [Readonly<Record<string, string>>, Verdict])[] = [
  [{}, 'send'],
  [{ 'if-none-match': TAG }, 'not-modified'],
  [{ 'if-none-match': `W/${TAG}` }, 'not-modified'],
  [{ 'if-none-match': `"v0", ${TAG}` }, 'not-modified'],
  [{ 'if-none-match': '*' }, 'not-modified'],
  [{ 'if-none-match': '"v0"' }, 'send'],
  [{ 'if-none-match': 'v1' }, 'send'],
  // The tag wins.
  [{ 'if-none-match': '"v0"', 'if-modified-since': AFTER }, 'send'],
  [{ 'if-modified-since': SAME }, 'not-modified'],
  [{ 'if-modified-since': AFTER }, 'not-modified'],
  [{ 'if-modified-since': BEFORE }, 'send'],
  [{ 'if-modified-since': 'yesterday' }, 'send'],
  [{ 'if-match': TAG }, 'send'],
  [{ 'if-match': '*' }, 'send'],
  [{ 'if-match': '"v0"' }, 'failed'],
  [{ 'if-match': `W/${TAG}` }, 'failed'],
  [{ 'if-match': TAG, 'if-unmodified-since': BEFORE }, 'send'],
  [{ 'if-unmodified-since': SAME }, 'send'],
  [{ 'if-unmodified-since': BEFORE }, 'failed'],
  [{ 'if-unmodified-since': 'never' }, 'send'],
];

for (const [headers, verdict] of VERDICTS) {
  test(`${JSON.stringify(headers)}: ${verdict}`, () => {
    assert.equal(judge(headers, FILE), verdict);
  });
}

test('a range is of the same file, or the whole of the new one is sent', () => {
  assert.equal(isCurrent({}, FILE), true);
  assert.equal(isCurrent({ 'if-range': TAG }, FILE), true);
  assert.equal(isCurrent({ 'if-range': `W/${TAG}` }, FILE), false);
  assert.equal(isCurrent({ 'if-range': '"v0"' }, FILE), false);
  assert.equal(isCurrent({ 'if-range': SAME }, FILE), true);
  assert.equal(isCurrent({ 'if-range': BEFORE }, FILE), false);
  assert.equal(isCurrent({ 'if-range': AFTER }, FILE), false);
  assert.equal(isCurrent({ 'if-range': 'never' }, FILE), false);
});
