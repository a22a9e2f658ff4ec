// Goal: what people write into a cluster becomes so, whatever fails meanwhile, and nothing stays.
// Method: a real API server and etcd; two operators with exactly the rights of rbac.yaml; clients
// run by their pod templates; an exit node with a private CA; requests of visitors.

import assert from 'node:assert/strict';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import type {
  DeploymentObject,
  ExitNodeObject,
  KubeObject,
  LeaseObject,
  ServiceObject,
  TunnelObject,
} from '../../src/operator/objects.ts';
import { eventually } from '../support/deadline.ts';
import { type Kube, type List, startKube } from '../support/kube.ts';
import { type Kubelet, serviceEcho, servicePage, startKubelet } from '../support/kubelet.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, parseLine, startServer, TOKEN } from '../support/tunnel.ts';
import { visitUdp } from '../support/udp.ts';

const CONVERGE_MS = 60_000;
const SHOP = '/api/v1/namespaces/shop';
const SERVICES = `${SHOP}/services`;
const TUNNELS = '/apis/sluiceway.dev/v1alpha1/namespaces/shop/tunnels';
const EXIT_NODES = '/apis/sluiceway.dev/v1alpha1/exitnodes';
const CLIENTS = '/apis/apps/v1/namespaces/sluiceway/deployments';
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/sluiceway/leases/sluiceway-operator';
const CONDITION = 'sluiceway.dev/Ready';

interface EventObject extends KubeObject {
  readonly reason: string;
  readonly type: string;
  readonly message: string;
  readonly involvedObject: { readonly kind: string; readonly name: string };
}

interface Operator {
  readonly process: TestProcess;
  readonly identity: string;
  readonly metricsPort: number;
}

interface Setting {
  readonly t: TestContext;
  readonly kube: Kube;
  readonly kubelet: Kubelet;
  readonly exit: { readonly controlPort: number; readonly httpPort: number };
  readonly operators: Operator[];
}

function withPorts(...ports: readonly number[]): ServiceObject['spec'] & object {
  return {
    ...{ type: 'LoadBalancer', loadBalancerClass: 'sluiceway.dev/tunnel' },
    ports: ports.map((port) => ({ name: `p${port}`, port, protocol: 'TCP' })),
  };
}

function service(
  name: string,
  spec: ServiceObject['spec'] & object,
  annotations: Readonly<Record<string, string>> = {},
): ServiceObject {
  const full = Object.entries(annotations).map(([key, text]) => [`sluiceway.dev/${key}`, text]);
  return {
    ...{ apiVersion: 'v1', kind: 'Service' },
    metadata: { name, namespace: 'shop', annotations: Object.fromEntries(full) },
    spec,
  };
}

async function startOperator(t: TestContext, config: string, more: readonly string[] = []) {
  const { SLUICEWAY_TOKEN: _none, SLUICEWAY_STATUS_DIR: _neither, ...env } = environment();
  const started = startProcess(t, {
    name: 'operator',
    command: process.execPath,
    args: [
      ...[ENTRY, 'operator', '--kubeconfig', config, '--operator-namespace', 'sluiceway'],
      ...['--exit-node', 'shared', '--metrics-addr', '127.0.0.1:0', '--log-format', 'json'],
      ...['--lease-duration', '4s', '--lease-renew-within', '3s', '--lease-retry', '500ms'],
      ...['--log-level', 'debug', ...more],
    ],
    env,
    endCode: 0,
  });
  const has = (key: string) => (line: string) => parseLine(line)[key] !== undefined;
  const identity = parseLine(await started.line('identity', has('identity'))).identity;
  const port = parseLine(await started.line('metrics port', has('port'))).port;
  return { process: started, identity: String(identity), metricsPort: Number(port) };
}

async function get(port: number, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  return await new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, headers, agent: false, timeout: 5000 };
    const request = http.get(options, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (piece: string) => {
        text += piece;
      });
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve(text);
        else reject(new Error(`answered ${response.statusCode}`));
      });
    });
    request.on('error', reject);
  });
}

const serves = (port: number, text: string, headers: Readonly<Record<string, string>> = {}) =>
  eventually(CONVERGE_MS, `port ${port} serves ${text}`, async () => {
    assert.equal(await get(port, headers), text);
  });

