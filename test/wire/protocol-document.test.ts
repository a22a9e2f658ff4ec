// docs/protocol.md says what the code does: tables, limits and worked examples are compared.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ERRORS, type ErrorRow } from '../../src/base/errors.ts';
import { WsFrameReader } from '../../src/link/ws-frames.ts';
import { FRAME, SHAPE, shapeOf } from '../../src/wire/frame.ts';
import {
  decodeHello,
  decodeRegister,
  decodeRegistered,
  decodeUnregister,
  decodeWelcome,
} from '../../src/wire/hello.ts';
import {
  CLIENT_TUNNELS_MAX,
  CONTROL_BODY_BYTES_MAX,
  CREDIT_INITIAL,
  CREDIT_MAX,
  DEFAULT_LIMITS,
  FRAME_BYTES_MAX,
  FRAME_BYTES_MIN,
  IDLE_FRAMES_MAX,
  LINK_QUEUE_BYTES_MAX,
  REGISTER_TUNNELS_MAX,
  STREAMS_OPENING_MAX,
} from '../../src/wire/limits.ts';
import { decodeOpen } from '../../src/wire/open.ts';
import {
  canReceive,
  canSend,
  EVENT,
  REFUSED,
  STREAM,
  type StreamState,
  transition,
} from '../../src/wire/stream-state.ts';
import { bytesOf, EXAMPLES, maskedMessage, renderExamples } from './examples.ts';
import { logFrames } from './frame-log.ts';

const TEXT = readFileSync(path.resolve(import.meta.dirname, '../../docs/protocol.md'), 'utf8');
const LINES = TEXT.split('\n');

/** Cells of the rows below the table line that begins with `head`. */
function table(head: string): string[][] {
  const start = LINES.findIndex((line) => line.startsWith(head));
  assert.notEqual(start, -1, `no table ${head}`);
  const rows: string[][] = [];
  for (const line of LINES.slice(start + 2)) {
    if (!line.startsWith('|')) break;
    rows.push(line.split('|').map((cell) => cell.trim()));
  }
  return rows.map((cells) => cells.slice(1, -1));
}

/** Names of the states in the document, in its words. */
const STATES: Readonly<Record<string, StreamState>> = {
  'opening: I sent OPEN': STREAM.OPENING,
  'opening, I sent FIN': STREAM.OPENING_SENT_FIN,
  'accepting: I got OPEN': STREAM.ACCEPTING,
  'accepting, I got FIN': STREAM.ACCEPTING_GOT_FIN,
  open: STREAM.OPEN,
  'I sent FIN': STREAM.SENT_FIN,
  'I got FIN': STREAM.GOT_FIN,
  ended: STREAM.ENDED,
};

function nameOf(state: StreamState | typeof REFUSED): string {
  if (state === REFUSED) return 'error [6]';
  const name = Object.keys(STATES).find((one) => STATES[one] === state) ?? assert.fail();
  return `→ ${name}`;
}

test('the frame table lists each type with its number and shape', () => {
  const rows = table('| type | name | from |').map(([type, name, , , then]) => [type, name, then]);
  const expected = Object.entries(FRAME).map(([name, type]) => [
    `\`0x${type.toString(16).padStart(2, '0')}\``,
    name,
    shapeOf(type) === SHAPE.BODY ? 'body' : 'value',
  ]);
  assert.deepEqual(rows, expected);
});

test('the error table lists each code that travels', () => {
  const rows: readonly (readonly [string, ErrorRow])[] = Object.entries(ERRORS);
  const expected = rows
    .filter(([, row]) => row.wire >= 0)
    .map(([code, row]) => [
      String(row.wire),
      `\`${code}\``,
      row.retryable ? 'yes' : 'no',
      row.text,
    ]);
  assert.deepEqual(table('| number | code | retry |'), expected);
});

test('the table of received frames is the transition table', () => {
  const rows = table('| state | OPENED | DATA | CREDIT | FIN | RST |');
  assert.deepEqual(
    rows.map(([name]) => name),
    [...Object.keys(STATES), 'never opened'],
  );
  for (const [name = '', opened, data, credit, fin, rst] of rows) {
    const state = STATES[name];
    if (state === undefined || state === STREAM.ENDED) {
      const word = state === undefined ? 'error [7]' : 'ignored';
      assert.deepEqual([opened, data, credit, fin, rst], Array(5).fill(word));
      continue;
    }
    assert.equal(opened, nameOf(transition(state, EVENT.GET_OPENED)), name);
    assert.equal(data, canReceive(state) ? 'takes' : 'error [6]', name);
    assert.equal(credit, 'adds', name);
    assert.equal(fin, nameOf(transition(state, EVENT.GET_FIN)), name);
    assert.equal(rst, nameOf(transition(state, EVENT.RESET)), name);
  }
});

