// Goal: each provider makes, finds and ends a machine by requests that its API takes, and says no
// in its own words. Method: stubs of their APIs, which hold every field against the reference.

import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { test } from 'node:test';
import { ConfigError } from '../../src/base/errors.ts';
import { Masked } from '../../src/base/masked.ts';
import { PROVIDER_NAMES } from '../../src/config/cloud.ts';
import { createAzure } from '../../src/provision/azure.ts';
import { createDigitalocean } from '../../src/provision/digitalocean.ts';
import { createExitNode } from '../../src/provision/exit-node.ts';
import { createGce } from '../../src/provision/gce.ts';
import { createHetzner } from '../../src/provision/hetzner.ts';
import { createLinode } from '../../src/provision/linode.ts';
import { createOvh } from '../../src/provision/ovh.ts';
import { type Provider, Unheard } from '../../src/provision/provider.ts';
import { openProvider } from '../../src/provision/providers.ts';
import { createScaleway } from '../../src/provision/scaleway.ts';
import { createVultr } from '../../src/provision/vultr.ts';
import { FakeClock } from '../support/fake-clock.ts';
import * as azure from './apis/azure.ts';
import * as digitalocean from './apis/digitalocean.ts';
import * as gce from './apis/gce.ts';
import * as hetzner from './apis/hetzner.ts';
import * as linode from './apis/linode.ts';
import * as ovh from './apis/ovh.ts';
import * as scaleway from './apis/scaleway.ts';
import * as vultr from './apis/vultr.ts';
import { type Answer, type Asked, type CloudApi, STUB_ADDRESS } from './cloud-stub.ts';
import { type Cloud, type ProviderRow, REQUEST, refusalOf, startCloud } from './started-cloud.ts';

interface Row extends ProviderRow {
  /** Credentials, but wrong; and what is said then. */
  readonly wrong: Readonly<Record<string, string>>;
  readonly refusal: RegExp;
  readonly quota: RegExp;
}

const ROWS: Readonly<Record<string, Row>> = {
  digitalocean: {
    create: createDigitalocean,
    api: digitalocean.digitaloceanApi,
    credentials: { DIGITALOCEAN_TOKEN: digitalocean.TOKEN },
    wrong: { DIGITALOCEAN_TOKEN: 'wrong-secret' },
    refusal: /^DigitalOcean: Unable to authenticate you$/u,
    quota: /exceed your droplet limit/u,
  },
  hetzner: {
    create: createHetzner,
    api: hetzner.hetznerApi,
    credentials: { HCLOUD_TOKEN: hetzner.TOKEN },
    wrong: { HCLOUD_TOKEN: 'wrong-secret' },
    refusal: /^Hetzner: the token you provided is not valid$/u,
    quota: /server limit reached/u,
  },
  linode: {
    create: createLinode,
    api: linode.linodeApi,
    credentials: { LINODE_TOKEN: linode.TOKEN },
    wrong: { LINODE_TOKEN: 'wrong-secret' },
    refusal: /^Linode: Invalid Token$/u,
    quota: /Account Limit reached/u,
  },
  vultr: {
    create: createVultr,
    api: vultr.vultrApi,
    credentials: { VULTR_API_KEY: vultr.TOKEN },
    wrong: { VULTR_API_KEY: 'wrong-secret' },
    refusal: /^Vultr: Invalid API token\.$/u,
    quota: /maximum monthly fee limit/u,
  },
  scaleway: {
    create: createScaleway,
    api: scaleway.scalewayApi,
    credentials: { SCW_SECRET_KEY: scaleway.TOKEN, SCW_DEFAULT_PROJECT_ID: scaleway.PROJECT },
    wrong: { SCW_SECRET_KEY: 'wrong-secret', SCW_DEFAULT_PROJECT_ID: scaleway.PROJECT },
    refusal: /^Scaleway: authentication is denied$/u,
    quota: /quota\(s\) exceeded/u,
  },
  'scaleway with block storage': {
    create: createScaleway,
    api: scaleway.scalewayBlockApi,
    credentials: { SCW_SECRET_KEY: scaleway.TOKEN, SCW_DEFAULT_PROJECT_ID: scaleway.PROJECT },
    wrong: { SCW_SECRET_KEY: 'wrong-secret', SCW_DEFAULT_PROJECT_ID: scaleway.PROJECT },
    refusal: /^Scaleway: authentication is denied$/u,
    quota: /quota\(s\) exceeded/u,
  },
  ovh: {
    create: createOvh,
    api: ovh.ovhApi,
    credentials: ovh.KEYS,
    wrong: { ...ovh.KEYS, OVH_APPLICATION_SECRET: 'wrong-secret' },
    refusal: /^OVHcloud: Invalid signature$/u,
    quota: /Quota exceeded for instances/u,
  },
  gce: {
    create: createGce,
    api: gce.gceApi,
    credentials: { GOOGLE_APPLICATION_CREDENTIALS: gce.KEY_FILE },
    wrong: { GOOGLE_APPLICATION_CREDENTIALS: otherGoogleKey() },
    refusal: /^Google: Invalid JWT Signature\.$/u,
    quota: /Quota 'CPUS' exceeded/u,
  },
  azure: {
    create: createAzure,
    api: azure.azureApi,
    credentials: azure.KEYS,
    wrong: { ...azure.KEYS, AZURE_CLIENT_SECRET: 'wrong-secret' },
    refusal: /^Azure: AADSTS7000215: Invalid client secret provided\.$/u,
    quota: /exceeding approved quota/u,
  },
};

