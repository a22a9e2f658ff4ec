// Goal: what reaches the general decoder is one map of plain values, and everything else is refused
// with one code. Method: hand-made hostile bodies, then random and mutated ones by fast-check
// (SLUICEWAY_WIRE_SEED repeats a run; the seed is in the name).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WireError } from '../../src/base/errors.ts';
import { type BodyMap, decodeBody, encodeBody } from '../../src/wire/body.ts';
import { CONTROL_BODY_BYTES_MAX } from '../../src/wire/limits.ts';

const SEED = Number(process.env.SLUICEWAY_WIRE_SEED ?? Date.now() % 0x7fff_ffff);
const RUNS = process.env.CI === 'true' ? 50_000 : 5000;

function hex(text: string): Uint8Array {
  return Uint8Array.from(Buffer.from(text.replaceAll(' ', ''), 'hex'));
}

function assertRefused(bytes: Uint8Array): void {
  assert.throws(
    () => decodeBody(bytes),
    (error) => error instanceof WireError && error.code === 'SLW_WIRE_BODY_INVALID',
  );
}

/** A map of one key `a` with the given value. */
function keyA(value: string): Uint8Array {
  return hex(`81 a1 61 ${value}`);
}

const REFUSED: Readonly<Record<string, Uint8Array>> = {
  'no bytes': hex(''),
  'a number': hex('01'),
  'a list': hex('90'),
  nil: hex('c0'),
  text: hex('a1 61'),
  'bytes after the map': hex('80 00'),
  'a second map': hex('80 80'),
  'the never-used marker': keyA('c1'),
  'a fixext of one byte': keyA('d4 00 00'),
  'a record extension': keyA('d4 72 40'),
  'a regular expression': keyA('c7 03 78 92 a1 61'),
  'an error extension': keyA('d6 65 00 00 00 00'),
  'a timestamp': keyA('d6 ff 00 00 00 00'),
  'a typed array': keyA('c7 02 74 00 00'),
  'an extension of 16 bits': keyA('c8 00 01 00 00'),
  'an extension of 32 bits': keyA('c9 00 00 00 01 00 00'),
  'text with a length of 32 bits': keyA('db 00 00 00 01 61'),
  'binary with a length of 32 bits': keyA('c6 00 00 00 01 61'),
  'a list with a length of 32 bits': keyA('dd 00 00 00 01 61'),
  'a map with a length of 32 bits': keyA('df 00 00 00 01 a1 61 00'),
  'an extension as a key': hex('81 d4 00 00 00'),
  'a number as a key': hex('81 01 01'),
  'a list as a key': hex('81 90 01'),
  'nil as a key': hex('81 c0 01'),
  'a map that ends in its key': hex('81'),
  'a map without its value': hex('81 a1 61'),
  'more pairs than bytes': hex('de ff ff a1 61 00'),
  'more items than bytes': keyA('dc ff ff 00'),
  'text longer than the bytes': keyA('d9 ff 61'),
  'text whose length is cut': keyA('da 00'),
  'binary longer than the bytes': keyA('c5 ff ff 61'),
  'a number that is cut': keyA('cf 00 00'),
  'a float that is cut': keyA('cb 00'),
  'a key twice': hex('82 a1 61 01 a1 61 02'),
  'a key twice, in two encodings': hex('82 a1 61 01 d9 01 61 02'),
  'a key twice in an inner map': keyA('91 82 a1 62 01 a1 62 02'),
  'text that is not UTF-8': keyA('a1 ff'),
  'text cut in a character': keyA('a2 61 e2'),
  'text with a lone surrogate': keyA('a3 ed a0 80'),
  'text with an overlong slash': keyA('a2 c0 af'),
  'a key that is not UTF-8': hex('81 a1 80 01'),
  'nested 7 deep': keyA('91 91 91 91 91 91 90'),
  '5 KB of lists': new Uint8Array(5000).fill(0x91),
  '5 KB of lists in a map': Uint8Array.from([0x81, 0xa1, 0x61, ...new Uint8Array(5000).fill(0x91)]),
  '5 KB of maps': new Uint8Array(5000).fill(0x81),
};

for (const [name, bytes] of Object.entries(REFUSED)) {
  test(`${name}: refused`, () => assertRefused(bytes));
}

test('every prefix of a good body is refused', () => {
  const bytes = encodeBody({ list: [1, 'two', null, true, { three: 3.5 }], text: 'x'.repeat(300) });
  decodeBody(bytes);
  for (let end = 0; end < bytes.length; end += 1) assertRefused(bytes.subarray(0, end));
});

