// The way of a request into its stream: what leaves together, what never leaves, what comes back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readPool } from '../../src/base/read-pool.ts';
import { Forwarding } from '../../src/http/forwarding.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { Slab } from '../../src/http/slab.ts';
import { JOINED_BYTES_MAX, RequestSending } from '../../src/shard/request-sending.ts';

const forwarding = new Forwarding({
  address: '192.0.2.1',
  scheme: 'http',
  trusted: undefined,
  localAuthority: 'a.example',
});

interface Scene {
  readonly sending: RequestSending;
  readonly written: string[];
}

/** `answers` are the stream's to the first writes; to later ones it says that it takes more. */
function createScene({
  bodyBytesMax = Number.POSITIVE_INFINITY,
  answers = [] as readonly boolean[],
} = {}): Scene {
  const written: string[] = [];
  const upstream = {
    edits: undefined,
    write: (piece: Buffer): boolean => {
      written.push(piece.toString('latin1'));
      readPool.release(piece, piece.length);
      return answers[written.length - 1] ?? true;
    },
  };
  const context = { slab: new Slab(), requestBodyBytesMax: bodyBytesMax };
  const sending = new RequestSending(context, { forwarding, loginGain: undefined }, upstream);
  return { sending, written };
}

/** Sends one read that begins with a head; gives the offset after what was sent. */
function send({ sending }: Scene, fields: string, body: string): number {
  const head = `POST / HTTP/1.1\r\nHost: a.example\r\n${fields}\r\n`;
  const chunk = Buffer.from(head + body);
  const parser = new RequestParser();
  const after = parser.push(chunk, 0);
  assert.equal(after, head.length);
  sending.begin(parser);
  return sending.sendHead(parser, chunk, after, undefined) - head.length;
}

/** A read that lies in the pool. */
function lend(text: string): Buffer {
  const buffer = readPool.take();
  buffer.write(text, 'latin1');
  return readPool.lend(buffer, text.length);
}

function bodyOf(message: string | undefined): string | undefined {
  return message?.split('\r\n\r\n').slice(1).join('\r\n\r\n');
}

test('a short body leaves with its head, and what follows it stays', () => {
  const scene = createScene();
  assert.equal(send(scene, 'Content-Length: 2\r\n', 'okGET /next'), 2);
  assert.equal(scene.written.length, 1);
  assert.equal(bodyOf(scene.written[0]), 'ok');
  assert.equal(scene.sending.outcome, 'whole');
  assert.equal(scene.sending.bodyBytes, 2);
});

test('a longer body leaves behind its head, uncopied', () => {
  const scene = createScene();
  const body = 'x'.repeat(JOINED_BYTES_MAX + 1);
  assert.equal(send(scene, `Content-Length: ${body.length}\r\n`, body), body.length);
  assert.deepEqual(scene.written.slice(1), [body]);
  assert.equal(bodyOf(scene.written[0]), '');
  assert.equal(scene.sending.outcome, 'whole');
});

test('a body whose length says that it is too large is refused before anything is sent', () => {
  const scene = createScene({ bodyBytesMax: 3 });
  const parser = new RequestParser();
  parser.push(Buffer.from('POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\r\n'), 0);
  scene.sending.begin(parser);
  assert.equal(scene.sending.outcome, 'too-large');
  scene.sending.clear();
  assert.equal(scene.sending.outcome, 'whole');
});

for (const [name, first, later] of [
  ['with its head', '3\r\nabc\r\n3\r\ndef\r\n', undefined],
  ['in a later read', '3\r\nabc\r\n', '3\r\ndef\r\n0\r\n\r\n'],
] as const) {
  test(`chunks beyond the limit, ${name}, are not sent, and the read is given back`, () => {
    const lentBefore = readPool.lentCount;
    const scene = createScene({ bodyBytesMax: 4 });
    const next = send(scene, 'Transfer-Encoding: chunked\r\n', first);
    if (later !== undefined) {
      assert.equal(next, first.length);
      assert.equal(scene.sending.outcome, 'incomplete');
      const read = lend(later);
      assert.equal(scene.sending.sendBody(read, 0, undefined), read.length);
    }
    assert.equal(scene.sending.outcome, 'too-large');
    assert.equal(scene.written.join('').includes('def'), false);
    assert.equal(readPool.lentCount, lentBefore);
  });
}

test('a chunk that is none is bad', () => {
  const scene = createScene();
  send(scene, 'Transfer-Encoding: chunked\r\n', '');
  const read = lend('zz\r\n');
  scene.sending.sendBody(read, 0, undefined);
  assert.equal(scene.sending.outcome, 'bad');
});

test('says whether the stream takes more, by what it said of the last read', () => {
  const long = 'x'.repeat(JOINED_BYTES_MAX + 1);
  for (const [answers, body, goesOn] of [
    [[true], 'x', true],
    [[false], 'x', false],
    [[true, true], long, true],
    [[false, true], long, false],
    [[true, false], long, false],
  ] as const) {
    const scene = createScene({ answers });
    send(scene, 'Content-Length: 1000000\r\n', body);
    assert.equal(scene.sending.goesOn, goesOn, `${answers} of ${body.length}`);
    assert.equal(scene.sending.outcome, 'incomplete');
    scene.sending.sendBody(lend('y'), 0, undefined);
    assert.equal(scene.sending.goesOn, true);
  }
});
