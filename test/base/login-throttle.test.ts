// Goal: ten failures a minute and address, whatever addresses there are. Method: a clock by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { LoginThrottle } from '../../src/base/login-throttle.ts';
import { FakeClock } from '../support/fake-clock.ts';

test('ten may fail in a minute, then one in six seconds, each address by itself', () => {
  const clock = new FakeClock();
  const throttle = new LoginThrottle(clock);
  for (let count = 0; count < 10; count += 1) assert.equal(throttle.refuse('192.0.2.1'), true);
  assert.equal(throttle.refuse('192.0.2.1'), false);
  assert.equal(throttle.refuse('192.0.2.2'), true);
  clock.advance(6000);
  assert.equal(throttle.refuse('192.0.2.1'), true);
  assert.equal(throttle.refuse('192.0.2.1'), false);
  clock.advance(60_000);
  for (let count = 0; count < 10; count += 1) assert.equal(throttle.refuse('192.0.2.1'), true);
});

test('a network of IPv6 addresses is one address, and a mapped one is its IPv4 address', () => {
  const throttle = new LoginThrottle(new FakeClock());
  for (let count = 0; count < 10; count += 1) throttle.refuse(`2001:db8::${count}`);
  assert.equal(throttle.refuse('2001:db8::ffff'), false);
  for (let count = 0; count < 10; count += 1) throttle.refuse('::ffff:192.0.2.1');
  assert.equal(throttle.refuse('192.0.2.1'), false);
});

test('what is remembered is bounded', () => {
  const throttle = new LoginThrottle(new FakeClock());
  for (let count = 0; count < 20_000; count += 1) {
    throttle.refuse(`10.${count >> 16}.${(count >> 8) & 255}.${count & 255}`);
  }
  assert.equal(throttle.addressesCount, 10_000);
});
