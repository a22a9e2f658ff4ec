// Goal: one order of an exit node is under way at most, however long a provider takes, and what
// came of it is not forgotten. Method: a provider that answers when the test says so, and timers
// moved by hand.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Cluster } from '../../src/operator/cluster.ts';
import type { Machine, MachineOrder, MachineProvider } from '../../src/operator/machine.ts';
import { MachineShop } from '../../src/operator/machine-shop.ts';
import type { ExitNodeObject } from '../../src/operator/objects.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { exitNode, NOW } from './objects.ts';

const WAIT_MS = 10_000;
const RUNNING: Machine = { id: 'm-1', state: 'running', address: '198.51.100.9' };
const encode = (text: string): string => Buffer.from(text).toString('base64');
const SECRETS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  cloud: { KEY: encode('open') },
  'sluiceway-exit-node-own': { token: encode('token') },
};

const own = (over: Parameters<typeof exitNode>[0] = {}): ExitNodeObject =>
  exitNode({
    spec: { provision: { provider: 'fake', credentialsSecret: 'cloud' } },
    status: {},
    ...over,
    meta: { name: 'own', ...over.meta },
  });

interface Call {
  readonly what: string;
  readonly order?: MachineOrder;
  readonly answer: () => void;
  readonly fail: (error: Error) => void;
}

function shopOf(machine: () => Machine | undefined, secrets = SECRETS) {
  const calls: Call[] = [];
  const called = async (what: string, order?: MachineOrder): Promise<void> => {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    calls.push({ what, answer: resolve, fail: reject, ...(order === undefined ? {} : { order }) });
    await promise;
  };
  const provider: MachineProvider = {
    find: async () => machine(),
    create: async (order) => {
      await called('create', order);
      return RUNNING;
    },
    remove: async (tag, id) => await called(`remove ${tag} ${id}`),
    removeTwins: async (tag, id) => await called(`remove twins ${tag} ${id}`),
  };
  const get = async ({ name }: { readonly name: string }) => {
    const data = secrets[name];
    return data === undefined ? undefined : { data };
  };
  const cluster = { get } as unknown as Cluster;
  const openProvider = async () => provider;
  const clock = new FakeClock();
  const due: string[] = [];
  const shop = new MachineShop({
    ...{ cluster, namespace: 'sluiceway', openProvider, clock, random: () => 0.5 },
    onDue: ({ metadata }) => due.push(metadata.name),
  });
  return { shop, calls, clock, due };
}

const turn = async (): Promise<void> => {
  await new Promise((resolve) => setImmediate(resolve));
};

test('an order that is answered at once is done', async () => {
  const { shop, calls } = shopOf(() => undefined);
  const making = shop.create(own());
  await turn();
  const { provision: _it, token, ...order } = calls[0]?.order ?? assert.fail('no order');
  const ports = ['1024-65535'];
  const wanted = { tag: 'sluiceway-e-1', controlPort: 8123, tcpPorts: ports, udpPorts: ports };
  assert.deepEqual(order, wanted);
  assert.equal(token.reveal(), 'token');
  calls[0]?.answer();
  await making;
  assert.deepEqual(await shop.find(own()), { machine: 'none', refusal: undefined });
});

test('one that takes longer goes on, and is not given again meanwhile', async () => {
  let found: Machine | undefined;
  const { shop, calls, clock } = shopOf(() => found);
  for (let look = 0; look < 3; look += 1) {
    const making = shop.create(own());
    await turn();
    clock.advance(WAIT_MS);
    await making;
    assert.deepEqual(await shop.find(own()), { machine: 'making', refusal: undefined });
  }
  assert.equal(calls.length, 1);
  found = RUNNING;
  calls[0]?.answer();
  await shop.settled();
  assert.deepEqual(await shop.find(own()), { machine: RUNNING, refusal: undefined });
});

