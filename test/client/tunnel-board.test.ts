import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ErrorCode } from '../../src/base/errors.ts';
import { type ClientEvent, lineOf } from '../../src/client/events.ts';
import { TunnelBoard } from '../../src/client/tunnel-board.ts';
import type { TunnelSpec } from '../../src/config/tunnel.ts';
import { SILENT_LOG } from '../support/silent-log.ts';

const TUNNELS: readonly TunnelSpec[] = [
  spec('example.com', 'http', { host: '127.0.0.1', port: 3000, tls: false }),
  spec('*.secure.example', 'http', { host: 'inside', port: 443, tls: true }),
  spec('tcp:2222', 'tcp', { host: '::1', port: 22, tls: false }),
];
const SOON_MS = 15_000;
const LATER_MS = 60_000;
const SERVER = 'wss://exit.example:8123/connect';

function spec(
  name: string,
  kind: 'http' | 'tcp',
  upstream: { host: string; port: number; tls: boolean },
): TunnelSpec {
  return { name, kind, upstream, label: `${name}=…` };
}

function createBoard(): { board: TunnelBoard; lines: string[]; events: string[] } {
  const lines: string[] = [];
  const events: string[] = [];
  const onEvent = (event: ClientEvent): void => {
    events.push(event.event);
    const line = lineOf(event);
    if (line === undefined) return;
    lines.push(line);
  };
  return { board: new TunnelBoard({ tunnels: TUNNELS, log: SILENT_LOG, onEvent }), lines, events };
}

const up = (name: string) => ({ name, code: '' as const, reason: '' });
const refused = (name: string, code: ErrorCode) => ({ name, code, reason: 'because' });

test('a tunnel has one line when it comes up, whatever the number of links', () => {
  const { board, lines } = createBoard();
  const results = TUNNELS.map(({ name }) => up(name));
  assert.equal(board.report(SERVER, results), undefined);
  board.report(SERVER, results);
  assert.deepEqual(lines, [
    'http://example.com -> http://127.0.0.1:3000',
    'http://*.secure.example -> https://inside:443',
    'tcp://exit.example:2222 -> [::1]:22',
  ]);
});

test('visitors who come by HTTPS have its URL, whatever else a server says', () => {
  const { board, lines } = createBoard();
  board.report(SERVER, [{ ...up('example.com'), scheme: 'https' }]);
  board.report(SERVER, [{ ...up('*.secure.example'), scheme: 'gopher' }]);
  board.report(SERVER, [{ ...up('tcp:2222'), scheme: 'https' }]);
  assert.deepEqual(lines, [
    'https://example.com -> http://127.0.0.1:3000',
    'http://*.secure.example -> https://inside:443',
    'tcp://exit.example:2222 -> [::1]:22',
  ]);
});

test('another server has lines of its own', () => {
  const { board, lines } = createBoard();
  board.report(SERVER, [up('example.com')]);
  board.report('ws://other.example/connect', [up('example.com')]);
  assert.equal(lines.length, 2);
});

test('a refused tunnel has no line, and a taken port is worth another offer', () => {
  const { board, lines } = createBoard();
  assert.equal(
    board.report(SERVER, [refused('tcp:2222', 'SLW_TUNNEL_PORT_NOT_ALLOWED')]),
    undefined,
  );
  assert.equal(board.report(SERVER, [refused('tcp:2222', 'SLW_TUNNEL_PORT_TAKEN')]), SOON_MS);
  assert.equal(board.report(SERVER, [refused('tcp:2222', 'SLW_TUNNEL_PORT_TAKEN')]), SOON_MS);
  assert.deepEqual(lines, []);
  board.report(SERVER, [up('tcp:2222')]);
  assert.deepEqual(lines, ['tcp://exit.example:2222 -> [::1]:22']);
});

test('a result for a tunnel that nobody offered is passed over', () => {
  const { board, lines } = createBoard();
  assert.equal(board.report(SERVER, [up('stranger.example')]), undefined);
  assert.deepEqual(lines, []);
});

test('what may be accepted later is worth another offer, what may not is not', () => {
  const { board } = createBoard();
  const rows: readonly (readonly [ErrorCode, number | undefined])[] = [
    ['SLW_TUNNEL_LIMIT', SOON_MS],
    ['SLW_SHARD_FAILED', SOON_MS],
    ['SLW_CALL_TIMEOUT', SOON_MS],
    // No descriptor was free, or the address is not there yet.
    ['SLW_LISTEN_FAILED', SOON_MS],
    // Tokens and login providers change without a restart, which would bring a new link.
    ['SLW_TUNNEL_NOT_ALLOWED', LATER_MS],
    ['SLW_TUNNEL_OPTION', LATER_MS],
    ['SLW_TUNNEL_NAME', undefined],
    ['SLW_TUNNEL_PORT_DENIED', undefined],
  ];
  for (const [code, wantedMs] of rows) {
    assert.equal(board.report(SERVER, [refused('tcp:2222', code)]), wantedMs, code);
  }
  const both = [
    refused('example.com', 'SLW_TUNNEL_NOT_ALLOWED'),
    refused('tcp:2222', 'SLW_TUNNEL_PORT_TAKEN'),
  ];
  assert.equal(board.report(SERVER, both), SOON_MS, 'all are offered with the first');
  assert.equal(board.report(SERVER, both.toReversed()), SOON_MS);
});

test('a refusal that is offered again and again is told once', () => {
  const { board, events } = createBoard();
  for (let count = 0; count < 3; count += 1) {
    board.report(SERVER, [refused('example.com', 'SLW_TUNNEL_NOT_ALLOWED')]);
  }
  board.report(SERVER, [up('example.com')]);
  assert.deepEqual(events, ['tunnel-refused', 'tunnel-up']);
});

test('a code that a server makes up is no reason to offer again', () => {
  const { board, lines } = createBoard();
  for (const code of ['toString', '__proto__', 'SLW_OF_TOMORROW']) {
    assert.equal(board.report(SERVER, [refused('tcp:2222', code as ErrorCode)]), undefined);
  }
  assert.deepEqual(lines, []);
});

test('a tunnel waits for the answer to new links, and comes up without another line', () => {
  const { board, lines } = createBoard();
  const other = 'ws://other.example/connect';
  for (const url of [SERVER, other]) board.report(url, [up('example.com')]);
  const told = lines.length;
  board.beginAnew(SERVER);
  assert.equal(board.stateOf(SERVER, 'example.com'), 'waiting');
  assert.equal(board.stateOf(other, 'example.com'), 'up');
  board.report(SERVER, [up('example.com')]);
  assert.equal(board.stateOf(SERVER, 'example.com'), 'up');
  assert.equal(lines.length, told);
});

test('a refused tunnel that is withdrawn waits, and its refusal is no news after it', () => {
  const { board } = createBoard();
  const code = 'SLW_TUNNEL_PORT_TAKEN';
  board.report(SERVER, [refused('tcp:2222', code)]);
  assert.equal(board.stateOf(SERVER, 'tcp:2222'), code);
  assert.equal(board.withdraw('tcp:2222'), false);
  assert.equal(board.stateOf(SERVER, 'tcp:2222'), 'waiting');
});