const isClosed = (port: number) =>
  eventually(CONVERGE_MS, `port ${port} is closed`, async () => {
    const answer = await get(port).catch((error: unknown) => String(error));
    assert.match(answer, /ECONNREFUSED/);
  });

async function says(kube: Kube, name: string, reason: string): Promise<ServiceObject> {
  return await eventually(CONVERGE_MS, `Service ${name} says ${reason}`, async () => {
    const found = await kube.send<ServiceObject>(`${SERVICES}/${name}`);
    const condition = found.status?.conditions?.find(({ type }) => type === CONDITION);
    assert.equal(condition?.reason, reason, JSON.stringify(condition));
    return found;
  });
}

async function eventsOf(kube: Kube, name: string): Promise<readonly EventObject[]> {
  const { items } = await kube.send<List<EventObject>>(`${SHOP}/events`);
  return items.filter(
    ({ involvedObject: { kind, name: of } }) => kind === 'Service' && of === name,
  );
}

async function clientsOf(kube: Kube, tunnel: string): Promise<readonly DeploymentObject[]> {
  const { items } = await kube.send<List<DeploymentObject>>(CLIENTS);
  return items.filter(
    ({ metadata }) => metadata.annotations?.['sluiceway.dev/tunnel'] === `shop/${tunnel}`,
  );
}

const isGone = (kube: Kube, tunnel: string) =>
  eventually(CONVERGE_MS, `nothing is left of ${tunnel}`, async () => {
    assert.equal(await kube.find(`${TUNNELS}/${tunnel}`), undefined);
    assert.deepEqual(await clientsOf(kube, tunnel), []);
  });

async function holder(kube: Kube): Promise<string | undefined> {
  return (await kube.find<LeaseObject>(LEASE))?.spec?.holderIdentity;
}

async function leader({ kube, operators }: Setting): Promise<Operator> {
  return await eventually(CONVERGE_MS, 'one operator leads', async () => {
    const identity = await holder(kube);
    const found = operators.find((one) => one.identity === identity && one.process.isRunning);
    assert.ok(found, `${identity} is none that runs`);
    return found;
  });
}

async function setUp(t: TestContext): Promise<Setting | undefined> {
  const kube = await startKube(t);
  if (kube === undefined) return undefined;
  const kubelet = startKubelet(t, kube);
  if (kubelet === undefined) return undefined;
  const folder = scratchFolder(t);
  const exit = await startServer(t, {
    args: ['--auto-tls', '--auto-tls-dir', folder, '--auto-tls-san', '127.0.0.1'],
  });
  for (const object of [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' } },
    {
      ...{ apiVersion: 'v1', kind: 'Secret' },
      metadata: { name: 'exit-token', namespace: 'sluiceway' },
      data: { token: Buffer.from(TOKEN).toString('base64') },
    },
    {
      ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'ExitNode', metadata: { name: 'shared' } },
      spec: {
        ...{ url: `wss://127.0.0.1:${exit.controlPort}`, tokenSecret: { name: 'exit-token' } },
        tcpPorts: ['1024-65535'],
      },
    },
  ]) {
    await kube.apply(object);
  }
  const operators = [
    await startOperator(t, kube.operatorConfig),
    await startOperator(t, kube.operatorConfig),
  ];
  return { t, kube, kubelet, exit, operators };
}

const answersUdp = (t: TestContext, port: number, text: string) =>
  eventually(CONVERGE_MS, `UDP port ${port} answers as ${text}`, async () => {
    // A visitor of its own: who was told that nobody listens hears nothing more at times.
    const visitor = await visitUdp(t, port);
    visitor.send('hello');
    await new Promise((resolve) => setTimeout(resolve, 200));
    visitor.socket.close();
    assert.deepEqual(visitor.got.map(String), [`${text} hello`]);
  });

