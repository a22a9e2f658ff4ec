// ClientHellos of real clients and made ones, right and wrong, each cut at every byte and over
// records of every size, then mutations of them.
//
// Method: a verdict must not depend on how bytes came, so each row is read whole and byte by byte.
// Mutations print their seed (SLUICEWAY_FUZZ_SEED).

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  ClientHelloReader,
  HELLO_BYTES_MAX,
  HELLO_RECORDS_BYTES_MAX,
  type HelloVerdict,
} from '../../src/edge/client-hello.ts';
import { encodeTlsAlert, TLS_ALERT, type TlsAlert } from '../../src/edge/tls-alert.ts';
import { CAPTURED_HELLOS } from './captured-hellos.ts';
import {
  alpn,
  block,
  extension,
  hello,
  helloBody,
  message,
  nameEntry,
  record,
  records,
  serverName,
} from './hello-bytes.ts';

const SEED = Number(process.env.SLUICEWAY_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));
const MUTATIONS = 200_000;
const FUZZ_MS = 20_000;

const GREASE = [extension(0x0a0a, Buffer.alloc(0)), extension(0xfafa, Buffer.alloc(1))];
const KEY_SHARES = extension(51, block(2, Buffer.alloc(12_000, 5)));

function read(bytes: Buffer): HelloVerdict {
  return new ClientHelloReader().read(bytes);
}

/** Reads pieces of `size` in turn, until there is a verdict. */
function readCut(
  bytes: Buffer,
  size: number,
): { verdict: HelloVerdict; reader: ClientHelloReader } {
  const reader = new ClientHelloReader();
  let verdict: HelloVerdict = 'more';
  for (let at = 0; at < bytes.length && verdict === 'more'; at += size) {
    verdict = reader.read(bytes.subarray(at, at + size));
  }
  return { verdict, reader };
}

const NAMED = { kind: 'hello', serverName: 'a.example', protocols: [] } as const;

const RIGHT: readonly (readonly [string, Buffer, string | undefined, readonly string[]])[] = [
  ...CAPTURED_HELLOS.map(
    ({ name, bytes, serverName: to, protocols }) => [name, bytes, to, protocols] as const,
  ),
  ['no extensions at all', hello({ extensions: undefined }), undefined, []],
  ['an empty list of extensions', hello({ extensions: [] }), undefined, []],
  ['SSL 3.0', hello({ version: 0x0300 }), 'a.example', []],
  ['TLS 1.0', hello({ version: 0x0301, sessionBytes: 0 }), 'a.example', []],
  ['capitals and a dot', hello({ extensions: [serverName('A.Example.')] }), 'a.example', []],
  ['an underscore', hello({ extensions: [serverName('_a.b-c.example')] }), '_a.b-c.example', []],
  [
    'GREASE on both sides',
    hello({ extensions: [...GREASE.slice(0, 1), serverName('a.example'), ...GREASE.slice(1)] }),
    'a.example',
    [],
  ],
  [
    'ALPN with GREASE before the name',
    hello({ extensions: [alpn('\x0a\x0a', 'h2', 'acme-tls/1'), serverName('a.example')] }),
    'a.example',
    ['\n\n', 'h2', 'acme-tls/1'],
  ],
  [
    'key shares of 12,000 bytes',
    hello({ extensions: [KEY_SHARES, serverName('a.example')] }),
    'a.example',
    [],
  ],
  ['a record of version 3.4', record(message(helloBody()), 22, 0x0304), 'a.example', []],
];

/** A hello whose body has exactly so many bytes. */
function sized(bytes: number): Buffer {
  const bare = helloBody({ extensions: [serverName('a.example'), extension(21, Buffer.alloc(0))] });
  const padding = extension(21, Buffer.alloc(bytes - bare.length));
  return message(helloBody({ extensions: [serverName('a.example'), padding] }));
}

const body = helloBody();
const twice = (one: Buffer): Buffer => hello({ extensions: [one, one] });
const withName = (name: string): Buffer => hello({ extensions: [serverName(name)] });

type Wrong = readonly [name: string, bytes: Buffer, alert: TlsAlert | undefined];

