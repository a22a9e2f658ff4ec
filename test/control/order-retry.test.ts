// How soon a failed order is tried again, and what is said of it.

import assert from 'node:assert/strict';
import test from 'node:test';
import { SluicewayError } from '../../src/base/errors.ts';
import { AcmeError } from '../../src/control/acme.ts';
import { OrderRetry } from '../../src/control/order-retry.ts';

const HOUR_MS = 3_600_000;
const UNREACHABLE = new AcmeError('SLW_ACME_UNREACHABLE', 'down', 0);
const REFUSED = new AcmeError('SLW_ACME_REFUSED', 'no such host', 0);

/** Delays of so many failures, one after the other. */
function delaysMs(retry: OrderRetry, error: Error, count: number): number[] {
  return Array.from({ length: count }, () => retry.onFailure(error).delayMs);
}

test('what costs the issuer nothing is tried again within minutes, a refusal within hours', () => {
  const most = new OrderRetry(() => 1);
  assert.deepEqual(delaysMs(most, UNREACHABLE, 3), [6000, 11_000, 21_000]);
  assert.deepEqual(delaysMs(most, REFUSED, 2), [90_000, 150_000]);
  assert.equal(delaysMs(most, UNREACHABLE, 20).at(-1), 601_000);
  assert.equal(delaysMs(most, REFUSED, 20).at(-1), 6 * HOUR_MS + 30_000);
  const least = new OrderRetry(() => 0);
  assert.deepEqual(delaysMs(least, UNREACHABLE, 2), [1000, 1000]);
  assert.deepEqual(delaysMs(least, REFUSED, 2), [30_000, 30_000]);
});

test('after a success pauses are short again', () => {
  const retry = new OrderRetry(() => 1);
  delaysMs(retry, UNREACHABLE, 5);
  delaysMs(retry, REFUSED, 5);
  retry.reset();
  assert.deepEqual(delaysMs(retry, UNREACHABLE, 1), [6000]);
  assert.deepEqual(delaysMs(retry, REFUSED, 1), [90_000]);
});

test('the issuer is obeyed where it asks for more, and for a day at most', () => {
  const retry = new OrderRetry(() => 0);
  const asks = (ms: number) => new AcmeError('SLW_ACME_LIMITED', 'slow down', ms);
  assert.equal(retry.onFailure(asks(5 * HOUR_MS)).delayMs, 5 * HOUR_MS);
  assert.equal(retry.onFailure(asks(1)).delayMs, 30_000);
  assert.equal(retry.onFailure(asks(1e12)).delayMs, 24 * HOUR_MS);
});

test('says which of four kinds a failure is; what is not known counts as refused', () => {
  const retry = new OrderRetry(() => 0);
  const kinds = [
    [UNREACHABLE, 'SLW_ACME_UNREACHABLE', 'unreachable'],
    [new AcmeError('SLW_ACME_LIMITED', 'later', 0), 'SLW_ACME_LIMITED', 'limited'],
    [REFUSED, 'SLW_ACME_REFUSED', 'refused'],
    [new SluicewayError('SLW_CERTIFICATE_STORE'), 'SLW_CERTIFICATE_STORE', 'store'],
    [new Error('key and certificate do not match'), 'SLW_ACME_REFUSED', 'refused'],
  ] as const;
  const hints = kinds.map(([error, code, result]) => {
    const failure = retry.onFailure(error);
    assert.deepEqual([failure.code, failure.result], [code, result]);
    return failure.hint;
  });
  assert.equal(new Set(hints).size, 4);
  // An operator reaches the ports from where the list lets him in.
  assert.match(hints.find((hint) => hint.includes('443')) ?? '', /--allow-ips.*dns-01/u);
});
