// Status conditions, as Kubernetes writes them: one of each type, with the time it last turned.
//
// Invariant: `lastTransitionTime` moves only when the status does; the order of types is kept, so
// that a status that did not change is equal to the one before. Must not know: what a type means.

import { isoTimeOf } from '../base/clock.ts';
import type { Condition } from './objects.ts';

/** API server's own bound on a message; ours stay far below. */
const MESSAGE_LENGTH_MAX = 1024;

/** A moment to the second, as Kubernetes keeps it. */
export function kubeTime(wallMs: number): string {
  return isoTimeOf(wallMs).replace(/\.\d+Z$/, 'Z');
}

export interface Verdict {
  readonly status: Condition['status'];
  /** CamelCase, for programs. */
  readonly reason: string;
  /** For people. */
  readonly message: string;
}

export interface Stamp {
  /** ISO, to the second as Kubernetes keeps it. */
  readonly now: string;
  readonly generation?: number | undefined;
}

export function conditionOf(
  conditions: readonly Condition[] | undefined,
  type: string,
): Condition | undefined {
  return conditions?.find((one) => one.type === type);
}

/** `before` with these verdicts, by type. */
export function withConditions(
  before: readonly Condition[] | undefined,
  verdicts: Readonly<Record<string, Verdict>>,
  { now, generation }: Stamp,
): readonly Condition[] {
  const kept = (before ?? []).filter(({ type }) => verdicts[type] === undefined);
  const said = Object.entries(verdicts).map(([type, { status, reason, message }]) => {
    const old = conditionOf(before, type);
    return {
      ...{ type, status, reason, message: message.slice(0, MESSAGE_LENGTH_MAX) },
      lastTransitionTime: old?.status === status ? old.lastTransitionTime : now,
      ...(generation === undefined ? {} : { observedGeneration: generation }),
    };
  });
  return [...kept, ...said].sort((a, b) => (a.type < b.type ? -1 : 1));
}

/** Is it news, worth an event? Said once for each way that things are. */
export function isNews(before: Condition | undefined, { status, reason }: Verdict): boolean {
  return before?.status !== status || before.reason !== reason;
}
