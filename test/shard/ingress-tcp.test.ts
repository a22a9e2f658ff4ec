// Goal: a TCP visitor whom one client cannot serve goes to another, but to none that keeps it out.
// Method: the real router and ingress, streams of a session in memory, a visitor on loopback.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { ERRORS } from '../../src/base/errors.ts';
import { AccessLog } from '../../src/shard/access-log.ts';
import type { Arrival } from '../../src/shard/arrivals.ts';
import { TcpIngress, type TcpIngressOptions } from '../../src/shard/ingress-tcp.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { valueFrame } from '../mux/raw-peer.ts';
import { eventually } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LIMITS } from '../support/http-edge.ts';
import { LogLines } from '../support/log-lines.ts';
import { Bench } from './router-bench.ts';
import { createSocketPair, endOf } from './socket-pair.ts';

const TUNNEL = 'tcp:2222';
const REFUSED = 33;
const NO_LINK = ERRORS.SLW_STREAM_NO_LINK.wire;
const DRAINING = ERRORS.SLW_LINK_DRAINING.wire;

function createIngress({ router }: Bench, more: Partial<TcpIngressOptions> = {}): TcpIngress {
  return new TcpIngress({
    ...{ router, limits: LIMITS, clock: new FakeClock(), access: undefined },
    ledger: new VisitorLedger({ visitorConnectionsMax: 100, connectionsPerAddressMax: 0 }),
    ...more,
  });
}

/** A visitor of client `one`, and a second client that lets in those of `networks`. */
async function startPair(t: TestContext, networks: readonly string[]) {
  const bench = new Bench(t);
  const denied: string[] = [];
  const ingress = createIngress(bench, { onDenied: () => denied.push('tunnels') });
  const { ours, theirs } = await createSocketPair(t);
  bench.apply('add', TUNNEL, 'one/1');
  ingress.accept(TUNNEL, ours);
  bench.apply('add', TUNNEL, 'two/1', { options: { 'allow-ips': networks } });
  const [first] = bench.opener.streams;
  bench.opener.peer.deliver(valueFrame(FRAME.RST, first?.id ?? 0, REFUSED));
  const opened = bench.opener.chosen.map(({ link }) => link);
  return { opened, denied, theirs, visitors: visitorsOf(bench) };
}

/** As control's page counts visitors of the port. */
function visitorsOf({ meters }: Bench): number {
  const [{ streams = 0, results = [], reopened = 0 } = {}] = meters.sample('none').tunnels;
  return results.reduce((sum, [, count]) => sum + count, streams - reopened);
}

test('a visitor that its client cannot serve goes to another, which lets it in', async (t) => {
  const { opened, visitors } = await startPair(t, ['127.0.0.0/8']);
  assert.deepEqual(opened, ['one/1', 'two/1']);
  assert.equal(visitors, 1, 'and counts once');
});

test('the access log counts what was read before the stream was opened', async (t) => {
  const bench = new Bench(t);
  const lines = new LogLines('access');
  const ingress = createIngress(bench, { access: new AccessLog(lines.records) });
  const { ours, theirs } = await createSocketPair(t);
  bench.apply('add', TUNNEL, 'one/1');
  ingress.accept(TUNNEL, ours, { first: Buffer.from('hello') });
  theirs.resetAndDestroy();
  const { bytesIn } = await lines.line('connection', { tunnel: TUNNEL });
  assert.equal(bytesIn, 5);
});

test('and to none that keeps it out', async (t) => {
  const { opened, denied, theirs, visitors } = await startPair(t, ['203.0.113.0/24']);
  assert.deepEqual([opened, denied, visitors], [['one/1'], ['tunnels'], 1]);
  assert.equal((await endOf(theirs)).how, 'ECONNRESET');
});

/** What each stream was sent so far, in the order of their opening. */
function sentOn({ opener }: Bench): string[] {
  const data = opener.peer.written(FRAME.DATA);
  return opener.streams.map(({ id }) =>
    data.flatMap(({ stream, content }) => (stream === id ? [String(content)] : [])).join(''),
  );
}

/** A visitor whose first bytes were read before a client was chosen, and two clients. */
async function startEarly(t: TestContext, tunnel: string, text = 'hello') {
  const bench = new Bench(t);
  const lines = new LogLines('access');
  const ingress = createIngress(bench, { access: new AccessLog(lines.records) });
  const pair = await createSocketPair(t);
  for (const link of ['one/1', 'two/1']) bench.apply('add', tunnel, link);
  const first = Buffer.from(text);
  ingress.accept(tunnel, pair.ours, { first });
  // Its memory is another's, once it is sent.
  first.fill(0);
  return { ...pair, bench, lines };
}

