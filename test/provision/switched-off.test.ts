// Goal: a machine that somebody switched off is not taken for one that runs, where the provider's
// own word for it stays the same, nor one that is being installed for either. Method: stubs of the
// APIs, with the fields that say so changed.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAzure } from '../../src/provision/azure.ts';
import type { MachineRequest, Provider, ProviderOptions } from '../../src/provision/provider.ts';
import { createVultr } from '../../src/provision/vultr.ts';
import * as azure from './apis/azure.ts';
import * as vultr from './apis/vultr.ts';
import { type Asked, type CloudApi, startStub } from './cloud-stub.ts';

const REQUEST: MachineRequest = {
  ...{ name: 'edge-1', userData: () => '#cloud-config\n{}\n' },
  ports: [{ first: 80, last: 80, protocol: 'tcp' }],
};

type Change = (asked: Asked, json: string) => string;

const powerOff: Change = (_asked, json) =>
  json.replace('"power_status":"running"', '"power_status":"stopped"');

const deallocate: Change = ({ query, path }, json) => {
  if (query.get('$expand') !== 'instanceView' || !/virtualMachines/u.test(path)) return json;
  const states = ['ProvisioningState/succeeded', 'PowerState/deallocated'];
  const view = JSON.stringify({ statuses: states.map((code) => ({ code })) });
  return json.replace('"properties":{', `"properties":{"instanceView":${view},`);
};

interface Row {
  readonly name: string;
  readonly create: (options: ProviderOptions) => Provider;
  readonly credentials: Readonly<Record<string, string>>;
  readonly start: () => CloudApi;
  readonly change: Change;
}

const ROWS: readonly Row[] = [
  {
    ...{ name: 'vultr', create: createVultr, start: vultr.vultrApi, change: powerOff },
    credentials: { VULTR_API_KEY: vultr.TOKEN },
  },
  {
    ...{ name: 'azure', create: createAzure, start: azure.azureApi, change: deallocate },
    credentials: azure.KEYS,
  },
];

/** A cloud whose answers are as `change` leaves them. */
function changed(api: CloudApi, change: Change): CloudApi {
  return {
    ...api,
    boot: () => api.boot(),
    left: () => api.left(),
    answer: (asked, ports) => {
      const answered = api.answer(asked, ports);
      if (answered?.json === undefined) return answered;
      return { ...answered, json: JSON.parse(change(asked, JSON.stringify(answered.json))) };
    },
  };
}

for (const { name, create, credentials, start, change } of ROWS) {
  test(`${name}: a machine that was switched off does not run`, async (t) => {
    let isOff = false;
    const api = changed(start(), (asked, json) => (isOff ? change(asked, json) : json));
    const stub = await startStub(t, api);
    const provider = create({
      ...{ credentials, tag: 'sluiceway-exit-node', endpoint: stub.url, sleep: async () => {} },
    });
    const { id } = await provider.create(REQUEST);
    api.boot();
    assert.equal((await provider.get(id))?.state, 'running');
    isOff = true;
    assert.equal((await provider.get(id))?.state, 'ending');
    assert.deepEqual(
      (await provider.list()).map(({ state }) => state),
      ['ending'],
    );
  });
}

test('vultr: a machine that is off while it is installed was not switched off', async (t) => {
  // As Vultr says it from one moment to the next; a small machine is locked for half a minute.
  const rows = [
    [{ status: 'pending', power_status: 'running', server_status: 'none' }, 'starting'],
    [{ status: 'active', power_status: 'stopped', server_status: 'locked' }, 'starting'],
    [{ status: 'active', power_status: 'stopped', server_status: 'none' }, 'starting'],
    [{ status: 'active', power_status: 'stopped', server_status: 'installingbooting' }, 'starting'],
    [{ status: 'active', power_status: 'running', server_status: 'ok' }, 'running'],
    [{ status: 'active', power_status: 'stopped', server_status: 'ok' }, 'ending'],
  ] as const;
  let words: object = {};
  const instead = (_key: string, value: object) =>
    value !== null && typeof value === 'object' && 'power_status' in value
      ? { ...value, ...words }
      : value;
  const api = changed(vultr.vultrApi(), (_asked, json) =>
    JSON.stringify(JSON.parse(json, instead)),
  );
  const stub = await startStub(t, api);
  const provider = createVultr({
    ...{ credentials: { VULTR_API_KEY: vultr.TOKEN }, tag: 'sluiceway-exit-node' },
    ...{ endpoint: stub.url, sleep: async () => {} },
  });
  const { id } = await provider.create(REQUEST);
  api.boot();
  for (const [said, expected] of rows) {
    words = said;
    assert.equal((await provider.get(id))?.state, expected, JSON.stringify(said));
    const states = (await provider.list()).map(({ state }) => state);
    assert.deepEqual(states, [expected], JSON.stringify(said));
  }
});
