// Goal: what the dashboard shows is what was counted, a figure that is not known is null, and lists
// are bounded. Method: readings made by hand, a second apart; quantiles beside sorted durations.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SampleBook } from '../../src/bridge/sample-book.ts';
import { REQUEST_BUCKETS_SECONDS, type ShardSample } from '../../src/bridge/shard-sample.ts';
import type { StatusClient } from '../../src/control/answers.ts';
import type { ControlCounts } from '../../src/control/metrics.ts';
import type { Reading } from '../../src/control/readings.ts';
import { quantileMs, Snapshots } from '../../src/control/snapshot.ts';
import { shardSample } from '../bridge/shard-sample.ts';

const COUNTS: ControlCounts = {
  tunnelClients: new Map(),
  ...{ clients: 1, links: 2, connects: new Map(), authFailures: new Map([['wrong', 3]]) },
  ...{
    controlRequests: new Map(),
    memory: { level: 0, limitBytes: 1e9 },
    shardRestarts: 4,
    logDropped: 0,
    acmeOrders: new Map(),
  },
  certificates: [
    ['late', 2000],
    ['soon', 1000],
  ],
  ...{ tokenLimited: [], reloads: new Map(), version: '1' },
};

function client(id: string, tunnels: readonly string[], streams = 0): StatusClient {
  return {
    ...{ clientID: id, remoteAddr: '192.0.2.1:1', since: '2026-01-01T00:00:00.000Z' },
    ...{ version: '1', links: 1, upstreams: [], tunnels, streams },
    ...{ bytesIn: 0, bytesOut: 0, rttMs: 0, restarts: 0 },
  };
}

function reading(sample: Partial<ShardSample>, clients: readonly StatusClient[] = []): Reading {
  const book = new SampleBook();
  const loopDelay = { p50: 0.001, p99: 0.002, max: 0.003 };
  book.set(1, { ...shardSample({}), loopDelay }, 'look');
  book.set(0, { ...shardSample(sample), loopDelay }, 'look');
  const info = { version: '1', mode: 'http', hostname: 'h', startTime: '', shards: 2 };
  return { totals: book.totals(), counts: COUNTS, status: { info, clients } };
}

function requests(count: number, errors: number, seconds = 0.02): Pick<ShardSample, 'requests'> {
  const buckets = (times: number) =>
    REQUEST_BUCKETS_SECONDS.map((to) => (to < seconds ? 0 : times));
  const one = { tunnel: 'a.example', method: 'GET', durationUs: 0 };
  return {
    requests: [
      { ...one, status: 200, count, buckets: buckets(count) },
      { ...one, status: 502, count: errors, buckets: buckets(errors) },
    ],
  };
}

const at = (second: number) => ({ monotonicMs: second * 1000, wallMs: 1e12 + second * 1000 });
const tunnel = (bytesIn: number, bytesOut: number, name = 'a.example') => ({
  ...{ tunnel: name, streams: 2, bytesIn, bytesOut, results: [], reopened: 0 },
});

test('the first knows no rate, the next ones know that of their second', () => {
  const snapshots = new Snapshots();
  const clients = [client('c', ['a.example'])];
  const first = snapshots.take(
    reading({ ...requests(10, 0), tunnels: [tunnel(100, 5)] }, clients),
    at(1),
  );
  assert.deepEqual(
    [first.requestsPerSecond, first.bytesInPerSecond, first.latencyMs, first.errorShare],
    [null, null, null, null],
  );
  assert.equal(first.tunnels[0]?.requestsPerSecond, null);
  const second = snapshots.take(
    reading({ ...requests(40, 10), tunnels: [tunnel(2100, 1005)] }, clients),
    at(3),
  );
  assert.deepEqual([second.requestsPerSecond, second.errorsPerSecond], [20, 5]);
  // From the client is to visitors.
  assert.deepEqual([second.bytesInPerSecond, second.bytesOutPerSecond], [500, 1000]);
  assert.equal(second.errorShare, 0.25);
  const [row] = second.tunnels;
  assert.deepEqual(
    [row?.name, row?.clients, row?.streams, row?.requestsPerSecond, row?.bytesOut],
    ['a.example', 1, 2, 20, 2100],
  );
  assert.ok((second.latencyMs?.p50 ?? 0) > 10 && (second.latencyMs?.p99 ?? 99) <= 25);
  assert.deepEqual(second.certificates[0], { name: 'soon', notAfterMs: 1_000_000 });
  assert.deepEqual([second.shardRestarts, second.authFailures, second.links], [4, 3, 2]);
  assert.deepEqual(
    second.shards.map(({ shard }) => shard),
    [0, 1],
  );
  assert.equal(second.shards[0]?.loopP99Ms, 2);
});

