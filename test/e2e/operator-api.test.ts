// Goal: the definitions refuse what could not be served, roles hold nothing that is not needed, and
// watches go on after they broke. Method: a real API server; objects that must be refused; the
// connection of an operator is cut, frozen and taken away.

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { systemClock } from '../../src/base/clock.ts';
import { createLogger } from '../../src/base/log.ts';
import { PROVIDER_NAMES } from '../../src/config/cloud.ts';
import { clientDeployment } from '../../src/operator/client-deployment.ts';
import { Cluster } from '../../src/operator/cluster.ts';
import { covers } from '../../src/operator/drift.ts';
import { tunnelKeyOf } from '../../src/operator/inventory.ts';
import { Leadership } from '../../src/operator/leadership.ts';
import type {
  ClientSettings,
  DeploymentObject,
  ExitNodeObject,
  KubeObject,
  ServiceObject,
  TunnelObject,
} from '../../src/operator/objects.ts';
import { type Queue, Reconciler } from '../../src/operator/reconciler.ts';
import { SETTINGS, tunnel } from '../operator/objects.ts';
import {
  exitNodeOf,
  MACHINE,
  REFUSED,
  tcp,
  tunnelOf,
  URL_AND_TOKEN,
} from '../operator/refused-objects.ts';
import { undoAfter } from '../support/cleanup.ts';
import { startRelay } from '../support/cut-relay.ts';
import { eventually } from '../support/deadline.ts';
import { type Kube, type List, pathOf, startKube } from '../support/kube.ts';
import { leafOf, newAuthority } from '../support/private-pki.ts';
import { startProcess } from '../support/process.ts';
import { requirePrograms, scratchFolder } from '../support/programs.ts';
import { SILENT_LOG } from '../support/silent-log.ts';
import { ENTRY, environment, parseLine } from '../support/tunnel.ts';

const CONVERGE_MS = 60_000;
const TUNNEL = '/apis/sluiceway.dev/v1alpha1/namespaces/default/tunnels/one';
const CLIENTS =
  '/apis/apps/v1/namespaces/sluiceway/deployments?labelSelector=sluiceway.dev/tunnel-uid';

interface RoleObject extends KubeObject {
  readonly rules: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly verbs: readonly string[];
  }[];
}

test('definitions and roles', { timeout: 240_000 }, async (t) => {
  const kube = await startKube(t);
  if (kube === undefined) return;

  for (const [name, object, message] of REFUSED) {
    await t.test(`${name} is refused`, async () => {
      await assert.rejects(kube.apply(object), message);
    });
  }

  await t.test('a machine that is ordered cannot be made another', async () => {
    await kube.apply(exitNodeOf({ provision: MACHINE }));
    const other = exitNodeOf({ provision: { ...MACHINE, region: 'x' } });
    await assert.rejects(kube.apply(other), /a machine cannot be changed/);
    const ports = exitNodeOf({ provision: MACHINE, tcpPorts: ['80'] });
    await assert.rejects(kube.apply(ports), /ports of a machine cannot be changed/);
    const udp = exitNodeOf({ provision: MACHINE, udpPorts: ['53'] });
    await assert.rejects(kube.apply(udp), /ports of a machine cannot be changed/);
    await assert.rejects(kube.apply(exitNodeOf(URL_AND_TOKEN)), /make another ExitNode/);
    const template = exitNodeOf({ provision: MACHINE, allocation: 'PerTunnel' });
    await assert.rejects(kube.apply(template), /allocation cannot be changed/);
  });

  await t.test('the examples are taken as they are', async () => {
    await kube.apply({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'examples' } });
    for (const file of ['deployment', 'example', 'machine']) {
      for (const object of documentsOf(`docker/operator/${file}.yaml`)) {
        const { namespace = 'examples' } = object.metadata;
        const isWide = object.kind === 'ExitNode';
        const metadata = isWide ? object.metadata : { ...object.metadata, namespace };
        await kube.apply({ ...object, metadata });
      }
    }
  });

  await t.test('a number may be a port of TCP and of UDP', async () => {
    await kube.apply(tunnelOf({ tcp: [tcp(53)], udp: [tcp(53)] }));
    await kube.remove(TUNNEL);
  });

  await t.test('kubectl shows what matters', async () => {
    const table = await kube.send<{ readonly columnDefinitions: readonly { name: string }[] }>(
      '/apis/sluiceway.dev/v1alpha1/exitnodes',
      { type: 'application/json', accept: 'application/json;as=Table;v=v1;g=meta.k8s.io' },
    );
    assert.deepEqual(
      table.columnDefinitions.map(({ name }) => name),
      ['Name', 'Ready', 'Reason', 'Address', 'Tunnels', 'Provider', 'Machine', 'URL', 'Age'],
    );
  });

  await t.test('a client is as it was written, whatever the words', () => storeClients(kube));

  await t.test('of several that want the lead, one has it at any time', () => contend(kube));

  await t.test('an API server with a certificate of another CA gets no token', () =>
    distrust(kube, t),
  );

  await t.test('a pod finds its cluster by its service account', () => runInPod(kube, t));

  await t.test('an exit node for the namespaces of another operator is left alone', () =>
    share(kube),
  );

  await t.test('a Service that becomes one of type ExternalName is led to no more', () =>
    followAlias(kube),
  );

  await t.test('watches that break are taken up again', () => breakWatches(kube, t));
});

