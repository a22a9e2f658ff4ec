// What an issuer sees past the lists, on real sockets and a clock that the test moves: the text of
// a challenge that is up, and nothing else.

import assert from 'node:assert/strict';
import type { Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { AcmeChallenges } from '../../src/shard/acme-challenges.ts';
import { GUEST_MS, GUESTS_MAX, IssuerDoor } from '../../src/shard/issuer-door.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { createSocketPair, endOf, type SocketPair } from './socket-pair.ts';

const CHALLENGE = { kind: 'http-01', token: 'tok_en-1', text: 'tok_en-1.thumb' } as const;
const PATH = '/.well-known/acme-challenge/tok_en-1';
const REQUEST = `GET ${PATH} HTTP/1.1\r\nHost: a.test\r\n\r\n`;
const EVENT_MS = 5000;
const CUT = { how: 'ECONNRESET', bytes: Buffer.alloc(0) };

interface Bench {
  readonly door: IssuerDoor;
  readonly challenges: AcmeChallenges;
  readonly clock: FakeClock;
  deniedCount: number;
}

function createBench(): Bench {
  const clock = new FakeClock();
  const challenges = new AcmeChallenges(clock);
  challenges.set([CHALLENGE]);
  const onDenied = (): void => {
    bench.deniedCount += 1;
  };
  const door = new IssuerDoor({ challenges, clock, onDenied });
  const bench = { door, challenges, clock, deniedCount: 0 };
  return bench;
}

/** Somebody whom a list denies, and the door has taken. */
async function visit(t: TestContext, bench: Bench, first?: string): Promise<Socket> {
  return (await visitBy(t, bench, first)).theirs;
}

async function visitBy(t: TestContext, { door }: Bench, first?: string): Promise<SocketPair> {
  const pair = await createSocketPair(t);
  assert.ok(door.take(pair.ours, first === undefined ? undefined : Buffer.from(first)));
  return pair;
}

function pause(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

test('a challenge that is up is answered, however its request comes', async (t) => {
  const bench = createBench();
  const pieces = [[REQUEST], [...REQUEST], [`${REQUEST}GET / HTTP/1.1\r\nHost: a.test\r\n\r\n`]];
  for (const request of pieces) {
    const issuer = await visit(t, bench);
    for (const piece of request) {
      issuer.write(piece);
      await pause();
    }
    const { how, bytes } = await endOf(issuer);
    assert.equal(how, 'FIN');
    assert.match(bytes.toString(), /^HTTP\/1\.1 200 OK\r\n[\s\S]*\r\n\r\ntok_en-1\.thumb$/u);
    issuer.end();
    await eventually(EVENT_MS, 'it is gone', async () => assert.equal(bench.door.guestsCount, 0));
  }
  const behindProxy = await visit(t, bench, REQUEST);
  assert.match((await endOf(behindProxy)).bytes.toString(), /thumb$/u);
  assert.equal(bench.deniedCount, 0);
});

test('anything else is cut before a byte of ours, and counted', async (t) => {
  const bench = createBench();
  const others = [
    ...['X', 'GET /.well-known/acme-x', 'GEt ', 'PROXY TCP4 ', '\x16\x03\x01', '\r\nGET '],
    ...[`HEAD ${PATH} HTTP/1.1\r\nHost: a.test\r\n\r\n`, `POST ${PATH} `],
    ...[`GET http://a.test${PATH} HTTP/1.1\r\nHost: a.test\r\n\r\n`],
    ...['/', '?x=y', '%20', '0', '#x'].map((more) => REQUEST.replace(PATH, `${PATH}${more}`)),
    ...['', 'tok_en-', 'TOK_EN-1', '../a', 'x/../tok_en-1'].map((token) =>
      REQUEST.replace('tok_en-1', token),
    ),
    `GET ${PATH} HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n`,
    `GET ${PATH} HTTP/1.1\r\nHost: a.test\r\nX: ${'x'.repeat(17_000)}`,
  ];
  for (const other of others) {
    const visitor = await visit(t, bench);
    visitor.write(other);
    assert.deepEqual(await endOf(visitor), CUT, other.slice(0, 80));
  }
  const early = await visit(t, bench);
  early.end(REQUEST.slice(0, -1));
  assert.deepEqual(await endOf(early), CUT);
  await eventually(EVENT_MS, 'all are counted', async () => {
    assert.equal(bench.deniedCount, others.length + 1);
  });
  assert.equal(bench.door.guestsCount, 0);
});

test('nobody is taken while no challenge is up over HTTP', async (t) => {
  const bench = createBench();
  bench.challenges.set([]);
  const { ours } = await createSocketPair(t);
  assert.equal(bench.door.take(ours, undefined), false);
  assert.equal(ours.listenerCount('data'), 0);
});

test('a challenge that is taken back is not answered to who waits', async (t) => {
  const bench = createBench();
  const issuer = await visit(t, bench);
  issuer.write(REQUEST.slice(0, -2));
  await pause();
  bench.challenges.set([{ ...CHALLENGE, token: 'tok_en-2' }]);
  issuer.write('\r\n');
  assert.deepEqual(await endOf(issuer), CUT);
});

test('who is slow to ask, or to take the answer, is cut at one deadline', async (t) => {
  const bench = createBench();
  const slow = await visit(t, bench);
  const { ours, theirs: answered } = await visitBy(t, bench);
  slow.write('GET ');
  answered.write(REQUEST);
  assert.equal((await endOf(answered)).how, 'FIN');
  bench.clock.advance(GUEST_MS - 1);
  bench.door.sweep(bench.clock.nowMs());
  assert.equal(bench.door.guestsCount, 2);
  bench.clock.advance(1);
  bench.door.sweep(bench.clock.nowMs());
  assert.deepEqual([bench.door.guestsCount, ours.destroyed], [0, true]);
  assert.deepEqual(await endOf(slow), CUT);
  assert.equal(bench.deniedCount, 1);
});

test('whoever came first makes room for one too many', async (t) => {
  const bench = createBench();
  const first = await visit(t, bench);
  for (let count = 1; count < GUESTS_MAX; count += 1) await visit(t, bench);
  assert.equal(bench.deniedCount, 0);
  const end = endOf(first);
  const issuer = await visit(t, bench);
  assert.deepEqual(await end, CUT);
  assert.equal(bench.door.guestsCount, GUESTS_MAX);
  issuer.write(REQUEST);
  assert.match((await endOf(issuer)).bytes.toString(), /thumb$/u);
});