test('latency and errors are of the last ten seconds', () => {
  const snapshots = new Snapshots();
  snapshots.take(reading(requests(0, 0)), at(0));
  const slow = snapshots.take(reading(requests(100, 100, 5)), at(1));
  assert.ok((slow.latencyMs?.p50 ?? 0) > 2500);
  assert.equal(slow.errorShare, 0.5);
  for (let second = 2; second <= 11; second += 1) {
    snapshots.take(reading(requests(100, 100, 5)), at(second));
  }
  const quiet = snapshots.take(reading(requests(100, 100, 5)), at(12));
  assert.deepEqual([quiet.latencyMs, quiet.errorShare], [null, null], 'nothing came since');
  assert.equal(quiet.requestsPerSecond, 0);
});

test('after a reset there is nothing before; counters that begin anew are no negative rate', () => {
  const snapshots = new Snapshots();
  snapshots.take(reading({ ...requests(50, 0), tunnels: [tunnel(100, 100)] }), at(1));
  const anew = snapshots.take(reading({ ...requests(5, 0), tunnels: [tunnel(1, 1)] }), at(2));
  assert.deepEqual([anew.requestsPerSecond, anew.bytesInPerSecond], [0, 0]);
  snapshots.reset();
  assert.equal(snapshots.take(reading(requests(60, 0)), at(3)).requestsPerSecond, null);
});

test('lists are bounded, the busiest first, and say how many there are', () => {
  const snapshots = new Snapshots();
  const names = Array.from({ length: 300 }, (_none, index) => `t${index}.example`);
  const clients = names.map((name, index) => client(`c${index}`, [name], index));
  snapshots.take(reading({ tunnels: names.map((name) => tunnel(0, 0, name)) }, clients), at(1));
  const busy = names.map((name, index) => tunnel(index === 250 ? 1e6 : 0, 0, name));
  const { tunnels, tunnelsCount, ...more } = snapshots.take(
    reading({ tunnels: busy }, clients),
    at(2),
  );
  assert.deepEqual([tunnels.length, tunnelsCount, more.clients.length], [200, 300, 200]);
  assert.equal(more.clientsCount, 300);
  assert.equal(tunnels[0]?.name, 't250.example');
  assert.equal(more.clients[0]?.clientID, 'c299');
});

test('a client with a thousand tunnels and long labels is a row like another', () => {
  const names = Array.from({ length: 1000 }, (_none, index) => `t${index}.example`);
  const upstreams = names.map((name) => `${name}=`.padEnd(512, 'x'));
  const large = { ...client('large', names), upstreams, version: 'v'.repeat(512) };
  const usual = { ...client('usual', ['a.example']), upstreams: ['http://a'] };
  const { clients } = new Snapshots().take(reading({}, [large, usual]), at(1));
  const [row, other] = clients;
  assert.deepEqual([row?.upstreams.length, row?.tunnelsCount], [8, 1000]);
  assert.match(row?.upstreams[0] ?? '', /^t0\.example=x{89}…$/u);
  assert.ok(JSON.stringify(row).length < 1500, `${JSON.stringify(row).length} characters`);
  assert.deepEqual([other?.upstreams, other?.tunnelsCount], [['http://a'], 1]);
});

test('a tunnel without clients and streams is not listed', () => {
  const { tunnels } = new Snapshots().take(
    reading({ tunnels: [{ ...tunnel(5, 5, 'gone'), streams: 0 }, tunnel(1, 1, 'left')] }),
    at(1),
  );
  assert.deepEqual(
    tunnels.map(({ name }) => name),
    ['left'],
  );
});

test('a quantile is in the bucket of the duration that it is', (t) => {
  const seed = Number(process.env.SLUICEWAY_SEED ?? 4711);
  t.diagnostic(`seed ${seed}`);
  const durations = fc.array(fc.double({ min: 0, max: 60, noNaN: true }), { minLength: 1 });
  fc.assert(
    fc.property(durations, fc.constantFrom(0.5, 0.95, 0.99), (seconds, share) => {
      const sorted = [...seconds].sort((a, b) => a - b);
      const truth = sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
      const counts = REQUEST_BUCKETS_SECONDS.map(
        (bound) => sorted.filter((one) => one <= bound).length,
      );
      const found = quantileMs([...counts, sorted.length], share) / 1000;
      const upper = REQUEST_BUCKETS_SECONDS.findIndex((bound) => truth <= bound);
      const lower = upper === 0 ? 0 : (REQUEST_BUCKETS_SECONDS[upper - 1] ?? 0);
      assert.ok(found >= lower - 1e-9 && found <= (REQUEST_BUCKETS_SECONDS[upper] ?? 0) + 1e-9);
    }),
    { seed },
  );
  assert.equal(quantileMs([...REQUEST_BUCKETS_SECONDS.map(() => 0), 5], 0.5), 60_000);
});