test('no role has a wildcard, or may change a Service', () => {
  const roles = documentsOf('docker/operator/rbac.yaml').filter(({ kind }) => /Role$/.test(kind));
  const rules = roles.flatMap((role) => (role as RoleObject).rules);
  assert.ok(rules.length > 5);
  for (const { apiGroups, resources, verbs } of rules) {
    assert.ok(![...apiGroups, ...resources, ...verbs].includes('*'));
    if (resources.includes('services')) assert.deepEqual(verbs, ['list', 'watch']);
    // Of the namespace of the operator alone, and never all of them at once.
    if (resources.includes('secrets')) assert.deepEqual(verbs, ['get', 'create', 'delete']);
  }
  const isWide = ({ kind }: KubeObject): boolean => kind === 'ClusterRole';
  const wide = roles.filter(isWide).flatMap((role) => (role as RoleObject).rules);
  const resources = wide.flatMap((rule) => rule.resources);
  for (const name of ['secrets', 'deployments', 'pods', 'nodes', 'configmaps']) {
    assert.ok(!resources.includes(name), `${name} of the whole cluster`);
  }
});

test('the definitions name the providers that there are', () => {
  const definitions = documentsOf('docker/operator/crds.yaml');
  const exitNodes = definitions.find(({ metadata }) => metadata.name.startsWith('exitnodes.'));
  const text = JSON.stringify(exitNodes);
  const [, list = '[]'] = /"provider":\{"type":"string","enum":(\[[^\]]*\])/u.exec(text) ?? [];
  assert.deepEqual(JSON.parse(list), PROVIDER_NAMES);
});

function documentsOf(file: string): readonly KubeObject[] {
  const text = readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8');
  return parseAllDocuments(text).map((document) => document.toJS() as KubeObject);
}

/** What the API server makes of each must not look as if somebody had changed it. */
async function storeClients(kube: Kube): Promise<void> {
  const cluster = Cluster.open(kube.operatorConfig);
  const amounts = ['1024Mi', '0.5', '.5', '1000m', '1.', '1e3', '12E2', '0.0001', '0', '+1', '1n'];
  const clients: readonly ClientSettings[] = [
    ...amounts.map((memory) => ({ resources: { limits: { memory, cpu: memory } } })),
    { resources: {} },
    { resources: { limits: {}, requests: { cpu: '25m' } }, nodeSelector: {}, tolerations: [] },
    { nodeSelector: { a: '' }, tolerations: [{ key: 'a', operator: 'Exists', value: '' }] },
  ];
  for (const client of clients) {
    const target = { url: 'wss://a.example:8123', tokenSecret: { name: 'token', key: 'token' } };
    const made = tunnel({ spec: { tcp: [tcp(80)], client } });
    const wanted = clientDeployment(made, target, SETTINGS);
    const found = await cluster.apply(wanted);
    assert.ok(covers(found, wanted), JSON.stringify(client));
    await kube.remove(pathOf(wanted));
  }
}

async function share(kube: Kube): Promise<void> {
  const exitNodes = '/apis/sluiceway.dev/v1alpha1/exitnodes';
  const namespacesOf = { theirs: ['other'], mine: ['other', 'default'], everybodys: undefined };
  for (const [name, allowedNamespaces] of Object.entries(namespacesOf)) {
    await kube.apply({
      ...exitNodeOf({ ...URL_AND_TOKEN, allowedNamespaces }),
      metadata: { name },
    });
  }
  const { items } = await kube.send<List<ExitNodeObject>>(exitNodes);
  let looks = 0;
  const reconciler = reconcile(kube, (queue) => {
    if (queue === 'exit-node') looks += 1;
  });
  await eventually(CONVERGE_MS, 'each exit node was looked at', async () => {
    assert.ok(looks >= items.length, `${looks} of ${items.length}`);
  });
  await reconciler.stop();
  const reasonOf = async (name: string) =>
    (await kube.send<ExitNodeObject>(`${exitNodes}/${name}`)).status?.conditions?.[0]?.reason;
  const reasons = await Promise.all(Object.keys(namespacesOf).map(reasonOf));
  assert.deepEqual(reasons, [undefined, 'TokenMissing', 'TokenMissing']);
}

