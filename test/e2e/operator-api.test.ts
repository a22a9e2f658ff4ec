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
import { Leadership } from '../../src/operator/leadership.ts';
import type {
  ClientSettings,
  ExitNodeObject,
  KubeObject,
  ServiceObject,
} from '../../src/operator/objects.ts';
import { Reconciler } from '../../src/operator/reconciler.ts';
import { SETTINGS, tunnel } from '../operator/objects.ts';
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
const FINGERPRINT = `sha256:${'a'.repeat(64)}`;
const WEB = { name: 'web', port: 80 };
const MACHINE = { provider: 'ec2', credentialsSecret: 'cloud' };
const URL_AND_TOKEN = { url: 'wss://a.example:8123', tokenSecret: { name: 'token' } };

interface RoleObject extends KubeObject {
  readonly rules: readonly {
    readonly apiGroups: readonly string[];
    readonly resources: readonly string[];
    readonly verbs: readonly string[];
  }[];
}

const tunnelOf = (spec: object): KubeObject & { readonly spec: object } => ({
  ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'Tunnel', spec },
  metadata: { name: 'one', namespace: 'default' },
});
const exitNodeOf = (spec: object): KubeObject & { readonly spec: object } => ({
  ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'ExitNode', spec },
  metadata: { name: 'one' },
});
const tcp = (publicPort: number) => ({ publicPort, service: WEB });

