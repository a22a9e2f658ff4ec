// Goal: a lent buffer comes back when its last byte was released, and never before; releasing too
// much is our own bug and is caught. Method: the pool alone, by hand and by random parts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  HEADROOM_BYTES,
  READ_BUFFER_BYTES,
  READ_BYTES,
  ReadPool,
  WHOLE_BYTES,
  WIDE_BUFFER_BYTES,
} from '../../src/base/read-pool.ts';

const SEED = 20_261_123;

test('a buffer is used again once every byte of it was released, in whatever parts', () => {
  const pool = new ReadPool();
  const buffer = pool.take();
  const lent = pool.lend(buffer, 1000);
  assert.equal(lent.length, 1000);
  assert.equal(pool.lentCount, 1);
  const parts = [lent.subarray(0, 300), lent.subarray(300)];
  for (const part of parts) pool.release(part, part.length);
  assert.equal(pool.lentCount, 0);
  assert.equal(pool.take(), buffer);
});

test('a buffer that is still lent in part is not read into', () => {
  const pool = new ReadPool();
  const buffer = pool.take();
  const lent = pool.lend(buffer, 1000);
  pool.release(lent, 999);
  assert.notEqual(pool.take(), buffer);
  assert.equal(pool.lentCount, 1);
});

test('a byte that is released twice is an assertion, and so is a second loan', () => {
  const pool = new ReadPool();
  const buffer = pool.take();
  const lent = pool.lend(buffer, 10);
  assert.throws(() => pool.lend(buffer, 10), /lent once/);
  pool.release(lent, 10);
  assert.throws(() => pool.release(lent, 1), /released once/);
});

test('only the beginning of a read has headroom, and it is before the read', () => {
  const pool = new ReadPool();
  const lent = pool.lend(pool.take(), 100).fill('a');
  assert.equal(pool.wholeOf(lent.subarray(1)), undefined);
  assert.equal(pool.wholeOf(Buffer.from('own')), undefined);
  const whole = pool.wholeOf(lent.subarray(0, 10));
  whole?.fill('h', 0, HEADROOM_BYTES);
  assert.equal(lent.toString(), 'a'.repeat(100));
  assert.equal(whole?.subarray(HEADROOM_BYTES - 1, HEADROOM_BYTES + 1).toString(), 'ha');
});

test('what is gathered may fill the whole buffer, behind what is there', () => {
  const pool = new ReadPool();
  const buffer = pool.takeWide();
  const room = pool.roomBehind(buffer, 1000);
  assert.equal(room.length, WIDE_BUFFER_BYTES - 1000);
  room.fill('b');
  const lent = pool.lend(buffer, WIDE_BUFFER_BYTES);
  assert.equal(lent.length, WIDE_BUFFER_BYTES);
  assert.equal(lent.subarray(1000).toString(), 'b'.repeat(room.length));
});

test('wide buffers and others come back to their own kind', () => {
  const pool = new ReadPool();
  const [buffer, wide] = [pool.take(), pool.takeWide()];
  assert.deepEqual(
    [buffer.length, pool.room(buffer, READ_BUFFER_BYTES).length],
    [READ_BYTES, READ_BUFFER_BYTES],
  );
  assert.ok(wide.length > buffer.length);
  pool.release(pool.lend(wide, 10), 10);
  pool.giveBack(buffer);
  assert.equal(pool.take(), buffer);
  assert.equal(pool.takeWide(), wide);
});

test('buffers that nobody takes go, an eighth at a time, and those in use stay', () => {
  const pool = new ReadPool();
  const many = Array.from({ length: 64 }, () => pool.take());
  for (const buffer of many) pool.giveBack(buffer);
  // The first one only begins to count: the buffers came since.
  pool.shrink();
  assert.equal(pool.freeCount, 64);
  const inUse = Array.from({ length: 24 }, () => pool.take());
  for (const buffer of inUse) pool.giveBack(buffer);
  pool.shrink();
  assert.equal(pool.freeCount, 64 - 40 / 8);
  assert.equal(pool.take(), inUse.at(-1), 'what was used last is there');
  // Those that went have no memory, and wait for no collection.
  const gone = many.filter((buffer) => (buffer.buffer as ArrayBuffer).detached);
  assert.equal(gone.length, 40 / 8);
  pool.giveBack(inUse.at(-1) as Buffer);
  for (let second = 0; second < 60; second += 1) pool.shrink();
  assert.equal(pool.freeCount, 0);
});

