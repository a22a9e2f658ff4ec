// Goal: of each tag there is one machine at each provider, whoever orders it and however often, and
// none when it was removed. Method: stubs of the providers' APIs behind a relay that loses, cuts
// and holds up; two operators share nothing but the cloud.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { Masked } from '../../src/base/masked.ts';
import { createMachines, machineName } from '../../src/cli/operator-machines.ts';
import { PROVIDER_NAMES } from '../../src/config/cloud.ts';
import type { MachineProvider } from '../../src/operator/machine.ts';
import type { Provision } from '../../src/operator/objects.ts';
import { commandWords, oneValue } from '../deploy/unit-words.ts';
import * as azure from '../provision/apis/azure.ts';
import * as digitalocean from '../provision/apis/digitalocean.ts';
import * as gce from '../provision/apis/gce.ts';
import * as hetzner from '../provision/apis/hetzner.ts';
import * as linode from '../provision/apis/linode.ts';
import * as ovh from '../provision/apis/ovh.ts';
import * as scaleway from '../provision/apis/scaleway.ts';
import * as vultr from '../provision/apis/vultr.ts';
import { type CloudApi, STUB_ADDRESS, startStub } from '../provision/cloud-stub.ts';
import { type CloudRelay, type Fate, startCloudRelay } from '../support/cloud-relay.ts';
import { FakeClock } from '../support/fake-clock.ts';

interface Row {
  readonly api: () => CloudApi;
  readonly secret: Readonly<Record<string, string>>;
  readonly place?: Partial<Provision>;
}

/** EC2 is in test/e2e/operator-clouds.test.ts. */
const ROWS = {
  digitalocean: {
    api: digitalocean.digitaloceanApi,
    secret: { DIGITALOCEAN_TOKEN: digitalocean.TOKEN },
  },
  hetzner: {
    api: hetzner.hetznerApi,
    secret: { HCLOUD_TOKEN: hetzner.TOKEN },
    place: { region: 'nbg1' },
  },
  linode: { api: linode.linodeApi, secret: { LINODE_TOKEN: linode.TOKEN } },
  vultr: { api: vultr.vultrApi, secret: { VULTR_API_KEY: vultr.TOKEN } },
  scaleway: {
    api: scaleway.scalewayApi,
    secret: { SCW_SECRET_KEY: scaleway.TOKEN, SCW_DEFAULT_PROJECT_ID: scaleway.PROJECT },
    place: { zone: 'fr-par-1' },
  },
  ovh: { api: ovh.ovhApi, secret: ovh.KEYS },
  gce: {
    api: gce.gceApi,
    secret: { GOOGLE_APPLICATION_CREDENTIALS: gce.KEY_FILE },
    place: { zone: 'europe-west3-a' },
  },
  azure: { api: azure.azureApi, secret: azure.KEYS },
} as const satisfies Readonly<Record<string, Row>>;

type Name = keyof typeof ROWS;

const TAG = 'sluiceway-0b5f3c1e-9d2a-4f76-8a10-5d1f0f3f7a11';
const TOKEN = 'token-of-the-exit-node-0123456789';
const PORTS = ['1024-65535', '80'];
const UDP_PORTS = ['1024-65535', '53'];
const SOURCE = { spec: 'sluiceway@0.1.0', registry: 'https://registry.npmjs.org' };
const LISTED_FOR_MS = 5000;

interface Operator {
  readonly provision: Provision;
  readonly clock: FakeClock;
  readonly machines: MachineProvider;
  readonly create: (tag?: string) => ReturnType<MachineProvider['create']>;
}

async function operatorOf(name: Name, url: string, more: Partial<Provision> = {}) {
  const { secret, ...row }: Row = ROWS[name];
  const provision = { provider: name, credentialsSecret: 'cloud', ...row.place, ...more };
  const clock = new FakeClock();
  // As `kubectl create secret --from-file` has them.
  const keys = Object.entries({ ...secret, ENDPOINT: `${url}/` });
  const lines = Object.fromEntries(keys.map(([key, text]) => [key, `${text}\n`]));
  const machines = await openWith(provision, lines, clock);
  assert.ok(machines);
  const order = {
    ...{ token: new Masked(TOKEN), controlPort: 8123, provision },
    ...{ tcpPorts: PORTS, udpPorts: UDP_PORTS },
  };
  const create: Operator['create'] = async (tag = TAG) => await machines.create({ ...order, tag });
  const operator: Operator = { provision, clock, machines, create };
  return operator;
}