function reconcile(kube: Kube, onReconciled: (queue: Queue) => void): Reconciler {
  const reconciler = new Reconciler({
    ...{ cluster: Cluster.open(kube.operatorConfig), settings: SETTINGS, log: SILENT_LOG },
    ...{ clock: systemClock, random: Math.random, identity: 'one', leads: () => true },
    ...{ namespaces: ['default'], resyncMs: 10 * CONVERGE_MS, onReconciled },
    openProvider: async () => undefined,
    onBroken: () => assert.fail('a watch broke'),
  });
  reconciler.start();
  reconciler.lead();
  return reconciler;
}

async function followAlias(kube: Kube): Promise<void> {
  const ports = [{ port: 80, protocol: 'TCP' }];
  const external = { type: 'ExternalName', externalName: 'db.other.svc', ports };
  const alias = (spec: object): KubeObject & { readonly spec: object } => ({
    ...{ apiVersion: 'v1', kind: 'Service', metadata: { name: 'alias', namespace: 'default' } },
    spec,
  });
  await kube.apply({
    ...{ apiVersion: 'v1', kind: 'Secret', data: { token: 'eA==' } },
    metadata: { name: 'token', namespace: 'sluiceway' },
  });
  await kube.apply({ ...exitNodeOf(URL_AND_TOKEN), metadata: { name: 'shared' } });
  await kube.apply(alias(external));
  await kube.apply(tunnelOf({ tcp: [{ publicPort: 80, service: { name: 'alias', port: 80 } }] }));
  const reconciler = reconcile(kube, () => {});
  const isSo = (reason: RegExp, clients: number) =>
    eventually(CONVERGE_MS, `${reason}, ${clients} clients`, async () => {
      const { status } = await kube.send<TunnelObject>(TUNNEL);
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      assert.match(ready?.reason ?? '', reason);
      const { items } = await kube.send<List<DeploymentObject>>(CLIENTS);
      // No controller runs that would end what is deleted.
      const left = items.filter(
        (one) => tunnelKeyOf(one) === 'default/one' && one.metadata.deletionTimestamp === undefined,
      );
      assert.equal(left.length, clients);
    });
  await isSo(/^ServiceNotAllowed$/, 0);
  await kube.apply(alias({ type: 'ClusterIP', ports }));
  // Nobody is behind the exit node's address, which may be known by then.
  await isSo(/^(?:ClientStarting|ExitNodeUnreachable)$/, 1);
  await kube.apply(alias(external));
  await isSo(/^ServiceNotAllowed$/, 0);
  await reconciler.stop();
  await kube.remove(TUNNEL);
}

async function contend(kube: Kube): Promise<void> {
  const cluster = Cluster.open(kube.operatorConfig);
  const log = createLogger({ level: 'silent', component: 'test', format: 'json' });
  const holders: string[] = [];
  const all = Array.from({ length: 5 }, (_, index) => `operator-${index}`).map((identity) => {
    const leadership = new Leadership({
      ...{ cluster, namespace: 'sluiceway', name: 'sluiceway-operator', identity, log },
      ...{ clock: systemClock, random: Math.random },
      times: { leaseMs: 2000, renewWithinMs: 1500, retryMs: 100 },
      onGained: () => holders.push(identity),
      onLost: () => assert.fail(`${identity} lost the lead`),
    });
    return { identity, leadership };
  });
  for (const { leadership } of all) leadership.start();
  for (let turn = 1; turn <= 3; turn += 1) {
    const leader = await eventually(CONVERGE_MS, `leader ${turn}`, async () => {
      const found = all.filter(({ leadership }) => leadership.holds);
      assert.equal(found.length, 1);
      return found[0];
    });
    const endMs = performance.now() + 500;
    while (performance.now() < endMs) {
      assert.equal(all.filter(({ leadership }) => leadership.holds).length, 1);
      await new Promise((resolve) => setImmediate(resolve));
    }
    await leader?.leadership.stop();
  }
  for (const { leadership } of all) await leadership.stop();
  assert.equal(new Set(holders).size, holders.length, holders.join());
}

