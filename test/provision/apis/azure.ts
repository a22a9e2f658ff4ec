// Microsoft Azure, as learn.microsoft.com/rest/api has it: resource groups, networks, machines; and
// the token endpoint of the identity platform.
//
// Invariant: what a resource refers to exists before it; the schema of a request names the fields
// that we may send, with the forms that the reference gives. Must not know: who asks.

import assert from 'node:assert/strict';
import { z } from 'zod';
import { type Answer, type Asked, type CloudApi, readBody, STUB_ADDRESS } from '../cloud-stub.ts';

export const KEYS = {
  AZURE_TENANT_ID: 'tenant-1',
  AZURE_CLIENT_ID: 'client-1',
  AZURE_CLIENT_SECRET: 'azure-secret',
  AZURE_SUBSCRIPTION_ID: 'subscription-1',
};
const ACCESS = 'azure-access-token';

const reference = z.strictObject({ id: z.string() });
const group = z.strictObject({
  location: z.string(),
  tags: z.record(z.string(), z.string()).optional(),
});
const RESOURCES: Readonly<Record<string, z.ZodType>> = {
  networkSecurityGroups: z.strictObject({
    location: z.string(),
    properties: z.strictObject({
      securityRules: z.array(
        z.strictObject({
          name: z.string(),
          properties: z.strictObject({
            priority: z.number().int().min(100).max(4096),
            direction: z.enum(['Inbound', 'Outbound']),
            access: z.enum(['Allow', 'Deny']),
            protocol: z.enum(['Tcp', 'Udp', '*']),
            sourceAddressPrefix: z.string(),
            sourcePortRange: z.string(),
            destinationAddressPrefix: z.string(),
            destinationPortRanges: z.array(z.string().regex(/^\d+(?:-\d+)?$/u)),
          }),
        }),
      ),
    }),
  }),
  virtualNetworks: z.strictObject({
    location: z.string(),
    properties: z.strictObject({
      addressSpace: z.strictObject({ addressPrefixes: z.array(z.cidrv4()) }),
      subnets: z.array(
        z.strictObject({
          name: z.string(),
          properties: z.strictObject({
            addressPrefix: z.cidrv4(),
            networkSecurityGroup: reference,
          }),
        }),
      ),
    }),
  }),
  publicIPAddresses: z.strictObject({
    location: z.string(),
    sku: z.strictObject({ name: z.literal('Standard') }),
    properties: z.strictObject({
      publicIPAllocationMethod: z.literal('Static'),
      publicIPAddressVersion: z.literal('IPv4'),
    }),
  }),
  networkInterfaces: z.strictObject({
    location: z.string(),
    properties: z.strictObject({
      ipConfigurations: z.array(
        z.strictObject({
          name: z.string(),
          properties: z.strictObject({ subnet: reference, publicIPAddress: reference }),
        }),
      ),
    }),
  }),
  virtualMachines: z.strictObject({
    location: z.string(),
    properties: z.strictObject({
      hardwareProfile: z.strictObject({ vmSize: z.string() }),
      storageProfile: z.strictObject({
        imageReference: z.strictObject({
          publisher: z.string(),
          offer: z.string(),
          sku: z.string(),
          version: z.string(),
        }),
        osDisk: z.strictObject({
          createOption: z.literal('FromImage'),
          deleteOption: z.enum(['Delete', 'Detach']),
          managedDisk: z.strictObject({ storageAccountType: z.string() }),
        }),
      }),
      osProfile: z.strictObject({
        computerName: z.string().max(64),
        adminUsername: z.string(),
        adminPassword: z.string().min(6).max(72),
        customData: z.base64().max(87_380),
        linuxConfiguration: z.strictObject({ disablePasswordAuthentication: z.boolean() }),
      }),
      networkProfile: z.strictObject({
        networkInterfaces: z.array(
          z.strictObject({
            id: z.string(),
            properties: z.strictObject({ primary: z.boolean(), deleteOption: z.string() }),
          }),
        ),
      }),
    }),
  }),
};

interface Group {
  readonly location: string;
  readonly tags: Readonly<Record<string, string>>;
  /** By path. */
  readonly resources: Map<string, { readonly body: unknown; polls: number }>;
}

const show = (id: string, polls: number, isUp: boolean) => {
  const isAddress = id.includes('/publicIPAddresses/');
  const isMachine = id.includes('/virtualMachines/');
  const isDone = isMachine ? isUp : polls > 1;
  const provisioningState = isDone ? 'Succeeded' : isMachine ? 'Creating' : 'Updating';
  const address = isAddress && isDone ? { ipAddress: STUB_ADDRESS } : {};
  return { id, name: id.split('/').at(-1), properties: { provisioningState, ...address } };
};

