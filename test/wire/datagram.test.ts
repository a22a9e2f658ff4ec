// Goal: datagrams come out of a stream as they went in, however it is cut, and a length alone makes
// nobody set memory aside. Method: bytes, cut at every place and by one.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DATAGRAM_HEAD_BYTES, DatagramReader, frameDatagram } from '../../src/wire/datagram.ts';
import { seededNoise } from '../support/digest.ts';

/** What the length can say. */
const DATAGRAM_BYTES_MAX = 65_535;
const NOISE = seededNoise(24, DATAGRAM_BYTES_MAX);
const SMALL = [0, 1, 2, 0, 0, 3, 300, 1].map((length) => NOISE.subarray(0, length));

function readAll(pieces: readonly Buffer[]): { datagrams: Buffer[]; heldBytes: number } {
  const datagrams: Buffer[] = [];
  const reader = new DatagramReader((datagram) => datagrams.push(datagram));
  for (const piece of pieces) {
    reader.read(piece);
    // Whoever gives a piece may use its memory again.
    piece.fill(0xee);
  }
  return { datagrams, heldBytes: reader.heldBytes };
}

const framed = (datagrams: readonly Buffer[]): Buffer =>
  Buffer.concat(datagrams.map(frameDatagram));

test('a datagram is framed by two bytes of length, an empty one too', () => {
  assert.deepEqual(frameDatagram(Buffer.from('dns')), Buffer.from('\0\x03dns'));
  assert.deepEqual(frameDatagram(Buffer.alloc(0)), Buffer.from('\0\0'));
  assert.equal(frameDatagram(NOISE).readUInt16BE(0), DATAGRAM_BYTES_MAX);
});

test('a stream that is cut at every byte gives the same datagrams', () => {
  const whole = framed(SMALL);
  for (let cut = 0; cut <= whole.length; cut += 1) {
    const copy = Buffer.from(whole);
    const { datagrams, heldBytes } = readAll([copy.subarray(0, cut), copy.subarray(cut)]);
    assert.deepEqual(datagrams, SMALL, `cut at ${cut}`);
    assert.equal(heldBytes, 0);
  }
});

test('a stream that comes byte by byte gives the same datagrams', () => {
  const bytes = [...framed(SMALL)].map((byte) => Buffer.from([byte]));
  assert.deepEqual(readAll(bytes).datagrams, SMALL);
});

test('the largest datagram comes whole, in pieces of every kind of size', () => {
  for (const size of [1, 1000, 4096, 65_535, 65_536, 70_000]) {
    const whole = framed([NOISE, NOISE.subarray(7)]);
    const pieces: Buffer[] = [];
    for (let at = 0; at < whole.length; at += size) pieces.push(whole.subarray(at, at + size));
    const { datagrams } = readAll(pieces);
    assert.equal(datagrams.length, 2);
    assert.deepEqual(datagrams[0], NOISE);
    assert.deepEqual(datagrams[1], NOISE.subarray(7));
  }
});

test('what is not whole is never given, and is known to be held', () => {
  const whole = frameDatagram(Buffer.from('query'));
  for (let bytes = 0; bytes < whole.length; bytes += 1) {
    const { datagrams, heldBytes } = readAll([Buffer.from(whole.subarray(0, bytes))]);
    assert.deepEqual(datagrams, []);
    assert.equal(heldBytes, bytes);
  }
});

test('a length alone sets no memory aside', () => {
  const head = frameDatagram(NOISE).subarray(0, DATAGRAM_HEAD_BYTES + 1);
  const before = process.memoryUsage().arrayBuffers;
  const readers = Array.from({ length: 1000 }, () => {
    const reader = new DatagramReader(() => assert.fail('it is not whole'));
    reader.read(Buffer.from(head));
    return reader;
  });
  assert.ok(process.memoryUsage().arrayBuffers - before < 4_000_000);
  assert.equal(readers.length, 1000);
});
