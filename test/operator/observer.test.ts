// Goal: what plans are made of is looked for wherever it may be. Method: a provider that has a
// machine, under exit nodes of each kind.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster } from '../../src/operator/cluster.ts';
import { EXIT_NODE_FINALIZER } from '../../src/operator/exit-node-plan.ts';
import { ExitNodeProbe } from '../../src/operator/exit-node-probe.ts';
import { Inventory } from '../../src/operator/inventory.ts';
import type { Machine, MachineProvider } from '../../src/operator/machine.ts';
import { MachineShop } from '../../src/operator/machine-shop.ts';
import type { ExitNodeObject } from '../../src/operator/objects.ts';
import { Observer } from '../../src/operator/observer.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { exitNode, NOW, SETTINGS } from './objects.ts';

const STARTING: Machine = { id: 'm-1', state: 'starting' };

function observer(namespaces: readonly string[] = []): Observer {
  const provider: MachineProvider = {
    find: async () => STARTING,
    create: async () => assert.fail('nothing is ordered'),
    remove: async () => assert.fail('nothing is removed'),
    removeTwins: async () => assert.fail('nothing is removed'),
  };
  const get = async () => ({ data: { KEY: 'eA==' } });
  const cluster = { get } as unknown as Cluster;
  const clock = new FakeClock();
  const { namespace } = SETTINGS;
  const inventory = new Inventory({
    ...{ cluster, clock, namespace, namespaces: [], random: () => 0.5, log: SILENT_LOG },
    ...{ onChange: () => {}, onSynced: () => {}, onBroken: () => {} },
  });
  const openProvider = async () => provider;
  const timing = { clock, random: () => 0.5, onDue: () => {} };
  const shop = new MachineShop({ cluster, namespace, openProvider, ...timing });
  const probe = new ExitNodeProbe(clock);
  return new Observer({ inventory, shop, probe, settings: SETTINGS, namespaces });
}

const provision = { provider: 'fake', credentialsSecret: 'cloud' };
const kinds: readonly (readonly [string, ExitNodeObject['spec'], readonly string[], unknown])[] = [
  ['shared by all', { provision }, [], STARTING],
  ['for each tunnel', { provision, allocation: 'PerTunnel' }, [], 'none'],
  [
    'for each tunnel, which was shared before',
    { provision, allocation: 'PerTunnel' },
    [EXIT_NODE_FINALIZER],
    STARTING,
  ],
];
for (const [name, spec, finalizers, expected] of kinds) {
  test(`the machine of an exit node ${name}`, async () => {
    const one = exitNode({ spec, status: {}, meta: { finalizers } });
    assert.deepEqual((await observer().exitNode(one, NOW)).machine, expected);
  });
}

test('an exit node for unwatched namespaces is left alone, but for its end when it has a machine', () => {
  const spec = { provision, allowedNamespaces: ['team-b'] };
  const deletionTimestamp = NOW;
  const finalizers = [EXIT_NODE_FINALIZER];
  const [here, there] = [observer(['team-a']), observer(['team-b'])];
  for (const [meta, isOurs] of [
    [{}, false],
    [{ finalizers }, false],
    [{ deletionTimestamp, finalizers: [] }, false],
    [{ deletionTimestamp, finalizers }, true],
  ] as const) {
    const one = exitNode({ spec, status: {}, meta });
    assert.deepEqual([here.isOurs(one), there.isOurs(one)], [isOurs, true]);
  }
});
