import assert from 'node:assert/strict';
import test from 'node:test';
import { eventually, within } from './deadline.ts';
import { randomSize, seededNoise, seededRandom, sha256 } from './digest.ts';

test('noise and sizes are the same for the same seed, and others for another', () => {
  assert.equal(sha256(seededNoise(1, 4096)), sha256(seededNoise(1, 4096)));
  assert.notEqual(sha256(seededNoise(1, 4096)), sha256(seededNoise(2, 4096)));
});

test('sizes lie between 1 and the limit and reach both', () => {
  const random = seededRandom(7);
  const sizes = Array.from({ length: 2_000 }, () => randomSize(random, 16));
  assert.equal(Math.min(...sizes), 1);
  assert.equal(Math.max(...sizes), 16);
});

test('a deadline passes an event on and fails without one', async () => {
  assert.equal(await within(1_000, 'an event', Promise.resolve(5)), 5);
  await assert.rejects(within(5, 'nothing', new Promise(() => {})), /not within 5 ms: nothing/u);
});

test('asking again ends with the answer or with the last failure', async () => {
  let asked = 0;
  const ask = async (): Promise<number> => {
    asked += 1;
    if (asked < 3) throw new Error('not yet');
    return asked;
  };
  assert.equal(await eventually(5_000, 'third time', ask), 3);
  const never = eventually(1, 'never', () => Promise.reject(new Error('the reason')));
  await assert.rejects(never, {
    message: 'not within 1 ms: never',
    cause: new Error('the reason'),
  });
});
