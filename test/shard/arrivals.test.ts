// What waits for a PROXY header, on real sockets and a clock that the test moves.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type TestContext, test } from 'node:test';
import { SocketReads } from '../../src/link/socket-reads.ts';
import { type Arrival, Arrivals, PROXY_HEADER_TIMEOUT_MS } from '../../src/shard/arrivals.ts';
import { ProxyGuard } from '../../src/shard/proxy-guard.ts';
import { VisitorLedger } from '../../src/shard/visitor-ledger.ts';
import { within } from '../support/deadline.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { type Edge, startEdge } from '../support/http-edge.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { createSocketPair, endOf } from './socket-pair.ts';

const HEADER = 'PROXY TCP4 192.0.2.7 203.0.113.5 50123 443\r\n';
const VISITOR = { address: '192.0.2.7', port: 50_123 };
const DESTINATION = { address: '203.0.113.5', port: 443 };

interface Gate {
  readonly arrivals: Arrivals;
  readonly clock: FakeClock;
  readonly entered: Arrival[];
  readonly bytes: () => string;
  readonly theirs: Socket;
  refusedCount: number;
}

async function createGate(t: TestContext, isListed = true): Promise<Gate> {
  const { ours, theirs } = await createSocketPair(t);
  const clock = new FakeClock();
  const entered: Arrival[] = [];
  let bytes = '';
  const arrivals = new Arrivals({
    proxies: { has: () => isListed },
    ledger: new VisitorLedger({ visitorConnectionsMax: 10, connectionsPerAddressMax: 0 }),
    clock,
    log: SILENT_LOG,
    onRefused: () => {
      gate.refusedCount += 1;
    },
  });
  const gate: Gate = { arrivals, clock, entered, bytes: () => bytes, theirs, refusedCount: 0 };
  arrivals.admit(ours, (socket, arrival) => {
    entered.push(arrival);
    bytes += arrival.first?.toString('latin1') ?? '';
    socket.on('error', () => {
      // Cut: the test looks at the other end.
    });
    socket.on('data', (piece: Buffer) => {
      bytes += piece.toString('latin1');
    });
  });
  return gate;
}

async function until(what: string, isDone: () => boolean): Promise<void> {
  const wait = async (): Promise<void> => {
    while (!isDone()) await new Promise((resolve) => setImmediate(resolve));
  };
  await within(5000, what, wait());
}