test('values of every allowed kind pass', () => {
  const map = decodeBody(
    hex(
      '8b a1 61 c0 a1 62 c2 a1 63 c3 a1 64 ca 3f800000 a1 65 cb 3ff0000000000000 ' +
        'a1 66 cc ff a1 67 d1 ffff a1 68 cf 0000000100000000 a1 69 c4 01 ff a1 6a d9 01 78 ' +
        'a1 6b dc 0001 de 0001 a1 61 e0',
    ),
  );
  assert.deepEqual([...map.values()].slice(0, 8), [
    null,
    false,
    true,
    1,
    1,
    255,
    -1,
    0x1_0000_0000,
  ]);
  assert.deepEqual(Buffer.from(map.get('i') as Uint8Array), Buffer.from([0xff]));
  assert.equal(map.get('j'), 'x');
  assert.deepEqual(map.get('k'), [new Map([['a', -32]])]);
});

test('nested 6 deep passes', () => {
  assert.equal(decodeBody(keyA('91 91 91 91 91 90')).size, 1);
});

test('keys that name a prototype are ordinary keys, and change none', () => {
  const names = ['__proto__', 'constructor', 'prototype', 'toString', 'hasOwnProperty'];
  const parts = names.flatMap((name) => [
    0xa0 + name.length,
    ...Buffer.from(name),
    ...hex('81 a8 706f6c6c75746564 c3'),
  ]);
  const map = decodeBody(Uint8Array.from([0x80 + names.length, ...parts]));
  assert.deepEqual([...map.keys()], names);
  assert.equal(Object.hasOwn(Object.prototype, 'polluted'), false);
  assert.equal(({} as { polluted?: boolean }).polluted, undefined);
  assert.equal(Object.getPrototypeOf(map), Map.prototype);
});

test('what is encoded is decoded to the same, and owned by the caller', () => {
  const first = encodeBody({ name: 'a', list: [1, 2], inner: { x: 'ü€😀' } });
  const copy = Uint8Array.from(first);
  encodeBody({ name: 'something else altogether', list: [9, 9] });
  assert.deepEqual(first, copy, 'a later call does not write into it');
  assert.equal(first.buffer.byteLength, first.length, 'not a view of a pool');
  const map = decodeBody(first);
  assert.equal(map.get('name'), 'a');
  assert.deepEqual(map.get('list'), [1, 2]);
  assert.equal((map.get('inner') as BodyMap).get('x'), 'ü€😀');
});

test(`random bodies give a map of plain values or are refused (${RUNS}, seed ${SEED})`, () => {
  const plain = fc.oneof(
    fc.string({ maxLength: 40, unit: 'binary' }),
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
  );
  const fields = fc.dictionary(
    fc.string({ maxLength: 5 }),
    fc.oneof(plain, fc.array(plain, { maxLength: 4 }), fc.dictionary(fc.string(), plain)),
    { maxKeys: 5 },
  );
  const mutated = fc
    .tuple(fields, fc.array(fc.tuple(fc.nat(), fc.nat({ max: 255 })), { maxLength: 3 }))
    .map(([body, changes]) => {
      const bytes = encodeBody(body);
      for (const [at, value] of changes) bytes[at % bytes.length] = value;
      return bytes;
    });
  const input = fc.oneof(mutated, fc.uint8Array({ maxLength: 64 }));
  fc.assert(
    fc.property(input, (bytes) => {
      try {
        assertPlain(decodeBody(bytes));
      } catch (error) {
        if (!(error instanceof WireError)) throw error;
        assert.equal(error.code, 'SLW_WIRE_BODY_INVALID');
      }
    }),
    { numRuns: RUNS, seed: SEED },
  );
});

test('the largest body of small items is read in milliseconds', () => {
  const bytes = new Uint8Array(CONTROL_BODY_BYTES_MAX).fill(0xc0);
  const items = bytes.length - 6;
  bytes.set([0x81, 0xa1, 0x61, 0xdc, items >> 8, items & 0xff]);
  assert.equal((decodeBody(bytes).get('a') as unknown[]).length, items);
});

function assertPlain(value: unknown): void {
  if (value instanceof Map) {
    for (const [key, item] of value) {
      assert.equal(typeof key, 'string');
      assertPlain(item);
    }
  } else if (Array.isArray(value)) {
    for (const item of value) assertPlain(item);
  } else if (typeof value === 'object' && value !== null) {
    assert.ok(value instanceof Uint8Array, `a ${value.constructor.name} came out`);
  } else {
    assert.ok(['string', 'number', 'boolean', 'object'].includes(typeof value), typeof value);
  }
}