test('the table of sent frames is the transition table', () => {
  const rows = table('| state | OPENED | DATA, FIN | CREDIT | RST |');
  assert.deepEqual(
    rows.map(([name]) => name),
    Object.keys(STATES),
  );
  for (const [name = '', opened, data, credit, rst] of rows) {
    const state = STATES[name] ?? assert.fail();
    const yes = (is: boolean): string => (is ? 'yes' : 'no');
    assert.equal(opened, yes(transition(state, EVENT.SEND_OPENED) !== REFUSED), name);
    assert.equal(data, yes(canSend(state)), name);
    assert.equal(credit?.split(':')[0], yes(canReceive(state)), name);
    assert.equal(rst, yes(state !== STREAM.ENDED), name);
  }
});

test('the limits are those of the code', () => {
  const rows = new Map(table('| limit | value | broken |').map(([name, value]) => [name, value]));
  const show = (value: number): string => value.toLocaleString('en-US');
  const expected: Readonly<Record<string, readonly number[]>> = {
    'control body': [CONTROL_BODY_BYTES_MAX],
    'DATA body': [FRAME_BYTES_MAX, FRAME_BYTES_MIN],
    'tunnels in a REGISTER': [REGISTER_TUNNELS_MAX],
    'tunnels of a client': [CLIENT_TUNNELS_MAX],
    'stream id': [0x7fff_ffff],
    'credit of one direction': [CREDIT_MAX],
    'streams of one opener': [DEFAULT_LIMITS.streams],
    'own streams that wait for OPENED': [STREAMS_OPENING_MAX],
    'credit before OPENED': [CREDIT_INITIAL],
    'frames without effect': [IDLE_FRAMES_MAX],
    'answers that wait for a peer': [LINK_QUEUE_BYTES_MAX],
  };
  for (const [name, values] of Object.entries(expected)) {
    for (const value of values) {
      assert.ok(rows.get(name)?.includes(show(value)), `${name}: ${value}, not ${rows.get(name)}`);
    }
  }
  assert.ok(TEXT.includes(`more than ${show(IDLE_FRAMES_MAX)} of them`));
});

test('the worked examples are what the code writes', () => {
  const start = TEXT.indexOf('### HELLO');
  assert.equal(TEXT.slice(start), renderExamples());
});

test('the worked examples are read as what they say', () => {
  const blocks = TEXT.slice(TEXT.indexOf('### HELLO')).matchAll(
    /^### (.+)\n\n(.+)\n\n```hex\n([^`]+)```$/gm,
  );
  const decoders: Readonly<Record<string, (body: Uint8Array) => object>> = {
    HELLO: decodeHello,
    WELCOME: decodeWelcome,
    REGISTER: decodeRegister,
    'REGISTER with options': decodeRegisterByKey,
    REGISTERED: decodeRegistered,
    UNREGISTER: decodeUnregister,
    OPEN: decodeOpenOfLink,
  };
  let read = 0;
  for (const [, title = '', text = '', hex = ''] of blocks) {
    const bytes = Buffer.from(hex.replace(/\s/g, ''), 'hex');
    read += 1;
    if (title === 'A masked message') {
      assert.deepEqual(framesOfMessage(bytes), ['data 2 5 68656c6c6f', '10 2 0']);
      continue;
    }
    const log = logFrames([bytes]);
    assert.deepEqual([log.error, log.entries.length], [undefined, 1], title);
    const decode = decoders[title];
    if (decode === undefined) continue;
    assert.deepEqual(decode(bytes.subarray(12)), JSON.parse(text.slice(1, -1)), title);
  }
  assert.equal(read, EXAMPLES.length + 2);
});

/** With the options as the map that they are on the wire. */
function decodeRegisterByKey(body: Uint8Array): object {
  const { call, tunnels } = decodeRegister(body);
  const byKey = tunnels.map(({ options, ...offer }) => ({
    ...offer,
    options: Object.fromEntries(options ?? []),
  }));
  return { call, tunnels: byKey };
}

/** On a link, where the key of the mesh is absent. */
function decodeOpenOfLink(body: Uint8Array): object {
  const { link, ...open } = decodeOpen(body);
  assert.equal(link, '');
  return open;
}

test('there is an example of every frame type', () => {
  assert.deepEqual(
    EXAMPLES.map((example) => bytesOf(example)[1]),
    Object.values(FRAME),
  );
});

function framesOfMessage(message: Buffer): readonly string[] {
  const pieces: Buffer[] = [];
  let messages = 0;
  const reader = new WsFrameReader({
    sink: {
      onPayload: (piece) => pieces.push(piece),
      onMessageEnd: () => {
        messages += 1;
      },
      onControl: () => assert.fail('no control frame'),
    },
    isMasked: true,
    messageBytesMax: 1000,
  });
  reader.push(Buffer.from(message));
  assert.equal(messages, 1);
  assert.deepEqual(maskedMessage(), message);
  return logFrames(pieces).entries;
}