for (const tunnel of ['tls:a.example', TUNNEL]) {
  test(`what came before a client was chosen follows a visitor of ${tunnel} to another`, async (t) => {
    const { bench, theirs, lines } = await startEarly(t, tunnel);
    bench.opener.peer.deliver(valueFrame(FRAME.RST, bench.opener.streams[0]?.id ?? 0, REFUSED));
    assert.notEqual(bench.opener.chosen[0]?.link, bench.opener.chosen[1]?.link);
    assert.deepEqual(sentOn(bench), ['hello', 'hello']);
    theirs.write(' more');
    await eventually(5000, 'the rest', async () =>
      assert.deepEqual(sentOn(bench), ['hello', 'hello more']),
    );
    theirs.resetAndDestroy();
    const { bytesIn } = await lines.line('connection', { tunnel });
    assert.equal(bytesIn, 10, 'counted once');
  });
}

test('what has no room on either stream is sent once there is, and the rest behind it', async (t) => {
  const text = 'x'.repeat(70_000);
  const { bench, theirs } = await startEarly(t, 'tls:a.example', text);
  const { peer, streams } = bench.opener;
  theirs.write(' more');
  peer.deliver(valueFrame(FRAME.RST, streams[0]?.id ?? 0, REFUSED));
  assert.deepEqual(
    sentOn(bench).map(({ length }) => length),
    [65_536, 65_536],
  );
  peer.deliver(valueFrame(FRAME.OPENED, streams[1]?.id ?? 0, 100_000));
  await eventually(5000, 'the rest', async () => assert.equal(sentOn(bench)[1], `${text} more`));
});

test('a visitor who has said more than the first bytes goes to no other client', async (t) => {
  const { bench, theirs } = await startEarly(t, 'tls:a.example');
  theirs.write(' more');
  await eventually(5000, 'it is sent', async () => assert.deepEqual(sentOn(bench), ['hello more']));
  bench.opener.peer.deliver(valueFrame(FRAME.RST, bench.opener.streams[0]?.id ?? 0, REFUSED));
  assert.equal((await endOf(theirs)).how, 'ECONNRESET');
  assert.equal(bench.opener.streams.length, 1);
});

test('nor does one whose first bytes an upstream may have answered', async (t) => {
  const { bench, theirs } = await startEarly(t, 'tls:a.example');
  const [stream] = bench.opener.streams;
  bench.opener.peer.deliver(valueFrame(FRAME.OPENED, stream?.id ?? 0, 0));
  bench.opener.peer.deliver(valueFrame(FRAME.RST, stream?.id ?? 0, REFUSED));
  assert.equal((await endOf(theirs)).how, 'ECONNRESET');
  assert.equal(bench.opener.streams.length, 1);
});

test('a client that gives up who speaks first is passed over, and does not draw all', async (t) => {
  const bench = new Bench(t);
  const ingress = createIngress(bench);
  for (const link of ['good/1', 'bad/1']) bench.apply('add', TUNNEL, link);
  const visit = async (): Promise<string | undefined> => {
    const { ours, theirs } = await createSocketPair(t);
    ingress.accept(TUNNEL, ours);
    theirs.write('hello');
    await eventually(5000, 'it is sent', async () => assert.equal(sentOn(bench).at(-1), 'hello'));
    const link = bench.opener.chosen.at(-1)?.link;
    const id = bench.opener.streams.at(-1)?.id ?? 0;
    if (link === 'bad/1') bench.opener.peer.deliver(valueFrame(FRAME.RST, id, REFUSED));
    return link;
  };
  const visits: (string | undefined)[] = [];
  for (let count = 0; count < 8; count += 1) visits.push(await visit());
  assert.equal(visits.filter((link) => link === 'bad/1').length, 1, String(visits));
  for (let second = 0; second < 10; second += 1) bench.router.sweep();
  assert.equal(await visit(), 'bad/1', 'it is asked again');
});

test('a visitor takes of the rate of its address, unless it has', async (t) => {
  const bench = new Bench(t);
  const limits = { visitorConnectionsMax: 100, connectionsPerAddressMax: 0 };
  const ledger = new VisitorLedger({ ...limits, addressConnectionsPerSecondMax: 1 });
  const ingress = createIngress(bench, { ledger });
  bench.apply('add', TUNNEL, 'one/1');
  const visit = async (arrival: Arrival): Promise<number> => {
    const { ours } = await createSocketPair(t);
    ingress.accept(TUNNEL, ours, arrival);
    return bench.opener.chosen.length;
  };
  const visitor = (address: string) => ({ visitor: { address, port: 7 } });
  assert.equal(await visit({ isRated: true }), 1);
  assert.equal(await visit({}), 2, 'its first');
  assert.equal(await visit({}), 2, 'cut');
  assert.equal(await visit(visitor('192.0.2.1')), 3, 'another that a proxy names');
  assert.equal(await visit(visitor('192.0.2.1')), 3);
  assert.equal(await visit({ isRated: true }), 4);
});