const NOT_TLS: readonly Wrong[] = [
  ['HTTP', Buffer.from('GET / HTTP/1.1\r\n')],
  ['SSH', Buffer.from('SSH-2.0-x\r\n')],
  ['a PROXY header', Buffer.from('PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n')],
  ['SSL 2.0', Buffer.from('802e0100020015000000100100800200800300800400800500800600', 'hex')],
  ['an alert', encodeTlsAlert(TLS_ALERT.DECODE_ERROR)],
  ['application data', record(body, 23)],
  ['a record of version 2', record(message(body), 22, 0x0201)],
  ['a record of DTLS', record(message(body), 22, 0xfefd)],
].map(([name, bytes]) => [name as string, bytes as Buffer, undefined]);

const { DECODE_ERROR, ILLEGAL_PARAMETER, RECORD_OVERFLOW, UNEXPECTED_MESSAGE } = TLS_ALERT;

const MALFORMED: readonly Wrong[] = [
  ['an empty record', record(Buffer.alloc(0)), DECODE_ERROR],
  ['a record of 16,385 bytes', Buffer.from('1603014001', 'hex'), RECORD_OVERFLOW],
  ['another message', record(message(body, 2)), UNEXPECTED_MESSAGE],
  [
    'another record between',
    Buffer.concat([record(message(body).subarray(0, 9)), record(body, 20)]),
    UNEXPECTED_MESSAGE,
  ],
  [
    'another version behind',
    Buffer.concat([record(message(body).subarray(0, 9)), record(body, 22, 0x0201)]),
    TLS_ALERT.PROTOCOL_VERSION,
  ],
  [
    'bytes behind the message',
    record(Buffer.concat([message(body), Buffer.alloc(1)])),
    UNEXPECTED_MESSAGE,
  ],
  [
    'two hellos in a record',
    record(Buffer.concat([message(body), message(body)])),
    UNEXPECTED_MESSAGE,
  ],
  ['a message of 16 MiB', record(message(body, 1, 0xff_ffff)), ILLEGAL_PARAMETER],
  ['a message one byte too long', records(sized(HELLO_BYTES_MAX + 1), 9000), ILLEGAL_PARAMETER],
  ['16 KiB in records of 5', records(sized(HELLO_BYTES_MAX), 5), RECORD_OVERFLOW],
  ['a body of nothing', record(message(Buffer.alloc(0))), DECODE_ERROR],
  ['a body of version and random', record(message(body.subarray(0, 34))), DECODE_ERROR],
  ['version 2', hello({ version: 0x0200 }), TLS_ALERT.PROTOCOL_VERSION],
  ['version 254', hello({ version: 0xfefd }), TLS_ALERT.PROTOCOL_VERSION],
  ['a session of 33 bytes', hello({ sessionBytes: 33 }), DECODE_ERROR],
  ['no cipher suites', hello({ suites: Buffer.alloc(0) }), DECODE_ERROR],
  ['half a cipher suite', hello({ suites: Buffer.alloc(3) }), DECODE_ERROR],
  ['no compressions', hello({ compressions: Buffer.alloc(0) }), DECODE_ERROR],
  ['a body one byte short', record(message(body.subarray(0, -1))), DECODE_ERROR],
  ['a body one byte long', record(message(Buffer.concat([body, Buffer.alloc(1)]))), DECODE_ERROR],
  ['half an extension', hello({ extensions: [Buffer.from([0, 5, 0])] }), DECODE_ERROR],
  [
    'an extension past the end',
    hello({ extensions: [Buffer.from([0, 5, 0, 9, 1])] }),
    DECODE_ERROR,
  ],
  ['server_name twice', twice(serverName('a.example')), ILLEGAL_PARAMETER],
  ['ALPN twice', twice(alpn('h2')), ILLEGAL_PARAMETER],
  ['an unknown extension twice', twice(extension(0x1234, Buffer.alloc(2))), ILLEGAL_PARAMETER],
  ['GREASE twice', twice(extension(0x0a0a, Buffer.alloc(0))), ILLEGAL_PARAMETER],
  ['an empty server_name', hello({ extensions: [extension(0, Buffer.alloc(0))] }), DECODE_ERROR],
  [
    'an empty list of names',
    hello({ extensions: [extension(0, block(2, Buffer.alloc(0)))] }),
    DECODE_ERROR,
  ],
  [
    'two names',
    hello({
      extensions: [
        extension(0, block(2, Buffer.concat([nameEntry('a.example'), nameEntry('b.example')]))),
      ],
    }),
    DECODE_ERROR,
  ],
  ['a name of another type', hello({ extensions: [serverName('a.example', 1)] }), DECODE_ERROR],
  [
    'a name past its list',
    hello({ extensions: [extension(0, block(2, Buffer.from([0, 0, 9, 97])))] }),
    DECODE_ERROR,
  ],
  [
    'bytes behind the list of names',
    hello({
      extensions: [
        extension(0, Buffer.concat([block(2, nameEntry('a.example')), Buffer.alloc(1)])),
      ],
    }),
    DECODE_ERROR,
  ],
  ['an empty list of protocols', hello({ extensions: [alpn()] }), DECODE_ERROR],
  ['an empty protocol', hello({ extensions: [alpn('h2', '')] }), DECODE_ERROR],
  [
    'a protocol past its list',
    hello({ extensions: [extension(16, block(2, Buffer.from([9, 97])))] }),
    DECODE_ERROR,
  ],
  [
    '65 protocols',
    hello({ extensions: [alpn(...Array.from({ length: 65 }, String))] }),
    ILLEGAL_PARAMETER,
  ],
];

