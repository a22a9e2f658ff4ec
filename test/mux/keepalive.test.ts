// When to ping, when a silent peer is dead, and what a pong says of the distance.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Keepalive, TICK } from '../../src/mux/keepalive.ts';

const INTERVAL_MS = 10_000;
const DEAD_MS = 30_000;
const START_MS = 5000;
const TICK_MS = 1000;

function createKeepalive(random = 0.5): Keepalive {
  const options = { pingIntervalMs: INTERVAL_MS, deadAfterMs: DEAD_MS, random: () => random };
  return new Keepalive(options, START_MS);
}

test('the first ping is due at once, the next one an interval later, give or take a fifth', () => {
  for (const [random, waitMs] of [
    [0, 8000],
    [0.5, 10_000],
    [0.999_999, 12_000],
  ] as const) {
    const keepalive = createKeepalive(random);
    assert.equal(keepalive.tick(START_MS, 0), TICK.PING);
    keepalive.ping(START_MS);
    assert.equal(keepalive.tick(START_MS + waitMs - 1, 1), TICK.NOTHING, `random ${random}`);
    assert.equal(keepalive.tick(START_MS + waitMs, 2), TICK.PING, `random ${random}`);
  }
});

test('a peer of which no byte comes for the whole time is dead at the next tick, and not before', () => {
  const keepalive = createKeepalive();
  keepalive.ping(START_MS);
  for (let ms = TICK_MS; ms <= DEAD_MS; ms += TICK_MS) {
    assert.notEqual(keepalive.tick(START_MS + ms, 0), TICK.DEAD, `after ${ms} ms`);
  }
  assert.equal(keepalive.tick(START_MS + DEAD_MS + TICK_MS, 0), TICK.DEAD);
});

test('a process that stood still reads what lies there before it judges', () => {
  const keepalive = createKeepalive();
  assert.notEqual(keepalive.tick(START_MS + TICK_MS, 100), TICK.DEAD);
  const lateMs = START_MS + TICK_MS + 2 * DEAD_MS;
  assert.notEqual(keepalive.tick(lateMs, 100), TICK.DEAD, 'timers come before sockets');
  assert.notEqual(keepalive.tick(lateMs + TICK_MS, 114), TICK.DEAD, 'a ping lay there');
  assert.notEqual(keepalive.tick(lateMs + 2 * DEAD_MS, 114), TICK.DEAD);
  assert.equal(keepalive.tick(lateMs + 2 * DEAD_MS + TICK_MS, 114), TICK.DEAD, 'nothing did');
});

test('any byte counts as life, a pong or not', () => {
  const keepalive = createKeepalive();
  let nowMs = START_MS;
  for (let receivedBytes = 1; receivedBytes <= 5; receivedBytes += 1) {
    nowMs += DEAD_MS - 1;
    assert.notEqual(keepalive.tick(nowMs, receivedBytes), TICK.DEAD);
  }
  assert.notEqual(keepalive.tick(nowMs + DEAD_MS - 1, 5), TICK.DEAD);
  assert.notEqual(keepalive.tick(nowMs + DEAD_MS, 5), TICK.DEAD);
  assert.equal(keepalive.tick(nowMs + DEAD_MS + TICK_MS, 5), TICK.DEAD);
});

test('ticks that come late, as after a sleep, count what came meanwhile first', () => {
  const keepalive = createKeepalive();
  assert.notEqual(keepalive.tick(START_MS + 10 * DEAD_MS, 100), TICK.DEAD);
});

test('the first pong gives the round trip, later ones move it by an eighth', () => {
  const keepalive = createKeepalive();
  assert.equal(keepalive.roundTripMs, 0);
  keepalive.pong(keepalive.ping(1000), 1040);
  assert.equal(keepalive.roundTripMs, 40);
  keepalive.pong(keepalive.ping(2000), 2120);
  assert.equal(keepalive.roundTripMs, 50);
});

test('a pong that nobody asked for, or a second one, says nothing', () => {
  const keepalive = createKeepalive();
  keepalive.pong(0, 1000);
  keepalive.pong(1, 1000);
  const first = keepalive.ping(1000);
  const second = keepalive.ping(2000);
  assert.notEqual(first, second);
  keepalive.pong(first, 2010);
  assert.equal(keepalive.roundTripMs, 0, 'the answer to an older ping');
  keepalive.pong(second, 2020);
  keepalive.pong(second, 9000);
  assert.equal(keepalive.roundTripMs, 20);
});

test('a clock that stands still gives a round trip of zero, never a negative one', () => {
  const keepalive = createKeepalive();
  keepalive.pong(keepalive.ping(1000), 1000);
  keepalive.pong(keepalive.ping(1000), 999);
  assert.equal(keepalive.roundTripMs, 0);
});

test('a peer in doubt is dead after ten seconds of silence, and no longer in doubt with a byte', () => {
  const keepalive = createKeepalive();
  keepalive.tick(START_MS, 100);
  assert.equal(keepalive.doubt(START_MS, 100), true, 'no ping is under way');
  assert.equal(keepalive.isDoubted(100), true);
  keepalive.ping(START_MS);
  assert.equal(keepalive.doubt(START_MS + 1, 100), false);
  for (let ms = TICK_MS; ms <= 10_000; ms += TICK_MS) {
    assert.notEqual(keepalive.tick(START_MS + ms, 100), TICK.DEAD, `after ${ms} ms`);
  }
  assert.equal(keepalive.isDoubted(114), false);
  assert.equal(keepalive.tick(START_MS + 11_000, 100), TICK.DEAD);
});

test('doubt ends with any byte, and begins anew', () => {
  const keepalive = createKeepalive();
  keepalive.doubt(START_MS, 100);
  assert.notEqual(keepalive.tick(START_MS + 4000, 112), TICK.DEAD);
  assert.equal(keepalive.isDoubted(112), false);
  for (let ms = 5000; ms <= 25_000; ms += TICK_MS) {
    assert.notEqual(keepalive.tick(START_MS + ms, 112), TICK.DEAD, `after ${ms} ms`);
  }
  keepalive.doubt(START_MS + 25_000, 112);
  assert.notEqual(keepalive.tick(START_MS + 35_000, 112), TICK.DEAD);
  assert.equal(keepalive.tick(START_MS + 36_000, 112), TICK.DEAD);
});

test('what came before the doubt, and was not looked at, is no answer to it', () => {
  const keepalive = createKeepalive();
  keepalive.tick(START_MS, 100);
  keepalive.doubt(START_MS + 500, 200);
  assert.equal(keepalive.isDoubted(200), true);
  assert.notEqual(keepalive.tick(START_MS + 10_500, 200), TICK.DEAD, 'timers come before sockets');
  assert.equal(keepalive.tick(START_MS + 11_500, 200), TICK.DEAD);
});

test('who is far away has four round trips to answer', () => {
  const keepalive = createKeepalive();
  keepalive.pong(keepalive.ping(START_MS), START_MS + 3000);
  keepalive.doubt(START_MS + 3000, 0);
  for (let ms = 4000; ms <= 15_000; ms += TICK_MS) {
    assert.notEqual(keepalive.tick(START_MS + ms, 0), TICK.DEAD, `after ${ms} ms`);
  }
  assert.equal(keepalive.tick(START_MS + 16_000, 0), TICK.DEAD);
});
