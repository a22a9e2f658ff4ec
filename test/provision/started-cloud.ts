// A provider of ours before the stub of its cloud, and how its refusals are looked at.
//
// Invariant: what is started ends with its test; a refusal is one line and says no secret. Must not
// know: which cloud it is.

import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import {
  CloudRefusal,
  type MachineRequest,
  type Provider,
  type ProviderOptions,
} from '../../src/provision/provider.ts';
import { type CloudApi, type Stub, startStub } from './cloud-stub.ts';

export interface ProviderRow {
  readonly create: (options: ProviderOptions) => Provider;
  readonly api: () => CloudApi;
  readonly credentials: Readonly<Record<string, string>>;
}

export const REQUEST: MachineRequest = {
  name: 'edge-1',
  userData: () => '#cloud-config\n{}\n',
  ports: [
    { first: 80, last: 80, protocol: 'tcp' },
    { first: 1024, last: 65_535, protocol: 'tcp' },
    { first: 5353, last: 5353, protocol: 'udp' },
  ],
};

export interface Cloud {
  readonly provider: Provider;
  readonly api: CloudApi;
  readonly stub: Stub;
}

export async function startCloud(
  t: TestContext,
  row: ProviderRow,
  changes: Partial<ProviderOptions> = {},
): Promise<Cloud> {
  const api = row.api();
  const stub = await startStub(t, api);
  const provider = row.create({
    credentials: row.credentials,
    tag: 'sluiceway-exit-node',
    endpoint: stub.url,
    sleep: async () => {},
    ...changes,
  });
  return { provider, api, stub };
}

export async function refusalOf(doing: Promise<unknown>): Promise<CloudRefusal> {
  try {
    await doing;
  } catch (error) {
    assert.ok(error instanceof CloudRefusal, String(error));
    assert.equal(error.code, 'SLW_CLOUD_REFUSED');
    assert.ok(!error.message.includes('\n') && !error.message.includes('wrong-secret'));
    return error;
  }
  return assert.fail('nothing was refused');
}