test('one that is refused, now or later, is told in one line until another is done', async () => {
  const { shop, calls, clock } = shopOf(() => undefined);
  const first = shop.create(own());
  await turn();
  calls[0]?.fail(new Error('quota\nexceeded'));
  await assert.rejects(first, /^Error: quota\nexceeded$/u);
  assert.deepEqual(await shop.find(own()), { machine: 'none', refusal: 'quota exceeded' });
  clock.advance(WAIT_MS);
  const second = shop.create(own());
  await turn();
  clock.advance(WAIT_MS);
  await second;
  assert.deepEqual(await shop.find(own()), { machine: 'making', refusal: 'quota exceeded' });
  calls[1]?.fail(new Error('still'));
  await shop.settled();
  assert.deepEqual(await shop.find(own()), { machine: 'none', refusal: 'still' });
  clock.advance(WAIT_MS);
  const third = shop.create(own());
  await turn();
  calls[2]?.answer();
  await third;
  assert.deepEqual(await shop.find(own()), { machine: 'none', refusal: undefined });
});

test('one that is refused is given again later and later, however often it is asked for', async () => {
  const { shop, calls, clock } = shopOf(() => undefined);
  const triedMs: number[] = [];
  for (let looks = 0; looks < 120; looks += 1) {
    const before = calls.length;
    const refused = assert.rejects(shop.create(own()), /quota exceeded/u);
    await turn();
    const call = calls[before];
    if (call !== undefined) triedMs.push(clock.nowMs());
    call?.fail(new Error('quota exceeded'));
    await refused;
    assert.equal((await shop.find(own())).refusal, 'quota exceeded');
    clock.advance(30_000);
  }
  const gaps = triedMs.slice(1).map((atMs, index) => atMs - (triedMs[index] ?? 0));
  assert.ok(gaps.length < 40, String(gaps));
  assert.deepEqual(gaps.slice(-3), [150_000, 150_000, 150_000]);
});

test('as soon as what was refused may be given again, a look is asked for, once', async () => {
  const { shop, calls, clock, due } = shopOf(() => undefined);
  const gapsMs: number[] = [];
  for (let order = 0; order < 5; order += 1) {
    const refused = assert.rejects(shop.create(own()), /quota exceeded/u);
    await turn();
    calls[order]?.fail(new Error('quota exceeded'));
    await refused;
    const saidMs = clock.nowMs();
    while (due.length === order) {
      await assert.rejects(shop.create(own()), /quota exceeded/u);
      assert.equal(calls.length, order + 1, 'it is held until then');
      clock.advance(500);
    }
    gapsMs.push(clock.nowMs() - saidMs);
  }
  assert.deepEqual(gapsMs, [3_000, 4_000, 6_000, 10_000, 18_000]);
  const done = shop.create(own());
  await turn();
  calls[5]?.answer();
  await done;
  clock.advance(600_000);
  assert.deepEqual(due, Array(5).fill('own'));
});

test('what is done after all, or goes, wants no look', async () => {
  let found: Machine | undefined;
  const { shop, calls, clock, due } = shopOf(() => found);
  const making = shop.create(own());
  await turn();
  calls[0]?.fail(new Error('no answer'));
  await assert.rejects(making);
  found = RUNNING;
  await shop.find(own());
  clock.advance(600_000);
  assert.deepEqual(due, []);
});

test('what was refused keeps nothing else from being done', async () => {
  const { shop, calls } = shopOf(() => undefined);
  const making = shop.create(own());
  await turn();
  calls[0]?.fail(new Error('quota exceeded'));
  await assert.rejects(making);
  const removing = shop.remove(own({ meta: { deletionTimestamp: NOW } }));
  await turn();
  assert.equal(calls[1]?.what, 'remove sluiceway-e-1 undefined');
  calls[1]?.answer();
  await removing;
});

test('what seemed to fail and is there all the same is no refusal', async () => {
  let found: Machine | undefined;
  const { shop, calls } = shopOf(() => found);
  const making = shop.create(own());
  await turn();
  calls[0]?.fail(new Error('no answer'));
  await assert.rejects(making);
  found = RUNNING;
  assert.deepEqual(await shop.find(own()), { machine: RUNNING, refusal: undefined });
});

