// Goal: a text of an OPEN that is no target, or one that a socket would dial by itself, is refused
// before anything is dialled or looked up; and what is allowed is dialled. Method: streams of a
// session in memory; a target on loopback that counts.

import assert from 'node:assert/strict';
import dns from 'node:dns';
import { syncBuiltinESMExports } from 'node:module';
import { isIP } from 'node:net';
import { type TestContext, test } from 'node:test';
import { ERRORS, type ErrorCode } from '../../src/base/errors.ts';
import { ForwardRules, readForwardRule } from '../../src/base/forward-rules.ts';
import { Forwards } from '../../src/shard/forwards.ts';
import { Meters } from '../../src/shard/meters.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { RawPeer } from '../mux/raw-peer.ts';
import { undoAfter } from '../support/cleanup.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LogLines } from '../support/log-lines.ts';
import { startTcp } from '../support/upstream.ts';

const LIMITS = {
  tcpIdleTimeoutMs: 0,
  halfCloseTimeoutMs: 3_600_000,
  upstreamConnectTimeoutMs: 10_000,
};
const WAIT_MS = 10_000;

function ruleOf(text: string) {
  const read = readForwardRule(text);
  assert.ok(typeof read !== 'string');
  return read;
}

class Bench {
  readonly log = new LogLines('shard');
  readonly clock = new FakeClock();
  readonly forwards: Forwards;
  denied = 0;
  #token: readonly string[] | undefined;

  constructor(t: TestContext, rules: readonly string[], token?: readonly string[]) {
    const meters = new Meters();
    undoAfter(t, () => meters.close());
    this.#token = token;
    this.forwards = new Forwards({
      ...{ limits: LIMITS, rules: rules.map(ruleOf), clock: this.clock, meters },
      log: this.log.log,
      onDenied: () => {
        this.denied += 1;
      },
    });
    undoAfter(t, () => this.forwards.cutAll());
  }

  /** Opens a stream for `tunnel`; gives what became of it. */
  async open(tunnel: string): Promise<'opened' | ErrorCode> {
    const rules = this.#token && new ForwardRules(this.#token.map(ruleOf));
    const scope = { link: 'link', rules, budget: undefined };
    const peer = new RawPeer({
      onOpen: (stream, open) => this.forwards.serve(stream, { ...open, tunnel }, scope),
    });
    peer.open();
    let found: 'opened' | ErrorCode | undefined;
    await eventually(WAIT_MS, 'OPENED or RST', async () => {
      for (const { type, content } of peer.written()) {
        if (type === FRAME.OPENED) found ??= 'opened';
        if (type === FRAME.RST) found ??= codeOf(content);
      }
      assert.ok(found !== undefined, 'no answer yet');
    });
    return found ?? 'SLW_NONE';
  }
}

function codeOf(content: unknown): ErrorCode {
  const codes = Object.keys(ERRORS) as ErrorCode[];
  return codes.filter((code) => ERRORS[code].wire === Number(content))[0] ?? 'SLW_NONE';
}

const NO_TARGETS = [
  ...['', 'forward:', 'forward', 'example.com', 'tcp:22', 'FORWARD:127.0.0.1:PORT'],
  ...['forward:127.0.0.1', 'forward::PORT', 'forward:127.0.0.1:0', 'forward:127.0.0.1:65536'],
  ...['forward:127.0.0.1:PORT ', 'forward:127.0.0.1:PORT\r\n', 'forward: 127.0.0.1:PORT'],
  ...['forward:127.1:PORT', 'forward:2130706433:PORT', 'forward:0x7f.0.0.1:PORT'],
  ...['forward:::1:PORT', 'forward:[::1%lo]:PORT', 'forward:[::1]:PORT:PORT'],
  ...['forward:http://127.0.0.1:PORT', 'forward:a@127.0.0.1:PORT', 'forward:127.0.0.1:PORT/'],
];

test('what is no target is refused, and nothing is dialled', async (t) => {
  let dials = 0;
  const port = await startTcp(t, (socket) => {
    dials += 1;
    socket.end();
  });
  const bench = new Bench(t, ['*:*', '127.0.0.0/8:*', '[::1]:*', 'localhost:*']);
  for (const text of NO_TARGETS) {
    const tunnel = text.replaceAll('PORT', String(port));
    assert.equal(await bench.open(tunnel), 'SLW_STREAM_UNKNOWN_TUNNEL', JSON.stringify(tunnel));
  }
  assert.equal(dials, 0);
  assert.equal(await bench.open(`forward:127.0.0.1:${port}`), 'opened');
  assert.equal(await bench.open(`forward:[::ffff:127.0.0.1]:${port}`), 'opened');
  assert.equal(await bench.open(`forward:LOCALHOST.:${port}`), 'opened');
  assert.equal(bench.denied, 0);
});