class AzureApi implements CloudApi {
  readonly #groups = new Map<string, Group>();
  #isRefusing = false;
  #isUp = false;
  #data = '';

  #onResource(asked: Asked, one: Group, type: string): Answer | undefined {
    const { method, path } = asked;
    if (method === 'PUT') {
      const schema = RESOURCES[type];
      assert.ok(schema !== undefined, type);
      const body = readBody(asked, schema);
      const ids = JSON.stringify(body).match(/"\/subscriptions\/[^"]+"/gu) ?? [];
      for (const id of ids) {
        const known = JSON.parse(id).replace(/\/subnets\/default$/u, '');
        assert.ok(one.resources.has(known), `${known} is not there yet`);
      }
      if (type === 'virtualMachines') {
        const message =
          'Operation could not be completed as it results in exceeding approved quota';
        if (this.#isRefusing)
          return { status: 409, json: { error: { code: 'QuotaExceeded', message } } };
        const { osProfile } = (body as { properties: { osProfile: { customData: string } } })
          .properties;
        this.#data = Buffer.from(osProfile.customData, 'base64').toString('utf8');
      }
      one.resources.set(path, { body, polls: 0 });
      return { status: 201, json: show(path, 0, this.#isUp) };
    }
    const found = one.resources.get(path);
    if (found === undefined) return undefined;
    found.polls += 1;
    return { status: 200, json: show(path, found.polls, this.#isUp) };
  }

  #onGroup(asked: Asked, name: string): Answer | undefined {
    const one = this.#groups.get(name);
    if (asked.method === 'PUT') {
      const { location, tags = {} } = readBody(asked, group);
      this.#groups.set(name, { location, tags, resources: one?.resources ?? new Map() });
      return { status: one === undefined ? 201 : 200, json: { id: asked.path, name, location } };
    }
    if (one === undefined) return undefined;
    if (asked.method === 'GET') {
      return { status: 200, json: { name, location: one.location, tags: one.tags } };
    }
    this.#groups.delete(name);
    return { status: 202 };
  }

  answer(asked: Asked): Answer | undefined {
    const { path, query } = asked;
    if (path === `/${KEYS.AZURE_TENANT_ID}/oauth2/v2.0/token`) return giveToken(asked);
    if (asked.headers.authorization !== `Bearer ${ACCESS}`) {
      const message = 'The access token is invalid.';
      return { status: 401, json: { error: { code: 'InvalidAuthenticationToken', message } } };
    }
    assert.match(query.get('api-version') ?? '', /^\d{4}-\d\d-\d\d$/u);
    const [, name = '', type] =
      /^\/subscriptions\/subscription-1\/resource[gG]roups\/?([\w-]*)(?:\/providers\/Microsoft\.\w+\/(\w+)\/\w+)?$/u.exec(
        path,
      ) ?? [];
    if (name === '') {
      const filter = query.get('$filter') ?? '';
      const [, key = '', value] =
        /^tagName eq '(\w+)' and tagValue eq '([\w-]+)'$/u.exec(filter) ?? [];
      const ours = [...this.#groups].filter(([, { tags }]) => tags[key] === value);
      const all = ours.map(([one, { location }]) => ({ name: one, location }));
      return { status: 200, json: { value: all } };
    }
    if (type === undefined) return this.#onGroup(asked, name);
    const one = this.#groups.get(name);
    return one === undefined ? undefined : this.#onResource(asked, one, type);
  }

  left(): readonly string[] {
    return [...this.#groups.keys()];
  }

  boot(): void {
    this.#isUp = true;
  }

  refuse(): void {
    this.#isRefusing = true;
  }

  userData(): string {
    return this.#data;
  }
}

export function azureApi(): CloudApi {
  return new AzureApi();
}

function giveToken({ body }: Asked): Answer {
  const form = new URLSearchParams(body);
  if (form.get('client_secret') !== KEYS.AZURE_CLIENT_SECRET) {
    const error_description = 'AADSTS7000215: Invalid client secret provided.';
    return { status: 401, json: { error: 'invalid_client', error_description } };
  }
  assert.equal(form.get('scope'), 'https://management.azure.com/.default');
  return { status: 200, json: { access_token: ACCESS, expires_in: 3599, token_type: 'Bearer' } };
}