/** One number of both protocols; they are taken, given up and had by another each by itself. */
async function mixProtocols(t: TestContext, { kube }: Setting): Promise<void> {
  const port = await servicePage(t, 'name');
  const dnsPort = await servicePage(t, 'name by another port');
  await serviceEcho(t, port, 'name');
  await serviceEcho(t, dnsPort, 'name by another port');
  const of = (...protocols: readonly ('TCP' | 'UDP')[]): ServiceObject['spec'] & object => ({
    ...withPorts(),
    ports: protocols.map((protocol) => ({ name: protocol.toLowerCase(), port, protocol })),
  });
  await kube.apply(service('name', of('TCP', 'UDP')));
  const { status } = await says(kube, 'name', 'Served');
  assert.deepEqual(status?.loadBalancer?.ingress?.[0]?.ports, [
    { port, protocol: 'TCP' },
    { port, protocol: 'UDP' },
  ]);
  await serves(port, 'name');
  await answersUdp(t, port, 'name');
  const byHand: TunnelObject = {
    ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'Tunnel' },
    metadata: { name: 'by-hand', namespace: 'shop' },
    spec: { udp: [{ publicPort: port, service: { name: 'other', port: dnsPort } }] },
  };
  await kube.apply(byHand);
  await eventually(CONVERGE_MS, 'the port is taken', async () => {
    const found = await kube.send<TunnelObject>(`${TUNNELS}/by-hand`);
    const ready = found.status?.conditions?.find(({ type }) => type === 'Ready');
    assert.equal(ready?.message, `UDP port ${port} is taken by tunnel shop/name`);
  });
  await kube.apply(service('name', of('TCP')));
  await answersUdp(t, port, 'name by another port');
  await serves(port, 'name');
  const { status: held } = await kube.send<TunnelObject>(`${TUNNELS}/by-hand`);
  assert.deepEqual(held?.claims, [`udp:${port}`]);
  assert.deepEqual(held?.endpoints, [`udp://127.0.0.1:${port}`]);
  await kube.remove(`${TUNNELS}/by-hand`);
  await kube.apply(service('name', of('UDP')));
  await answersUdp(t, port, 'name');
  await isClosed(port);
  await kube.remove(`${SERVICES}/name`);
  for (const name of ['name', 'by-hand']) await isGone(kube, name);
}

