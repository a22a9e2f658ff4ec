// Goal: a TCP visitor whom one client cannot serve goes to another, but to none that keeps it out.
// Method: the real router and ingress, streams of a session in memory, a visitor on loopback.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { AccessLog } from '../../src/shard/access-log.ts';
import { TcpIngress } from '../../src/shard/ingress-tcp.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { FRAME } from '../../src/wire/frame.ts';
import { valueFrame } from '../mux/raw-peer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { LIMITS } from '../support/http-edge.ts';
import { LogLines } from '../support/log-lines.ts';
import { Bench } from './router-bench.ts';
import { createSocketPair, endOf } from './socket-pair.ts';

const TUNNEL = 'tcp:2222';
const REFUSED = 33;

/** A visitor of client `one`, and a second client that lets in those of `networks`. */
async function startPair(t: TestContext, networks: readonly string[]) {
  const bench = new Bench(t);
  const denied: string[] = [];
  const ingress = new TcpIngress({
    router: bench.router,
    limits: LIMITS,
    clock: new FakeClock(),
    ledger: new VisitorLedger({ visitorConnectionsMax: 100, connectionsPerAddressMax: 0 }),
    access: undefined,
    onDenied: () => denied.push('tunnels'),
  });
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
  const ingress = new TcpIngress({
    router: bench.router,
    limits: LIMITS,
    clock: new FakeClock(),
    ledger: new VisitorLedger({ visitorConnectionsMax: 100, connectionsPerAddressMax: 0 }),
    access: new AccessLog(lines.log),
  });
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