test('what is missing has its code, and its line once in a while', async (t) => {
  const port = await startTcp(t, (socket) => socket.end());
  const own = `127.0.0.1:${port}`;
  const rows = [
    [[], undefined, own, 'SLW_FORWARD_NOT_ALLOWED', `--client-forwarding ${own}`],
    [['*:*'], undefined, own, 'SLW_FORWARD_ADDRESS', `--client-forwarding ${own}`],
    [['*:*'], undefined, `localhost:${port}`, 'SLW_FORWARD_ADDRESS', `--client-forwarding ${own}`],
    [['127.0.0.1:*'], [], own, 'SLW_FORWARD_TOKEN', `forwards: ["${own}"] of the token`],
    [['127.0.0.1:*'], ['*:*'], own, 'SLW_FORWARD_ADDRESS', undefined],
    [[], [], 'a.example:1', 'SLW_FORWARD_NOT_ALLOWED', '--client-forwarding a.example:1'],
    [
      ['a.example:1'],
      [],
      'a.example:1',
      'SLW_FORWARD_TOKEN',
      'forwards: ["a.example:1"] of the token',
    ],
  ] as const;
  for (const [rules, token, target, code, missing] of rows) {
    const bench = new Bench(t, rules, token);
    assert.equal(await bench.open(`forward:${target}`), code);
    assert.equal(await bench.open(`forward:${target}`), code);
    assert.equal(bench.denied, 2);
    const lines = bench.log.all('forward denied');
    const told = lines.filter((line) => missing === undefined || line.missing === missing);
    assert.ok(told.length >= 1, JSON.stringify(lines));
    assert.ok(lines.length <= 2, 'one for each address of a name at most');
    bench.clock.advance(60_001);
    assert.equal(await bench.open(`forward:${target}`), code);
    assert.ok(bench.log.all('forward denied').length > lines.length);
  }
});

/** What the system's resolver says, of any name. */
function resolveTo(t: TestContext, ...addresses: readonly string[]): void {
  const found = addresses.map((address) => ({ address, family: isIP(address) }));
  const answer = (_name: string, _options: unknown, callback: (...said: unknown[]) => void): void =>
    callback(null, found);
  const resolver = t.mock.method(dns, 'lookup', answer);
  syncBuiltinESMExports();
  undoAfter(t, () => {
    resolver.mock.restore();
    syncBuiltinESMExports();
  });
}

test('a name of which one address may be dialled is not told to be denied', async (t) => {
  const port = await startTcp(t, (socket) => socket.resume());
  const target = `forward:db.example:${port}`;
  resolveTo(t, '10.1.2.3', '127.0.0.1', 'fd12::1');
  const bench = new Bench(t, ['127.0.0.0/8:*']);
  assert.equal(await bench.open(target), 'opened');
  assert.equal(bench.denied, 0);
  assert.deepEqual(bench.log.all('forward denied'), []);
  bench.forwards.replace([ruleOf('192.0.2.0/24:*')]);
  assert.equal(await bench.open(target), 'SLW_FORWARD_NOT_ALLOWED');
  const [line] = bench.log.all('forward denied');
  assert.equal(line?.missing, `--client-forwarding db.example:${port}`);
});

test('rules that change cut what they no longer allow, also while it is dialled', async (t) => {
  const port = await startTcp(t, (socket) => socket.resume());
  const bench = new Bench(t, ['127.0.0.1:*']);
  assert.equal(await bench.open(`forward:127.0.0.1:${port}`), 'opened');
  assert.equal(bench.forwards.connectionsCount, 1);
  bench.forwards.replace([ruleOf(`127.0.0.1:${port}`)]);
  assert.equal(bench.denied, 0);
  const dialling = bench.open(`forward:127.0.0.1:${port}`);
  bench.forwards.replace([]);
  assert.equal(await dialling, 'SLW_FORWARD_NOT_ALLOWED');
  await eventually(WAIT_MS, 'both are gone', async () => {
    assert.equal(bench.forwards.connectionsCount, 0);
  });
  assert.equal(bench.denied, 2);
});