function otherGoogleKey(): string {
  const key = JSON.parse(gce.KEY_FILE) as { private_key: string };
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return JSON.stringify({
    ...key,
    private_key: privateKey.export({ type: 'pkcs8', format: 'pem' }),
  });
}

for (const [name, row] of Object.entries(ROWS)) {
  test(`${name}: a machine is made, found, listed and ended`, async (t) => {
    const { provider, api } = await startCloud(t, row);
    const made = await provider.create(REQUEST);
    assert.deepEqual([made.name, made.state], ['edge-1', 'starting']);
    assert.equal(api.userData(), '#cloud-config\n{}\n');
    assert.equal((await provider.get(made.id))?.state, 'starting');
    api.boot();
    const up = await provider.get(made.id);
    assert.deepEqual([up?.state, up?.address], ['running', STUB_ADDRESS]);
    assert.deepEqual(await provider.list(), [up]);
    await provider.delete(made.id);
    assert.equal(await provider.get(made.id), undefined);
    assert.deepEqual([await provider.list(), api.left()], [[], []]);
    await provider.delete(made.id);
  });

  test(`${name}: only what has the tag is listed`, async (t) => {
    const { provider, api, stub } = await startCloud(t, row);
    const other = row.create({
      credentials: row.credentials,
      tag: 'sluiceway-operator-1',
      endpoint: stub.url,
      sleep: async () => {},
    });
    await provider.create(REQUEST);
    await other.create({ ...REQUEST, name: 'edge-2' });
    await other.create({ ...REQUEST, name: 'edge-3' });
    api.boot();
    const names = async (one: Provider) => (await one.list()).map((machine) => machine.name).sort();
    assert.deepEqual(await names(provider), ['edge-1']);
    assert.deepEqual(await names(other), ['edge-2', 'edge-3']);
  });

  test(`${name}: a wrong credential is refused in its words, and not repeated`, async (t) => {
    const { provider } = await startCloud(t, row, { credentials: row.wrong });
    assert.match((await refusalOf(provider.list())).message, row.refusal);
    assert.match((await refusalOf(provider.create(REQUEST))).message, row.refusal);
  });

  test(`${name}: a machine that is refused leaves nothing behind`, async (t) => {
    const { provider, api } = await startCloud(t, row);
    api.refuse();
    assert.match((await refusalOf(provider.create(REQUEST))).message, row.quota);
    assert.deepEqual(api.left(), []);
  });
}

