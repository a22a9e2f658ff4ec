// One way to parse in tests: every input whole, in two pieces cut at each byte, and byte by byte,
// which must all say the same. A changed parser edits this file only.

import assert from 'node:assert/strict';
import { BodyReader } from '../../src/http/body-reader.ts';
import type { Framing } from '../../src/http/framing.ts';
import { type HeadParser, PUSH } from '../../src/http/head-parser.ts';
import { RequestParser } from '../../src/http/request-head.ts';
import { ResponseParser } from '../../src/http/response-head.ts';

export interface ParsedRequest {
  readonly method: string;
  readonly target: string;
  readonly host: string;
  readonly minor: number;
  readonly framing: string;
  readonly length: number;
  readonly keepAlive: boolean;
  readonly upgrade: boolean;
  readonly fields: string[];
  readonly rest: string;
}

export interface ParsedResponse {
  readonly status: number;
  readonly minor: number;
  readonly framing: string;
  readonly length: number;
  readonly keepAlive: boolean;
  readonly rest: string;
}

type Pieces = readonly Buffer[];

/** The whole, every cut in two, and single bytes. Long inputs are cut at fewer places. */
export function cuts(bytes: Buffer): Pieces[] {
  const step = Math.max(1, Math.floor(bytes.length / 400));
  const all: Pieces[] = [[bytes]];
  for (let at = 1; at < bytes.length; at += step)
    all.push([bytes.subarray(0, at), bytes.subarray(at)]);
  if (bytes.length <= 4096) all.push(Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)));
  return all;
}

/** Pushes the pieces, each copied into a buffer that is spoilt afterwards. */
function pushAll<Parser extends HeadParser>(
  parser: Parser,
  pieces: Pieces,
  describe: (rest: string) => unknown,
): unknown {
  for (const [index, piece] of pieces.entries()) {
    const chunk = Buffer.concat([Buffer.from('xx'), piece]);
    const after = parser.push(chunk, 2);
    if (after === PUSH.REFUSED) return parser.error;
    if (after !== PUSH.MORE) {
      const rest = Buffer.concat([chunk.subarray(after), ...pieces.slice(index + 1)]);
      return describe(rest.toString('latin1'));
    }
    chunk.fill(0x3f);
  }
  return 'more';
}

function sameForAllCuts(bytes: Buffer, parse: (pieces: Pieces) => unknown): unknown {
  const [whole, ...others] = cuts(bytes);
  const expected = parse(whole ?? []);
  for (const pieces of others) {
    const sizes =
      pieces.length > 2 ? 'single bytes' : pieces.map((piece) => piece.length).join('+');
    assert.deepEqual(parse(pieces), expected, `cut as ${sizes}`);
  }
  return expected;
}

export function describeRequest(parser: RequestParser, rest: string): ParsedRequest {
  const { bytes, base, fields } = parser;
  return {
    method: parser.method,
    target:
      parser.targetPrefix +
      bytes.toString('latin1', base + parser.targetStart, base + parser.targetEnd),
    host: parser.host,
    minor: parser.minor,
    framing: parser.framing,
    length: parser.contentLength,
    keepAlive: parser.isKeepAlive,
    upgrade: parser.isUpgrade,
    fields: Array.from({ length: fields.count }, (_, i) => {
      const name = bytes.toString('latin1', base + fields.nameStart(i), base + fields.nameEnd(i));
      return `${name}=${bytes.toString('latin1', base + fields.valueStart(i), base + fields.valueEnd(i))}`;
    }),
    rest,
  };
}

/** The request, the code of the refusal, or 'more'. */
export function parseRequest(text: string | Buffer): ParsedRequest | string {
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text, 'latin1');
  return sameForAllCuts(bytes, (pieces) => {
    const parser = new RequestParser();
    return pushAll(parser, pieces, (rest) => describeRequest(parser, rest));
  }) as ParsedRequest | string;
}

export interface Asked {
  readonly method?: string;
  readonly upgrade?: boolean;
}

export function parseResponse(text: string | Buffer, asked: Asked = {}): ParsedResponse | string {
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text, 'latin1');
  return sameForAllCuts(bytes, (pieces) => {
    const parser = new ResponseParser();
    parser.prepare(asked.method ?? 'GET', asked.upgrade ?? false);
    return pushAll(parser, pieces, (rest) => ({
      status: parser.status,
      minor: parser.minor,
      framing: parser.framing,
      length: parser.contentLength,
      keepAlive: parser.isKeepAlive,
      rest,
    }));
  }) as ParsedResponse | string;
}

export interface ReadBody {
  readonly passed: string;
  readonly outcome: 'complete' | 'bad' | 'more';
  readonly rest: string;
}

export interface BodyShape {
  readonly framing: Framing;
  readonly length?: number;
  readonly mode?: 'raw' | 'decode';
}

function readPieces(pieces: Pieces, shape: BodyShape): ReadBody {
  const reader = new BodyReader();
  reader.begin(shape.framing, shape.length ?? 0, shape.mode ?? 'raw');
  const passed: Buffer[] = [];
  let rest = '';
  for (const piece of pieces) {
    let offset = 0;
    while (!reader.isDone && offset < piece.length) {
      offset = reader.step(piece, offset);
      passed.push(Buffer.from(reader.bytes.subarray(reader.start, reader.end)));
    }
    if (!reader.isBad) rest += piece.toString('latin1', offset);
  }
  const outcome = reader.isBad ? 'bad' : reader.isComplete ? 'complete' : 'more';
  // What was passed before a fault depends on the cut, and nobody may rely on it.
  const text = outcome === 'bad' ? '' : Buffer.concat(passed).toString('latin1');
  return { passed: text, outcome, rest };
}

export function readBody(text: string | Buffer, shape: BodyShape): ReadBody {
  const bytes = Buffer.isBuffer(text) ? text : Buffer.from(text, 'latin1');
  return sameForAllCuts(bytes, (pieces) => readPieces(pieces, shape)) as ReadBody;
}
