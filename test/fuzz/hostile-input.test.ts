// 64 KiB that were made to be slow to read: each parser that bytes from the network reach takes at
// most 10 ms for them, whole and in small pieces. Method: the best of several runs, so that other
// work on the machine counts little; what is quadratic takes hundreds of times as long.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyReader } from '../../src/http/body-reader.ts';
import { canonicalHost } from '../../src/http/host.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { ResponseParser } from '../../src/http/response-head.ts';

const BYTES = 64 * 1024;
const LIMIT_MS = 10;
const RUNS = 15;
/** Small enough that a parser that begins anew with each piece is found out. */
const PIECE_BYTES = 64;

const fill = (text: string): string => text.repeat(Math.ceil(BYTES / text.length)).slice(0, BYTES);
const HEAD = 'GET / HTTP/1.1\r\nHost: a\r\n';
const STATUS = 'HTTP/1.1 200 OK\r\n';

const REQUESTS: Readonly<Record<string, string>> = {
  'a method without end': fill('A'),
  'a target without end': `GET /${fill('a')}`,
  'a name without end': HEAD + fill('a'),
  'a value of blanks': `${HEAD}A:${fill(' ')}`,
  'a value of blanks and letters': `${HEAD}A:${fill(' \ta')}`,
  'many fields': HEAD + fill('A: b\r\n'),
  'many connection options': `${HEAD}Connection: ${fill('a,')}`,
  'many empty connection options': `${HEAD}Connection: ${fill(', ').slice(0, 15_000)}\r\n\r\n`,
  'many named fields': `${HEAD}Connection: ${'abc,'.repeat(32)}x\r\n${'abc: y\r\n'.repeat(90)}\r\n`,
  'a Host of dots': `GET / HTTP/1.1\r\nHost: ${fill('a.').slice(0, 15_000)}\r\n\r\n`,
  'leading empty lines': fill('\r\n'),
};

const BODIES: Readonly<Record<string, string>> = {
  'chunks of one byte': fill('1\r\na\r\n'),
  'chunks with extensions': fill('1;a=b\r\na\r\n'),
  'an extension without end': `1;a="${fill('\\a')}`,
  'zeros without end': fill('0'),
  trailers: `0\r\n${fill('A: b\r\n')}`,
  'a trailer of blanks': `0\r\nA:${fill(' ')}`,
};

const HOSTS = [
  fill('a'),
  fill('a.'),
  fill('.'),
  `[${fill(':')}`,
  `[${fill('1:')}]`,
  `a:${fill('1')}`,
];

function pieces(text: string, bytes: number): Buffer[] {
  const all = Buffer.from(text, 'latin1');
  const cut: Buffer[] = [];
  for (let at = 0; at < all.length; at += bytes) cut.push(all.subarray(at, at + bytes));
  return cut;
}

function assertFast(what: string, read: () => void): void {
  let bestMs = Number.POSITIVE_INFINITY;
  for (let run = 0; run < RUNS && bestMs > LIMIT_MS / 4; run += 1) {
    const startMs = performance.now();
    read();
    bestMs = Math.min(bestMs, performance.now() - startMs);
  }
  assert.ok(bestMs <= LIMIT_MS, `${what}: ${bestMs.toFixed(1)} ms`);
}

for (const bytes of [BYTES * 2, PIECE_BYTES]) {
  test(`heads in pieces of ${bytes} bytes are read in time`, () => {
    for (const [name, text] of Object.entries(REQUESTS)) {
      const cut = pieces(text, bytes);
      assertFast(name, () => {
        const parser = new RequestParser();
        for (const piece of cut) if (parser.push(piece, 0) !== -1) return;
      });
      const answer = pieces(text.replace(HEAD, STATUS), bytes);
      assertFast(`${name}, as a response`, () => {
        const parser = new ResponseParser();
        parser.prepare('GET', false);
        for (const piece of answer) if (parser.push(piece, 0) !== -1) return;
      });
    }
  });

  test(`bodies in pieces of ${bytes} bytes are read in time`, () => {
    for (const [name, text] of Object.entries(BODIES)) {
      for (const mode of ['raw', 'decode'] as const) {
        const cut = pieces(text, bytes);
        assertFast(`${name}, ${mode}`, () => {
          const reader = new BodyReader();
          reader.begin('chunked', 0, mode);
          for (const piece of cut) {
            for (let at = 0; !reader.isDone && at < piece.length; ) at = reader.step(piece, at);
          }
        });
      }
    }
  });
}

test('hosts are read in time', () => {
  for (const host of HOSTS) {
    assertFast(host.slice(0, 10), () => {
      assert.equal(canonicalHost(host), undefined);
    });
  }
});
