// The worked examples of docs/protocol.md, made by the code, and their text in the document.
//
// Invariant: the same call gives the same text, so that a test can compare it with the document.
// Must not know: where the document lies.

import { writeWsHeader } from '../../src/link/ws-frames.ts';
import { FRAME, FRAME_HEADER_BYTES, type FrameType, writeHeader } from '../../src/wire/frame.ts';
import {
  encodeHello,
  encodeRegister,
  encodeRegistered,
  encodeUnregister,
  encodeWelcome,
} from '../../src/wire/hello.ts';
import { encodeOpen } from '../../src/wire/open.ts';

export interface Example {
  readonly title: string;
  readonly text: string;
  readonly type: FrameType;
  readonly stream: number;
  /** The value, or the body. */
  readonly content: number | Uint8Array;
}

const LIMITS = { frame: 262_144, streams: 10_000, credit: 65_536 };
const HELLO = {
  versions: [1],
  features: [],
  client: 'c1',
  instance: 'i1',
  agent: 'a/1',
  limits: LIMITS,
};
const WELCOME = {
  version: 1,
  features: [],
  node: 'n1',
  shard: 0,
  shards: 2,
  agent: 's/1',
  limits: LIMITS,
};
const REGISTER = { call: 1, tunnels: [{ name: 'tcp:2222', label: 'tcp:2222=127.0.0.1:22' }] };
const RULED = {
  name: 'a.example/api',
  label: 'a.example/api=http://b',
  options: { 'host-header': ['b'], 'request-header-add': ['X-A: 1'] },
};
const REGISTERED = { call: 1, results: [{ name: 'tcp:2222', code: '', reason: '' }] };
const UNREGISTER = { names: ['tcp:2222'] };
const OPEN = {
  ...{ tunnel: 'tcp:2222', window: 262_144, address: '192.0.2.7', port: 50_123 },
  ...{ toAddress: '203.0.113.5', toPort: 2222 },
};
const STREAM = 2;
const KEY = Buffer.from('37fa213d', 'hex');

export const EXAMPLES: readonly Example[] = [
  body('HELLO', HELLO, encodeHello(HELLO)),
  body('WELCOME', WELCOME, encodeWelcome(WELCOME)),
  body('REGISTER', REGISTER, encodeRegister(REGISTER)),
  body('REGISTERED', REGISTERED, encodeRegistered(REGISTERED)),
  body('UNREGISTER', UNREGISTER, encodeUnregister(UNREGISTER)),
  { ...body('OPEN', OPEN, encodeOpen(OPEN, OPEN.window)), stream: STREAM },
  value('OPENED', STREAM, 196_608, 'the whole window of 256 KiB, with the 64 KiB from before'),
  { ...body('DATA', 'hello', Buffer.from('hello')), stream: STREAM },
  value('CREDIT', STREAM, 65_536, '64 KiB more'),
  value('FIN', STREAM, 0, 'the direction has ended'),
  value('RST', STREAM, 33, 'the upstream refused'),
  value('PING', 0, 1, 'the first'),
  value('PONG', 0, 1, 'its answer'),
  value('GOAWAY', 0, 17, 'the server shuts down'),
];

/** Beside the one example of each type. */
const OPTIONS_EXAMPLE: Example = {
  ...body(
    'REGISTER',
    { call: 2, tunnels: [RULED] },
    encodeRegister({ call: 2, tunnels: [{ ...RULED, options: Object.entries(RULED.options) }] }),
  ),
  title: 'REGISTER with options',
};

/** DATA and FIN in one message, as a client sends them with the key 37 fa 21 3d. */
export function maskedMessage(): Buffer {
  const frames = Buffer.concat(
    EXAMPLES.filter(({ title }) => title === 'DATA' || title === 'FIN').map(bytesOf),
  );
  const message = Buffer.alloc(14 + frames.length);
  const start = writeWsHeader(message, 14, { opcode: 2, length: frames.length, key: KEY });
  for (const [index, byte] of frames.entries()) {
    message[14 + index] = byte ^ (KEY[index % 4] as number);
  }
  return message.subarray(start);
}

export function bytesOf(example: Example): Buffer {
  const { type, stream, content } = example;
  const tail = typeof content === 'number' ? new Uint8Array(0) : content;
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + tail.length);
  const argument = typeof content === 'number' ? content : content.length;
  writeHeader(bytes, 0, { type, stream, argument });
  bytes.set(tail, FRAME_HEADER_BYTES);
  return bytes;
}

/** The lines of the document's last section. */
export function renderExamples(): string {
  const blocks = [...EXAMPLES, OPTIONS_EXAMPLE].map((example) => {
    const bytes = bytesOf(example);
    const rows = [bytes.subarray(0, FRAME_HEADER_BYTES), bytes.subarray(FRAME_HEADER_BYTES)];
    return render(example.title, example.text, rows);
  });
  const message = maskedMessage();
  const rows = [message.subarray(0, 6), message.subarray(6)];
  const text =
    'DATA and FIN from above, from a client, in one WebSocket message with the key `37 fa 21 3d`.';
  return [...blocks, render('A masked message', text, rows)].join('\n');
}

function render(title: string, text: string, rows: readonly Buffer[]): string {
  const lines = rows.flatMap((row) => hexLines(row));
  return [`### ${title}`, '', text, '', '```hex', ...lines, '```', ''].join('\n');
}

function hexLines(bytes: Buffer): string[] {
  const lines: string[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const line = bytes.subarray(at, at + 16).toString('hex');
    lines.push(line.replace(/(..)(?=.)/g, '$1 '));
  }
  return lines;
}

function body(
  title: 'DATA' | 'HELLO' | 'WELCOME' | 'REGISTER' | 'REGISTERED' | 'UNREGISTER' | 'OPEN',
  shown: object | string,
  content: Uint8Array,
): Example {
  const text = `\`${JSON.stringify(shown)}\``;
  return { title, text, type: FRAME[title], stream: 0, content };
}

function value(
  title: 'OPENED' | 'CREDIT' | 'FIN' | 'RST' | 'PING' | 'PONG' | 'GOAWAY',
  stream: number,
  number: number,
  meaning: string,
): Example {
  const text = `Value ${number}: ${meaning}.`;
  return { title, text, type: FRAME[title], stream, content: number };
}
