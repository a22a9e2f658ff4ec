// SHA-256 of what went through a tunnel, and reproducible noise to send.
//
// Invariant: the same seed gives the same bytes in the same order. Must not know: who sends them.

import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { closeSync, createReadStream, createWriteStream, openSync, readSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';

export function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export async function sha256OfFile(file: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(file), hash);
  return hash.digest('hex');
}

/** Writes `bytes` random ones, a mebibyte at a time, and gives their SHA-256. */
export async function writeRandomFile(file: string, bytes: number): Promise<string> {
  const piece = 1024 * 1024;
  await pipeline(function* pieces() {
    for (let left = bytes; left > 0; left -= piece) yield randomBytes(Math.min(piece, left));
  }, createWriteStream(file));
  return await sha256OfFile(file);
}

/** Uniform numbers in [0, 1) from a seed: the generator "mulberry32". */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Sizes from 1 to `max`, each power of two as likely as the next, so that small ones are many. */
export function randomSize(random: () => number, max: number): number {
  return Math.min(max, Math.max(1, Math.floor(2 ** (random() * Math.log2(max + 1)))));
}

/** Noise of which chunks are cut; long enough that two chunks seldom coincide. */
export function seededNoise(seed: number, bytes: number): Buffer {
  const random = seededRandom(seed);
  const noise = Buffer.alloc(bytes);
  for (let at = 0; at + 4 <= bytes; at += 4) noise.writeUInt32LE(random() * 2 ** 32, at);
  return noise;
}

/** `length` bytes of a file from `start`. */
export function readBytes(file: string, start: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  const descriptor = openSync(file, 'r');
  try {
    assert.equal(readSync(descriptor, bytes, 0, length, start), length, `${file} is shorter`);
    return bytes;
  } finally {
    closeSync(descriptor);
  }
}
