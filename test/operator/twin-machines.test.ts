// Goal: of two machines of one exit node the one that clients know stays, and the other does not.
// Method: tables of what was found in, what is planned out.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { conditionOf } from '../../src/operator/conditions.ts';
import { type ExitNodeObserved, planExitNode } from '../../src/operator/exit-node-plan.ts';
import type { Condition } from '../../src/operator/objects.ts';
import { EARLIER, exitNode, NOW, SETTINGS, statusOf, summary } from './objects.ts';

const TWIN = { id: 'm-1', state: 'running', address: '198.51.100.9', twins: 1 } as const;
const AWAY = { is: 'away', message: 'no answer' } as const;
const TOKEN = 'sluiceway-exit-node-own';

const plan = (over: Partial<ExitNodeObserved>, machineId = TWIN.id as string) =>
  planExitNode({
    exitNode: exitNode({
      spec: { provision: { provider: 'fake', credentialsSecret: 'cloud' } },
      meta: { name: 'own', finalizers: ['sluiceway.dev/machine'] },
      status: {
        ...{ url: 'wss://198.51.100.9:8123', addresses: ['198.51.100.9'] },
        machine: { id: machineId, state: 'running', since: EARLIER },
        tokenSecret: { name: TOKEN, key: 'token' },
        caFingerprint: 'sha256:ef',
      },
    }),
    ...{ machine: TWIN, refusal: undefined, hasSecret: true, reach: { is: 'ready' } },
    ...{ hasOwner: true, tunnels: 2, newToken: 'secret', settings: SETTINGS, now: NOW },
    ...over,
  });

test('the other one goes once that which clients know answers', () => {
  assert.deepEqual(summary(plan({})), [
    ...['status Reachable', 'tell Normal Reachable', 'remove-twins', 'settled'],
  ]);
  assert.deepEqual(summary(plan({ reach: AWAY })), [
    ...['status Unreachable', 'tell Warning Unreachable', 'blocked'],
  ]);
});

test('both stay while that which was found is not the one that clients know', () => {
  const kept = ['status Reachable', 'tell Normal Reachable', 'settled'];
  assert.deepEqual(summary(plan({}, 'm-0')), kept);
  assert.deepEqual(summary(plan({}, '')), kept);
});

test('both stay while one starts, or its token is away', () => {
  const starting = plan({ machine: { id: 'm-1', state: 'starting', twins: 1 }, reach: AWAY }, '');
  assert.deepEqual(summary(starting), [
    ...['status Provisioning', 'tell Normal Provisioning', 'waiting'],
  ]);
  const tokenless = plan({ hasSecret: false, reach: { is: 'unasked' } });
  assert.deepEqual(summary(tokenless), [
    ...['status TokenMissing', 'tell Warning TokenMissing', 'blocked'],
  ]);
});

test('says which are to be removed, and why they are not', () => {
  const said = (twins: number, refusal?: string) => {
    const made = statusOf(plan({ machine: { ...TWIN, twins }, refusal }));
    return conditionOf(made.conditions as readonly Condition[], 'Ready')?.message;
  };
  const answers = 'wss://198.51.100.9:8123 answers';
  assert.equal(said(1), `${answers}; another machine of it is to be removed`);
  assert.equal(said(2, 'locked'), `${answers}; 2 other machines of it are to be removed: locked`);
});