test('an operator in a cluster', { timeout: 600_000 }, async (t) => {
  const setting = await setUp(t);
  if (setting === undefined) return;
  const { kube, exit, operators } = setting;
  const [webPort, otherPort, movedPort] = [
    await servicePage(t, 'web'),
    await servicePage(t, 'other'),
    await servicePage(t, 'moved'),
  ] as const;

  await t.test('a Service gets an address, and a request reaches its page', async () => {
    await kube.apply(service('web', withPorts(webPort)));
    const found = await says(kube, 'web', 'Served');
    assert.deepEqual(found.status?.loadBalancer?.ingress, [
      { ip: '127.0.0.1', ipMode: 'Proxy', ports: [{ port: webPort, protocol: 'TCP' }] },
    ]);
    await serves(webPort, 'web');
    await eventually(CONVERGE_MS, 'web is told', async () => {
      const told = await eventsOf(kube, 'web');
      assert.ok(told.some(({ reason, type }) => reason === 'Served' && type === 'Normal'));
    });
    const node = await kube.send<ExitNodeObject>(`${EXIT_NODES}/shared`);
    assert.match(node.status?.caFingerprint ?? '', /^sha256:/);
    const [client] = await clientsOf(kube, 'web');
    assert.match(JSON.stringify(client), /--auto-tls-fingerprint=sha256:/);
    assert.ok(!JSON.stringify(client).includes(TOKEN));
  });

  await t.test(
    'what cannot be served says why, has nothing, and is served when it can',
    async () => {
      const rows = [
        ['taken', service('taken', withPorts(webPort)), 'PortTaken', /taken by tunnel shop\/web/],
        ['low', service('low', withPorts(80)), 'PortNotAllowed', /outside of 1024-65535/],
        [
          'nowhere',
          service('nowhere', withPorts(otherPort), { 'exit-node': 'nosuch' }),
          ...['ExitNodeNotFound', /there is no exit node nosuch/],
        ],
        [
          'wrong',
          service('wrong', withPorts(otherPort), { ports: 'x' }),
          ...['InvalidAnnotation', /'x' is no port/],
        ],
      ] as const;
      for (const [name, object, reason, message] of rows) {
        await kube.apply(object);
        const found = await says(kube, name, String(reason));
        assert.equal(found.status?.loadBalancer?.ingress, undefined);
        const told = await eventually(CONVERGE_MS, `${name} is told`, async () => {
          const events = await eventsOf(kube, name);
          const found = events.filter((event) => event.reason === reason);
          assert.equal(found.length, 1, `${name}: told once`);
          return found;
        });
        assert.equal(told[0]?.type, 'Warning');
        assert.match(told[0]?.message ?? '', message as RegExp);
        assert.deepEqual(await clientsOf(kube, name), []);
      }
      await serves(webPort, 'web');
      await kube.apply(service('wrong', withPorts(otherPort)));
      await says(kube, 'wrong', 'Served');
      await serves(otherPort, 'other');
      for (const name of ['wrong', 'nowhere', 'low']) await kube.remove(`${SERVICES}/${name}`);
      for (const name of ['wrong', 'nowhere', 'low']) await isGone(kube, name);
      await isClosed(otherPort);
    },
  );

  await t.test('hosts share the port of the exit node', async () => {
    await kube.apply(
      service('hosts', withPorts(otherPort), { hosts: 'other.example, *.other.example' }),
    );
    const site: TunnelObject = {
      ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'Tunnel' },
      metadata: { name: 'site', namespace: 'shop' },
      spec: { upstreams: [{ host: 'web.example', service: { name: 'web', port: webPort } }] },
    };
    await kube.apply(site);
    await serves(exit.httpPort, 'web', { host: 'web.example' });
    await serves(exit.httpPort, 'other', { host: 'other.example' });
    await serves(exit.httpPort, 'other', { host: 'a.other.example' });
    await kube.apply({ ...site, metadata: { ...site.metadata, name: 'twin' } });
    await eventually(CONVERGE_MS, 'the host is taken', async () => {
      const { status } = await kube.send<TunnelObject>(`${TUNNELS}/twin`);
      assert.ok(status?.conditions?.some(({ reason }) => reason === 'HostTaken'));
    });
    for (const name of ['site', 'twin']) await kube.remove(`${TUNNELS}/${name}`);
    await kube.remove(`${SERVICES}/hosts`);
    for (const name of ['site', 'twin', 'hosts']) await isGone(kube, name);
  });

  await t.test('datagrams reach a Service by the number that is a TCP port, too', () =>
    mixProtocols(t, setting),
  );

  await t.test('what the API server refuses is said in its words', async () => {
    const odd: TunnelObject = {
      ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'Tunnel' },
      metadata: { name: 'odd', namespace: 'shop' },
      spec: {
        upstreams: [{ host: 'odd.example', service: { name: 'web', port: webPort } }],
        client: { nodeSelector: { 'a b': 'c' } },
      },
    };
    await kube.apply(odd);
    const { message } = await eventually(CONVERGE_MS, 'it says why', async () => {
      const { status } = await kube.send<TunnelObject>(`${TUNNELS}/odd`);
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      assert.equal(ready?.reason, 'Refused');
      return ready;
    });
    assert.match(message, /answered 422: .*nodeSelector/u);
    const spec = { ...odd.spec, client: { nodeSelector: { a: 'c' } } };
    await kube.apply({ ...odd, spec });
    await serves(exit.httpPort, 'web', { host: 'odd.example' });
    await kube.remove(`${TUNNELS}/odd`);
    await isGone(kube, 'odd');
  });

  await t.test('a leader that is killed is followed by the other, which goes on', async () => {
    const first = await leader(setting);
    await first.process.stop('SIGKILL');
    await kube.apply(service('web', withPorts(movedPort)));
    await serves(movedPort, 'moved');
    await isClosed(webPort);
    const second = await leader(setting);
    assert.notEqual(second.identity, first.identity);
    operators.push(await startOperator(t, kube.operatorConfig));
    // Who waited for the port that is free now has it.
    await says(kube, 'taken', 'Served');
    await serves(webPort, 'web');
  });

  /** Lines of each operator that were looked through. */
  const read = new Map<TestProcess, number>();
  const assertAllowed = (): void => {
    for (const { process: one } of operators) {
      const lines = one.stderr.slice(read.get(one) ?? 0);
      assert.deepEqual(
        lines.filter((line) => line.includes('answered 403')),
        [],
      );
    }
  };

  await t.test('an API server that restarts finds everybody where they were', async () => {
    assertAllowed();
    const { process: leading } = await leader(setting);
    const before = leading.stderr.length;
    await kube.killServer();
    await eventually(CONVERGE_MS, 'the leader cannot renew its lease', async () => {
      const said = leading.stderr.slice(before);
      assert.ok(said.some((line) => parseLine(line).reason === 'it was not renewed in time'));
    });
    await serves(webPort, 'web');
    await kube.startAgain();
    await kube.apply(service('web', withPorts(movedPort, otherPort)));
    await serves(otherPort, 'other');
    await serves(movedPort, 'moved');
    await leader(setting);
    // An API server that has just started knows no roles yet, and forbids everything.
    for (const { process: one } of operators) read.set(one, one.stderr.length);
  });

  await t.test('a Service that is no LoadBalancer any more loses its tunnel', async () => {
    await kube.patch(`${SERVICES}/taken`, {
      spec: { type: 'ClusterIP', loadBalancerClass: null },
    });
    await isGone(kube, 'taken');
    await isClosed(webPort);
    const { status } = await kube.send<ServiceObject>(`${SERVICES}/taken`);
    assert.equal(status?.loadBalancer?.ingress, undefined);
    assert.ok(!status?.conditions?.some(({ type }) => type === CONDITION));
  });

  await t.test('a Service that opts out loses its tunnel and its address', async () => {
    await kube.apply(service('web', withPorts(movedPort), { manage: 'false' }));
    await isGone(kube, 'web');
    await eventually(CONVERGE_MS, 'the status is as it was before', async () => {
      const { status } = await kube.send<ServiceObject>(`${SERVICES}/web`);
      assert.equal(status?.loadBalancer?.ingress, undefined);
      assert.ok(!status?.conditions?.some(({ type }) => type === CONDITION));
    });
    await kube.apply(service('web', withPorts(movedPort)));
    await serves(movedPort, 'moved');
  });

  await t.test('a tunnel or a client that somebody removes is made again', async () => {
    const before = await kube.send<TunnelObject>(`${TUNNELS}/web`);
    await kube.remove(`${TUNNELS}/web`);
    await eventually(CONVERGE_MS, 'another tunnel is there', async () => {
      const after = await kube.send<TunnelObject>(`${TUNNELS}/web`);
      assert.notEqual(after.metadata.uid, before.metadata.uid);
    });
    const client = await eventually(CONVERGE_MS, 'its client is there', async () => {
      const [found] = await clientsOf(kube, 'web');
      assert.ok(found !== undefined && found.metadata.deletionTimestamp === undefined);
      return found;
    });
    await kube.remove(`${CLIENTS}/${client.metadata.name}`);
    await eventually(CONVERGE_MS, 'another client is there', async () => {
      const [after] = await clientsOf(kube, 'web');
      assert.ok(after !== undefined && after.metadata.uid !== client.metadata.uid);
    });
    await serves(movedPort, 'moved');
  });

  await t.test('a Service that is deleted leaves nothing', async () => {
    for (const name of ['web', 'taken']) await kube.remove(`${SERVICES}/${name}`);
    await isGone(kube, 'web');
    await isClosed(movedPort);
    assert.deepEqual((await kube.send<List<TunnelObject>>(TUNNELS)).items, []);
    assert.deepEqual((await kube.send<List<DeploymentObject>>(CLIENTS)).items, []);
  });

  await t.test('each says how it is, and none asked for more than it may', async () => {
    const { metricsPort } = await leader(setting);
    assert.equal(await get(metricsPort).catch(String), 'Error: answered 404');
    const answer = await fetch(`http://127.0.0.1:${metricsPort}/metrics`);
    const text = await answer.text();
    assert.match(text, /^sluiceway_operator_leading 1$/mu);
    assert.match(
      text,
      /^sluiceway_operator_reconciles_total\{kind="tunnel",result="settled"\} \d/mu,
    );
    const ready = await fetch(`http://127.0.0.1:${metricsPort}/readyz`);
    assert.equal(ready.status, 200);
    assertAllowed();
  });

  await t.test('a leader that is told to end gives the lead away at once', async () => {
    const last = await leader(setting);
    const ending = await last.process.stop('SIGTERM');
    assert.equal(ending.code, 0);
    assert.notEqual(await holder(kube), last.identity);
  });
});
