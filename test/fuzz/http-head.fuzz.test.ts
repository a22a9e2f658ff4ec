// Two parsers, one input: whatever ours accepts, llhttp must accept with the same method, target,
// Host, framing and body, and so must the head that we send on. The reverse need not hold.
// Method: valid messages are mutated by pieces that have fooled servers before, with a seed that
// is printed and can be given as SLUICEWAY_FUZZ_SEED. Some are also cut at every byte, which must
// change nothing. What was found once stands in test/fixtures/http-fuzz.ts.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BodyReader } from '../../src/http/body-reader.ts';
import { KIND } from '../../src/http/field-kind.ts';
import { Forwarding } from '../../src/http/forwarding.ts';
import { writeRequestHead } from '../../src/http/head-writer.ts';
import { HeaderEdits } from '../../src/http/header-edits.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { ResponseParser } from '../../src/http/response-head.ts';
import { Slab } from '../../src/http/slab.ts';
import { KEPT_REQUESTS, KEPT_RESPONSES } from '../fixtures/http-fuzz.ts';
import { OtherServer, readOtherResponse } from '../support/http-llhttp.ts';
import { parseRequest, parseResponse } from '../support/http-parse.ts';
import { isCi } from '../support/programs.ts';

const SECONDS = Number(process.env.SLUICEWAY_FUZZ_SECONDS ?? (isCi() ? 30 : 5));
/** One input of so many is cut at every byte, which costs as much as a hundred others. */
const CUT_EVERY = 50;
const SEED = Number(process.env.SLUICEWAY_FUZZ_SEED ?? Math.floor(Math.random() * 2 ** 31));

