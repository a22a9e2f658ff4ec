// Goal: what people write into a cluster becomes so, whatever fails meanwhile, and nothing stays.
// Method: a real API server and etcd; two operators with exactly the rights of rbac.yaml; clients
// run by their pod templates; an exit node with a private CA; requests of visitors.

import assert from 'node:assert/strict';
import http from 'node:http';
import { type TestContext, test } from 'node:test';
import type {
  DeploymentObject,
  ExitNodeObject,
  ServiceObject,
  TunnelObject,
} from '../../src/operator/objects.ts';
import { eventually } from '../support/deadline.ts';
import type { List } from '../support/kube.ts';
import { serviceEcho, servicePage } from '../support/kubelet.ts';
import {
  CLIENTS,
  CONDITION,
  CONVERGE_MS,
  clientsOf,
  EXIT_NODES,
  eventsOf,
  get,
  holder,
  isClosed,
  isGone,
  leader,
  SERVICES,
  type Setting,
  says,
  serves,
  service,
  startCluster,
  startOperator,
  TUNNELS,
  withPorts,
} from '../support/operator-cluster.ts';
import type { TestProcess } from '../support/process.ts';
import { parseLine, TOKEN } from '../support/tunnel.ts';
import { visitUdp } from '../support/udp.ts';

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

/** What is said to be served is what was asked for last, and by nobody who was asked before. */
async function tighten({ kube }: Setting, port: number): Promise<void> {
  const isServed = (ranges: readonly string[], allowIps: readonly string[]) =>
    eventually(CONVERGE_MS, `${ranges} is served`, async () => {
      const { spec, metadata, status } = await kube.send<TunnelObject>(`${TUNNELS}/web`);
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      const found = [spec.allowIps, ready?.reason, ready?.observedGeneration];
      assert.deepEqual(found, [allowIps, 'Served', metadata.generation], String(ready?.message));
    });
  const restrict = (ranges: readonly string[]) =>
    kube.apply(service('web', { ...withPorts(port), loadBalancerSourceRanges: ranges }));
  const closed = ['192.0.2.7/24'];
  await restrict(closed);
  await isServed(closed, ['192.0.2.0/24']);
  await assert.rejects(get(port), /./, 'a visitor from elsewhere came in');
  const open = ['127.0.0.9/8'];
  await restrict(open);
  await isServed(open, ['127.0.0.0/8']);
  assert.equal(await get(port), 'web');
  await restrict(Array.from({ length: 65 }, (_, index) => `127.0.${index}.0/24`));
  const { status } = await says(kube, 'web', 'InvalidSpec');
  assert.equal(status?.loadBalancer?.ingress, undefined);
  await isGone(kube, 'web');
  await isClosed(port);
  await kube.apply(service('web', withPorts(port)));
  await serves(port, 'web');
}

/** One that is served is looked at no more by itself: the Service alone says that it turned. */
async function turnToAlias(t: TestContext, { kube }: Setting): Promise<void> {
  const port = await servicePage(t, 'led');
  const ports = [{ port, protocol: 'TCP' }];
  const isSaid = (reason: string) =>
    eventually(CONVERGE_MS, `tunnel led: ${reason}`, async () => {
      const { status } = await kube.send<TunnelObject>(`${TUNNELS}/led`);
      const ready = status?.conditions?.find(({ type }) => type === 'Ready');
      assert.equal(ready?.reason, reason, String(ready?.message));
    });
  await kube.apply(service('target', { type: 'ClusterIP', ports }));
  const led: TunnelObject = {
    ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'Tunnel' },
    metadata: { name: 'led', namespace: 'shop' },
    spec: { tcp: [{ publicPort: port, service: { name: 'target', port } }] },
  };
  await kube.apply(led);
  await isSaid('Served');
  await serves(port, 'led');
  const alias = { type: 'ExternalName', externalName: 'db.other.svc', ports };
  await kube.apply(service('target', alias));
  await isSaid('ServiceNotAllowed');
  await isClosed(port);
  await eventually(CONVERGE_MS, 'its client has gone', async () => {
    assert.deepEqual(await clientsOf(kube, 'led'), []);
  });
  await kube.apply(service('target', { type: 'ClusterIP', ports }));
  await isSaid('Served');
  await serves(port, 'led');
  await kube.remove(`${TUNNELS}/led`);
  await kube.remove(`${SERVICES}/target`);
  await isGone(kube, 'led');
}

/** Its client is there, and never ready. */
async function occupy(t: TestContext, { kube }: Setting): Promise<void> {
  const port = await servicePage(t, 'occupied');
  const other = http.createServer((_request, response) => response.end('other'));
  await new Promise<void>((resolve) => other.listen(port, '127.0.0.1', resolve));
  await kube.apply(service('occupied', withPorts(port)));
  await says(kube, 'occupied', 'ClientStarting');
  const { status } = await says(kube, 'occupied', 'NotServed');
  const condition = status?.conditions?.find(({ type }) => type === CONDITION);
  assert.match(condition?.message ?? '', new RegExp(`does not serve tcp:${port}`, 'u'));
  await eventually(CONVERGE_MS, 'it is told', async () => {
    const told = await eventsOf(kube, 'occupied');
    assert.ok(told.some(({ reason, type }) => reason === 'NotServed' && type === 'Warning'));
  });
  await new Promise((resolve) => other.close(resolve));
  await kube.remove(`${SERVICES}/occupied`);
  await isGone(kube, 'occupied');
}

test('an operator in a cluster', { timeout: 600_000 }, async (t) => {
  const setting = await startCluster(t);
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

  await t.test('a list of visitors is in force once it is said to be served', () =>
    tighten(setting, webPort),
  );

  await t.test('a port that another program has is not served, and says so', () =>
    occupy(t, setting),
  );

  await t.test('a tunnel that is served ends when its Service becomes a name elsewhere', () =>
    turnToAlias(t, setting),
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

  await t.test('a tunnel to which somebody wrote is as its Service asks again', async () => {
    await says(kube, 'web', 'Served');
    const { spec } = await kube.send<TunnelObject>(`${TUNNELS}/web`);
    const foreign = { proxyProtocol: 'v2', allowIps: ['192.0.2.0/24'], client: { replicas: 1 } };
    await kube.patch(`${TUNNELS}/web`, { spec: foreign });
    await eventually(CONVERGE_MS, 'what is not asked for has gone', async () => {
      const found = await kube.send<TunnelObject>(`${TUNNELS}/web`);
      assert.deepEqual(found.spec, { ...spec, client: { replicas: 1 } });
    });
    await says(kube, 'web', 'Served');
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
