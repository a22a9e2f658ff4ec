// How far the clock of this machine is from that of who answered, for a hint.
//
// Invariant: never decides anything, as the Date of an answer may be anybody's; says nothing of a
// gap that certificates and tokens with times do not notice. Must not know: what failed.

import { isoTimeOf, wallMsOf } from './clock.ts';

/** Below, nothing that is checked by time minds. Guess. */
const NOTICED_MS = 90_000;
const MINUTE_MS = 60_000;
const UNITS: readonly (readonly [name: string, minutes: number])[] = [
  ['days', 24 * 60],
  ['hours', 60],
  ['minutes', 1],
];

/** Begins with `; `, to stand behind a reason; empty for clocks that agree, and without a date. */
export function describeClockGap(date: string | undefined, nowMs: number): string {
  const theirMs = wallMsOf(date ?? '');
  const gapMs = nowMs - theirMs;
  if (Number.isNaN(gapMs) || Math.abs(gapMs) < NOTICED_MS) return '';
  const minutes = Math.round(Math.abs(gapMs) / MINUTE_MS);
  const [name, size] = UNITS.find(([, one]) => minutes >= 2 * one) ?? ['minutes', 1];
  const way = gapMs < 0 ? 'behind' : 'ahead of';
  return (
    `; the clock of this machine, ${showTime(nowMs)}, is ${Math.round(minutes / size)} ${name} ` +
    `${way} the server's: set it right`
  );
}

/** To the minute, in UTC. */
export function showTime(ms: number): string {
  return `${isoTimeOf(ms).slice(0, 16).replace('T', ' ')} UTC`;
}
