// Ids are used once, in order, by the side that owns their parity; late frames are told from lies.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { StreamTable } from '../../src/mux/stream-table.ts';
import { STREAM_ID_MAX } from '../../src/wire/frame.ts';

const WRONG = { code: 'SLW_WIRE_STREAM_ID' };

test('our ids have our parity and grow by two', () => {
  const odd = new StreamTable({ opens: 'odd' });
  const even = new StreamTable({ opens: 'even' });
  assert.deepEqual([odd.takeId(), odd.takeId(), odd.takeId()], [1, 3, 5]);
  assert.deepEqual([even.takeId(), even.takeId(), even.takeId()], [2, 4, 6]);
});

test('the last id is used, and after it there is none', () => {
  const odd = new StreamTable({ opens: 'odd', firstId: STREAM_ID_MAX });
  assert.deepEqual([odd.takeId(), odd.takeId(), odd.takeId()], [STREAM_ID_MAX, 0, 0]);
  const even = new StreamTable({ opens: 'even', firstId: STREAM_ID_MAX - 1 });
  assert.deepEqual([even.takeId(), even.takeId(), even.takeId()], [STREAM_ID_MAX - 1, 0, 0]);
  assert.equal(even.lookUp(STREAM_ID_MAX - 1), undefined, 'used, so known as ended');
});

test('the peer may use ids of the other parity, each once and in growing order', () => {
  const table = new StreamTable({ opens: 'even' });
  for (const id of [1, 3, 9, STREAM_ID_MAX]) table.admit(id);
  for (const id of [2, 9, 5, 1, STREAM_ID_MAX]) assert.throws(() => table.admit(id), WRONG);
  assert.throws(() => new StreamTable({ opens: 'odd' }).admit(0), WRONG);
});

test('an id that was used and is gone is late, one that was not is a lie', () => {
  const table = new StreamTable({ opens: 'even' });
  table.admit(5);
  for (const id of [1, 3, 5]) assert.equal(table.lookUp(id), undefined);
  assert.throws(() => table.lookUp(7), WRONG);
  assert.throws(() => table.lookUp(0), WRONG);
  assert.throws(() => table.lookUp(2), WRONG);
  table.takeId();
  assert.equal(table.lookUp(2), undefined);
  assert.throws(() => table.lookUp(4), WRONG);
});
