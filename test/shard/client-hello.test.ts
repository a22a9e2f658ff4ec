// The reader of ClientHellos: real ones of Node's TLS client, cut in every way, and made-up ones.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import test, { type TestContext } from 'node:test';
import { connect } from 'node:tls';
import {
  ClientHelloReader,
  HELLO_BYTES_MAX,
  type HelloProgress,
} from '../../src/shard/client-hello.ts';
import { undoAfter } from '../support/cleanup.ts';

/** What Node's client sends first. */
async function helloOf(
  t: TestContext,
  options: { readonly servername?: string; readonly ALPNProtocols?: string[] },
): Promise<Buffer> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  undoAfter(t, () => {
    server.close();
  });
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const client = connect({ port: address.port, host: '127.0.0.1', ...options });
  client.on('error', () => {
    // Nobody answers it.
  });
  const [socket] = await once(server, 'connection');
  const [bytes] = (await once(socket, 'data')) as [Buffer];
  client.destroy();
  socket.destroy();
  return bytes;
}

function readWhole(bytes: Buffer): HelloProgress {
  return new ClientHelloReader().push(bytes);
}

/** The handshake message in records of `size` bytes. */
function inRecords(hello: Buffer, size: number): Buffer {
  const message = hello.subarray(5);
  const parts: Buffer[] = [];
  for (let at = 0; at < message.length; at += size) {
    const piece = message.subarray(at, at + size);
    parts.push(Buffer.from([22, 3, 1, piece.length >> 8, piece.length & 255]), piece);
  }
  return Buffer.concat(parts);
}

function u16(value: number): Buffer {
  return Buffer.from([value >> 8, value & 255]);
}

function withLength(size: 1 | 2, body: Buffer): Buffer {
  return Buffer.concat([size === 1 ? Buffer.from([body.length]) : u16(body.length), body]);
}

function extension(kind: number, body: Buffer): Buffer {
  return Buffer.concat([u16(kind), withLength(2, body)]);
}

function nameExtension(name: Buffer): Buffer {
  return extension(0, withLength(2, Buffer.concat([Buffer.from([0]), withLength(2, name)])));
}

/** One record with a hello of these extensions. */
function made(...extensions: Buffer[]): Buffer {
  const body = Buffer.concat([
    Buffer.from([3, 3]),
    Buffer.alloc(32, 7),
    withLength(1, Buffer.alloc(0)),
    withLength(2, Buffer.from([0x13, 1])),
    withLength(1, Buffer.from([0])),
    withLength(2, Buffer.concat(extensions)),
  ]);
  const length = Buffer.from([1, 0, body.length >> 8, body.length & 255]);
  return inRecords(Buffer.concat([Buffer.alloc(5), length, body]), 16_384);
}

test('reads name and protocols of a real hello, cut at every byte', async (t) => {
  const hello = await helloOf(t, { servername: 'A.Test', ALPNProtocols: ['h2', 'http/1.1'] });
  const expected = { serverName: 'A.Test', protocols: ['h2', 'http/1.1'] };
  assert.deepEqual(readWhole(hello), expected);
  for (let cut = 1; cut < hello.length; cut += 1) {
    const reader = new ClientHelloReader();
    assert.equal(reader.push(hello.subarray(0, cut)), 'more');
    assert.deepEqual(reader.push(hello.subarray(cut)), expected);
    assert.ok(reader.bytes.equals(hello));
  }
});

test('reads a hello byte by byte and in records of any size', async (t) => {
  const hello = await helloOf(t, { servername: 'a.test' });
  const expected = { serverName: 'a.test', protocols: [] };
  for (const size of [1, 2, 3, 5, 64, 200]) {
    const cut = inRecords(hello, size);
    assert.deepEqual(readWhole(cut), expected);
    const reader = new ClientHelloReader();
    const last = [...cut].map((octet) => reader.push(Buffer.from([octet]))).at(-1);
    assert.deepEqual(last, expected);
    assert.ok(reader.bytes.equals(cut));
  }
});

test('reads a hello without a name', async (t) => {
  assert.deepEqual(readWhole(await helloOf(t, {})), { serverName: undefined, protocols: [] });
});

test('reads a hello of more than one record of the largest size', () => {
  const large = made(extension(0xfafa, Buffer.alloc(20_000)), nameExtension(Buffer.from('a.test')));
  assert.deepEqual(readWhole(large), { serverName: 'a.test', protocols: [] });
});

test('refuses what is no hello from its first bytes', () => {
  for (const text of ['G', 'GET / HTTP/1.1\r\n\r\n', 'SSH-2.0-x', '\x16\x02', '\x15\x03\x01']) {
    assert.equal(readWhole(Buffer.from(text, 'latin1')), 'invalid', JSON.stringify(text));
  }
  assert.equal(readWhole(Buffer.from([22, 3, 1, 0, 0])), 'invalid', 'an empty record');
  assert.equal(readWhole(Buffer.from([22, 3, 1, 0x40, 1])), 'invalid', 'a record too long');
  const serverHello = Buffer.from([22, 3, 3, 0, 4, 2, 0, 0, 0]);
  assert.equal(readWhole(serverHello), 'invalid', 'another message');
});

test('refuses names and lists that do not fit, or come twice', () => {
  const name = nameExtension(Buffer.from('a.test'));
  const cases: readonly (readonly [string, Buffer])[] = [
    ['two names', made(name, name)],
    ['an empty name', made(nameExtension(Buffer.alloc(0)))],
    ['a name list that is too short', made(extension(0, Buffer.from([0, 9, 0, 0, 1, 65])))],
    ['another kind of name', made(extension(0, Buffer.from([0, 4, 1, 0, 1, 65])))],
    ['an empty protocol', made(extension(16, Buffer.from([0, 1, 0])))],
    ['two protocol lists', made(extension(16, u16(0)), extension(16, u16(0)))],
    ['an extension past the end', made(Buffer.from([0, 0, 0, 9]))],
  ];
  for (const [what, hello] of cases) assert.equal(readWhole(hello), 'invalid', what);
});

test('keeps no more than its limit of a hello that never ends', () => {
  const reader = new ClientHelloReader();
  const record = Buffer.concat([Buffer.from([22, 3, 1, 0x40, 0]), Buffer.alloc(16_384, 1)]);
  record[6] = 0;
  record[7] = 0x7f;
  assert.equal(reader.push(record), 'more');
  assert.equal(reader.push(record.subarray(0, HELLO_BYTES_MAX - record.length)), 'invalid');
});

test('random changes of a hello give an answer and nothing else', async (t) => {
  const hello = await helloOf(t, { servername: 'a.test', ALPNProtocols: ['http/1.1'] });
  for (let at = 0; at < hello.length; at += 1) {
    for (const octet of [0, 1, 22, 127, 255]) {
      const changed = Buffer.from(hello);
      changed[at] = octet;
      const progress = readWhole(changed);
      assert.ok(progress === 'more' || progress === 'invalid' || typeof progress === 'object');
    }
  }
});