test('a removal waits for the order before it, and names what is known', async () => {
  const { shop, calls, clock } = shopOf(() => RUNNING);
  const status = { machine: { id: 'm-1', state: 'running', since: NOW } };
  const going = own({ meta: { deletionTimestamp: NOW }, status });
  const making = shop.create(own());
  await turn();
  const removing = shop.remove(going);
  await turn();
  assert.equal(calls.length, 1);
  clock.advance(WAIT_MS);
  await Promise.all([making, removing]);
  calls[0]?.answer();
  await shop.settled();
  const again = shop.remove(going);
  await turn();
  assert.equal(calls[1]?.what, 'remove sluiceway-e-1 m-1');
  assert.deepEqual(await shop.find(going), { machine: 'ending', refusal: undefined });
  calls[1]?.answer();
  await again;
});

const inUse = (): ExitNodeObject =>
  own({ status: { machine: { id: 'm-1', state: 'running', since: NOW } } });

test('while its twins end the machine in use is found as ever', async () => {
  let found: Machine = { ...RUNNING, twins: 1 };
  const { shop, calls, clock } = shopOf(() => found);
  for (let look = 0; look < 3; look += 1) {
    const removing = shop.removeTwins(inUse());
    await turn();
    clock.advance(WAIT_MS);
    await removing;
    assert.deepEqual(await shop.find(inUse()), { machine: found, refusal: undefined });
  }
  assert.deepEqual(
    calls.map(({ what }) => what),
    ['remove twins sluiceway-e-1 m-1'],
  );
  found = RUNNING;
  calls[0]?.answer();
  await shop.settled();
  assert.deepEqual(await shop.find(inUse()), { machine: RUNNING, refusal: undefined });
});

test('twins that may not go are told, and asked for later and later, until they are gone', async () => {
  let found: Machine = { ...RUNNING, twins: 1 };
  const { shop, calls, clock, due } = shopOf(() => found);
  const refused = assert.rejects(shop.removeTwins(inUse()), /locked/u);
  await turn();
  calls[0]?.fail(new Error('locked'));
  await refused;
  assert.deepEqual(await shop.find(inUse()), { machine: found, refusal: 'locked' });
  await assert.rejects(shop.removeTwins(inUse()), /locked/u);
  assert.equal(calls.length, 1);
  clock.advance(WAIT_MS);
  assert.deepEqual(due, ['own']);
  found = RUNNING;
  assert.deepEqual(await shop.find(inUse()), { machine: RUNNING, refusal: undefined });
});

test('of machines none of which is known to be in use none is removed as a twin', async () => {
  const { shop, calls } = shopOf(() => ({ ...RUNNING, twins: 1 }));
  await shop.removeTwins(own());
  await turn();
  assert.deepEqual(calls, []);
});

test('what an operator that ends has begun is waited for', async () => {
  const { shop, calls } = shopOf(() => undefined);
  const making = shop.create(own());
  await turn();
  let isSettled = false;
  const settled = shop.settled().then(() => {
    isSettled = true;
  });
  await turn();
  assert.equal(isSettled, false);
  calls[0]?.answer();
  await Promise.all([making, settled]);
});

test('without its secrets nothing is ordered, and what is missing is said', async () => {
  const none = shopOf(() => undefined, {});
  await assert.rejects(none.shop.create(own()), /there is no secret cloud in sluiceway/u);
  const { machine, refusal } = await none.shop.find(own());
  assert.deepEqual([machine, refusal], ['unknown', 'there is no secret cloud in sluiceway']);
  const tokenless = shopOf(() => undefined, { cloud: { KEY: encode('open') } });
  await assert.rejects(tokenless.shop.create(own()), /it has no token yet/u);
  assert.deepEqual([none.calls, tokenless.calls], [[], []]);
});