const BAD_NAMES: readonly Wrong[] = [
  ...['', '.', '..', 'a..b', '.a', 'a.example:443', 'a:', 'user@a', 'a b', 'a/b', 'a\0b', '*'],
  ...['*.a.example', '[::1]', '::1', '2001:db8::1', '192.0.2.1', '192.0.2.1.', 'b\xfccher.de'],
  ...['a\r\nX: y', 'x'.repeat(256), 'a%41', '\u001b[2J'],
].map((name) => [JSON.stringify(name.slice(0, 40)), withName(name), TLS_ALERT.UNRECOGNIZED_NAME]);

const WRONG = [
  ...NOT_TLS.map((row) => [...row, 'not-tls'] as const),
  ...MALFORMED.map((row) => [...row, 'malformed'] as const),
  ...BAD_NAMES.map((row) => [...row, 'bad-name'] as const),
];

test('a hello says whom it wants and what it speaks, however it is cut', () => {
  for (const [name, bytes, to, protocols] of RIGHT) {
    const expected = { kind: 'hello', serverName: to, protocols };
    assert.deepEqual(read(bytes), expected, name);
    const { verdict, reader } = readCut(bytes, 1);
    assert.deepEqual(verdict, expected, `${name}, byte by byte`);
    assert.deepEqual(reader.bytes, bytes, `${name}: nothing is lost`);
    assert.equal(read(bytes.subarray(0, -1)), 'more', `${name}, one byte short`);
  }
});

test('a hello over several records is the same hello, and all bytes are kept', () => {
  const behind = Buffer.from('140303000101', 'hex');
  for (const { name, bytes, serverName: to, protocols } of CAPTURED_HELLOS) {
    for (const size of [1, 2, 3, 4, 5, 100, 1000]) {
      const cut = Buffer.concat([records(bytes.subarray(5), size), behind]);
      for (const pieces of [1, 7, 1460, cut.length]) {
        const { verdict, reader } = readCut(cut, pieces);
        const expected = { kind: 'hello', serverName: to, protocols };
        assert.deepEqual(verdict, expected, `${name} in records of ${size}, reads of ${pieces}`);
        const length = reader.bytes.length;
        assert.ok(length >= cut.length - behind.length);
        assert.deepEqual(reader.bytes, cut.subarray(0, length));
      }
    }
  }
});

test('a hello of 16 KiB passes, in one record or several, and the limits hold', () => {
  for (const size of [8000, 1000, 64]) {
    const bytes = records(sized(HELLO_BYTES_MAX), size);
    assert.ok(bytes.length <= HELLO_RECORDS_BYTES_MAX);
    assert.deepEqual(read(bytes), NAMED);
    assert.deepEqual(readCut(bytes, 1).verdict, NAMED);
  }
  assert.deepEqual(read(record(sized(HELLO_BYTES_MAX - 4))), NAMED, 'the largest record');
});

