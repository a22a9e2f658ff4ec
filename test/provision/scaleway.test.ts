// Goal: the disk of a Scaleway instance is marked as its own once it is made, and ends with it,
// also where the key may do less. Method: a stub of its API, which holds fields to the reference.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createScaleway } from '../../src/provision/scaleway.ts';
import { PROJECT, scalewayApi, scalewayBlockApi, TOKEN } from './apis/scaleway.ts';
import type { Asked, CloudApi } from './cloud-stub.ts';
import { type ProviderRow, REQUEST, refusalOf, startCloud } from './started-cloud.ts';

const LOCAL: ProviderRow = {
  create: createScaleway,
  api: scalewayApi,
  credentials: { SCW_SECRET_KEY: TOKEN, SCW_DEFAULT_PROJECT_ID: PROJECT },
};
const BLOCK: ProviderRow = { ...LOCAL, api: scalewayBlockApi };

test('a machine that starts is ended when it has started', async (t) => {
  const { provider, api } = await startCloud(t, LOCAL);
  const { id } = await provider.create(REQUEST);
  await provider.delete(id);
  assert.deepEqual(api.left(), []);
});

/** Scaleway to a key that lacks a right to Block Storage, where `isLocked` says so. */
function withoutRight(right: string, isLocked: (asked: Asked) => boolean): CloudApi {
  const calm = scalewayBlockApi();
  const message = `insufficient permissions: ${right}`;
  return {
    ...calm,
    answer: (asked, ports) =>
      isLocked(asked) && asked.path.startsWith('/block/')
        ? { status: 403, json: { type: 'permissions_denied', message } }
        : calm.answer(asked, ports),
    boot: () => calm.boot(),
  };
}

const toDisks = ({ path }: Asked): boolean => path.includes('/volumes');

test('a disk of Block Storage is marked as its machine is, once it is made', async (t) => {
  const { provider, api, stub } = await startCloud(t, BLOCK);
  await provider.create(REQUEST);
  const disk = stub.asked.filter(toDisks);
  // It is being made, it is there, and is marked before its machine starts.
  assert.deepEqual(
    disk.map(({ method }) => method),
    ['GET', 'GET', 'PATCH'],
  );
  const [marked] = disk.slice(-1);
  assert.match(marked?.path ?? '', /^\/block\/v1\/zones\/fr-par-1\/volumes\/7fe25caf[\w-]+$/u);
  assert.deepEqual(JSON.parse(marked?.body ?? ''), {
    name: 'edge-1',
    tags: ['sluiceway-exit-node'],
  });
  const after = stub.asked.slice(stub.asked.indexOf(marked as Asked) + 1);
  assert.deepEqual(
    after.map(({ method, path }) => `${method} ${path.split('/').slice(7).join('/')}`),
    ['PATCH user_data/cloud-init', 'POST action'],
  );
  assert.deepEqual(api.left(), ['edge-1']);
});

test('a local disk, which ends with its machine, is left as it is', async (t) => {
  const { provider, stub } = await startCloud(t, LOCAL);
  await provider.create(REQUEST);
  assert.deepEqual(stub.asked.filter(toDisks), []);
});

test('a machine is made though its disk may not be marked', async (t) => {
  const locked = withoutRight('write block_volume', ({ method }) => method === 'PATCH');
  const { provider, api, stub } = await startCloud(t, { ...LOCAL, api: () => locked });
  const { id } = await provider.create(REQUEST);
  assert.equal(stub.asked.filter(toDisks).at(-1)?.method, 'PATCH');
  api.boot();
  assert.equal((await provider.get(id))?.state, 'running');
});

test('and not when its disk is never made', async (t) => {
  const calm = scalewayBlockApi();
  let looks = 0;
  const slow: CloudApi = {
    ...calm,
    left: () => calm.left(),
    answer: (asked, ports) => {
      const answer = calm.answer(asked, ports);
      const isMaking = asked.method === 'GET' && toDisks(asked) && calm.left()[0] === 'edge-1';
      if (!isMaking) return answer;
      looks += 1;
      return { status: 200, json: { id: 'x', name: 'root', status: 'creating' } };
    },
  };
  const { provider } = await startCloud(t, { ...LOCAL, api: () => slow });
  const { message } = await refusalOf(provider.create(REQUEST));
  assert.match(message, /^Scaleway: the disk 7fe25caf\S+ /u);
  assert.ok(looks > 1);
  assert.deepEqual(calm.left(), []);
});

test('a disk that cannot be deleted is named', async (t) => {
  const locked = withoutRight('write block_volume', ({ method }) => method === 'DELETE');
  const { provider, api } = await startCloud(t, { ...LOCAL, api: () => locked });
  const { id } = await provider.create(REQUEST);
  api.boot();
  await assert.rejects(provider.delete(id), {
    code: 'SLW_CLOUD_REFUSED',
    message: new RegExp(
      `^${id} has ended; its disk fr-par-1/volume-7fe25caf\\S+ was left behind and must be deleted: ` +
        'Scaleway: insufficient permissions: write block_volume$',
      'u',
    ),
  });
});

for (const when of ['from the beginning', 'later']) {
  test(`a machine is made, and stays while its disk may not even be looked at ${when}`, async (t) => {
    let isLocked = when === 'from the beginning';
    const locked = withoutRight('read block_volume', () => isLocked);
    const { provider, api } = await startCloud(t, { ...LOCAL, api: () => locked });
    const { id } = await provider.create(REQUEST);
    api.boot();
    isLocked = true;
    assert.match((await refusalOf(provider.delete(id))).message, /read block_volume$/u);
    assert.deepEqual(
      (await provider.list()).map(({ id: one, state }) => [one, state]),
      [[id, 'running']],
    );
  });
}

test('a disk that outlived its machine is listed, and deleted as one', async (t) => {
  const real = scalewayBlockApi();
  let isHeld = true;
  const held: CloudApi = {
    ...real,
    answer: (asked, ports) =>
      isHeld && asked.method === 'DELETE' && asked.path.startsWith('/block/')
        ? { status: 503, json: {} }
        : real.answer(asked, ports),
  };
  const { provider } = await startCloud(t, { ...LOCAL, api: () => held });
  const { id } = await provider.create(REQUEST);
  real.boot();
  await assert.rejects(provider.delete(id));
  assert.equal(await provider.get(id), undefined);
  const [left, ...others] = await provider.list();
  assert.deepEqual(
    [left?.name, left?.state, left?.region, others],
    [...['edge-1', 'ending', 'fr-par-1'], []],
  );
  assert.deepEqual(await provider.get(left?.id ?? ''), left);
  isHeld = false;
  await provider.delete(left?.id ?? '');
  assert.deepEqual([await provider.list(), real.left()], [[], []]);
});