test('free buffers are bounded, of either kind', () => {
  const pool = new ReadPool();
  const bytesMax = 48 * 1024 * 1024;
  const many = Array.from({ length: bytesMax / READ_BUFFER_BYTES + 1 }, () => pool.take());
  const wide = Array.from({ length: bytesMax / WIDE_BUFFER_BYTES + 1 }, () => pool.takeWide());
  for (const buffer of [...many, ...wide]) pool.giveBack(buffer);
  // Who gave it back may be looking at it until its turn ends.
  assert.equal(many.at(-1)?.length, READ_BYTES);
  pool.shrink();
  assert.equal(pool.freeCount, bytesMax / READ_BUFFER_BYTES + bytesMax / WIDE_BUFFER_BYTES);
  const gone = [...many, ...wide].filter(({ buffer }) => (buffer as ArrayBuffer).detached);
  assert.equal(gone.length, 2, 'one of each, whose memory is free at once');
});

test('memory of anybody else is nothing to the pool', () => {
  const pool = new ReadPool();
  const own = Buffer.allocUnsafeSlow(3);
  pool.release(own, own.length);
  assert.equal(pool.own(own), own);
  assert.equal(pool.keep(own), own);
  assert.equal(pool.isLent(own), false);
});

test('a small part that must wait is copied, a large one waits as it is', () => {
  const pool = new ReadPool();
  const lent = pool.lend(pool.take(), READ_BYTES);
  lent.fill('a');
  const large = pool.keep(lent.subarray(0, READ_BYTES / 2));
  assert.equal(pool.isLent(large), true);
  const small = pool.keep(lent.subarray(READ_BYTES / 2, READ_BYTES / 2 + 100));
  assert.equal(pool.isLent(small), false);
  assert.equal(small.toString(), 'a'.repeat(100));
  pool.release(large, READ_BYTES - 100);
  assert.equal(pool.lentCount, 0);
});

test("a small piece of Node's own memory keeps no more than itself when it must wait", () => {
  const pool = new ReadPool();
  const piece = Buffer.from('x'.repeat(1100));
  assert.ok(piece.buffer.byteLength >= 4 * piece.length, 'it lies in a block');
  const kept = pool.keep(piece);
  assert.deepEqual([kept.buffer.byteLength, kept.toString()], [1100, piece.toString()]);
});

test('a part of a wide one that must wait is copied into a read of its own', () => {
  const pool = new ReadPool();
  const lent = pool.lend(pool.takeWide(), WIDE_BUFFER_BYTES).fill('a');
  const part = lent.subarray(READ_BYTES, 2 * READ_BYTES);
  const kept = pool.keep(part);
  assert.ok(kept !== part && pool.isLent(kept) && kept.equals(part));
  // A record of TLS would hold four times its bytes.
  const record = pool.keep(lent.subarray(2 * READ_BYTES, 2 * READ_BYTES + 16_384));
  assert.equal(pool.isLent(record), false);
  // The wide one is used again as soon as the others have gone, and the copy after it.
  pool.release(lent, WIDE_BUFFER_BYTES - READ_BYTES - 16_384);
  assert.deepEqual([pool.lentCount, pool.freeCount], [1, 1]);
  pool.release(kept, READ_BYTES);
  assert.deepEqual([pool.lentCount, pool.freeCount], [0, 2]);
  const again = pool.keep(pool.lend(pool.takeWide(), WIDE_BUFFER_BYTES).subarray(0, READ_BYTES));
  assert.equal(again.buffer, kept.buffer, 'no new memory');
});

test('what one borrower reads is never what another has, whatever the order of events', () => {
  const step = fc.record({
    does: fc.constantFrom('lend', 'copy', 'copy', 'release', 'release'),
    // A quarter, as four of them fill a buffer.
    bytes: fc.oneof(
      fc.integer({ min: 1, max: 4096 }),
      fc.integer({ min: 1, max: READ_BYTES - 1 }),
      fc.constant(READ_BYTES / 4),
    ),
    which: fc.nat(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: 'max' }), (steps) => {
      const pool = new ReadPool();
      const held: { piece: Buffer; mark: number }[] = [];
      for (const [index, { does, bytes, which }] of steps.entries()) {
        const mark = index & 0xff;
        const at = which % Math.max(held.length, 1);
        const one = held[at];
        if (does === 'copy') held.push({ piece: pool.copy(Buffer.alloc(bytes, mark)), mark });
        else if (does === 'lend' || one === undefined) {
          held.push({ piece: pool.lend(pool.take(), bytes).fill(mark), mark });
        } else {
          assert.ok(one.piece.equals(Buffer.alloc(one.piece.length, one.mark)));
          const part = Math.min(bytes, one.piece.length);
          pool.release(one.piece, part);
          one.piece = one.piece.subarray(part);
          if (one.piece.length === 0) held.splice(at, 1);
        }
        assert.equal(pool.lentCount, new Set(held.map(({ piece }) => piece.buffer)).size);
      }
    }),
    { seed: SEED, numRuns: 200 },
  );
});

