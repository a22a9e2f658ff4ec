// The heads of a response: interim ones for the visitor, the final one for the exchange.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PUSH } from '../../src/http/head-parser.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { ResponseParser } from '../../src/http/response-head.ts';
import { Slab } from '../../src/http/slab.ts';
import { ResponseHeads } from '../../src/shard/response-heads.ts';

const EARLY = 'HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n';
const OK = 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n';
const INTERIMS_MAX = 16;

interface Scene {
  readonly heads: ResponseHeads;
  readonly written: string[];
  /** Parsers that are borrowed and not returned. */
  readonly borrowed: () => number;
}

function createScene(version = '1.1'): Scene {
  const written: string[] = [];
  let borrowed = 0;
  const context = {
    slab: new Slab(),
    borrowResponseParser: () => {
      borrowed += 1;
      return new ResponseParser();
    },
    returnResponseParser: () => {
      borrowed -= 1;
    },
  };
  const write = (piece: Buffer): void => {
    written.push(piece.toString('latin1'));
  };
  const heads = new ResponseHeads(context, { write });
  const request = new RequestParser();
  request.push(Buffer.from(`GET / HTTP/${version}\r\nHost: a.example\r\n\r\n`), 0);
  heads.begin(request);
  return { heads, written, borrowed: () => borrowed };
}

test('hands out the final head, wherever the reads end', () => {
  const whole = EARLY + OK;
  for (let cut = 1; cut < whole.length; cut += 1) {
    const { heads, written } = createScene();
    const [first, second] = [whole.slice(0, cut), whole.slice(cut)].map((part) =>
      Buffer.from(part),
    );
    assert.equal(heads.push(first as Buffer), PUSH.MORE);
    assert.equal(heads.push(second as Buffer), (second as Buffer).length);
    assert.equal(heads.parser.status, 200);
    assert.equal(written.length, 1);
    assert.match(written[0] ?? '', /^HTTP\/1\.1 103 Early Hints\r\nLink: x\r\n/);
  }
});

test('passes so many interim heads and no more, and none to HTTP/1.0', () => {
  const { heads, written } = createScene();
  const most = Buffer.from(EARLY.repeat(INTERIMS_MAX));
  assert.equal(heads.push(most), PUSH.MORE);
  assert.equal(heads.push(Buffer.from(OK)), OK.length);
  assert.equal(written.length, INTERIMS_MAX);
  const flooded = createScene();
  assert.equal(flooded.heads.push(Buffer.from(EARLY.repeat(INTERIMS_MAX + 1))), PUSH.REFUSED);
  const old = createScene('1.0');
  assert.equal(old.heads.push(Buffer.from(EARLY + OK)), (EARLY + OK).length);
  assert.deepEqual(old.written, []);
});

test('counts interim heads anew for the next request', () => {
  const { heads } = createScene();
  const request = new RequestParser();
  request.push(Buffer.from('HEAD / HTTP/1.1\r\nHost: a.example\r\n\r\n'), 0);
  assert.equal(heads.push(Buffer.from(EARLY.repeat(INTERIMS_MAX))), PUSH.MORE);
  heads.release();
  heads.begin(request);
  assert.equal(heads.push(Buffer.from(EARLY + OK)), (EARLY + OK).length);
  // A response to HEAD has no body, whatever its length says (RFC 9110 9.3.2).
  assert.equal(heads.parser.framing, 'none');
});

test('borrows one parser from the first byte to the release', () => {
  const { heads, borrowed } = createScene();
  assert.equal(borrowed(), 0);
  heads.push(Buffer.from('HTT'));
  heads.push(Buffer.from('P/1.1 200 OK\r\nContent-Length: 0\r\n\r\n'));
  assert.equal(borrowed(), 1);
  heads.release();
  heads.release();
  assert.equal(borrowed(), 0);
});

test('refuses what is no head', () => {
  const { heads } = createScene();
  assert.equal(heads.push(Buffer.from('HTTP/1.1 abc\r\n\r\n')), PUSH.REFUSED);
});
