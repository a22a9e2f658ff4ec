// PROXY headers: a table of right and wrong ones, each cut at every byte, then mutations of them.
//
// Method: what a header is does not depend on how its bytes came, so each row is read whole, byte
// by byte and with a visitor's bytes behind it. Mutations print their seed (SLUICEWAY_FUZZ_SEED).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc32c } from '../../src/edge/crc32c.ts';
import { type ProxyVerdict, readProxyHeader } from '../../src/edge/proxy-header.ts';
import { encodeDatagramHeader, encodeProxyHeader } from '../../src/edge/proxy-writer.ts';

const SEED = Number(process.env.SLUICEWAY_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
const MUTATIONS = 200_000;
const FUZZ_MS = 15_000;

const IPV4 = 'c0000207cb007105c3cb01bb';
const IPV6 = '20010db800000000000000000000000720010db8000000000000000000000005c3cb01bb';
const MAPPED = '00000000000000000000ffffc000020700000000000000000000ffffcb007105c3cb01bb';
const SOURCE4 = { address: '192.0.2.7', port: 50_123 };
const TO4 = { address: '203.0.113.5', port: 443 };
const SOURCE6 = { address: '2001:db8::7', port: 50_123 };
const TO6 = { address: '2001:db8::5', port: 443 };

const text = (line: string): Buffer => Buffer.from(line, 'latin1');

/** A header of version 2: command and family, then whatever follows, with its length. */
function binary(commandAndFamily: string, tail: string, length = tail.length / 2): Buffer {
  const bytes = Buffer.from(`0d0a0d0a000d0a515549540a${commandAndFamily}0000${tail}`, 'hex');
  bytes.writeUInt16BE(length, 14);
  return bytes;
}

/** Adds a checksum extension, right unless `xor` makes it wrong. */
function summed(commandAndFamily: string, tail: string, xor = 0): Buffer {
  const bytes = binary(commandAndFamily, `${tail}03000400000000`);
  bytes.writeUInt32BE((crc32c(bytes) ^ xor) >>> 0, bytes.length - 4);
  return bytes;
}

type Ends = readonly [source: typeof SOURCE4, destination: typeof SOURCE4] | 'own';

const RIGHT: readonly (readonly [name: string, bytes: Buffer, Ends])[] = [
  ['v1 IPv4', text('PROXY TCP4 192.0.2.7 203.0.113.5 50123 443\r\n'), [SOURCE4, TO4]],
  ['v1 IPv6', text('PROXY TCP6 2001:db8::7 2001:DB8:0::5 50123 443\r\n'), [SOURCE6, TO6]],
  [
    'v1 IPv6 with mapped addresses',
    text('PROXY TCP6 ::ffff:192.0.2.7 ::ffff:cb00:7105 50123 443\r\n'),
    [SOURCE4, TO4],
  ],
  [
    'v1 smallest',
    text('PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n'),
    [
      { address: '0.0.0.0', port: 0 },
      { address: '0.0.0.0', port: 0 },
    ],
  ],
  ['v1 unknown', text('PROXY UNKNOWN\r\n'), 'own'],
  ['v1 unknown with anything', text('PROXY UNKNOWN a  b 99999 ::\r\n'), 'own'],
  ['v1 unknown of 107 bytes', text(`PROXY UNKNOWN ${'f'.repeat(91)}\r\n`), 'own'],
  ['v2 IPv4', binary('2111', IPV4), [SOURCE4, TO4]],
  ['v2 IPv6', binary('2121', IPV6), [SOURCE6, TO6]],
  ['v2 IPv6 with mapped addresses', binary('2121', MAPPED), [SOURCE4, TO4]],
  ['v2 local', binary('2000', ''), 'own'],
  ['v2 local with a family', binary('2011', IPV4), 'own'],
  ['v2 local with what is no extension', binary('20ff', '0102'), 'own'],
  ['v2 unspecified', binary('2100', ''), 'own'],
  ['v2 unspecified with bytes', binary('2100', '010203'), 'own'],
  ['v2 UDP', binary('2112', IPV4), 'own'],
  ['v2 UDP over IPv6', binary('2122', IPV6), 'own'],
  ['v2 UNIX', binary('2131', '00'.repeat(216)), 'own'],
  ['v2 UNIX datagram', binary('2132', '00'.repeat(216)), 'own'],
  ['v2 with extensions', binary('2111', `${IPV4}040000ea0003abcdef`), [SOURCE4, TO4]],
  ['v2 with a checksum', summed('2111', `${IPV4}ea0001ff`), [SOURCE4, TO4]],
  ['v2 IPv6 with a checksum', summed('2121', IPV6), [SOURCE6, TO6]],
  ['v2 of 4096 bytes', binary('2111', `${IPV4}040fe1${'00'.repeat(4065)}`), [SOURCE4, TO4]],
];

const V1 = 'PROXY TCP4 192.0.2.7 203.0.113.5 50123 443';
const WRONG: readonly (readonly [name: string, bytes: Buffer])[] = [
  ...[
    ...['GET / HTTP/1.1\r\n', 'proxy TCP4 1.1.1.1 1.1.1.1 1 1\r\n', ' PROXY', 'PROXY\r\n', 'PROXX'],
    ...['PROXY \r\n', 'PROXY  TCP4', 'PROXY TCP5', 'PROXY tcp4', 'PROXY TCP4\r\n', 'PROXY TCP4  1'],
    ...[
      'PROXY TCP4 256.1.1.1 ',
      'PROXY\tTCP4',
      'PROXY UNKNOWN\n',
      'PROXY UNKNOWN\r\r',
      'PROXY UNKNOWNX',
    ],
    ...[`${V1}\n`, `${V1} \r\n`, `${V1}\r\r\n`, `${V1}\rX`, `${V1} 1\r\n`, `${V1}\0\r\n`],
    ...['PROXY TCP4 192.0.2.07 1.1.1.1 1 1\r\n', 'PROXY TCP4 ::1 ::2 1 1\r\n'],
    ...['PROXY TCP6 1.1.1.1 1.1.1.1 1 1\r\n', 'PROXY TCP6 ::1 1.1.1.1 1 1\r\n'],
    ...[
      'PROXY TCP6 ::1%lo ::1 1 1\r\n',
      'PROXY TCP6 [::1] ::1 1 1\r\n',
      'PROXY TCP6 1::2::3 ::1 1',
    ],
    ...['PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n', 'PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n'],
    ...['PROXY TCP4 1.1.1.1 1.1.1.1 -1 1\r\n', 'PROXY TCP4 1.1.1.1 1.1.1.1 1 99999\r\n'],
    ...['PROXY TCP4 1.1.1.1 1.1.1.1 1\r\n', 'PROXY TCP4 1.1.1.1 1.1.1.1 1 \r\n'],
    ...['PROXY TCP4 1.1.1.1 1.1.1.1 1e1 1\r\n', 'PROXY TCP4 1.1.1 1.1.1.1 1 1\r\n'],
    ...[`PROXY UNKNOWN ${'f'.repeat(92)}\r\n`, `PROXY UNKNOWN ${'f'.repeat(4096)}`],
    ...[
      'PROXY UNKNOWN \xff\r\n',
      'PROXY UNKNOWN \x01\r\n',
      '\r\n\r\n\r\n',
      '\r\nPROXY UNKNOWN\r\n',
    ],
  ].map((line): readonly [string, Buffer] => [JSON.stringify(line.slice(0, 60)), text(line)]),
  ['v2 version 1', binary('1111', IPV4)],
  ['v2 version 3', binary('3111', IPV4)],
  ['v2 command 2', binary('2211', IPV4)],
  ['v2 command 15', binary('2f11', IPV4)],
  ['v2 family INET without a protocol', binary('2110', IPV4)],
  ['v2 family 4', binary('2141', IPV4)],
  ['v2 protocol 3', binary('2113', IPV4)],
  ['v2 unspecified family, stream', binary('2101', '')],
  ['v2 signature broken', Buffer.from(binary('2111', IPV4)).fill(0x51, 6, 7)],
  ['v2 IPv4 too short', binary('2111', IPV4.slice(2))],
  ['v2 IPv6 too short', binary('2121', IPV4)],
  ['v2 UNIX too short', binary('2131', IPV6)],
  ['v2 of 4097 bytes', binary('2111', '', 4081)],
  ['v2 of 65,551 bytes', binary('2111', '', 65_535)],
  ['v2 local of 4097 bytes', binary('2000', '', 4081)],
  ['v2 extension past the end', binary('2111', `${IPV4}0400020f`)],
  ['v2 extension of 65,535 bytes', binary('2111', `${IPV4}04ffff`)],
  ['v2 half an extension', binary('2111', `${IPV4}0400`)],
  ['v2 one byte of an extension', binary('2111', `${IPV4}04`)],
  ['v2 second extension past the end', binary('2111', `${IPV4}040001aa040001`)],
  ['v2 wrong checksum', summed('2111', IPV4, 1)],
  ['v2 wrong checksum in the first bit', summed('2121', IPV6, 0x8000_0000)],
  ['v2 short checksum', binary('2111', `${IPV4}030003000000`)],
  ['v2 long checksum', binary('2111', `${IPV4}0300050000000000`)],
  ['v2 two checksums', summed('2111', `${IPV4}03000400000000`)],
];

/** The verdict on bytes that come one by one. */
function readSlowly(bytes: Buffer): ProxyVerdict {
  for (let end = 0; end < bytes.length; end += 1) {
    const verdict = readProxyHeader(bytes.subarray(0, end));
    if (verdict !== 'more') return verdict;
  }
  return readProxyHeader(bytes);
}

test('right headers name who they name, however they are cut', () => {
  for (const [name, bytes, ends] of RIGHT) {
    const [source, destination] = ends === 'own' ? [undefined, undefined] : ends;
    const expected = { bytes: bytes.length, source, destination };
    assert.deepEqual(readProxyHeader(bytes), expected, name);
    assert.deepEqual(readSlowly(bytes), expected, `${name}, byte by byte`);
    assert.equal(readProxyHeader(bytes.subarray(0, -1)), 'more', `${name}, one byte short`);
    for (const behind of ['x', 'PROXY UNKNOWN\r\n', '\r\n']) {
      const verdict = readProxyHeader(Buffer.concat([bytes, text(behind)]));
      assert.deepEqual(verdict, expected, `${name} with ${behind.trim()} behind it`);
    }
  }
});

test('wrong headers are refused, however they are cut', () => {
  for (const [name, bytes] of WRONG) {
    assert.equal(readProxyHeader(bytes), 'refused', name);
    assert.equal(readSlowly(bytes), 'refused', `${name}, byte by byte`);
  }
});

test('the first byte that fits no header is enough', () => {
  const starts = [
    'G',
    '\n',
    '\x16',
    '\0',
    'PX',
    'PROXY\r',
    'PROXY X',
    'PROXY TCP4 x',
    '\r\n\r\n\r',
  ];
  for (const start of starts) {
    assert.equal(readProxyHeader(text(start)), 'refused', JSON.stringify(start));
    assert.equal(readProxyHeader(text(start.slice(0, -1))), 'more', JSON.stringify(start));
  }
});

test('what is refused stays refused, and a header stays what it is, with any bytes behind', () => {
  const prefix = fc.oneof(
    fc.constantFrom(...RIGHT.map(([, bytes]) => bytes)),
    fc.constantFrom(...WRONG.map(([, bytes]) => bytes)),
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
  );
  fc.assert(
    fc.property(prefix, fc.uint8Array({ maxLength: 40 }), fc.nat(), (bytes, behind, at) => {
      const all = Buffer.concat([bytes, behind]);
      const early = readProxyHeader(all.subarray(0, at % (all.length + 1)));
      if (early !== 'more') assert.deepEqual(readProxyHeader(all), early);
    }),
    { seed: SEED, numRuns: 10_000 },
  );
});

test(`${MUTATIONS} mutated headers give a verdict and nothing else (seed ${SEED})`, (t) => {
  const originals = [...RIGHT, ...WRONG].map(([, bytes]) => bytes.subarray(0, 300));
  let state = SEED >>> 0;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const deadline = performance.now() + FUZZ_MS;
  let done = 0;
  let accepted = 0;
  while (done < MUTATIONS && performance.now() < deadline) {
    const bytes = Buffer.from(originals[random(originals.length)] as Buffer);
    for (let changes = 1 + random(3); changes > 0; changes -= 1) {
      bytes[random(bytes.length)] =
        random(4) === 0 ? random(256) : (bytes[0] as number) ^ random(8);
    }
    const cut = bytes.subarray(0, random(4) === 0 ? random(bytes.length) : bytes.length);
    const verdict = readProxyHeader(cut);
    if (typeof verdict === 'string') assert.ok(verdict === 'more' || verdict === 'refused');
    else {
      accepted += 1;
      assert.ok(verdict.bytes <= cut.length);
      assert.equal(verdict.source === undefined, verdict.destination === undefined);
    }
    if (done % 16 === 0 && verdict !== 'more') assert.deepEqual(readSlowly(cut), verdict);
    done += 1;
  }
  t.diagnostic(`${done} mutations, ${accepted} accepted`);
  assert.ok(accepted > 0);
});

test('what is written reads back', () => {
  const endpoint = fc.record({
    address: fc.oneof(fc.constantFrom('192.0.2.7', '0.0.0.0', '255.255.255.255'), fc.ipV4()),
    port: fc.nat(65_535),
  });
  const wide = fc.record({
    address: fc.constantFrom('2001:db8::7', '::', 'fe80::1'),
    port: fc.nat(9),
  });
  const either = fc.oneof(endpoint, wide);
  fc.assert(
    fc.property(fc.constantFrom('v1', 'v2'), either, either, (version, source, destination) => {
      const bytes = encodeProxyHeader(version, source, destination);
      const expected = {
        bytes: bytes.length,
        source: { ...source },
        destination: { ...destination },
      };
      assert.deepEqual(readProxyHeader(bytes), expected);
    }),
    { seed: SEED, numRuns: 5000 },
  );
});

test('families are not mixed, and what is not known is not made up', () => {
  const line = (
    ...ends: Parameters<typeof encodeProxyHeader> extends [unknown, ...infer R] ? R : never
  ) => encodeProxyHeader('v1', ...ends).toString('latin1');
  assert.equal(line(SOURCE4, TO4), 'PROXY TCP4 192.0.2.7 203.0.113.5 50123 443\r\n');
  assert.equal(line(SOURCE4, TO6), 'PROXY TCP6 ::ffff:c000:207 2001:db8::5 50123 443\r\n');
  assert.equal(line(SOURCE4, undefined), 'PROXY TCP4 192.0.2.7 0.0.0.0 50123 0\r\n');
  assert.equal(line(SOURCE6, undefined), 'PROXY TCP6 2001:db8::7 :: 50123 0\r\n');
  assert.equal(line({ address: '', port: 1 }, TO4), 'PROXY UNKNOWN\r\n');
  assert.equal(
    encodeProxyHeader('v2', SOURCE4, TO4).toString('hex'),
    binary('2111', IPV4).toString('hex'),
  );
  assert.equal(encodeProxyHeader('v2', SOURCE6, TO4)[13], 0x21);
  const unknown = encodeProxyHeader('v2', { address: 'a\r\nb', port: 1 }, TO4);
  assert.deepEqual(unknown, binary('2100', ''));
});

test('before datagrams the header says UDP, and is else the same', () => {
  assert.deepEqual(encodeDatagramHeader(SOURCE4, TO4), binary('2112', IPV4));
  assert.deepEqual(encodeDatagramHeader(SOURCE6, TO6), binary('2122', IPV6));
  const mixed = encodeDatagramHeader(SOURCE4, TO6);
  const stream = encodeProxyHeader('v2', SOURCE4, TO6);
  assert.equal(mixed[13], 0x22);
  assert.deepEqual(mixed.subarray(14), stream.subarray(14));
  const anywhere = binary('2112', `${IPV4.slice(0, 8)}00000000${IPV4.slice(16)}`);
  assert.deepEqual(encodeDatagramHeader(SOURCE4, { address: '', port: 443 }), anywhere);
  assert.deepEqual(encodeDatagramHeader({ address: '', port: 1 }, TO4), binary('2100', ''));
});

test('the checksum is CRC-32C', () => {
  assert.equal(crc32c(text('123456789')), 0xe306_9283);
  assert.equal(crc32c(new Uint8Array(32)), 0x8a91_36aa);
  assert.equal(crc32c(new Uint8Array(0)), 0);
});
