// Goal: the sums of all shards, of which no counter ever falls. Method: shards that count, die and
// come back with nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SampleBook, type Totals } from '../../src/bridge/sample-book.ts';
import type { ShardSample } from '../../src/bridge/shard-sample.ts';
import { linkSample, requestSample, shardSample } from './shard-sample.ts';

function counted(count: number): ShardSample {
  return shardSample({
    tunnels: [
      {
        tunnel: 'a',
        streams: 2,
        bytesIn: count,
        bytesOut: count * 2,
        results: [
          ['SLW_NONE', count],
          ['SLW_STREAM_RESET', 1],
        ],
        reopened: count,
      },
    ],
    requests: [requestSample('a', 'GET', count)],
    links: [linkSample('l', { streams: 2 })],
    stalled: { held: 1, waiting: 2 },
    meshBytes: count,
    visitorConnections: 3,
    protocolErrors: [['SLW_WIRE_FLOOD', count]],
    acceptErrors: [['EMFILE', count]],
    logDropped: count,
  });
}

/** Streams that ever began: those that live, and those that have ended however they did. */
function begunIn(totals: Totals): number {
  const { streams, results } = totals.tunnels.get('a') ?? { streams: 0, results: new Map() };
  return [...results.values()].reduce((sum, count) => sum + count, streams);
}

/** Every counter of the totals, as one list. */
function counters(totals: Totals): number[] {
  const tunnel = totals.tunnels.get('a');
  const request = totals.requests.get('a GET 200');
  return [
    tunnel?.bytesIn ?? 0,
    tunnel?.bytesOut ?? 0,
    tunnel?.results.get('SLW_NONE') ?? 0,
    begunIn(totals),
    tunnel?.reopened ?? 0,
    request?.count ?? 0,
    request?.durationUs ?? 0,
    ...(request?.buckets ?? []),
    totals.protocolErrors.get('SLW_WIRE_FLOOD') ?? 0,
    totals.acceptErrors.get('EMFILE') ?? 0,
    totals.meshBytes,
    totals.logDropped,
  ];
}

test('shards are added up; a new sample replaces the one before', () => {
  const book = new SampleBook();
  book.set(0, counted(1), 'scrape');
  book.set(1, counted(10), 'scrape');
  book.set(0, counted(5), 'scrape');
  const totals = book.totals();
  assert.deepEqual(totals.tunnels.get('a'), {
    streams: 4,
    bytesIn: 15,
    bytesOut: 30,
    results: new Map([
      ['SLW_NONE', 15],
      ['SLW_STREAM_RESET', 2],
    ]),
    reopened: 15,
  });
  assert.equal(totals.requests.get('a GET 200')?.count, 15);
  assert.deepEqual([totals.meshBytes, totals.visitorConnections], [15, 6]);
  assert.deepEqual(totals.stalled, { held: 2, waiting: 4 });
  assert.equal(totals.loopDelays.scrape.size, 2);
});

test('what a dead shard had counted stays, what it held does not; its streams were reset', () => {
  const book = new SampleBook();
  book.set(0, counted(7), 'scrape');
  const before = counters(book.totals());
  book.retire(0);
  book.retire(0);
  book.retire(5);
  const totals = book.totals();
  assert.deepEqual(totals.tunnels.get('a'), {
    streams: 0,
    bytesIn: 7,
    bytesOut: 14,
    results: new Map([
      ['SLW_NONE', 7],
      ['SLW_STREAM_RESET', 3],
    ]),
    reopened: 7,
  });
  assert.deepEqual(counters(totals), before);
  assert.deepEqual(totals.stalled, { held: 0, waiting: 0 });
  assert.deepEqual(
    [totals.visitorConnections, totals.links.size, totals.loopDelays.scrape.size],
    [0, 0, 0],
  );
  book.set(0, counted(1), 'scrape');
  assert.equal(book.totals().tunnels.get('a')?.bytesIn, 8);
});