/** A small generator of 32-bit numbers (mulberry32). */
function createRandom(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

/** Half of the heads are sent on by a route with rules, and must mean the same. */
const EDITS = HeaderEdits.from({
  'request-header-remove': ['A', 'Cookie', 'Accept', '__proto__'],
  'request-header-add': ['A: c', 'X-Rule: "d, e"; f'],
});

const REQUEST_LINES = [
  'GET / HTTP/1.1',
  'POST /a?b=c HTTP/1.1',
  'PUT //x/../y HTTP/1.1',
  'HEAD /%2F HTTP/1.1',
  'OPTIONS * HTTP/1.1',
  'GET http://a.example/x HTTP/1.1',
  'GET / HTTP/1.0',
  'M-SEARCH / HTTP/1.1',
  'POST http://a.example?x HTTP/1.1',
  'QUERY /"<>\\^`{|}?\\ HTTP/1.1',
  "GET /~!@$&'()*+,;=:[] HTTP/1.1",
];
const STATUS_LINES = [
  'HTTP/1.1 200 OK',
  'HTTP/1.1 204 No Content',
  'HTTP/1.1 304 Not Modified',
  'HTTP/1.0 200 OK',
  'HTTP/1.1 200',
  'HTTP/1.1 200 ',
  'HTTP/1.1 103 Early Hints',
  'HTTP/1.1 500 \xe9',
  'HTTP/1.1 999 x',
];
/** Without Proxy-Connection, which llhttp takes for Connection and nobody else does. */
const FIELDS = [
  'Host: a.example',
  'Host: a.example:80',
  'Host:[::1]:8000',
  'host: A.EXAMPLE.',
  'Content-Length: 5',
  'Content-Length: 0',
  'content-length:5 ',
  'Content-Length: 05',
  'Content-Length:\t5',
  'Content-Length: 5\t',
  'Transfer-Encoding: chunked',
  'transfer-encoding:CHUNKED\t',
  'Transfer-Encoding: gzip, chunked',
  'Transfer_Encoding: chunked',
  'Connection: close',
  'Connection: keep-alive',
  'Connection: upgrade, te',
  'Upgrade: websocket',
  'Upgrade: h2c',
  'Expect: 100-continue',
  'TE: trailers',
  'A: b',
  'A:',
  'A:\t b \t',
  'X-Forwarded-For: 1.2.3.4',
  'Cookie: \xe9\xff',
  '__proto__: x',
  'Connection: content-length, host',
  'Keep-Alive: timeout=5',
  'Accept: */*',
  "!#$%&'*+-.^_`|~: x",
  'Trailer: x',
];
const BODIES = [
  '',
  'hello',
  '5\r\nhello\r\n0\r\n\r\n',
  '5;a=b\r\nhello\r\n0\r\n\r\n',
  '5;a="b;\\"c"\r\nhello\r\n0\r\n\r\n',
  '0\r\nA: b\r\n\r\n',
  '0005\r\nhello\r\n000\r\nX-T:1\r\n\r\n',
  'A\r\n0123456789\r\n0;x\r\n\r\n',
];
const PIECES = [
  '\r',
  '\n',
  '\r\n',
  '\r\n\r\n',
  ' ',
  '\t',
  ':',
  ';',
  ',',
  '\0',
  '\x0b',
  '\x7f',
  '\x80',
  '\xff',
  '\xa0',
  '#',
  '\\',
  '"',
  '/',
  '?',
  '@',
  '*',
  '%',
  '0',
  '1',
  'f',
  '+',
  '-',
  '_',
  '=',
  '\r\n ',
  'chunked',
  'HTTP/1.1',
  'Host: b\r\n',
  'Content-Length: 3\r\n',
  'Transfer-Encoding: chunked\r\n',
  'a=',
  '[',
  ']',
  '\x85',
  '=x',
];

type Random = (below: number) => number;
const pick = (random: Random, from: readonly string[]): string => from[random(from.length)] ?? '';

function message(random: Random, lines: readonly string[], first: string[]): string {
  const fields = [...first];
  for (let i = random(5); i > 0; i -= 1)
    fields.splice(random(fields.length + 1), 0, pick(random, FIELDS));
  return `${[pick(random, lines), ...fields].join('\r\n')}\r\n\r\n${pick(random, BODIES)}`;
}

function mutate(random: Random, text: string): string {
  let result = text;
  for (let i = [0, 1, 1, 2, 4][random(5)] ?? 0; i > 0; i -= 1) {
    const at = random(result.length + 1);
    const cut = random(3) === 0 ? random(4) : 0;
    const piece = random(4) === 0 ? String.fromCharCode(random(256)) : pick(random, PIECES);
    result = result.slice(0, at) + (random(5) === 0 ? '' : piece) + result.slice(at + cut);
  }
  return result;
}

interface Ours {
  readonly method: string;
  readonly target: string;
  readonly sentTarget: string;
  readonly host: string;
  readonly hasUpgrade: boolean;
  readonly isUpgrade: boolean;
  readonly body: string;
  readonly isComplete: boolean;
  readonly sent: string;
}

interface Walked {
  readonly passed: string;
  readonly after: number;
  readonly isComplete: boolean;
}

function walkBody(reader: BodyReader, bytes: Buffer, offset: number): Walked {
  let passed = '';
  let at = offset;
  while (!reader.isDone && at < bytes.length) {
    at = reader.step(bytes, at);
    passed += reader.bytes.toString('latin1', reader.start, reader.end);
  }
  return { passed, after: at, isComplete: reader.isComplete };
}

/** Every request that we accept in `bytes`, up to the first fault. */
function readOurs(bytes: Buffer): Ours[] {
  const found: Ours[] = [];
  const forwarding = new Forwarding({ address: '::1', scheme: 'http', localAuthority: 'x:1' });
  const slab = new Slab();
  let offset = 0;
  while (offset < bytes.length) {
    const parser = new RequestParser();
    const start = offset + (bytes[offset] === 0x0d ? 2 : 0);
    const after = parser.push(bytes, offset);
    if (after < 0) return found;
    const edits = after % 2 === 0 ? EDITS : undefined;
    writeRequestHead(parser, { forwarding, edits }, slab, 0);
    const head = slab.take().toString('latin1');
    const reader = new BodyReader();
    reader.begin(parser.framing, parser.contentLength, 'decode');
    const decoded = walkBody(reader, bytes, after);
    reader.begin(parser.framing, parser.contentLength, 'raw');
    const raw = walkBody(reader, bytes, after);
    assert.equal(raw.isComplete, decoded.isComplete);
    if (raw.isComplete) assert.equal(raw.after, decoded.after);
    const line = bytes.toString('latin1', start, bytes.indexOf('\r\n', start));
    const { base, targetStart, targetEnd } = parser;
    found.push({
      method: parser.method,
      target: line.split(' ')[1] ?? '',
      sentTarget:
        parser.targetPrefix + bytes.toString('latin1', base + targetStart, base + targetEnd),
      host: bytes.toString('latin1', base + parser.authorityStart, base + parser.authorityEnd),
      hasUpgrade: parser.fields.only(KIND.UPGRADE) !== -1,
      isUpgrade: parser.isUpgrade,
      body: decoded.passed,
      isComplete: decoded.isComplete,
      sent: head + raw.passed,
    });
    if (!decoded.isComplete || !parser.isKeepAlive) return found;
    offset = decoded.after;
  }
  return found;
}

async function compareRequests(server: OtherServer, bytes: Buffer): Promise<number> {
  const ours = readOurs(bytes);
  if (ours.length === 0) return 0;
  const theirs = await server.read(bytes);
  for (const [index, mine] of ours.entries()) {
    const other = theirs.requests[index];
    assert.ok(other !== undefined, `llhttp does not see request ${index}`);
    assert.equal(other.method, mine.method);
    assert.equal(other.target, mine.target);
    if (!mine.target.startsWith('http')) assert.equal(other.host ?? '', mine.host);
    if (!mine.isComplete) continue;
    assert.equal(other.isComplete, true);
    assert.equal(other.body, mine.body);
    // Node stops reading requests after one that has Upgrade, whatever becomes of it.
    if (mine.hasUpgrade) break;
  }
  const whole = ours.filter((mine) => mine.isComplete && !mine.isUpgrade);
  const sent = await server.read(Buffer.from(whole.map((mine) => mine.sent).join(''), 'latin1'));
  assert.equal(sent.isRefused, false, 'what we send on is refused');
  assert.equal(sent.requests.length, whole.length, 'what we send on is another number of requests');
  for (const [index, mine] of whole.entries()) {
    const other = sent.requests[index];
    assert.equal(other?.method, mine.method);
    assert.equal(other?.target, mine.sentTarget);
    assert.equal(other?.body, mine.body);
    assert.equal(other?.host, mine.host === '' ? 'x:1' : mine.host);
  }
  return ours.length;
}

async function compareResponses(bytes: Buffer, method: string): Promise<number> {
  const parser = new ResponseParser();
  let offset = 0;
  do {
    parser.prepare(method, false);
    offset = parser.push(bytes, offset);
    if (offset < 0) return 0;
  } while (parser.isInterim);
  const reader = new BodyReader();
  reader.begin(parser.framing, parser.contentLength, 'decode');
  const walked = walkBody(reader, bytes, offset);
  const isComplete = reader.isBad ? false : reader.finish();
  const other = await readOtherResponse(bytes, method);
  assert.ok(other !== undefined, 'llhttp does not see the response');
  assert.equal(other.status, parser.status);
  if (isComplete) assert.equal(other.body, walked.passed);
  return 1;
}

/** Runs `one` on fresh inputs until the time is up; a failure names seed and input. */
async function fuzz(seconds: number, one: (random: Random) => Promise<number>): Promise<string> {
  const random = createRandom(SEED);
  const endMs = performance.now() + seconds * 1000;
  let inputs = 0;
  let accepted = 0;
  while (performance.now() < endMs) {
    inputs += 1;
    accepted += await one(random);
  }
  assert.ok(accepted > 0, 'nothing was accepted: the inputs are no good');
  return `seed ${SEED}, ${inputs} inputs, ${accepted} accepted`;
}

async function blaming(bytes: Buffer, run: () => Promise<number>): Promise<number> {
  try {
    return await run();
  } catch (error) {
    const kept = `{ what: '', bytes: ${JSON.stringify(bytes.toString('latin1'))} }`;
    throw new Error(`seed ${SEED}; keep in test/fixtures/http-fuzz.ts: ${kept}`, { cause: error });
  }
}

test('llhttp reads every request that we accept in the same way', async (t) => {
  const server = new OtherServer();
  const summary = await fuzz((SECONDS * 3) / 5, (random) => {
    let text = message(random, REQUEST_LINES, ['Host: a.example']);
    if (random(3) === 0) text += message(random, REQUEST_LINES, ['Host: a.example']);
    const bytes = Buffer.from(mutate(random, text), 'latin1');
    return blaming(bytes, () => {
      if (random(CUT_EVERY) === 0) parseRequest(bytes);
      return compareRequests(server, bytes);
    });
  });
  t.diagnostic(summary);
});

test('llhttp reads every response that we accept in the same way', async (t) => {
  const summary = await fuzz((SECONDS * 2) / 5, (random) => {
    const text = message(random, STATUS_LINES, []);
    const bytes = Buffer.from(mutate(random, text), 'latin1');
    const method = pick(random, ['GET', 'HEAD', 'POST']);
    return blaming(bytes, () => {
      if (random(CUT_EVERY) === 0) parseResponse(bytes, { method });
      return compareResponses(bytes, method);
    });
  });
  t.diagnostic(summary);
});

test('inputs that were found fault with once are read alike, wherever they are cut', async () => {
  const server = new OtherServer();
  for (const { bytes: text } of KEPT_REQUESTS) {
    const bytes = Buffer.from(text, 'latin1');
    parseRequest(bytes);
    await blaming(bytes, () => compareRequests(server, bytes));
  }
  for (const { bytes: text } of KEPT_RESPONSES) {
    const bytes = Buffer.from(text, 'latin1');
    parseResponse(bytes);
    await blaming(bytes, () => compareResponses(bytes, 'GET'));
  }
});