test('what is no hello, or not one, is refused with what to say, however it is cut', () => {
  for (const [name, bytes, alert, fault] of WRONG) {
    const expected = { kind: 'refused', fault, alert };
    assert.deepEqual(read(bytes), expected, name);
    for (const size of [1, 2, 3, 100]) {
      assert.deepEqual(readCut(bytes, size).verdict, expected, `${name}, ${size} a read`);
    }
  }
});

test('the first byte that fits no TLS is enough', () => {
  for (const start of ['G', 'P', 'S', '\x80', '\x15', '\x16\x02', '\x16\xfe', '\0']) {
    const expected = { kind: 'refused', fault: 'not-tls', alert: undefined };
    assert.deepEqual(read(Buffer.from(start, 'latin1')), expected, JSON.stringify(start));
  }
  for (const start of ['\x16', '\x16\x03', '\x16\x03\x01\x00']) {
    assert.equal(read(Buffer.from(start, 'latin1')), 'more');
  }
});

test('any cuts give the same verdict, whatever stands behind', () => {
  const row = fc.constantFrom(...RIGHT.map(([, bytes]) => bytes), ...WRONG.map((one) => one[1]));
  const cuts = fc.array(fc.nat(2000), { maxLength: 12 });
  fc.assert(
    fc.property(row, fc.uint8Array({ maxLength: 40 }), cuts, (bytes, behind, sizes) => {
      const all = Buffer.concat([bytes, behind]);
      const reader = new ClientHelloReader();
      let verdict: HelloVerdict = 'more';
      let at = 0;
      for (const size of [...sizes, all.length]) {
        if (verdict !== 'more') break;
        verdict = reader.read(all.subarray(at, at + size));
        at = Math.min(all.length, at + size);
        assert.deepEqual(reader.bytes, all.subarray(0, at));
      }
      assert.deepEqual(verdict, read(all));
    }),
    { seed: SEED, numRuns: 3000 },
  );
});

test(`${MUTATIONS} mutated hellos give a verdict and nothing else (seed ${SEED})`, (t) => {
  const originals = [...RIGHT, ...WRONG]
    .map(([, bytes]) => bytes)
    .filter((one) => one.length < 2000);
  let state = SEED >>> 0;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  const deadline = performance.now() + FUZZ_MS;
  const seen = new Map<string, number>();
  let done = 0;
  while (done < MUTATIONS && performance.now() < deadline) {
    const bytes = Buffer.from(originals[random(originals.length)] as Buffer);
    for (let changes = 1 + random(3); changes > 0; changes -= 1) {
      // Lengths are at the front, and small steps of them are what matters.
      const at = random(random(2) === 0 ? bytes.length : Math.min(bytes.length, 160));
      bytes[at] = random(2) === 0 ? random(256) : (bytes[at] as number) + random(5) - 2;
    }
    const cut = bytes.subarray(0, random(8) === 0 ? random(bytes.length) : bytes.length);
    const verdict = read(cut);
    const kind = verdict === 'more' ? verdict : verdict.kind;
    seen.set(kind, (seen.get(kind) ?? 0) + 1);
    if (verdict !== 'more' && verdict.kind === 'hello') {
      assert.match(verdict.serverName ?? '-', /^[a-z0-9._-]{1,255}$/);
    }
    if (done % 64 === 0) assert.deepEqual(readCut(cut, 1).verdict, verdict);
    done += 1;
  }
  t.diagnostic(`${done} mutations: ${JSON.stringify(Object.fromEntries(seen))}`);
  assert.deepEqual([...seen.keys()].sort(), ['hello', 'more', 'refused']);
});

test('a reader holds little for a visitor who sends byte by byte', () => {
  const { reader } = readCut(records(sized(HELLO_BYTES_MAX), 20).subarray(0, -1), 1);
  assert.ok(reader.bytes.buffer.byteLength <= 2 * HELLO_RECORDS_BYTES_MAX);
});