test('a visitor whose link was gone goes by another link of its client where there is no other', async (t) => {
  for (const [code, expected] of [
    [NO_LINK, ['one/1', 'one/2']],
    [DRAINING, ['one/1', 'one/2']],
    // Of its links none is better.
    [REFUSED, ['one/1']],
  ] as const) {
    const bench = new Bench(t);
    const { ours } = await createSocketPair(t);
    bench.apply('add', TUNNEL, 'one/1');
    createIngress(bench).accept(TUNNEL, ours);
    bench.apply('add', TUNNEL, 'one/2');
    const fail = () =>
      bench.opener.peer.deliver(valueFrame(FRAME.RST, bench.opener.streams.at(-1)?.id ?? 0, code));
    fail();
    const chosen = () => bench.opener.chosen.map(({ link }) => link);
    assert.deepEqual(chosen(), expected, `code ${code}`);
    fail();
    assert.deepEqual(chosen(), expected, 'once');
    assert.equal(visitorsOf(bench), 1);
  }
});

test('and by another client where there is one', async (t) => {
  const bench = new Bench(t);
  const { ours } = await createSocketPair(t);
  bench.apply('add', TUNNEL, 'one/1');
  createIngress(bench).accept(TUNNEL, ours);
  for (const link of ['one/2', 'two/1']) bench.apply('add', TUNNEL, link);
  bench.opener.peer.deliver(valueFrame(FRAME.RST, bench.opener.streams[0]?.id ?? 0, NO_LINK));
  assert.deepEqual(
    bench.opener.chosen.map(({ link }) => link),
    ['one/1', 'two/1'],
  );
});

/** The client gives up what was opened last. */
function giveUpLast({ opener }: Bench, code: number): void {
  opener.peer.deliver(valueFrame(FRAME.RST, opener.streams.at(-1)?.id ?? 0, code));
}

const chosenBy = ({ opener }: Bench): string[] => opener.chosen.map(({ link }) => link);

for (const [tunnel, text] of [
  [TUNNEL, ''],
  ['tls:a.example', 'hello'],
] as const) {
  test(`a visitor of ${tunnel} goes on until a client answers, by none twice, and then no more`, async (t) => {
    const bench = new Bench(t);
    const ingress = createIngress(bench);
    const { ours, theirs } = await createSocketPair(t);
    for (const client of ['one', 'two', 'three', 'four', 'five']) {
      for (const link of [1, 2]) bench.apply('add', tunnel, `${client}/${link}`);
    }
    ingress.accept(tunnel, ours, text === '' ? {} : { first: Buffer.from(text) });
    for (const code of [REFUSED, DRAINING, REFUSED]) giveUpLast(bench, code);
    const clients = chosenBy(bench).map((link) => link.split('/')[0]);
    assert.equal(clients.length, 4);
    assert.equal(new Set(clients).size, 4, String(clients));
    assert.deepEqual(sentOn(bench), [text, text, text, text]);
    assert.equal(visitorsOf(bench), 1);
    const { peer, streams } = bench.opener;
    peer.deliver(valueFrame(FRAME.OPENED, streams[3]?.id ?? 0, 1000));
    theirs.write(' more');
    await eventually(5000, 'the rest', async () => assert.equal(sentOn(bench)[3], `${text} more`));
    giveUpLast(bench, REFUSED);
    assert.equal((await endOf(theirs)).how, 'ECONNRESET');
    assert.equal(streams.length, 4, 'none after an answer');
  });
}

test('of many that give it up a visitor asks eight, and each is passed over by the next', async (t) => {
  const bench = new Bench(t);
  const ingress = createIngress(bench);
  const { ours, theirs } = await createSocketPair(t);
  for (let client = 0; client < 10; client += 1) bench.apply('add', TUNNEL, `${client}/1`);
  ingress.accept(TUNNEL, ours);
  for (let count = 0; count < 9; count += 1) giveUpLast(bench, REFUSED);
  assert.equal((await endOf(theirs)).how, 'ECONNRESET');
  const asked = chosenBy(bench);
  assert.equal(asked.length, 8);
  assert.equal(new Set(asked).size, 8, String(asked));
  const next = await createSocketPair(t);
  ingress.accept(TUNNEL, next.ours);
  assert.ok(!asked.includes(chosenBy(bench).at(-1) ?? ''), 'one that has not refused');
});

test('links that are gone are not asked again, those beside them once no client is left', async (t) => {
  const bench = new Bench(t);
  const { ours, theirs } = await createSocketPair(t);
  bench.apply('add', TUNNEL, 'one/1');
  createIngress(bench).accept(TUNNEL, ours);
  for (const link of ['one/2', 'one/3', 'two/1', 'two/2']) bench.apply('add', TUNNEL, link);
  for (const code of [NO_LINK, REFUSED, NO_LINK, DRAINING]) giveUpLast(bench, code);
  const [first, other, ...rest] = chosenBy(bench);
  assert.equal(first, 'one/1');
  assert.match(other ?? '', /^two\//, 'which refuses by all of its links');
  assert.deepEqual(rest.toSorted(), ['one/2', 'one/3']);
  assert.equal((await endOf(theirs)).how, 'ECONNRESET');
});