const REFUSED: readonly (readonly [string, KubeObject, RegExp])[] = [
  ['a tunnel of nothing', tunnelOf({}), /needs a port in tcp or udp, or a host in upstreams/],
  ['a tunnel of empty lists', tunnelOf({ tcp: [], udp: [], upstreams: [] }), /needs a port/],
  ['a port twice', tunnelOf({ tcp: [tcp(80), tcp(80)] }), /each publicPort is given once/],
  ['a UDP port twice', tunnelOf({ udp: [tcp(53), tcp(53)] }), /publicPort is given once/],
  ['port 0', tunnelOf({ tcp: [tcp(0)] }), /greater than or equal to 1/],
  ['UDP port 0', tunnelOf({ udp: [tcp(0)] }), /greater than or equal to 1/],
  [
    'a UDP Service elsewhere',
    tunnelOf({ udp: [{ publicPort: 53, service: { name: 'dns.other', port: 53 } }] }),
    /should match/,
  ],
  [
    'a PROXY header of version 1 before datagrams',
    tunnelOf({ udp: [tcp(53)], udpProxyProtocol: 'v1' }),
    /udpProxyProtocol: Unsupported value/,
  ],
  ['no range', exitNodeOf({ ...URL_AND_TOKEN, udpPorts: ['all'] }), /should match/],
  ['a host with a space', tunnelOf({ upstreams: [{ host: 'a b', service: WEB }] }), /should match/],
  [
    'a path of TLS',
    tunnelOf({ upstreams: [{ host: 'a.b', path: '/x', scheme: 'tls', service: WEB }] }),
    /only the name is read/,
  ],
  [
    'any host of TLS',
    tunnelOf({ upstreams: [{ host: '*', scheme: 'tls', service: WEB }] }),
    /passed through by a name/,
  ],
  [
    'a Service elsewhere',
    tunnelOf({ tcp: [{ publicPort: 80, service: { name: 'web.other', port: 80 } }] }),
    /should match/,
  ],
  ['no network', tunnelOf({ tcp: [tcp(80)], allowIps: ['192.0.2.0/33'] }), /write an IP address/],
  [
    'more networks than a client takes',
    tunnelOf({
      tcp: [tcp(80)],
      allowIps: Array.from({ length: 65 }, (_, at) => `10.0.${at}.0/24`),
    }),
    /allowIps: Too many: 65: must have at most 64 items/,
  ],
  [
    'an address of TLS',
    tunnelOf({ upstreams: [{ host: '192.0.2.1', scheme: 'tls', service: WEB }] }),
    /passed through by a name/,
  ],
  ['an empty list of visitors', tunnelOf({ tcp: [tcp(80)], allowIps: [] }), /at least 1 item/],
  [
    'an empty list of namespaces',
    exitNodeOf({ ...URL_AND_TOKEN, allowedNamespaces: [] }),
    /at least 1 item/,
  ],
  ['an empty list of ports', exitNodeOf({ provision: MACHINE, tcpPorts: [] }), /at least 1 item/],
  [
    'an empty list of UDP ports',
    exitNodeOf({ provision: MACHINE, tcpPorts: ['80'], udpPorts: [] }),
    /at least 1 item/,
  ],
  ['no replicas', tunnelOf({ tcp: [tcp(80)], client: { replicas: 0 } }), /greater than or equal/],
  [
    'no quantity',
    tunnelOf({ tcp: [tcp(80)], client: { resources: { limits: { memory: 'much' } } } }),
    /write a quantity/,
  ],
  ['an exit node of nothing', exitNodeOf({}), /give url for an exit node that is there/],
  ['both', exitNodeOf({ ...URL_AND_TOKEN, provision: MACHINE }), /give url for an exit node/],
  ['a URL without a token', exitNodeOf({ url: 'wss://a.example' }), /url needs tokenSecret/],
  [
    'a URL with a login',
    exitNodeOf({ ...URL_AND_TOKEN, url: 'wss://a:b@c.example' }),
    /should match/,
  ],
  ['http', exitNodeOf({ ...URL_AND_TOKEN, url: 'https://a.example' }), /should match/],
  [
    'one for each tunnel without a machine',
    exitNodeOf({ ...URL_AND_TOKEN, allocation: 'PerTunnel' }),
    /allocation PerTunnel needs provision/,
  ],
  [
    'a machine of a cloud that is not known',
    exitNodeOf({ provision: { ...MACHINE, provider: 'toaster' } }),
    /Unsupported value: \W+toaster/,
  ],
  [
    'a machine without credentials',
    exitNodeOf({ provision: { provider: 'ec2' } }),
    /credentialsSecret: Required value/,
  ],
  [
    'a region that leads elsewhere',
    exitNodeOf({ provision: { ...MACHINE, region: 'evil.example/' } }),
    /region in body should match/,
  ],
  [
    'a zone where there are regions',
    exitNodeOf({ provision: { ...MACHINE, zone: 'eu-central-1a' } }),
    /this provider has regions alone/,
  ],
  [
    'a zone and a region',
    exitNodeOf({ provision: { ...MACHINE, provider: 'gce', region: 'a', zone: 'b' } }),
    /give zone or region, not both/,
  ],
  [
    'a pin that pins nothing',
    exitNodeOf({ ...URL_AND_TOKEN, url: 'ws://a.example', caFingerprint: FINGERPRINT }),
    /caFingerprint is of an exit node/,
  ],
];

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
    await kube.remove('/apis/sluiceway.dev/v1alpha1/namespaces/default/tunnels/one');
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

/** Five on one lease; whoever has it is stopped, three times. */
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
  const reconciler = new Reconciler({
    ...{ cluster: Cluster.open(kube.operatorConfig), settings: SETTINGS, log: SILENT_LOG },
    ...{ clock: systemClock, random: Math.random, identity: 'one', leads: () => true },
    ...{ namespaces: ['default'], resyncMs: CONVERGE_MS, openProvider: async () => undefined },
    onReconciled: (queue) => {
      if (queue === 'exit-node') looks += 1;
    },
    onBroken: () => assert.fail('a watch broke'),
  });
  reconciler.start();
  reconciler.lead();
  await eventually(CONVERGE_MS, 'each exit node was looked at', async () => {
    assert.ok(looks >= items.length, `${looks} of ${items.length}`);
  });
  await reconciler.stop();
  const reasonOf = async (name: string) =>
    (await kube.send<ExitNodeObject>(`${exitNodes}/${name}`)).status?.conditions?.[0]?.reason;
  const reasons = await Promise.all(Object.keys(namespacesOf).map(reasonOf));
  assert.deepEqual(reasons, [undefined, 'TokenMissing', 'TokenMissing']);
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