test('copies share a buffer, which is used from its beginning when nobody has any of them', () => {
  const pool = new ReadPool();
  const one = pool.copy(Buffer.from('one'));
  const other = pool.copy(Buffer.from('other'));
  assert.equal(other.buffer, one.buffer);
  assert.deepEqual([other.byteOffset - one.byteOffset, pool.lentCount], [3, 1]);
  pool.release(one, 3);
  // What does not fit goes into the next buffer; the first one is free with its last copy.
  const large = pool.copy(Buffer.alloc(READ_BYTES - 4));
  assert.notEqual(large.buffer, one.buffer);
  assert.deepEqual([pool.lentCount, pool.freeCount, other.toString()], [2, 0, 'other']);
  pool.release(other, 5);
  assert.deepEqual([pool.lentCount, pool.freeCount], [1, 1]);
  pool.release(large, large.length);
  assert.equal(pool.lentCount, 0);
  const again = pool.copy(Buffer.alloc(READ_BYTES - 1));
  assert.deepEqual([again.buffer, again.byteOffset], [large.buffer, large.byteOffset]);
  assert.throws(() => pool.copy(Buffer.alloc(READ_BYTES)), /a copy is of a part of a read/);
});

test("what copies are put into is in nobody else's hands, however well they fill it", () => {
  const pool = new ReadPool();
  const quarter = READ_BYTES / 4;
  assert.equal(Number.isInteger(quarter), true);
  for (const sizes of [[READ_BYTES - 1], [quarter, quarter, quarter, quarter]]) {
    const copies = sizes.map((bytes) => pool.copy(Buffer.alloc(bytes, 'a')));
    for (const copy of copies) pool.release(copy, copy.length);
    assert.equal(pool.lentCount, 0);
    const copy = pool.copy(Buffer.from('mine'));
    const taken = Array.from({ length: pool.freeCount + 1 }, () => pool.take());
    for (const buffer of taken) pool.lend(buffer, READ_BYTES).fill('b');
    assert.equal(copy.toString(), 'mine');
    pool.release(copy, copy.length);
    for (const buffer of taken) pool.release(buffer, READ_BYTES);
  }
});

test('memory of another thread is lent where it is filled, then is free here', () => {
  const there = new ReadPool();
  const here = new ReadPool();
  const memory = there.giveAway();
  assert.equal(memory.length, WHOLE_BYTES);
  memory.fill('a', 16, 300);
  const lent = here.adopt(structuredClone(memory.buffer, { transfer: [memory.buffer] }), 16, 300);
  assert.equal(lent.toString(), 'a'.repeat(284));
  assert.equal(here.lentCount, 1);
  const atHeadroom = lent.subarray(HEADROOM_BYTES - 16);
  assert.equal(here.wholeOf(atHeadroom), undefined, 'what is before it is not free');
  here.release(lent, lent.length);
  assert.equal(here.lentCount, 0);
  const buffer = here.takeWide();
  assert.equal(buffer.buffer, lent.buffer);
  const read = here.lend(buffer, 10);
  assert.equal(here.wholeOf(read)?.buffer, lent.buffer, 'it is read into as any other');
});

test('memory is spared only when it is free, and is gone from the pool then', () => {
  const pool = new ReadPool();
  assert.equal(pool.spare(), undefined);
  const buffer = pool.takeWide();
  assert.equal(pool.spare(), undefined);
  pool.giveBack(buffer);
  const memory = pool.spare();
  assert.equal(memory, buffer.buffer);
  assert.equal(pool.spare(), undefined);
  assert.ok(memory !== undefined);
  pool.welcome(memory);
  assert.equal(pool.takeWide().buffer, memory);
});