test('bytes behind a header reach the ingress in order, however they come', async (t) => {
  for (const pieces of [[`${HEADER}hello`], [HEADER, 'hello'], [...`${HEADER}hello`]]) {
    const gate = await createGate(t);
    for (const piece of pieces) {
      gate.theirs.write(piece);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await until('all bytes are there', () => gate.bytes() === 'hello');
    const [{ visitor, destination } = {}, ...more] = gate.entered;
    assert.deepEqual([visitor, destination, more], [VISITOR, DESTINATION, []]);
    assert.equal(gate.arrivals.waitingCount, 0);
  }
});

test('a proxy that speaks for itself comes in without a visitor', async (t) => {
  const gate = await createGate(t);
  gate.theirs.write(Buffer.from('0d0a0d0a000d0a515549540a20000000', 'hex'));
  await until('it is in', () => gate.entered.length === 1);
  assert.deepEqual(gate.entered, [{}]);
});

test('a wrong first byte, a wrong header and a FIN are cut, and counted', async (t) => {
  for (const bytes of ['G', 'PROXY TCP9 ', 'PROXY TCP4 1.1', `${HEADER.slice(0, -1)}X`]) {
    const gate = await createGate(t);
    const ended = endOf(gate.theirs);
    if (bytes === 'PROXY TCP4 1.1') gate.theirs.end(bytes);
    else gate.theirs.write(bytes);
    assert.deepEqual(await ended, { how: 'ECONNRESET', bytes: Buffer.alloc(0) }, bytes);
    assert.deepEqual(
      [gate.entered, gate.refusedCount, gate.arrivals.waitingCount],
      [[], 1, 0],
      bytes,
    );
  }
});

test('silence is cut once the time for a header has passed, and not before', async (t) => {
  const gate = await createGate(t);
  const ended = endOf(gate.theirs);
  gate.theirs.write('PROXY ');
  gate.clock.advance(PROXY_HEADER_TIMEOUT_MS - 1);
  gate.arrivals.sweep(gate.clock.nowMs());
  assert.equal(gate.arrivals.waitingCount, 1);
  gate.clock.advance(1);
  gate.arrivals.sweep(gate.clock.nowMs());
  assert.equal((await ended).how, 'ECONNRESET');
  assert.deepEqual([gate.arrivals.waitingCount, gate.refusedCount], [0, 1]);
});

test('one that goes away leaves nothing behind', async (t) => {
  const gate = await createGate(t);
  gate.theirs.resetAndDestroy();
  await until('it is forgotten', () => gate.arrivals.waitingCount === 0);
  assert.deepEqual([gate.entered, gate.refusedCount], [[], 0]);
});

/** An HTTP ingress for so many visitors, all of whom come through a listed proxy. */
async function startPlace(
  t: TestContext,
  visitorConnectionsMax: number,
): Promise<{ readonly edge: Edge; readonly limited: string[]; readonly arrivals: () => Arrivals }> {
  const limited: string[] = [];
  const limits = { visitorConnectionsMax, connectionsPerAddressMax: 0 };
  const ledger = new VisitorLedger(limits, (limit) => limited.push(limit));
  let made: Arrivals | undefined;
  const edge = await startEdge(t, {
    ingress: { ledger },
    door: (ingress, clock) => {
      const proxies = { has: () => true };
      const onRefused = (): void => assert.fail('no header is wrong');
      const arrivals = new Arrivals({ proxies, ledger, clock, log: SILENT_LOG, onRefused });
      made = arrivals;
      return (socket) => arrivals.admit(socket, (one, arrival) => ingress.accept(one, arrival));
    },
  });
  return { edge, limited, arrivals: () => made ?? assert.fail('nobody came') };
}

test('visitors beyond the limit are told so behind a proxy too, and counted', async (t) => {
  const { edge, limited } = await startPlace(t, 1);
  const upstream = await edge.upstream('a.example');
  const request = `${HEADER}GET / HTTP/1.1\r\nHost: a.example\r\n\r\n`;
  const served = await edge.visit();
  served.send(request);
  await (await upstream.next()).read('\r\n\r\n');
  for (const count of [1, 2]) {
    const refused = await edge.visit();
    refused.send(request);
    assert.match(await refused.readEnd(), /^HTTP\/1\.1 503 .*\r\nRetry-After: /s);
    assert.deepEqual(limited, Array(count).fill('visitor-connections'));
  }
  served.socket.resetAndDestroy();
});

test('those that wait count against the limit of visitors, and who is cut is counted', async (t) => {
  const { edge, limited, arrivals } = await startPlace(t, 1);
  const waiting = await Promise.all(Array.from({ length: 257 }, () => edge.visit()));
  await until('all wait', () => arrivals().waitingCount === waiting.length);
  assert.deepEqual(limited, []);
  const over = await endOf(connect({ port: edge.port, host: '127.0.0.1' }));
  assert.equal(over.how, 'ECONNRESET');
  assert.deepEqual(limited, ['visitor-connections']);
  assert.ok(waiting.every(({ ending }) => ending === 'open'));
  for (const { socket } of waiting) socket.resetAndDestroy();
  await until('nobody waits', () => arrivals().waitingCount === 0);
});

test('a peer that is not listed comes in at once, to be watched', async (t) => {
  const gate = await createGate(t, false);
  assert.deepEqual(gate.entered, [{ refusesProxy: true }]);
  assert.equal(gate.arrivals.waitingCount, 0);
});

test('the guard lets every byte through but the last of the start of a header', async (t) => {
  const v2 = Buffer.from('0d0a0d0a000d0a515549540a2111', 'hex').toString('latin1');
  const table: readonly (readonly [sent: string, seen: string | undefined])[] = [
    ['P', 'P'],
    ['PROXY', 'PROXY'],
    ['PROXYZ', 'PROXYZ'],
    ['\r\n', '\r\n'],
    ['SSH-2.0 PROXY TCP4', 'SSH-2.0 PROXY TCP4'],
    ['xPROXY ', 'xPROXY '],
    [v2.slice(0, 11), v2.slice(0, 11)],
    [HEADER, undefined],
    ['PROXY ', undefined],
    [v2, undefined],
    [v2.slice(0, 12), undefined],
  ];
  for (const [sent, seen] of table) {
    for (const pieces of [[sent], [...sent]]) {
      const { ours, theirs } = await createSocketPair(t);
      let passed = '';
      let cutsCount = 0;
      const reads = new SocketReads(ours, {
        onRead: (piece) => {
          if (cutsCount === 0) passed += piece.toString('latin1');
        },
      });
      new ProxyGuard(reads, () => {
        cutsCount += 1;
      });
      ours.resume();
      for (const piece of pieces) {
        theirs.write(Buffer.from(piece, 'latin1'));
        await new Promise((resolve) => setImmediate(resolve));
      }
      theirs.end();
      await within(5000, 'the end', once(ours, 'end'));
      assert.equal(cutsCount, seen === undefined ? 1 : 0, JSON.stringify(sent));
      if (seen !== undefined) assert.equal(passed, seen);
      assert.ok(!passed.includes('PROXY ') || seen !== undefined, JSON.stringify(sent));
    }
  }
});