const isChange = ({ method, path }: Asked): boolean => method !== 'GET' && !/\/token$/u.test(path);

/** A cloud that does what it is asked, but loses the words of one of its answers to changes. */
function losing(api: CloudApi, which: number, instead: Answer) {
  let changes = 0;
  const answer: CloudApi['answer'] = (asked, ports) => {
    const answered = api.answer(asked, ports);
    if (isChange(asked)) changes += 1;
    return isChange(asked) && changes === which ? instead : answered;
  };
  return { api: { ...api, left: () => api.left(), answer }, changes: () => changes };
}

/** As the command does, with a server that is up at once. */
async function makeAt({ provider, api }: Cloud): Promise<unknown> {
  return await createExitNode({
    ...{ provider, request: REQUEST, clock: new FakeClock(), deadlineMs: 60_000 },
    sleep: async () => api.boot(),
    reach: async () => 'up',
    signal: new AbortController().signal,
    onProgress: () => {},
  });
}

for (const [name, row] of Object.entries(ROWS)) {
  for (const [fault, instead] of [
    ['a fault of its own', { status: 503, json: {} }],
    ['what nobody can read', { status: 200, json: {} }],
  ] as const) {
    test(`${name}: whichever change is answered by ${fault}, nothing is left behind`, async (t) => {
      for (let which = 1; ; which += 1) {
        const real = row.api();
        const cloud = losing(real, which, instead);
        const all = await startCloud(t, { ...row, api: () => cloud.api });
        const doing = makeAt({ ...all, api: real });
        const made = await doing.then(
          () => true,
          () => false,
        );
        if (!made) assert.deepEqual(real.left(), [], `change ${which}`);
        if (cloud.changes() < which) return;
      }
    });
  }
}

test('a machine that may be there and is not listed yet is named', async (t) => {
  const none: CloudApi = {
    ...hetzner.hetznerApi(),
    answer: ({ method }) =>
      method === 'GET' ? { status: 200, json: { servers: [] } } : { status: 502, json: {} },
  };
  const all = await startCloud(t, { ...(ROWS.hetzner as Row), api: () => none });
  await assert.rejects(makeAt(all), {
    code: 'SLW_CLOUD_UNREACHABLE',
    message:
      'Hetzner: status 502; maybe edge-1 (see exit-node list) was left behind and must be ' +
      'deleted: it is not listed yet',
  });
});

test('azure: a resource group of the name that is there already is not touched', async (t) => {
  const { provider, api } = await startCloud(t, ROWS.azure as Row);
  await provider.create(REQUEST);
  assert.match((await refusalOf(provider.create(REQUEST))).message, /exists already/u);
  assert.deepEqual(api.left(), ['sluiceway-edge-1']);
});

test('azure: a resource group that has not our name is not ours to end', async (t) => {
  const { provider, api, stub } = await startCloud(t, ROWS.azure as Row);
  const { id } = await provider.create(REQUEST);
  const asked = stub.asked.length;
  const other = id.replace('sluiceway-', '');
  assert.equal(await provider.get(other), undefined);
  await provider.delete(other);
  assert.equal(stub.asked.length, asked);
  assert.deepEqual(api.left(), [id]);
});

test('azure: user data has the address, as it is known beforehand', async (t) => {
  const { provider, api } = await startCloud(t, ROWS.azure as Row);
  await provider.create({ ...REQUEST, userData: (address) => `at ${address}` });
  assert.equal(api.userData(), `at ${STUB_ADDRESS}`);
});

test('a provider that stumbles is asked again for what changes nothing, and never twice for more', async (t) => {
  const calm = hetzner.hetznerApi();
  let stumbles = 0;
  const shaky: CloudApi = {
    ...calm,
    answer: (asked, ports) => {
      stumbles += 1;
      return stumbles % 2 === 1 ? { status: 503, json: {} } : calm.answer(asked, ports);
    },
  };
  const { provider, stub } = await startCloud(t, { ...(ROWS.hetzner as Row), api: () => shaky });
  assert.deepEqual(await provider.list(), []);
  const before = stub.asked.length;
  await assert.rejects(provider.create(REQUEST), Unheard);
  assert.equal(stub.asked.length - before, 1);
});

