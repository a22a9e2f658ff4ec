// Goal: a rate lets a second's worth pass at once and then its rate, by address, by tunnel and in
// all, and remembers nobody for longer than it must. Method: times that the test chooses.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TokenBucket } from '../../src/base/token-bucket.ts';
import { createRequestGate, RequestGate } from '../../src/shard/request-gate.ts';

const OFF = {
  requestsPerSecondMax: 0,
  addressRequestsPerSecondMax: 0,
  tunnelRequestsPerSecondMax: 0,
};
const HOST = 'a.example';

function passing(bucket: TokenBucket, tries: number, nowMs: number): number {
  let passed = 0;
  for (let attempt = 0; attempt < tries; attempt += 1) if (bucket.take(nowMs)) passed += 1;
  return passed;
}

test('a bucket gives a second at once, then its rate, and saves up no more', () => {
  for (const rate of [1, 3, 10, 1000]) {
    const bucket = new TokenBucket(rate, 0);
    assert.equal(passing(bucket, rate * 2, 0), rate);
    assert.equal(passing(bucket, rate * 2, 0), 0);
    assert.equal(passing(bucket, rate * 2, 1000), rate);
    assert.equal(passing(bucket, rate * 2, 100_000), rate, 'however long nobody came');
    let passed = 0;
    for (let nowMs = 100_001; nowMs <= 110_000; nowMs += 1) passed += passing(bucket, 2, nowMs);
    assert.ok(Math.abs(passed - rate * 10) <= 1, `${passed} in ten seconds at ${rate}`);
  }
});

test('a clock that goes back neither fills nor blocks a bucket', () => {
  const bucket = new TokenBucket(10, 1_000_000);
  assert.equal(passing(bucket, 20, 1_000_000), 10);
  assert.equal(passing(bucket, 20, 0), 0);
  assert.equal(passing(bucket, 20, 500), 5);
  assert.equal(bucket.isFull(600), false);
  assert.equal(bucket.isFull(1600), true);
});

test('an address, a tunnel and all have a rate each, and which one held is counted', () => {
  const limited: string[] = [];
  const rates = {
    requestsPerSecondMax: 5,
    addressRequestsPerSecondMax: 2,
    tunnelRequestsPerSecondMax: 3,
  };
  const gate = new RequestGate(rates, (limit) => limited.push(limit));
  const ask = (address: string, tunnel: string | undefined) => gate.refusal(address, tunnel, 0);
  assert.deepEqual([ask('192.0.2.1', HOST), ask('::ffff:192.0.2.1', HOST)], [undefined, undefined]);
  assert.equal(ask('192.0.2.1', HOST), 'SLW_HTTP_RATE_LIMIT');
  assert.deepEqual([ask('192.0.2.2', HOST), ask('192.0.2.2', undefined)], [undefined, undefined]);
  assert.equal(ask('192.0.2.3', HOST), 'SLW_HTTP_RATE_LIMIT');
  assert.equal(ask('192.0.2.4', 'b.example'), 'SLW_HTTP_RATE_LIMIT');
  assert.deepEqual(limited, [
    'requests-per-second-per-ip',
    'tunnel-requests-per-second',
    'requests-per-second',
  ]);
});

test('forgets who owes nothing, and refuses strangers when it can remember no more', () => {
  const gate = new RequestGate({ ...OFF, addressRequestsPerSecondMax: 1 }, () => {});
  for (let visitor = 0; visitor < 65_536; visitor += 1) {
    assert.equal(gate.refusal(`v${visitor}`, undefined, 0), undefined);
  }
  assert.equal(gate.refusal('one too many', undefined, 0), 'SLW_HTTP_RATE_LIMIT');
  gate.sweep(999);
  assert.equal(gate.size, 65_536);
  gate.sweep(1000);
  assert.equal(gate.size, 0);
  assert.equal(gate.refusal('one too many', undefined, 1000), undefined);
});

test('is not there when no rate is limited', () => {
  assert.equal(
    createRequestGate(OFF, () => {}),
    undefined,
  );
  for (const name of Object.keys(OFF)) {
    assert.ok(createRequestGate({ ...OFF, [name]: 1 }, () => {}) instanceof RequestGate);
  }
});
