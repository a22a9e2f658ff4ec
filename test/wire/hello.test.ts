// Each control message comes through as it was, and each key that is missing or wrong is refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeBody } from '../../src/wire/body.ts';
import {
  decodeHello,
  decodeRegister,
  decodeRegistered,
  decodeUnregister,
  decodeWelcome,
  encodeRegister,
} from '../../src/wire/hello.ts';
import { FRAME_BYTES_MAX, FRAME_BYTES_MIN, REGISTER_TUNNELS_MAX } from '../../src/wire/limits.ts';
import { decodeOpen } from '../../src/wire/open.ts';

type Fields = Readonly<Record<string, unknown>>;

interface Message {
  readonly name: string;
  readonly fields: Fields;
  readonly decode: (bytes: Uint8Array) => object;
  /** Values that each key must refuse; a missing key is tried for all. */
  readonly refused: Readonly<Record<string, readonly unknown[]>>;
  readonly optional?: readonly string[];
}

const LONG = 'x'.repeat(513);
const NOT_TEXT = [1, null, true, ['a'], { a: 1 }, LONG];
const NOT_INTEGER = [1.5, Number.NaN, Number.POSITIVE_INFINITY, '1', null, [1], -1, 2 ** 53];
const LIMITS = { frame: FRAME_BYTES_MAX, streams: 10_000, credit: 65_536 };
const BAD_LIMITS = [
  null,
  'x',
  [],
  {},
  { ...LIMITS, frame: FRAME_BYTES_MIN - 1 },
  { ...LIMITS, frame: FRAME_BYTES_MAX + 1 },
  { ...LIMITS, streams: -1 },
  { ...LIMITS, streams: 2 ** 31 },
  { ...LIMITS, credit: 2 ** 31 },
  { ...LIMITS, credit: 'many' },
  { frame: FRAME_BYTES_MAX, streams: 1 },
];
const MANY = Array.from({ length: 65 }, (_, index) => `t${index}`);
const OFFER = { name: 'tcp:2222', label: 'tcp:2222=127.0.0.1:22' };
const RESULT = { name: 'tcp:2222', code: 'SLW_TUNNEL_PORT_TAKEN', reason: 'in use' };

const MESSAGES: readonly Message[] = [
  {
    name: 'HELLO',
    decode: decodeHello,
    fields: {
      versions: [1, 2],
      features: ['x'],
      client: 'c1',
      instance: 'i1',
      agent: 'sluiceway/0.1.0',
      limits: LIMITS,
    },
    refused: {
      versions: [1, 'x', null, [0], [256], ['1'], [1.5], MANY.map(() => 1)],
      features: ['x', null, [1], [null], [LONG], MANY],
      client: NOT_TEXT,
      instance: NOT_TEXT,
      agent: NOT_TEXT,
      limits: BAD_LIMITS,
    },
  },
  {
    name: 'WELCOME',
    decode: decodeWelcome,
    fields: {
      version: 1,
      features: [],
      node: 'n1',
      shard: 1,
      shards: 2,
      agent: 'sluiceway/0.1.0',
      limits: LIMITS,
      spread: 10_240,
    },
    refused: {
      version: [...NOT_INTEGER, 0, 256],
      features: ['x', [1]],
      node: NOT_TEXT,
      shard: [...NOT_INTEGER, 2, 1024],
      shards: [...NOT_INTEGER, 0, 1, 1025],
      spread: ['1', 1.5, -1, 600_001],
      agent: NOT_TEXT,
      limits: BAD_LIMITS,
    },
    optional: ['spread'],
  },
  {
    name: 'REGISTER',
    decode: decodeRegister,
    fields: { call: 0xffff_ffff, tunnels: [OFFER] },
    refused: {
      call: [...NOT_INTEGER, 2 ** 32],
      tunnels: [
        null,
        OFFER,
        ['tcp:2222'],
        [null],
        [{ name: 'a' }],
        [{ label: 'a' }],
        [{ ...OFFER, name: 1 }],
        [{ ...OFFER, label: LONG }],
        MANY.map((name) => ({ name, label: name })),
      ],
    },
  },
  {
    name: 'REGISTERED',
    decode: decodeRegistered,
    fields: {
      call: 0,
      results: [
        RESULT,
        { name: 'a', code: '', reason: '' },
        { name: 'b', code: '', reason: '', scheme: 'https' },
      ],
    },
    refused: {
      call: [...NOT_INTEGER, 2 ** 32],
      results: [
        null,
        RESULT,
        [1],
        [{ ...RESULT, name: null }],
        [{ ...RESULT, code: 32 }],
        [{ name: 'a', code: '' }],
        [{ ...RESULT, scheme: 443 }],
        MANY.map(() => RESULT),
      ],
    },
  },
  {
    name: 'UNREGISTER',
    decode: decodeUnregister,
    fields: { names: ['a', 'b'] },
    refused: { names: [null, 'a', { a: 1 }, [1], [LONG], MANY] },
  },
  {
    name: 'OPEN',
    decode: decodeOpen,
    fields: {
      ...{ tunnel: 'a', window: 1, address: '2001:db8::1', port: 65_535, link: 'l' },
      ...{ toAddress: '2001:db8::2', toPort: 65_535 },
    },
    refused: {
      tunnel: NOT_TEXT,
      window: [...NOT_INTEGER, 0, 2 ** 31],
      address: NOT_TEXT,
      port: [...NOT_INTEGER, 65_536],
      link: NOT_TEXT,
      toAddress: NOT_TEXT,
      toPort: [...NOT_INTEGER, 65_536],
    },
    optional: ['link', 'toAddress'],
  },
];

