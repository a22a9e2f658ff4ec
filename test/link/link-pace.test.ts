import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LinkPace, QUEUED_BYTES_MAX, QUEUED_BYTES_MIN } from '../../src/link/link-pace.ts';
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN } from '../../src/wire/limits.ts';

/** Takes `bytesPerMs` for a second, a sample every 50 ms. */
function run(pace: LinkPace, bytesPerMs: number, fromMs = 0): void {
  pace.begin(fromMs, 0);
  for (let ms = 50; ms <= 1000; ms += 50) pace.sample(fromMs + ms, ms * bytesPerMs, ms < 1000);
}

test('a link that nothing waits for keeps the limits of a fast one', () => {
  const pace = new LinkPace();
  pace.sample(1000, 1000, false);
  pace.sample(2000, 1001, true);
  assert.deepEqual([pace.queuedBytesMax, pace.frameBytesMax], [QUEUED_BYTES_MAX, FRAME_BYTES_MAX]);
});

test('a slow line has short frames and a short queue, a fast one again long ones', () => {
  const pace = new LinkPace();
  run(pace, 128);
  assert.deepEqual([pace.queuedBytesMax, pace.frameBytesMax], [QUEUED_BYTES_MIN, FRAME_BYTES_MIN]);
  run(pace, 2500, 10_000);
  assert.ok(Math.abs(pace.frameBytesMax / 12_500 - 1) < 0.01, `${pace.frameBytesMax}`);
  assert.ok(Math.abs(pace.queuedBytesMax / 250_000 - 1) < 0.01, `${pace.queuedBytesMax}`);
  run(pace, 600_000, 20_000);
  assert.deepEqual([pace.queuedBytesMax, pace.frameBytesMax], [QUEUED_BYTES_MAX, FRAME_BYTES_MAX]);
});

test('time in which nothing waited is no part of a rate', () => {
  const pace = new LinkPace();
  run(pace, 100_000);
  pace.begin(60_000, 100_000_000);
  pace.sample(60_050, 105_000_000, false);
  assert.equal(pace.frameBytesMax, FRAME_BYTES_MAX);
});

test('a turn that took long makes no line slow on which little was sent', () => {
  const pace = new LinkPace();
  // As over TLS, which is done with each write one turn later.
  for (let count = 0; count < 50; count += 1) {
    pace.begin(100 * count, 0);
    pace.sample(100 * count + 25, 100, false);
  }
  assert.deepEqual([pace.queuedBytesMax, pace.frameBytesMax], [QUEUED_BYTES_MAX, FRAME_BYTES_MAX]);
});

test('a moment without a reader is made good by what is taken at once', () => {
  const pace = new LinkPace();
  run(pace, 1);
  assert.equal(pace.frameBytesMax, FRAME_BYTES_MIN);
  let bytes = 0;
  for (; pace.frameBytesMax < FRAME_BYTES_MAX; bytes += FRAME_BYTES_MIN) {
    pace.pass(FRAME_BYTES_MIN);
    assert.ok(bytes < 32 * QUEUED_BYTES_MAX, 'stays slow for ever');
  }
  for (; pace.queuedBytesMax < QUEUED_BYTES_MAX; bytes += FRAME_BYTES_MIN) {
    pace.pass(FRAME_BYTES_MIN);
  }
  assert.ok(bytes <= 20 * QUEUED_BYTES_MAX, `${bytes}`);
});

test('short waits are made good, too, and long ones are not', () => {
  const pace = new LinkPace();
  run(pace, 1);
  for (let count = 0; count < 20; count += 1) {
    pace.begin(10_000 + 100 * count, 0);
    pace.sample(10_005 + 100 * count, QUEUED_BYTES_MAX, false);
  }
  assert.equal(pace.frameBytesMax, FRAME_BYTES_MAX);
  const slow = new LinkPace();
  for (let count = 0; count < 100; count += 1) run(slow, 128, 2000 * count);
  assert.equal(slow.frameBytesMax, FRAME_BYTES_MIN);
});