test('no counter falls, however shards die and return', (t) => {
  const seed = 17;
  t.diagnostic(`seed ${seed}`);
  const step = fc.record({
    shard: fc.nat({ max: 2 }),
    kind: fc.constantFrom('count', 'count', 'die'),
    by: fc.nat({ max: 5 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30, size: 'max' }), (steps) => {
      const book = new SampleBook();
      const counts = new Map<number, number>();
      let before = counters(book.totals());
      for (const { shard, kind, by } of steps) {
        if (kind === 'die') {
          counts.delete(shard);
          book.retire(shard);
        } else {
          const count = (counts.get(shard) ?? 0) + by;
          counts.set(shard, count);
          book.set(shard, counted(count), 'scrape');
        }
        const now = counters(book.totals());
        before.forEach((value, index) => {
          assert.ok((now[index] ?? 0) >= value, `counter ${index} fell from ${value}`);
        });
        before = now;
      }
    }),
    { seed, numRuns: 500 },
  );
});

test('limits that a dead shard has counted stay, requests that it was serving do not', () => {
  const book = new SampleBook();
  const sample = shardSample({ inFlight: [['a.example', 3]], limited: [['request-body', 2]] });
  book.set(0, sample, 'scrape');
  book.set(1, sample, 'scrape');
  const sums = () => [
    book.totals().inFlight.get('a.example'),
    book.totals().limited.get('request-body'),
  ];
  assert.deepEqual(sums(), [6, 4]);
  for (let death = 0; death < 3; death += 1) {
    book.retire(0);
    book.set(0, sample, 'scrape');
  }
  assert.deepEqual(sums(), [6, 10]);
});

test('the last failure of an upstream is told, of whichever shard, also a dead one', () => {
  const book = new SampleBook();
  const failed = (code: string, wallMs: number): ShardSample =>
    shardSample({ upstreamFailures: [{ tunnel: 'a', code, wallMs }] });
  const codeOf = (): string | undefined => book.totals().upstreamFailures.get('a')?.code;
  assert.equal(codeOf(), undefined);
  book.set(0, failed('ECONNREFUSED', 5), 'none');
  book.set(1, failed('ETIMEDOUT', 3), 'none');
  assert.equal(codeOf(), 'ECONNREFUSED');
  for (const shard of [0, 1]) book.retire(shard);
  book.set(0, shardSample(), 'none');
  assert.equal(codeOf(), 'ECONNREFUSED');
  book.set(1, failed('EHOSTUNREACH', 8), 'none');
  assert.equal(codeOf(), 'EHOSTUNREACH');
});

test('a look of the dashboard leaves the loop delay of the last scrape as it was', () => {
  const delay = (max: number) => ({ p50: 0, p99: 0, max });
  const book = new SampleBook();
  book.set(0, shardSample({ loopDelay: delay(7) }), 'scrape');
  book.set(0, shardSample({ loopDelay: delay(1) }), 'look');
  book.set(0, shardSample({ loopDelay: delay(2) }), 'none');
  const { scrape, look } = book.totals().loopDelays;
  assert.deepEqual([scrape.get(0)?.max, look.get(0)?.max], [7, 1]);
  book.retire(0);
  assert.deepEqual([scrape.size, look.size], [0, 0]);
});

test('a delay that came too late for its scrape is told with the next one, once', () => {
  const delay = (p50: number, p99: number, max: number) =>
    shardSample({ loopDelay: { p50, p99, max } });
  const book = new SampleBook();
  book.setLate(0, delay(0.1, 0.2, 6), 'scrape');
  book.setLate(0, delay(0, 0.4, 1), 'scrape');
  book.setLate(0, delay(0, 0, 9), 'look');
  assert.equal(book.totals().loopDelays.scrape.size, 0);
  book.set(0, delay(0.001, 0.002, 0.003), 'scrape');
  assert.deepEqual(book.totals().loopDelays.scrape.get(0), { p50: 0.001, p99: 0.4, max: 6 });
  book.set(0, delay(0.001, 0.002, 0.003), 'scrape');
  assert.equal(book.totals().loopDelays.scrape.get(0)?.max, 0.003);
  book.retire(0);
  book.set(0, delay(0, 0, 0), 'look');
  assert.equal(book.totals().loopDelays.look.get(0)?.max, 0, 'the one of before is gone');
});
