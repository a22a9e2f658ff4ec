// What is read by place is what decodeBody and a naive check of each key make of the same bytes.
//
// Goal: the one pass has no opinion of its own. Method: bodies as both sides write them, with
// bytes changed, cut, doubled and put elsewhere; each must be read alike, or refused by both.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WireError } from '../../src/base/errors.ts';
import { type BodyMap, decodeBody, encodeBody } from '../../src/wire/body.ts';
import { decodeOpen, encodeOpen, type Open } from '../../src/wire/open.ts';

const ARRIVAL = { toAddress: '203.0.113.9', toPort: 2222 };
const OPEN: Open = { tunnel: 'tcp:2222', window: 262_144, address: '::1', port: 4711, link: '' };

const encode = (open: Open): Uint8Array => encodeOpen(open, open.window, open.link);

function isIn(value: unknown, low: number, high: number): boolean {
  return Number.isInteger(value) && low <= Number(value) && Number(value) <= high;
}

function isText(value: unknown): boolean {
  return typeof value === 'string' && value.length <= 512;
}

/** Undefined: refused. */
function readNaively(bytes: Uint8Array): object | undefined {
  let map: BodyMap;
  try {
    map = decodeBody(bytes);
  } catch {
    return undefined;
  }
  const { tunnel, window, address, port, toAddress, toPort, link = '' } = Object.fromEntries(map);
  const fits = isText(tunnel) && isText(address) && isText(link) && isIn(window, 1, 2 ** 31 - 1);
  if (!fits || !isIn(port, 0, 65_535)) return undefined;
  const arrival = toAddress === undefined ? {} : { toAddress, toPort };
  if (toAddress !== undefined && !(isText(toAddress) && isIn(toPort, 0, 65_535))) return undefined;
  return { tunnel, window, address, port, ...arrival, link };
}

function read(bytes: Uint8Array): object | undefined {
  try {
    return decodeOpen(bytes);
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    assert.equal(error.code, 'SLW_WIRE_BODY_INVALID');
    return undefined;
  }
}

const texts = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.string({ unit: 'grapheme', maxLength: 40 }),
  fc.constantFrom('', 'tcp:2222', '127.0.0.1', 'x'.repeat(255), 'x'.repeat(256), 'x'.repeat(513)),
);
const integers = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 31 - 1 }),
  fc.constantFrom(0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, -1),
);
const opens = fc.record(
  {
    ...{ tunnel: texts, address: texts, port: integers },
    ...{ toAddress: texts, toPort: integers, window: integers, link: texts },
  },
  { requiredKeys: ['tunnel', 'address', 'port', 'window'] },
);

test('an OPEN comes through as it was, with and without what may be absent', () => {
  for (const link of ['', '0-17']) {
    for (const arrival of [{}, ARRIVAL]) {
      const open = { ...OPEN, ...arrival, link };
      assert.deepEqual(decodeOpen(Buffer.from(encode(open))), open);
      // Once more, when its texts are those of the one before.
      assert.deepEqual(decodeOpen(encode(open)), open);
    }
  }
});

test('what is written by place is what encodeBody writes', () => {
  const ports = fc.nat(65_535);
  const windows = fc.oneof(fc.integer({ min: 1, max: 2 ** 31 - 1 }), fc.constantFrom(127, 128));
  const written = fc.record(
    {
      ...{ tunnel: texts, address: texts, port: ports, toAddress: texts, toPort: ports },
      ...{ window: windows, link: texts.filter((text) => text !== '') },
    },
    { requiredKeys: ['tunnel', 'address', 'port', 'window'] },
  );
  fc.assert(
    fc.property(written, ({ toPort, ...fields }) => {
      const open = 'toAddress' in fields ? { ...fields, toPort: toPort ?? 0 } : fields;
      const { tunnel, address, port, window, link, ...arrival } = open;
      const all = { tunnel, address, port, ...arrival, window, ...(link && { link }) };
      const bytes = encodeOpen(open, window, link);
      assert.deepEqual(Buffer.from(bytes), Buffer.from(encodeBody(all)));
    }),
    { numRuns: 2000 },
  );
});

test('texts of one OPEN do not show in the next', () => {
  for (const tunnel of ['tcp:2222', 'tcp:2223', 'tcp:222', 'tcp:22223', '', 'ü', 'tcp:2222']) {
    const open = { ...OPEN, ...ARRIVAL, tunnel, address: tunnel, toAddress: `${tunnel}x` };
    assert.deepEqual(decodeOpen(encode(open)), open);
  }
});

test('any OPEN is read as a naive reader does', () => {
  fc.assert(
    fc.property(opens, (fields) => {
      const bytes = encodeBody(fields);
      assert.deepEqual(read(bytes), readNaively(bytes));
    }),
    { numRuns: 2000 },
  );
});

test('keys in another order make no difference', () => {
  const keys = ['tunnel', 'address', 'port', 'toAddress', 'toPort', 'window', 'link'] as const;
  const open = { ...OPEN, ...ARRIVAL, link: '1-2' };
  fc.assert(
    fc.property(fc.shuffledSubarray([...keys], { minLength: keys.length }), (order) => {
      const bytes = encodeBody(Object.fromEntries(order.map((key) => [key, open[key]])));
      assert.deepEqual(decodeOpen(bytes), open);
    }),
    { numRuns: 200 },
  );
});

test('changed bytes are read as a naive reader does', () => {
  const change = fc.record({
    kind: fc.constantFrom('set', 'cut', 'double', 'insert'),
    place: fc.nat(),
    byte: fc.oneof(fc.nat(255), fc.constantFrom(0x7f, 0x80, 0x86, 0xa0, 0xcc, 0xcd, 0xce, 0xd9)),
  });
  fc.assert(
    fc.property(opens, fc.array(change, { minLength: 1, maxLength: 3 }), (fields, changes) => {
      let bytes = [...encodeBody({ ...OPEN, ...ARRIVAL, ...fields })];
      for (const { kind, place, byte } of changes) {
        const at = place % (bytes.length + 1);
        if (kind === 'set') bytes[at] = byte;
        else if (kind === 'cut') bytes = bytes.slice(0, at);
        else if (kind === 'double') bytes = [...bytes.slice(0, at), ...bytes.slice(at - 3)];
        else bytes.splice(at, 0, byte);
      }
      const body = Uint8Array.from(bytes);
      assert.deepEqual(read(body), readNaively(body));
    }),
    { numRuns: 5000 },
  );
});
