// Goal: what an issuer has said holds while it does not answer, for a day and no longer, and it is
// asked no more than is fit. Method: an issuer that is a function, a clock that the test moves.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Discovery } from '../../src/control/discovery.ts';
import { FakeClock } from '../support/fake-clock.ts';

const HOUR_MS = 3_600_000;
const COOLDOWN_MS = 10_000;

function scene() {
  const clock = new FakeClock();
  const issuer = { asked: 0, isDown: false };
  const kept: unknown[] = [];
  const find = async (): Promise<number> => {
    issuer.asked += 1;
    if (issuer.isDown) throw new Error('no answer');
    return issuer.asked;
  };
  const onKept = (error: unknown): number => kept.push(error);
  const discovery = new Discovery({ find, onKept, cooldownMs: COOLDOWN_MS, clock });
  return { clock, issuer, kept, discovery };
}

test('is asked once an hour', async () => {
  const { clock, issuer, kept, discovery } = scene();
  assert.deepEqual(await Promise.all([discovery.read(), discovery.read()]), [1, 1]);
  clock.advance(HOUR_MS - 1);
  assert.equal(await discovery.read(), 1);
  clock.advance(1);
  assert.equal(await discovery.read(), 2);
  assert.deepEqual([issuer.asked, kept.length], [2, 0]);
});

test('one that never answered is left alone for a while', async () => {
  const { clock, issuer, discovery } = scene();
  issuer.isDown = true;
  await assert.rejects(discovery.read(), /no answer/u);
  await assert.rejects(discovery.read(), /a moment ago/u);
  assert.equal(issuer.asked, 1);
  issuer.isDown = false;
  clock.advance(COOLDOWN_MS);
  assert.equal(await discovery.read(), 2);
});

test('what it said goes on while it does not answer, and is found anew when it does', async () => {
  const { clock, issuer, kept, discovery } = scene();
  assert.equal(await discovery.read(), 1);
  issuer.isDown = true;
  clock.advance(HOUR_MS);
  for (let count = 0; count < 5; count += 1) assert.equal(await discovery.read(), 1);
  assert.deepEqual([issuer.asked, kept.length], [2, 1], 'asked, and told of, once a cool-down');
  clock.advance(COOLDOWN_MS);
  assert.equal(await discovery.read(), 1);
  assert.equal(issuer.asked, 3);
  issuer.isDown = false;
  clock.advance(COOLDOWN_MS);
  assert.equal(await discovery.read(), 4);
});

test('what it said a day ago is not believed any more', async () => {
  const { clock, issuer, discovery } = scene();
  assert.equal(await discovery.read(), 1);
  issuer.isDown = true;
  clock.advance(24 * HOUR_MS - 1);
  assert.equal(await discovery.read(), 1);
  clock.advance(1);
  await assert.rejects(discovery.read(), /a moment ago/u);
  clock.advance(COOLDOWN_MS);
  await assert.rejects(discovery.read(), /no answer/u);
});
