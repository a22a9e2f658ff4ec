// When one certificate is ordered and asked about: two clocks, and no issuer.

import assert from 'node:assert/strict';
import test from 'node:test';
import type { CheckedPair } from '../../src/control/certificate-pair.ts';
import { CertificateSchedule } from '../../src/control/certificate-schedule.ts';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
/** Of the wall clock; the monotonic one begins at 0. */
const WALL_MS = 1_700_000_000_000;

/** Of 90 days; due 60 days after it was issued. */
function pairOf(fingerprint: string, notBeforeMs = WALL_MS): CheckedPair {
  const notAfterMs = notBeforeMs + 90 * DAY_MS;
  return { name: 'a.test', cert: '', key: '', notBeforeMs, notAfterMs, fingerprint };
}

const at = (ms: number) => ({ nowMs: ms, wallMs: WALL_MS + ms });

function scheduleOf(pair: CheckedPair): CertificateSchedule {
  const schedule = new CertificateSchedule();
  schedule.use(pair, 0);
  return schedule;
}

test('without a certificate it is due at once, with one when a third of its life is left', () => {
  const schedule = new CertificateSchedule();
  assert.ok(schedule.timeLeftMs(at(0)) <= 0);
  schedule.use(pairOf('one'), 0);
  assert.equal(schedule.timeLeftMs(at(0)), 60 * DAY_MS);
  assert.ok(schedule.timeLeftMs(at(60 * DAY_MS)) <= 0);
});

test('a pause holds whether there is a certificate or not, and whatever the wall clock says', () => {
  const schedule = new CertificateSchedule();
  schedule.pauseUntil(5000);
  assert.equal(schedule.timeLeftMs({ nowMs: 0, wallMs: WALL_MS + 1000 * DAY_MS }), 5000);
  schedule.use(pairOf('one', WALL_MS - 80 * DAY_MS), 0);
  assert.equal(schedule.timeLeftMs(at(1000)), 4000, 'due, and paused');
  schedule.endPause();
  assert.ok(schedule.timeLeftMs(at(1000)) <= 0);
});

test('advice is asked for every six hours, or as the issuer says within a minute and a day', () => {
  const schedule = scheduleOf(pairOf('one'));
  const nextMs = (retryAfterMs: number): number => {
    schedule.onAdvice({ window: undefined, retryAfterMs }, 0);
    const steps = [59_999, 60_000, HOUR_MS, 6 * HOUR_MS, DAY_MS];
    return steps.find((ms) => schedule.needsAdvice(at(ms))) ?? Number.NaN;
  };
  assert.equal(schedule.needsAdvice(at(0)), true, 'of a new one at once');
  schedule.onAdviceAsked(0);
  assert.equal(schedule.needsAdvice(at(6 * HOUR_MS - 1)), false, 'not answered, not asked again');
  assert.equal(schedule.needsAdvice(at(6 * HOUR_MS)), true);
  assert.equal(nextMs(0), 6 * HOUR_MS);
  assert.equal(nextMs(1), 60_000);
  assert.equal(nextMs(HOUR_MS), HOUR_MS);
  assert.equal(nextMs(1e12), DAY_MS);
});

test('no advice is asked for what is not there, or is to be ordered anyway', () => {
  const schedule = new CertificateSchedule();
  assert.equal(schedule.needsAdvice(at(0)), false);
  schedule.use(pairOf('one'), 0);
  assert.equal(schedule.needsAdvice(at(60 * DAY_MS)), false);
});

test('a window that the issuer gives counts, until there is another certificate', () => {
  const schedule = scheduleOf(pairOf('one'));
  const window = { startMs: WALL_MS + DAY_MS, endMs: WALL_MS + 2 * DAY_MS };
  schedule.onAdvice({ window, retryAfterMs: HOUR_MS }, 0);
  assert.equal(schedule.timeLeftMs(at(0)), DAY_MS);
  schedule.use(pairOf('two'), 0);
  assert.equal(schedule.timeLeftMs(at(0)), 60 * DAY_MS);
  assert.equal(schedule.needsAdvice(at(0)), true);
});

test('what was issued later is served instead, never what was issued earlier', () => {
  assert.equal(new CertificateSchedule().isSucceededBy(pairOf('one')), true);
  const schedule = scheduleOf(pairOf('one'));
  assert.equal(schedule.isSucceededBy(pairOf('one')), false, 'the same');
  assert.equal(schedule.isSucceededBy(pairOf('two', WALL_MS - 1)), false);
  assert.equal(schedule.isSucceededBy(pairOf('two')), true);
  const short = { ...pairOf('two', WALL_MS + 1), notAfterMs: WALL_MS + DAY_MS };
  assert.equal(schedule.isSucceededBy(short), true, 'though it ends earlier');
});

test('it is long over a month after its end', () => {
  assert.equal(new CertificateSchedule().isLongOver(WALL_MS), false, 'there is none');
  const schedule = scheduleOf(pairOf('one'));
  assert.equal(schedule.isLongOver(WALL_MS + 120 * DAY_MS - 1), false);
  assert.equal(schedule.isLongOver(WALL_MS + 120 * DAY_MS), true);
});