async function openWith(
  provision: Provision,
  secret: Readonly<Record<string, string>>,
  clock = new FakeClock(),
): Promise<MachineProvider | undefined> {
  const credentials = new Map(Object.entries(secret).map(([key, text]) => [key, new Masked(text)]));
  const openProvider = createMachines({ source: SOURCE, clock, sleep: async () => {} });
  return await openProvider(provision, credentials);
}

async function cloud(t: TestContext, name: Name) {
  const api = ROWS[name].api();
  const stub = await startStub(t, api);
  const relay = await startCloudRelay(t, stub.url);
  // OVHcloud's signatures are of its own URL.
  const url = name === 'ovh' ? stub.url : relay.url;
  const operator = async (more?: Partial<Provision>) => await operatorOf(name, url, more);
  return { api, relay, operator };
}

const isOrder = ({ method, path }: { readonly method: string; readonly path: string }): boolean =>
  method === 'POST' && /\/instances$/u.test(path);

for (const name of Object.keys(ROWS) as Name[]) {
  test(`${name}: one machine, for this operator and the next, and none in the end`, async (t) => {
    const { api, operator } = await cloud(t, name);
    const first = await operator();
    assert.equal(await first.machines.find(TAG, undefined), undefined);
    const { id, state } = await first.create();
    assert.equal(state, 'starting');
    api.boot();
    const next = await operator();
    const up = { id, state: 'running', address: STUB_ADDRESS };
    assert.deepEqual(await next.machines.find(TAG, undefined), up);
    assert.deepEqual(await next.create(), up);
    assert.deepEqual(await first.machines.find(TAG, id), up);
    assert.equal(await next.machines.find('sluiceway-other', undefined), undefined);
    await next.machines.remove(TAG, id);
    assert.deepEqual(api.left(), []);
    next.clock.advance(LISTED_FOR_MS);
    assert.equal(await next.machines.find(TAG, id), undefined);
    await next.machines.remove(TAG, id);
  });
}

test('each provider is one that the operator knows, and needs what its secret lacks', async () => {
  for (const provider of PROVIDER_NAMES) {
    const provision = { provider, credentialsSecret: 'cloud' };
    await assert.rejects(openWith(provision, { OTHER: 'do-not-show' }), (error: Error) => {
      assert.match(error.message, /^[\w ]+ needs [A-Z_, ]+ in the secret cloud$/u);
      return !error.message.includes('do-not-show');
    });
  }
  const unknown = { provider: 'toaster', credentialsSecret: 'cloud' };
  assert.equal(await openWith(unknown, {}), undefined);
});

test('places and endpoints that are none are refused before anything is asked', async () => {
  const table: readonly (readonly [Partial<Provision>, Record<string, string>, RegExp])[] = [
    [{ zone: 'a' }, {}, /^zone: hetzner has regions alone; give region in its place$/u],
    [{ region: 'evil.example/' }, {}, /^region: is none/u],
    [{ provider: 'gce', zone: 'x', region: 'y' }, {}, /leave out region$/u],
    [{ provider: 'gce', zone: '../..' }, {}, /^zone: is none/u],
    [{}, { ENDPOINT: 'http://a.example' }, /^ENDPOINT in the secret is no URL/u],
  ];
  for (const [place, keys, wanted] of table) {
    const provision = { provider: 'hetzner', credentialsSecret: 'cloud', ...place };
    await assert.rejects(openWith(provision, { HCLOUD_TOKEN: 'x', ...keys }), (error: Error) =>
      wanted.test(error.message),
    );
  }
});