test('an answer that cannot be understood is a refusal that says what is missing', async (t) => {
  const strange: CloudApi = {
    ...hetzner.hetznerApi(),
    answer: () => ({ status: 200, json: { servers: [{ id: 1 }] } }),
  };
  const { provider } = await startCloud(t, { ...(ROWS.hetzner as Row), api: () => strange });
  const { message } = await refusalOf(provider.list());
  assert.match(message, /^Hetzner: its answer to GET \/v1\/servers.* lacks servers\.0\.name$/u);
});

test('a provider that is away is said to be', async () => {
  const provider = createHetzner({
    credentials: { HCLOUD_TOKEN: 'x' },
    tag: 'x',
    endpoint: 'http://127.0.0.1:9',
    sleep: async () => {},
  });
  await assert.rejects(provider.list(), { code: 'SLW_CLOUD_UNREACHABLE' });
});

const AWS_KEYS = { AWS_ACCESS_KEY_ID: 'a', AWS_SECRET_ACCESS_KEY: 'b' };

test('credentials come from the environment or a file, whole or not at all', async () => {
  const files: Readonly<Record<string, string>> = {
    'token.txt': 'hcloud-token\n',
    'aws.env': '# mine\nexport AWS_ACCESS_KEY_ID=a\nAWS_SECRET_ACCESS_KEY="b"\n',
    'half.env': 'AWS_ACCESS_KEY_ID=a\n',
    'key.json': gce.KEY_FILE,
    'broken.json': '{}',
  };
  const opens = async (
    name: (typeof PROVIDER_NAMES)[number],
    from: {
      readonly env?: Record<string, string>;
      readonly file?: string;
      readonly value?: string;
    },
  ) =>
    await openProvider({
      name,
      env: from.env ?? {},
      ...(from.file === undefined ? {} : { credentialsFile: from.file }),
      ...(from.value === undefined ? {} : { credentials: new Masked(from.value) }),
      readFile: (path) => files[path] ?? assert.fail(`${path} does not exist`),
      tag: 'x',
      sleep: async () => {},
    });
  await opens('hetzner', { env: { HCLOUD_TOKEN: 'x' } });
  await opens('hetzner', { file: 'token.txt' });
  await opens('digitalocean', { env: { DIGITALOCEAN_ACCESS_TOKEN: 'x' } });
  await opens('ec2', { file: 'aws.env' });
  await opens('ec2', { value: files['aws.env'] ?? '' });
  await opens('vultr', { value: 'x\n' });
  await opens('gce', { value: gce.KEY_FILE });
  await opens('gce', { env: { GOOGLE_APPLICATION_CREDENTIALS: 'key.json' } });
  await opens('gce', { file: 'key.json' });
  const table = [
    [opens('ec2', { file: 'half.env' }), /needs AWS_SECRET_ACCESS_KEY in half\.env/u],
    [opens('ec2', { value: 'AWS_ACCESS_KEY_ID=a' }), /needs AWS_SECRET_ACCESS_KEY in its cred/u],
    [opens('ec2', { value: 'x', env: AWS_KEYS }), /needs AWS_ACCESS_KEY_ID, AWS_SECRET_/u],
    [opens('gce', { file: 'broken.json' }), /is no key of Google's/u],
    [opens('gce', { env: { GOOGLE_APPLICATION_CREDENTIALS: 'none' } }), /none does not exist/u],
  ] as const;
  for (const [opening, wanted] of table) {
    await assert.rejects(
      opening,
      (error) => error instanceof ConfigError && wanted.test(error.message),
    );
  }
  for (const name of PROVIDER_NAMES) {
    await assert.rejects(opens(name, { env: {} }), /in the environment, or a file/u, name);
  }
});