/** Though the environment says that certificates need not be looked at. */
async function distrust(kube: Kube, t: TestContext): Promise<void> {
  const asked: string[] = [];
  const authority = await newAuthority();
  const server = createServer(await leafOf(authority), (request, response) => {
    asked.push(request.url ?? '');
    response.writeHead(500).end();
  });
  server.on('tlsClientError', () => undefined);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  const operator = startProcess(t, {
    name: 'operator',
    command: process.execPath,
    args: [
      ...[ENTRY, 'operator', '--kubeconfig', kube.configAt(port, kube.operatorToken)],
      ...['--metrics-addr', 'off', '--log-format', 'json'],
    ],
    env: { ...process.env, [`NODE_TLS_REJECT_${'UNAUTHORIZED'}`]: '0' },
  });
  for (const what of ['lease not renewed', 'watch broke']) {
    await operator.line(what, (line) => line.includes(what));
  }
  await operator.stop();
  assert.deepEqual(asked, []);
}

/** Where Kubernetes mounts what a pod is known by. */
const ACCOUNT_FOLDER = '/var/run/secrets/kubernetes.io/serviceaccount';
const POD = `mount -t tmpfs tmpfs /run && mkdir -p ${ACCOUNT_FOLDER} &&
cp "$1"/token "$1"/ca.crt "$1"/namespace ${ACCOUNT_FOLDER} && shift && exec "$@"`;

async function runInPod(kube: Kube, t: TestContext): Promise<void> {
  const programs = requirePrograms(t, ['unshare']);
  if (programs === undefined) return;
  const folder = scratchFolder(t);
  writeFileSync(path.join(folder, 'token'), kube.operatorToken);
  writeFileSync(path.join(folder, 'ca.crt'), kube.ca);
  writeFileSync(path.join(folder, 'namespace'), 'sluiceway');
  const { SLUICEWAY_TOKEN: _none, SLUICEWAY_STATUS_DIR: _neither, ...env } = environment();
  const operator = startProcess(t, {
    name: 'operator',
    command: programs.unshare,
    args: [
      ...['--mount', '--propagation', 'private', 'sh', '-c', POD, 'sh', folder],
      ...[process.execPath, ENTRY, 'operator', '--metrics-addr', 'off', '--log-format', 'json'],
    ],
    env: {
      ...env,
      ...{ HOME: folder, KUBECONFIG: '' },
      ...{ KUBERNETES_SERVICE_HOST: '127.0.0.1', KUBERNETES_SERVICE_PORT: String(kube.port) },
    },
    endCode: 0,
  });
  const start = await operator.line('start', (line) => line.includes('operator starts'));
  assert.equal(parseLine(start).namespace, 'sluiceway');
  await operator.line('the lead', (line) => line.includes('this operator leads'));
  await operator.stop();
}

async function breakWatches(kube: Kube, t: TestContext): Promise<void> {
  const relay = await startRelay(t, kube.port);
  const config = kube.configAt(relay.port, kube.operatorToken);
  const { SLUICEWAY_TOKEN: _none, SLUICEWAY_STATUS_DIR: _neither, ...env } = environment();
  const operator = startProcess(t, {
    name: 'operator',
    command: process.execPath,
    args: [
      ...[ENTRY, 'operator', '--kubeconfig', config, '--operator-namespace', 'sluiceway'],
      ...['--metrics-addr', '127.0.0.1:0', '--no-leader-election', '--log-format', 'json'],
    ],
    env,
    endCode: 0,
  });
  const line = await operator.line('port', (text) => parseLine(text).port !== undefined);
  const page = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${parseLine(line).port}/metrics`)).text();
  let count = 0;
  /** Each is a Service that cannot be served, so that it takes nothing but the API to see it. */
  const isSeen = async (): Promise<void> => {
    count += 1;
    const name = `seen-${count}`;
    await kube.apply<ServiceObject>({
      ...{ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'default' } },
      spec: {
        ...{ type: 'LoadBalancer', loadBalancerClass: 'sluiceway.dev/tunnel' },
        ports: [{ port: 80, protocol: 'TCP' }],
      },
    });
    await eventually(CONVERGE_MS, `${name} is seen`, async () => {
      const { status } = await kube.send<ServiceObject>(
        `/api/v1/namespaces/default/services/${name}`,
      );
      assert.equal(status?.conditions?.[0]?.reason, 'NoExitNode');
    });
  };
  await isSeen();
  relay.cut();
  await isSeen();
  relay.goDown();
  await eventually(CONVERGE_MS, 'the operator notices', async () => {
    assert.match(await page(), /watch_breaks_total\{kind="Service"\} [1-9]/u);
  });
  relay.goUp();
  await isSeen();
  // Nothing says that this one is broken but silence, for which there is a limit.
  relay.freeze();
  await isSeen();
}
