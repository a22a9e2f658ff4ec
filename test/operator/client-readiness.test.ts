// Goal: what a tunnel says of its client is so: served only by what was asked for last, and why not
// in the words of whoever knows. Method: Deployments in every state in, a verdict out.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { readinessOf, type Served } from '../../src/operator/client-readiness.ts';
import type { DeploymentCondition, DeploymentObject } from '../../src/operator/objects.ts';
import { condition, exitNode, NOW } from './objects.ts';

type Status = NonNullable<DeploymentObject['status']>;

/** A second and a minute before. */
const [JUST_NOW, LONG_AGO] = ['2026-05-01T09:59:59Z', '2026-05-01T09:59:00Z'];
const MISSING: Served = { missing: ['tcp:80'] };

const unavailable = (lastTransitionTime: string): DeploymentCondition => ({
  ...{ type: 'Available', status: 'False', reason: 'MinimumReplicasUnavailable' },
  ...{ lastTransitionTime, lastUpdateTime: lastTransitionTime },
});
const progressing = (lastUpdateTime: string): DeploymentCondition => ({
  ...{ type: 'Progressing', status: 'True', lastTransitionTime: LONG_AGO, lastUpdateTime },
});
const LATE: DeploymentCondition = {
  ...{ type: 'Progressing', status: 'False', reason: 'ProgressDeadlineExceeded' },
  ...{ message: 'has timed out', lastUpdateTime: LONG_AGO, lastTransitionTime: LONG_AGO },
};
const REFUSAL: DeploymentCondition = {
  ...{ type: 'ReplicaFailure', status: 'True', reason: 'FailedCreate' },
  ...{ message: 'pods "a" is forbidden: exceeded quota: pods=2', lastTransitionTime: LONG_AGO },
};

/** One pod, which is as was asked for last and available. */
const UP: Status = {
  ...{ observedGeneration: 2, replicas: 1, updatedReplicas: 1, availableReplicas: 1 },
};
const DOWN: Status = { ...UP, availableReplicas: 0 };
/** The pod of before serves, the next one does not come up. */
const HALF: Status = { ...UP, replicas: 2 };

function verdict(served: Served, status: Status, over: { away?: true; replicas?: number } = {}) {
  const found = exitNode();
  const conditions = [condition('Ready', 'Unreachable', 'False')];
  const deployment = {
    ...{ apiVersion: 'apps/v1', kind: 'Deployment', status },
    metadata: { name: 'shop-web', namespace: 'sluiceway', generation: 2 },
    spec: { replicas: over.replicas ?? 1 },
  };
  return readinessOf({
    ...{ served, deployment, now: NOW },
    exitNode: over.away ? { ...found, status: { ...found.status, conditions } } : found,
  });
}

type Row = readonly [string, Served, Status, { away?: true; replicas?: number }, string];

describe('a client whose names are served', () => {
  const rows: readonly Row[] = [
    ['by the newest pods alone', 'all', UP, {}, 'True Served'],
    ['by pods that do not say so yet', 'all', DOWN, {}, 'True Served'],
    [
      'by one of two, the other refused',
      'all',
      { ...UP, conditions: [REFUSAL] },
      { replicas: 2 },
      'True Served',
    ],
    ['by an older pod, the newer on its way', 'all', HALF, {}, 'Unknown RollingOut'],
    [
      'by pods of which nothing is known yet',
      'all',
      { ...UP, observedGeneration: 1 },
      {},
      'Unknown RollingOut',
    ],
    ['by no pod that is counted', 'all', { observedGeneration: 2 }, {}, 'Unknown RollingOut'],
    [
      'by an older pod, the newer refused',
      'all',
      { ...HALF, conditions: [REFUSAL] },
      {},
      'False Refused',
    ],
    [
      'by an older pod, the newer too late',
      'all',
      { ...HALF, conditions: [LATE] },
      {},
      'False ClientStuck',
    ],
    [
      'by an older pod, that before it having been too late',
      ...(['all', { ...HALF, observedGeneration: 1, conditions: [LATE, REFUSAL] }, {}] as const),
      'Unknown RollingOut',
    ],
  ];
  check(rows);
});

describe('a client whose names are not served', () => {
  const at = (time: string, ...more: DeploymentCondition[]): Status => ({
    ...DOWN,
    conditions: [unavailable(time), ...more],
  });
  const rows: readonly Row[] = [
    ['with no pod', MISSING, {}, {}, 'False ClientStarting'],
    ['with no pod, without an answer', 'unknown', {}, {}, 'False ClientStarting'],
    ['with a pod that just started', MISSING, at(JUST_NOW), {}, 'False ClientStarting'],
    [
      'with a pod that was replaced a moment ago',
      MISSING,
      at(LONG_AGO, progressing(JUST_NOW)),
      {},
      'False ClientStarting',
    ],
    ['with a pod of which it is not known since when', MISSING, DOWN, {}, 'False ClientStarting'],
    ['with a pod that should be ready', MISSING, at(LONG_AGO), {}, 'False NotServed'],
    ['with a pod that is too late', MISSING, at(LONG_AGO, LATE), {}, 'False NotServed'],
    ['with a pod that says it is ready', MISSING, UP, {}, 'False NotServed'],
    ['with an older pod that is ready', MISSING, HALF, {}, 'False ClientStarting'],
    [
      'with an older pod, for long',
      MISSING,
      { ...HALF, conditions: [progressing(LONG_AGO)] },
      {},
      'False NotServed',
    ],
    [
      'by an exit node that is away',
      'unknown',
      at(JUST_NOW),
      { away: true },
      'False ExitNodeUnreachable',
    ],
    [
      'by one that does not answer for long',
      'unknown',
      at(LONG_AGO),
      {},
      'False ExitNodeUnreachable',
    ],
    ['by one that does not answer now', 'unknown', at(JUST_NOW), {}, 'False ClientStarting'],
    [
      'as a quota forbids its pods',
      MISSING,
      { observedGeneration: 2, conditions: [REFUSAL] },
      {},
      'False Refused',
    ],
    [
      'with no pod for too long',
      MISSING,
      { observedGeneration: 2, conditions: [LATE] },
      {},
      'False ClientStuck',
    ],
  ];
  check(rows);
});

function check(rows: readonly Row[]): void {
  for (const [name, served, status, over, expected] of rows) {
    test(`${name}: ${expected}`, () => {
      const found = verdict(served, status, over);
      assert.equal(`${found.status} ${found.reason}`, expected);
    });
  }
}

test('messages have the words of those who know', () => {
  const refused = verdict('all', { ...HALF, conditions: [REFUSAL] }).message;
  assert.match(refused, /Deployment shop-web .*exceeded quota: pods=2$/);
  assert.match(verdict('all', { ...HALF, conditions: [LATE] }).message, /shop-web: has timed out/);
  assert.match(verdict('all', HALF).message, /^1 of 1 pods of Deployment shop-web/);
  const unseen = verdict('all', { ...HALF, observedGeneration: 1 }, { replicas: 3 }).message;
  assert.match(unseen, /^0 of 3 pods/);
  assert.match(verdict(MISSING, UP).message, /exit node shared does not serve tcp:80/);
});
