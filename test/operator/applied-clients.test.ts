// Goal: what a cluster made of a client is known while it is there, and nothing for ever. Method:
// Deployments are noted, forgotten, and more than there is room for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AppliedClients } from '../../src/operator/applied-clients.ts';
import type { KubeObject } from '../../src/operator/objects.ts';
import { tunnel } from './objects.ts';

const client = (uid: string, generation: number): KubeObject => ({
  ...{ apiVersion: 'apps/v1', kind: 'Deployment' },
  metadata: { name: 'client', uid, generation },
});

test('the generation that was applied last is known until the client is gone', () => {
  const applied = new AppliedClients();
  const [one, other] = [client('a', 1), client('b', 4)];
  assert.equal(applied.generationOf(undefined), undefined);
  for (const object of [one, other, client('a', 2), tunnel()]) applied.note(object);
  assert.deepEqual([applied.generationOf(one), applied.generationOf(other)], [2, 4]);
  assert.equal(applied.generationOf(tunnel()), undefined);
  applied.forget(one);
  assert.deepEqual([applied.generationOf(one), applied.generationOf(other)], [undefined, 4]);
});

test('of too many those are forgotten that were applied longest ago', () => {
  const applied = new AppliedClients(2);
  for (const uid of ['a', 'b', 'a', 'c']) applied.note(client(uid, 1));
  const known = ['a', 'b', 'c'].map((uid) => applied.generationOf(client(uid, 0)));
  assert.deepEqual(known, [1, undefined, 1]);
});
