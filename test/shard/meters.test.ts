// Goal: no visitor can add a key to what a shard counts, and histograms are cumulative. Method:
// hostile methods, hosts and codes; samples are read as control reads them.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { REQUEST_BUCKETS_SECONDS } from '../../src/bridge/shard-sample.ts';
import { Meters, OTHER } from '../../src/shard/meters.ts';

function createMeters(t: TestContext): Meters {
  const meters = new Meters();
  t.after(() => meters.close());
  return meters;
}

test('methods that nobody knows and hosts without a tunnel share one label', (t) => {
  const meters = createMeters(t);
  for (let index = 0; index < 1000; index += 1) {
    meters.onRequest(undefined, `BREW${index}`, 404, 1);
    meters.onRequest('site', `PROP${index}"} 1\nevil`, 200, 1);
    meters.onRequest('site', '__proto__', 200, 1);
    meters.onRequest('site', 'get', 200, 1);
  }
  const { requests } = meters.sample('scrape');
  assert.deepEqual(
    requests.map(({ tunnel, method, status, count }) => [tunnel, method, status, count]),
    [
      [OTHER, OTHER, 404, 1000],
      ['site', OTHER, 200, 3000],
    ],
  );
});

test('requests are told apart by tunnel, method and status', (t) => {
  const meters = new Meters();
  t.after(() => meters.close());
  const requests = [
    ...[
      ['a', 'GET', 200],
      ['a', 'GET', 404],
      ['a', 'POST', 200],
      ['b', 'GET', 200],
    ],
    ...[
      ['a', 'GET', 200],
      [undefined, 'GET', 404],
      ['a', 'BREW', 200],
      ['a', 'PROPFIND', 200],
    ],
  ] as const;
  for (const [tunnel, method, status] of requests) meters.onRequest(tunnel, method, status, 1);
  const counted = () =>
    meters
      .sample('none')
      .requests.map(({ tunnel, method, status, count }) => `${tunnel} ${method} ${status} ${count}`)
      .toSorted();
  const ofA = ['a GET 200 2', 'a GET 404 1', 'a POST 200 1', 'a _other 200 2'];
  assert.deepEqual(counted(), ['_other GET 404 1', ...ofA, 'b GET 200 1']);
  meters.forget('a');
  assert.deepEqual(counted(), ['_other GET 404 1', 'b GET 200 1']);
});

test('durations fall into every bucket that holds them', (t) => {
  const meters = createMeters(t);
  for (const durationMs of [0.5, 1, 700, 61_000]) meters.onRequest('a', 'GET', 200, durationMs);
  const [sample] = meters.sample('scrape').requests;
  const at = (seconds: number) => sample?.buckets[REQUEST_BUCKETS_SECONDS.indexOf(seconds)];
  assert.deepEqual([at(0.001), at(0.5), at(1), at(60), sample?.count], [2, 2, 3, 3, 4]);
  assert.equal(sample?.durationUs, 61_701_500);
  const sorted = [...(sample?.buckets ?? [])].sort((a, b) => a - b);
  assert.deepEqual(sample?.buckets, sorted, 'cumulative');
});

test('a forgotten tunnel is counted from nothing when it comes back', (t) => {
  const meters = createMeters(t);
  meters.tunnel('a').bytesIn = 5;
  meters.tunnel('a.b').bytesIn = 7;
  meters.onRequest('a', 'GET', 200, 1);
  meters.onRequest('a.b', 'GET', 200, 1);
  meters.forget('a');
  const { tunnels, requests } = meters.sample('scrape');
  assert.deepEqual(
    tunnels.map(({ tunnel }) => tunnel),
    ['a.b'],
  );
  assert.deepEqual(
    requests.map(({ tunnel }) => tunnel),
    ['a.b'],
  );
  assert.equal(meters.tunnel('a').bytesIn, 0);
});

test('of so many ports that nobody serves the counts stay, and of no more', (t) => {
  const meters = createMeters(t);
  const forgotten: string[] = [];
  const retire = (name: string): void => {
    const over = meters.retire(name);
    if (over === undefined) return;
    meters.forget(over);
    forgotten.push(over);
  };
  const names = Array.from({ length: 10_003 }, (_, index) => `tcp:${1 + index}`);
  for (const name of names) meters.tunnel(name);
  meters.tunnel('tcp:1').streams = 1;
  for (const name of names.slice(0, 10_000)) retire(name);
  assert.deepEqual(forgotten, []);
  meters.tunnel('tcp:2');
  retire('tcp:2');
  retire('nobody');
  for (const name of names.slice(10_000)) retire(name);
  assert.deepEqual(forgotten, ['tcp:3', 'tcp:4', 'tcp:5'], 'the longest gone without a stream');
  assert.equal(meters.sample('none').tunnels.length, 10_000);
});

test('errors are counted by code, accept errors in a bounded number of them', (t) => {
  const meters = createMeters(t);
  for (let index = 0; index < 100; index += 1) meters.onAcceptError(`E${index}`);
  meters.onAcceptError('E0');
  meters.onProtocolError('SLW_WIRE_FLOOD');
  const { acceptErrors, protocolErrors } = meters.sample('scrape');
  assert.equal(acceptErrors.length, 32);
  assert.deepEqual(acceptErrors[0], ['E0', 2]);
  assert.deepEqual(protocolErrors, [['SLW_WIRE_FLOOD', 1]]);
});

test('scrapes and looks each have a loop delay of their own, without the interval it is measured at', async (t) => {
  const meters = createMeters(t);
  assert.equal('loopDelay' in meters.sample('none'), false);
  meters.watchLoop('scrape');
  meters.sample('look');
  // The loop stands still for a while, and both have to see it.
  const untilMs = performance.now() + 120;
  await new Promise((resolve) => setTimeout(resolve, 40));
  while (performance.now() < untilMs);
  await new Promise((resolve) => setTimeout(resolve, 40));
  const look = meters.sample('look').loopDelay;
  assert.ok((look?.max ?? 0) > 0.03, `the look saw ${look?.max}`);
  await new Promise((resolve) => setTimeout(resolve, 40));
  const scrape = meters.sample('scrape').loopDelay;
  // Each has a timer of its own, and so not the very same figure.
  const taken = `the scrape saw ${scrape?.max}, after the look`;
  assert.ok((scrape?.max ?? 0) > 0.03, taken);
  // At rest nearly nothing; a busy machine is given time.
  let leastSeconds = 1;
  for (let turn = 0; turn < 50 && leastSeconds >= 0.02; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    leastSeconds = Math.min(leastSeconds, meters.sample('scrape').loopDelay?.p50 ?? 1);
  }
  assert.ok(leastSeconds < 0.02, `${leastSeconds} s at rest`);
});

test('what stands still right after it was read is told by the next look', async (t) => {
  const meters = createMeters(t);
  meters.watchLoop('scrape');
  for (let turn = 0; turn < 3; turn += 1) {
    await new Promise((resolve) => setTimeout(resolve, 60));
    meters.sample('scrape');
    const untilMs = performance.now() + 300;
    while (performance.now() < untilMs);
    await new Promise((resolve) => setTimeout(resolve, 1));
    const { max = 0 } = meters.sample('scrape').loopDelay ?? {};
    assert.ok(max > 0.25, `it stood still for 300 ms, and says ${max} s`);
  }
});