const REFUSED = { code: 'SLW_WIRE_BODY_INVALID' };

for (const { name, fields, decode, refused, optional } of MESSAGES) {
  test(`${name} comes through as it was`, () => {
    assert.deepEqual(decode(encodeBody(fields)), fields);
  });

  test(`${name} ignores keys that it does not know`, () => {
    const more = { ...fields, later: { deep: [1] }, ['__proto__']: 1, constructor: 'x' };
    assert.deepEqual(decode(encodeBody(more)), fields);
  });

  test(`${name} without a key, or with a wrong value for it, is refused`, () => {
    assert.deepEqual(Object.keys(refused).sort(), Object.keys(fields).sort(), 'all keys are tried');
    for (const [key, values] of Object.entries(refused)) {
      if (optional?.includes(key) !== true) {
        const others = Object.entries(fields).filter(([other]) => other !== key);
        assert.throws(() => decode(encodeBody(Object.fromEntries(others))), REFUSED, `no ${key}`);
      }
      for (const value of values) {
        const bytes = encodeBody({ ...fields, [key]: value });
        assert.throws(() => decode(bytes), REFUSED, `${key}: ${JSON.stringify(value)}`);
      }
    }
  });

  test(`${name} is a map and nothing else`, () => {
    for (const body of [[], [fields], [[1, 2]]]) {
      assert.throws(() => decode(encodeBody(body)), REFUSED);
    }
    assert.throws(() => decode(new Uint8Array(0)), REFUSED);
  });
}

test('the largest values pass', () => {
  const offers = MANY.slice(0, REGISTER_TUNNELS_MAX).map((name) => ({ name, label: '' }));
  const register = { call: 0, tunnels: offers };
  assert.deepEqual(decodeRegister(encodeBody(register)), register);
  const open = { tunnel: 'x'.repeat(512), window: 2 ** 31 - 1, address: '', port: 0, link: '' };
  assert.deepEqual(decodeOpen(encodeBody(open)), open);
});

test('OPEN without a link reads as one with an empty link', () => {
  const open = { tunnel: 'a', window: 1, address: '', port: 0 };
  assert.deepEqual(decodeOpen(encodeBody(open)), { ...open, link: '' });
});

test('OPEN without an address of arrival has no port of arrival', () => {
  const open = { tunnel: 'a', window: 1, address: '', port: 0, link: '' };
  assert.deepEqual(decodeOpen(encodeBody({ ...open, toPort: 80 })), open);
});

test('options of a tunnel are lists of texts by key, and what else they hold has no texts', () => {
  const options = [
    ['host-header', ['internal.example']],
    ['request-header-add', ['X-A: b', `X-B: ${'c'.repeat(4000)}`]],
  ] as const;
  const register = { call: 1, tunnels: [{ name: 'a', label: 'l', options }] };
  assert.deepEqual(decodeRegister(encodeRegister(register)), register);
  const odd = { one: 'text', two: [1], three: { four: 5 }, six: [], seven: ['x'.repeat(4097)] };
  const encoded = encodeBody({ call: 1, tunnels: [{ name: 'a', label: 'l', options: odd }] });
  assert.deepEqual(
    decodeRegister(encoded).tunnels[0]?.options,
    Object.keys(odd).map((key) => [key, []]),
  );
  for (const wrong of ['text', [], 5, null]) {
    const bytes = encodeBody({ call: 1, tunnels: [{ name: 'a', label: 'l', options: wrong }] });
    assert.throws(() => decodeRegister(bytes), { code: 'SLW_WIRE_BODY_INVALID' });
  }
  const keys = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`k${index}`, ['v']]));
  const many = encodeBody({ call: 1, tunnels: [{ name: 'a', label: 'l', options: keys }] });
  assert.throws(() => decodeRegister(many), { code: 'SLW_WIRE_BODY_INVALID' });
});
