import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { Kind } from '../../src/config/option.ts';
import { boolean, choice, duration, integer, size } from '../../src/config/quantity.ts';
import { readText, reasonOf } from './input.ts';

const anySize = size({ min: 0, max: 2 ** 40 });
const anyDuration = duration({ min: 0, max: 2 ** 31 - 1 });

function check<T>(kind: Kind<T>, text: string, expected: T | RegExp): void {
  if (expected instanceof RegExp) assert.match(reasonOf(kind, text), expected, text);
  else assert.deepEqual(readText(kind, text), expected, text);
}

describe('sizes', () => {
  test('are bytes, KiB, MiB or GiB', () => {
    check(anySize, '0', 0);
    check(anySize, '65536', 65_536);
    check(anySize, '64B', 64);
    check(anySize, '64KiB', 65_536);
    check(anySize, '8MiB', 8_388_608);
    check(anySize, '1GiB', 1_073_741_824);
  });

  test('refuse every other spelling', () => {
    const wrong = [
      '',
      ' 1',
      '1 ',
      '8MB',
      '8mib',
      '8 MiB',
      '1.5MiB',
      '-1',
      '+1',
      '1e3',
      '0x10',
      '１',
    ];
    for (const text of wrong) check(anySize, text, /is not a size; write 64KiB, 8MiB or/);
  });

  test('name the bounds', () => {
    const kind = size({ min: 4096, max: 262_144 });
    check(kind, '4096', 4096);
    check(kind, '256KiB', 262_144);
    check(kind, '4095', /^is too small; write 4KiB to 256KiB$/);
    check(kind, '1MiB', /^is too large; write 4KiB to 256KiB$/);
  });

  test('are shown as a text that reads back as the same size', () => {
    const property = fc.property(fc.integer({ min: 0, max: 2 ** 40 }), (bytes) => {
      check(anySize, anySize.show(bytes), bytes);
    });
    fc.assert(property, { verbose: 1 });
    assert.equal(anySize.show(8_388_608), '8MiB');
    assert.equal(anySize.show(8_388_609), '8388609');
  });
});

describe('durations', () => {
  test('are ms, s, m or h', () => {
    check(anyDuration, '500ms', 500);
    check(anyDuration, '0s', 0);
    check(anyDuration, '10s', 10_000);
    check(anyDuration, '5m', 300_000);
    check(anyDuration, '1h', 3_600_000);
  });

  test('refuse every other spelling', () => {
    for (const text of ['', '5', '0', 'off', '5 s', '1.5s', '-5s', '5S', '1d', '1h30m', 's']) {
      check(anyDuration, text, /is not a duration; write 500ms, 10s, 5m or 1h$/);
    }
  });

  test('never exceed what a timer can hold', () => {
    check(duration({ min: 0, max: Number.MAX_SAFE_INTEGER }), '600h', /is too large/);
  });

  test('may be switched off by a word or by 0', () => {
    const kind = duration({ min: 1, max: 1000, offWord: 'off' });
    for (const text of ['off', '0', '0s', '0ms']) check(kind, text, 0);
    check(kind, 'on', /is not a duration; .* or 1h, or off$/);
    assert.equal(kind.show(0), 'off');
  });

  test('are shown as a text that reads back as the same duration', () => {
    const property = fc.property(fc.integer({ min: 0, max: 2 ** 31 - 1 }), (ms) => {
      check(anyDuration, anyDuration.show(ms), ms);
    });
    fc.assert(property, { verbose: 1 });
    assert.equal(anyDuration.show(0), '0s');
    assert.equal(anyDuration.show(75_000), '75s');
    assert.equal(anyDuration.show(60_000), '1m');
  });
});

test('integers are digits within their bounds, with a word for automatic where there is one', () => {
  const plain = integer({ min: 1, max: 64 });
  check(plain, '64', 64);
  check(plain, '0', /^is too small; write 1 to 64$/);
  check(plain, '65', /^is too large; write 1 to 64$/);
  for (const text of ['', '1.0', '-1', '1e1', ' 1', 'auto'])
    check(plain, text, /not a whole number/);
  const automatic = integer({ min: 1, max: 16, autoWord: 'auto' });
  check(automatic, 'auto', 0);
  check(automatic, '0', 0);
  assert.equal(automatic.show(0), 'auto');
});

test('booleans and choices take their words only', () => {
  for (const text of ['true', '1']) check(boolean, text, true);
  for (const text of ['false', '0']) check(boolean, text, false);
  for (const text of ['', 'TRUE', 'yes', 'on', 'off']) check(boolean, text, /write true or false/);
  const kind = choice(['auto', 'off']);
  check(kind, 'off', 'off');
  check(kind, 'OFF', /is not one of the choices; write auto, off/);
});