test('a file that a secret names is not read', async () => {
  const secret = { GOOGLE_APPLICATION_CREDENTIALS: '/etc/passwd' };
  const provision = { provider: 'gce', credentialsSecret: 'cloud' };
  await assert.rejects(openWith(provision, secret), (error: Error) => {
    assert.match(error.message, /is no key of Google's/u);
    return !error.message.includes('root');
  });
});

test('names are of the form that every provider takes, and of one tag each', () => {
  const tags = Array.from({ length: 2000 }, (_, index) => `sluiceway-${index}`);
  const names = new Set(tags.map(machineName));
  assert.equal(names.size, tags.length);
  for (const name of names) assert.match(name, /^[a-z][a-z0-9-]{0,29}[a-z0-9]$/u);
  assert.equal(machineName(TAG), machineName(TAG));
});

test('the server on it has the digest of the token, TLS of its own, and its ports', async (t) => {
  const { api, operator } = await cloud(t, 'hetzner');
  const { create } = await operator({ plan: 'cx23', image: 'debian-12' });
  await create();
  const userData = api.userData();
  assert.ok(!userData.includes(TOKEN));
  assert.ok(userData.includes(createHash('sha256').update(TOKEN).digest('hex')));
  const { write_files: files } = parse(userData) as {
    write_files: { path: string; content: string }[];
  };
  const unit = files.find(({ path }) => path.endsWith('/sluiceway.service'))?.content ?? '';
  const words = commandWords(oneValue(unit, 'ExecStart'));
  const has = (...wanted: readonly string[]): boolean =>
    words.some((_word, index) => wanted.every((one, at) => words[index + at] === one));
  assert.ok(has('--control-addr', '0.0.0.0:8123'), words.join(' '));
  assert.ok(has('--auto-tls'), words.join(' '));
  assert.ok(has('--http-addr', 'off'), 'port 80 is of TCP tunnels');
  assert.ok(has('--https-addr', '0.0.0.0:443'));
  assert.ok(has('--tcp-ports', '1024-65535') && has('--tcp-ports', '80'), words.join(' '));
  assert.ok(has('--udp-ports', '1024-65535') && has('--udp-ports', '53'), words.join(' '));
  assert.ok(!words.some((word) => /tls-cert|no-auto-tls/u.test(word)));
});

test('an order whose answer was lost is found, and not given again', async (t) => {
  const { relay, operator } = await cloud(t, 'vultr');
  const { create, machines } = await operator();
  relay.decide = (passing) => (isOrder(passing) ? 'lose' : 'pass');
  await assert.rejects(create(), { code: 'SLW_CLOUD_UNREACHABLE' });
  const found = await machines.find(TAG, undefined);
  assert.equal(found?.state, 'starting');
  assert.deepEqual(await create(), found);
  assert.equal(relay.arrived.filter(isOrder).length, 1);
});

test('one that never arrived is given again after a while', async (t) => {
  const { relay, operator } = await cloud(t, 'vultr');
  const { create, clock } = await operator();
  relay.decide = (passing) => (isOrder(passing) ? 'cut' : 'pass');
  await assert.rejects(create(), { code: 'SLW_CLOUD_UNREACHABLE' });
  relay.decide = () => 'pass';
  await assert.rejects(create(), /the answer to an order was lost/u);
  clock.advance(59_000);
  await assert.rejects(create(), /the answer to an order was lost/u);
  clock.advance(1000);
  assert.equal((await create()).state, 'starting');
  assert.equal(relay.arrived.filter(isOrder).length, 1);
});

/** Until all operators have given their order. */
function together(relay: CloudRelay, count: number): void {
  let waiting = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  relay.decide = async (passing): Promise<Fate> => {
    if (!isOrder(passing)) return 'pass';
    waiting += 1;
    if (waiting === count) resolve();
    await promise;
    return 'pass';
  };
}

test('of two that are ordered at once, where names may be the same, one stays', async (t) => {
  const { relay, api, operator } = await cloud(t, 'vultr');
  const [one, two] = [await operator(), await operator()];
  together(relay, 2);
  await Promise.all([one.create(), two.create()]);
  assert.equal(relay.arrived.filter(isOrder).length, 2);
  assert.equal(api.left().length, 1);
  const [first, second] = [one, two].map((each) => each.machines.find(TAG, undefined));
  assert.deepEqual(await first, await second);
  assert.ok(await first);
});

/** Of two that live, after the answer to the first order was lost, the first is listed late. */
async function lateTwin(t: TestContext) {
  const { relay, api, operator } = await cloud(t, 'vultr');
  const { create, machines, clock } = await operator();
  relay.decide = (passing) => (isOrder(passing) ? 'lose' : 'pass');
  await assert.rejects(create(), { code: 'SLW_CLOUD_UNREACHABLE' });
  relay.decide = () => 'pass';
  const hidden = new Set<string>();
  relay.rewrite = (text) => {
    const read = text === '' ? {} : (JSON.parse(text) as { instances?: readonly { id: string }[] });
    const instances = read.instances?.filter(({ id }) => !hidden.has(id));
    return instances === undefined ? text : JSON.stringify({ ...read, instances });
  };
  const first = (await machines.find(TAG, undefined))?.id ?? assert.fail('there is none');
  hidden.add(first);
  clock.advance(60_000);
  const { id } = await create();
  assert.notEqual(id, first);
  api.boot();
  const find = async () => {
    clock.advance(LISTED_FOR_MS);
    return await machines.find(TAG, id);
  };
  return { api, machines, hidden, first, id, find };
}

test('a twin that is listed late is found beside the machine that is known, and removed', async (t) => {
  const { api, machines, hidden, id, find } = await lateTwin(t);
  const known = { id, state: 'running', address: STUB_ADDRESS };
  assert.deepEqual(await find(), known);
  hidden.clear();
  assert.deepEqual(await find(), { ...known, twins: 1 });
  await machines.removeTwins(TAG, id);
  assert.equal(api.left().length, 1);
  assert.deepEqual(await machines.find(TAG, id), known);
  await machines.removeTwins(TAG, id);
  assert.equal(api.left().length, 1);
});

test('while the machine that is known is not listed its twin takes no place, and stays', async (t) => {
  const { api, machines, hidden, id, find } = await lateTwin(t);
  hidden.clear();
  hidden.add(id);
  assert.deepEqual(await find(), { id, state: 'running', address: STUB_ADDRESS });
  await machines.removeTwins(TAG, id);
  assert.equal(api.left().length, 2);
});

test('of two that nobody could choose between both are removed', async (t) => {
  const { relay, api, operator } = await cloud(t, 'vultr');
  const [one, two] = [await operator(), await operator()];
  together(relay, 2);
  const isList = /\/instances\?/u;
  const { decide } = relay;
  let lists = 0;
  // What they look at afterwards is away.
  relay.decide = async (passing): Promise<Fate> => {
    if (isList.test(passing.path)) lists += 1;
    return lists > 2 && isList.test(passing.path) ? 'cut' : await decide(passing);
  };
  await Promise.allSettled([one.create(), two.create()]);
  assert.equal(api.left().length, 2);
  relay.decide = () => 'pass';
  assert.ok(await one.machines.find(TAG, undefined));
  await one.machines.remove(TAG, undefined);
  assert.deepEqual(api.left(), []);
});

test('one that has lost its tag is found and removed by its id, when it has the name', async (t) => {
  const { relay, api, operator } = await cloud(t, 'vultr');
  const { create, machines } = await operator();
  const { id } = await create();
  const empty = JSON.stringify({ instances: [], meta: { links: { next: '' } } });
  relay.decide = ({ path }) =>
    /\/instances\?/u.test(path) ? { status: 200, body: empty } : 'pass';
  assert.equal(await machines.find(TAG, undefined), undefined);
  assert.equal((await machines.find(TAG, id))?.id, id);
  assert.equal(await machines.find('sluiceway-other', id), undefined);
  await machines.remove('sluiceway-other', id);
  assert.equal(api.left().length, 1);
  await machines.remove(TAG, id);
  assert.deepEqual(api.left(), []);
});

test('one that has lost its label is found beside its firewall rule, which has not', async (t) => {
  const { relay, api, operator } = await cloud(t, 'gce');
  const { create, machines } = await operator();
  const { id } = await create();
  api.boot();
  relay.decide = ({ path }) =>
    /aggregated\/instances/u.test(path) ? { status: 200, body: '{"items":{}}' } : 'pass';
  const found = await machines.find(TAG, id);
  assert.deepEqual([found?.id, found?.state], [id, 'running']);
  // The rule alone is of a machine that ends.
  assert.equal((await machines.find(TAG, undefined))?.state, 'stopped');
  await machines.remove(TAG, id);
  assert.deepEqual(api.left(), []);
});

test('a list that takes long is shared all the while, and a while after; a failure, too', async (t) => {
  const { relay, operator } = await cloud(t, 'hetzner');
  const { machines, clock } = await operator();
  const { promise: isOver, resolve: finish } = Promise.withResolvers<void>();
  let asked = 0;
  relay.decide = async () => {
    asked += 1;
    await isOver;
    return { status: 403, body: '{}' };
  };
  const looks = [machines.find(TAG, undefined)];
  clock.advance(3 * LISTED_FOR_MS);
  looks.push(machines.find(TAG, undefined));
  finish();
  const refused = { code: 'SLW_CLOUD_REFUSED' };
  for (const look of looks) await assert.rejects(look, refused);
  clock.advance(LISTED_FOR_MS - 1);
  await assert.rejects(machines.find(TAG, undefined), refused);
  assert.equal(asked, 1);
  clock.advance(1);
  await assert.rejects(machines.find(TAG, undefined), refused);
  assert.equal(asked, 2);
});

test('a list is asked for once by all who look within a moment', async (t) => {
  const { relay, operator } = await cloud(t, 'hetzner');
  const { machines, clock } = await operator();
  const tags = Array.from({ length: 20 }, (_, index) => `sluiceway-${index}`);
  await Promise.all(tags.map((tag) => machines.find(tag, undefined)));
  assert.equal(relay.arrived.length, 1);
  clock.advance(LISTED_FOR_MS);
  await machines.find(TAG, undefined);
  assert.equal(relay.arrived.length, 2);
});

test('a provider stays open while its credentials are the same', async (t) => {
  const { relay } = await cloud(t, 'gce');
  const openProvider = createMachines({
    ...{ source: SOURCE, clock: new FakeClock(), sleep: async () => {} },
  });
  const provision = { provider: 'gce', credentialsSecret: 'cloud' };
  const secret = { ...ROWS.gce.secret, ENDPOINT: relay.url };
  const opens = async (keys: Readonly<Record<string, string>>) =>
    await openProvider(
      provision,
      new Map(Object.entries(keys).map(([key, text]) => [key, new Masked(text)])),
    );
  const first = await opens(secret);
  assert.equal(await opens({ ...secret }), first);
  assert.notEqual(await opens({ ...secret, OTHER: 'x' }), first);
  await first?.find(TAG, undefined);
  await (await opens(secret))?.find(TAG, undefined);
  const isLogin = ({ path }: { readonly path: string }): boolean => path === '/token';
  assert.equal(relay.arrived.filter(isLogin).length, 1, 'Google is not asked who we are each time');
});

test('the part of a machine that is left of an order is gone with it', async (t) => {
  const { relay, api, operator } = await cloud(t, 'gce');
  const { create, machines } = await operator();
  relay.decide = (passing) => (isOrder(passing) ? 'cut' : 'pass');
  await assert.rejects(create(), { code: 'SLW_CLOUD_UNREACHABLE' });
  assert.deepEqual(api.left(), [machineName(TAG)], 'its firewall rule');
  relay.decide = () => 'pass';
  const next = await operator();
  const found = await next.machines.find(TAG, undefined);
  assert.deepEqual(found, { id: `global/${machineName(TAG)}`, state: 'stopped' });
  await assert.rejects(next.create(), /has not gone yet/u);
  await machines.remove(TAG, found?.id);
  assert.deepEqual(api.left(), []);
});

test('an order keeps no secret that can be shown', async (t) => {
  const { relay, operator } = await cloud(t, 'hetzner');
  const { create } = await operator();
  relay.decide = () => ({ status: 401, body: `{"error":{"message":"no\\n${TOKEN.slice(0, 3)}"}}` });
  await assert.rejects(create(), (error: Error) => {
    const all = `${error.stack} ${JSON.stringify(error)}`;
    return !all.includes(TOKEN) && !all.includes(hetzner.TOKEN) && !error.message.includes('\n');
  });
});
