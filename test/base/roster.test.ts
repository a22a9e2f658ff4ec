import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { Roster, type Seat } from '../../src/base/roster.ts';

const execute = promisify(execFile);
const URL_OF_IT = new URL('../../src/base/roster.ts', import.meta.url).href;

test('who entered is there in the order of coming, until its seat is left', () => {
  const roster = new Roster<{ name: string }>();
  const [a, b, c] = ['a', 'b', 'c'].map((name) => roster.enter({ name }));
  const names = (): string[] => [...roster].map(({ name }) => name);
  assert.deepEqual(names(), ['a', 'b', 'c']);
  b?.leave();
  assert.deepEqual(names(), ['a', 'c']);
  b?.leave();
  assert.equal(roster.size, 2, 'a second time it changes nothing');
  a?.leave();
  assert.equal(roster.first?.name, 'c');
  c?.leave();
  assert.equal(roster.first, undefined);
  assert.equal(roster.size, 0);
});

test('whoever leaves while others are looked at is left out, and a newcomer is not seen', () => {
  const roster = new Roster<{ name: string }>();
  const seats = ['a', 'b', 'c', 'd'].map((name) => roster.enter({ name }));
  const seen: string[] = [];
  for (const { name } of roster) {
    seen.push(name);
    if (name !== 'a') continue;
    seats[0]?.leave();
    seats[1]?.leave();
    seats[3]?.leave();
    roster.enter({ name: 'e' });
  }
  assert.deepEqual(seen, ['a', 'c']);
  assert.deepEqual(
    [...roster].map(({ name }) => name),
    ['c', 'e'],
  );
});

test('it holds whom a Set would hold, in the same order', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(40), { maxLength: 200, size: 'max' }), (moves) => {
      const roster = new Roster<{ id: number }>();
      const set = new Set<object>();
      const seats = new Map<number, Seat<{ id: number }>>();
      for (const id of moves) {
        const seat = seats.get(id);
        if (seat === undefined) {
          const item = { id };
          seats.set(id, roster.enter(item));
          set.add(item);
        } else {
          if (seat.item !== undefined) set.delete(seat.item);
          seat.leave();
          seats.delete(id);
        }
      }
      assert.deepEqual([...roster], [...set]);
      assert.equal(roster.size, set.size);
      assert.equal(roster.first, [...set][0]);
    }),
  );
});

test('a seat that was left holds nobody', () => {
  const roster = new Roster<object>();
  const [a, b, c] = [{}, {}, {}].map((item) => roster.enter(item));
  b?.leave();
  assert.deepEqual([b?.item, b?.before, b?.behind], [undefined, undefined, undefined]);
  assert.ok(a !== undefined && c !== undefined);
  assert.equal(a.behind, c);
  assert.equal(c.before, a);
});

/** MB that collections of the young alone leave of 100,000 guests of 2 KB, 64 at a time. */
async function leftBy(enter: string): Promise<number> {
  const code = `
    const { Roster } = await import(${JSON.stringify(URL_OF_IT)});
    const { getHeapStatistics } = await import('node:v8');
    const roster = new Roster();
    const set = new Set();
    const leaveNext = [];
    // All that is there now grows old.
    for (let count = 0; count < 3; count += 1) gc();
    const before = getHeapStatistics().used_heap_size;
    for (let count = 0; count < 100_000; count += 1) {
      const guest = { luggage: new Array(250).fill(count) };
      ${enter}
      if (leaveNext.length > 64) leaveNext.shift()();
      if (count % 2_000 === 0) gc({ type: 'minor' });
    }
    for (let count = 0; count < 3; count += 1) gc({ type: 'minor' });
    console.log((getHeapStatistics().used_heap_size - before) / 1e6);`;
  const flags = ['--expose-gc', '--no-incremental-marking'];
  // The young generation is large enough for those who are there, and a full collection far off.
  const { stdout } = await execute(process.execPath, [
    ...[...flags, '--initial-old-space-size=2000'],
    ...['--input-type=module', '--eval', code],
  ]);
  return Number(stdout);
}

test('a guest that has left is collected with the young, which in a Set it is not', async () => {
  const ours = await leftBy(
    'const seat = roster.enter(guest); leaveNext.push(() => seat.leave());',
  );
  const ofSet = await leftBy('set.add(guest); leaveNext.push(() => set.delete(guest));');
  assert.ok(ours < 5, `${ours} MB are left`);
  assert.ok(ofSet > 50, `a Set leaves ${ofSet} MB: V8 has mended it, and one would do`);
});
