// Goal: a Service with a machine of its own has exactly one at a cloud, whatever befalls the
// operator, and nothing of it is left in the end. Method: the operator as it is shipped, a real API
// server, and moto as EC2 behind a relay; the server of a machine is started by its user data.

import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { z } from 'zod';
import type {
  ExitNodeObject,
  KubeObject,
  LeaseObject,
  SecretObject,
  ServiceObject,
} from '../../src/operator/objects.ts';
import { Ec2Query } from '../../src/provision/ec2-query.ts';
import { type CloudRelay, type Fate, startCloudRelay } from '../support/cloud-relay.ts';
import { eventually } from '../support/deadline.ts';
import { type Kube, type List, startKube } from '../support/kube.ts';
import { serviceEcho, servicePage, startKubelet } from '../support/kubelet.ts';
import { startMachine } from '../support/machine.ts';
import { startMoto } from '../support/moto.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, environment } from '../support/tunnel.ts';
import { visitUdp } from '../support/udp.ts';

const CONVERGE_MS = 60_000;
const ORDER_GRACE_MS = 60_000;
/** With the minute that passes before what may be under way is taken for lost. */
const TAKE_OVER_MS = 150_000;
/** The shortest that there is, less what timers are off. */
const BACK_OFF_MS = 1900;
const HOST = '127.0.0.10';
/** Of those that a machine opens only because a Service asked for it. */
const UDP_PORT = 514;
const REGION = 'eu-central-1';
const KEYS = { AWS_ACCESS_KEY_ID: 'key', AWS_SECRET_ACCESS_KEY: 'ec2-secret' };
const EXIT_NODES = '/apis/sluiceway.dev/v1alpha1/exitnodes';
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/sluiceway/leases/sluiceway-operator';
const SERVICE = '/api/v1/namespaces/default/services/web';
const QUOTA = 'You have requested more vCPU capacity than your current limit allows';

interface EventObject extends KubeObject {
  readonly type: string;
  readonly reason: string;
  readonly message: string;
}

interface World {
  readonly kube: Kube;
  readonly relay: CloudRelay;
  readonly query: Ec2Query;
  readonly port: number;
  readonly web: ServiceObject;
  readonly operators: TestProcess[];
  readonly start: () => TestProcess;
}

function startOperator(t: TestContext, kube: Kube): TestProcess {
  const { SLUICEWAY_TOKEN: _none, SLUICEWAY_STATUS_DIR: _neither, ...env } = environment();
  return startProcess(t, {
    name: 'operator',
    command: process.execPath,
    args: [
      ...[ENTRY, 'operator', '--kubeconfig', kube.operatorConfig, '--log-format', 'json'],
      ...['--operator-namespace', 'sluiceway', '--metrics-addr', 'off'],
      ...['--lease-duration', '4s', '--lease-renew-within', '3s', '--lease-retry', '500ms'],
    ],
    env,
  });
}

async function startWorld(t: TestContext): Promise<World | undefined> {
  const moto = await startMoto(t);
  if (moto === undefined) return undefined;
  const kube = await startKube(t);
  if (kube === undefined || startKubelet(t, kube) === undefined) return undefined;
  const relay = await startCloudRelay(t, moto);
  // The addresses of this cloud are on loopback.
  relay.rewrite = (body) => body.replace(/<ipAddress>[^<]*</gu, `<ipAddress>${HOST}<`);
  const keys = { ...KEYS, ENDPOINT: relay.url };
  await kube.apply<SecretObject>({
    ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'cloud', namespace: 'sluiceway' } },
    data: Object.fromEntries(
      Object.entries(keys).map(([key, text]) => [key, Buffer.from(text).toString('base64')]),
    ),
  });
  await kube.apply<ExitNodeObject>({
    ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'ExitNode', metadata: { name: 'own' } },
    spec: {
      provision: { provider: 'ec2', region: REGION, plan: 't3.nano', credentialsSecret: 'cloud' },
      allocation: 'PerTunnel',
    },
  });
  const port = await servicePage(t, 'mine');
  await serviceEcho(t, port, 'mine');
  const web: ServiceObject = {
    ...{ apiVersion: 'v1', kind: 'Service' },
    metadata: {
      ...{ name: 'web', namespace: 'default' },
      annotations: {
        'sluiceway.dev/exit-node': 'own',
        'sluiceway.dev/ports': `80=${port}/tcp, ${UDP_PORT}=${port}/udp`,
      },
    },
    spec: {
      ...{ type: 'LoadBalancer', loadBalancerClass: 'sluiceway.dev/tunnel' },
      ports: [
        { name: 'web', port, protocol: 'TCP' },
        { name: 'log', port, protocol: 'UDP' },
      ],
    },
  };
  const query = new Ec2Query(REGION, {
    ...{ credentials: KEYS, tag: '', endpoint: moto, sleep: async () => {} },
  });
  const operators: TestProcess[] = [];
  const start = (): TestProcess => {
    const operator = startOperator(t, kube);
    operators.push(operator);
    return operator;
  };
  return { kube, relay, query, port, web, operators, start };
}

const isAction = (name: string, { body }: { readonly body: string }): boolean =>
  new URLSearchParams(body).get('Action') === name;

/** Those that live. */
async function instances(query: Ec2Query): Promise<readonly string[]> {
  const one = z.object({ instanceId: z.string(), instanceState: z.object({ name: z.string() }) });
  const reservation = z.object({ instancesSet: z.array(one).default([]) });
  const answer = z.object({ reservationSet: z.array(reservation).default([]) });
  const { reservationSet } = await query.ask('DescribeInstances', {}, answer);
  return reservationSet
    .flatMap(({ instancesSet }) => instancesSet)
    .filter(({ instanceState }) => instanceState.name !== 'terminated')
    .map(({ instanceId }) => instanceId);
}

async function groups(query: Ec2Query): Promise<readonly string[]> {
  const answer = z.object({ securityGroupInfo: z.array(z.object({ groupName: z.string() })) });
  const { securityGroupInfo: all } = await query.ask('DescribeSecurityGroups', {}, answer);
  return all.map(({ groupName }) => groupName).filter((name) => name.startsWith('sluiceway-'));
}

async function openUdpPorts(query: Ec2Query): Promise<readonly number[]> {
  const rule = z.object({ ipProtocol: z.string(), fromPort: z.coerce.number().optional() });
  const answer = z.object({
    securityGroupInfo: z.array(
      z.object({ groupName: z.string(), ipPermissions: z.array(rule).default([]) }),
    ),
  });
  const { securityGroupInfo: all } = await query.ask('DescribeSecurityGroups', {}, answer);
  return all
    .filter(({ groupName }) => groupName.startsWith('sluiceway-'))
    .flatMap(({ ipPermissions }) => ipPermissions)
    .filter(({ ipProtocol }) => ipProtocol === 'udp')
    .map(({ fromPort = 0 }) => fromPort);
}

async function userDataOf(query: Ec2Query, id: string): Promise<string> {
  const parameters = { InstanceId: id, Attribute: 'userData' };
  const answer = z.object({ userData: z.object({ value: z.string() }) });
  const { userData } = await query.ask('DescribeInstanceAttribute', parameters, answer);
  return Buffer.from(userData.value, 'base64').toString('utf8');
}

async function leaderOf({ kube, operators }: World): Promise<TestProcess> {
  const identity = (await kube.find<LeaseObject>(LEASE))?.spec?.holderIdentity ?? '';
  const leader = operators.find((one) => one.stderr.some((line) => line.includes(identity)));
  assert.ok(leader, identity);
  return leader;
}

async function copies(kube: Kube): Promise<readonly ExitNodeObject[]> {
  const { items } = await kube.send<List<ExitNodeObject>>(EXIT_NODES);
  return items.filter(({ metadata }) => metadata.name !== 'own');
}

const says = async (kube: Kube, reason: string, ms = CONVERGE_MS): Promise<string> =>
  await eventually(ms, `an exit node says ${reason}`, async () => {
    const found = (await copies(kube)).flatMap(({ status }) => status?.conditions ?? []);
    const said = found.find((one) => one.reason === reason);
    assert.ok(said, JSON.stringify(found));
    return said.message;
  });

/** Sends `signal` to the leader once the cloud has this request, and lets the next one go on. */
async function interruptAt(
  world: World,
  action: string,
  { fate, signal }: { readonly fate: Fate | Promise<Fate>; readonly signal: NodeJS.Signals },
): Promise<TestProcess> {
  const { relay } = world;
  const { promise: seen, resolve } = Promise.withResolvers<void>();
  relay.decide = (passing) => {
    if (!isAction(action, passing)) return 'pass';
    relay.decide = () => 'pass';
    resolve();
    return fate;
  };
  world.start();
  await world.kube.apply(world.web);
  await seen;
  const leader = await leaderOf(world);
  if (signal === 'SIGKILL') await leader.stop(signal);
  else process.kill(leader.pid, signal);
  return leader;
}

/**
 * An order of which the status has no machine yet may be listed late: the exit node stays for a
 * minute after its deletion.
 */
async function isGone({ kube, query }: World): Promise<void> {
  await eventually(CONVERGE_MS + ORDER_GRACE_MS, 'machine and group have gone', async () => {
    assert.deepEqual([await instances(query), await groups(query)], [[], []]);
    assert.deepEqual(await copies(kube), []);
  });
}

test('a machine of EC2 for a Service', { timeout: 600_000 }, async (t) => {
  const world = await startWorld(t);
  if (world === undefined) return;
  const { kube, relay, query, web } = world;
  world.start();
  world.start();
  let machine: TestProcess | undefined;
  const orders = (): number => relay.arrived.filter((one) => isAction('RunInstances', one)).length;

  await t.test(
    'that the cloud refuses is said in its words, told once, tried later and later',
    async () => {
      const times: number[] = [];
      relay.decide = (passing) => {
        if (!isAction('RunInstances', passing)) return 'pass';
        times.push(performance.now());
        const body =
          '<Response><Errors><Error><Code>VcpuLimitExceeded</Code>' +
          `<Message>${QUOTA}</Message></Error></Errors></Response>`;
        return { status: 400, body };
      };
      await kube.apply(web);
      assert.equal(await says(kube, 'ProviderRefused'), `EC2: ${QUOTA} (VcpuLimitExceeded)`);
      await eventually(CONVERGE_MS, 'it is tried four times', async () => {
        assert.ok(times.length >= 4, String(times.length));
      });
      relay.decide = () => 'pass';
      // The first may be tried once more at once, as the tunnel has just come to its exit node.
      const gaps = times.slice(1).map((time, index) => time - (times[index] ?? 0));
      assert.ok(Math.min(...gaps.slice(1)) >= BACK_OFF_MS, gaps.join());
      const { items } = await kube.send<List<EventObject>>('/api/v1/namespaces/default/events');
      const told = items.filter(({ reason }) => reason === 'ProviderRefused');
      assert.deepEqual(
        told.map(({ type, message }) => [type, message]),
        [['Warning', `EC2: ${QUOTA} (VcpuLimitExceeded)`]],
      );
    },
  );

  await t.test('serves the Service by what its user data starts', async () => {
    const [id = ''] = await eventually(CONVERGE_MS, 'an instance is made', async () => {
      const found = await instances(query);
      assert.equal(found.length, 1);
      return found;
    });
    const userData = await userDataOf(query, id);
    const { items } = await kube.send<List<SecretObject>>('/api/v1/namespaces/sluiceway/secrets');
    const tokens = items.flatMap(({ data }) => (data?.token === undefined ? [] : [data.token]));
    assert.equal(tokens.length, 1);
    const token = Buffer.from(tokens[0] ?? '', 'base64').toString();
    assert.ok(token.length > 40 && !userData.includes(token), 'the token is not in the user data');
    await says(kube, 'Provisioning');
    machine = startMachine(t, {
      ...{ userData, folder: scratchFolder(t), address: HOST },
      env: {
        ...{ SLUICEWAY_TCP_ADDR: HOST, SLUICEWAY_ADMIN_ADDR: 'off', SLUICEWAY_SHARDS: '1' },
        // The script of the installation asks the machine for it.
        SLUICEWAY_AUTO_TLS_SAN: HOST,
      },
    });
    await eventually(
      CONVERGE_MS,
      'the page is there, on the port that the Service asked for',
      async () => {
        const answer = await fetch(`http://${HOST}:80`);
        assert.equal(await answer.text(), 'mine');
      },
    );
    await eventually(CONVERGE_MS, 'the Service has the address, and both ports', async () => {
      const { status } = await kube.send<ServiceObject>(SERVICE);
      const [ingress] = status?.loadBalancer?.ingress ?? [];
      assert.equal(ingress?.ip, HOST);
      assert.deepEqual(ingress?.ports, [
        { port: world.port, protocol: 'TCP' },
        { port: world.port, protocol: 'UDP' },
      ]);
    });
    const visitor = await visitUdp(t, UDP_PORT, HOST, HOST);
    assert.equal(String(await visitor.ask('hello')), 'mine hello');
    assert.ok((await openUdpPorts(query)).includes(UDP_PORT), 'the cloud lets it through');
    const [copy] = await copies(kube);
    assert.equal(copy?.status?.machine?.id, `${REGION}/${id}`);
    assert.match(copy?.status?.caFingerprint ?? '', /^sha256:/u, 'its CA is pinned');
    assert.equal(orders(), 1);
    const logs = world.operators.flatMap(({ stderr }) => stderr).join('\n');
    assert.ok(!logs.includes(token) && !logs.includes(KEYS.AWS_SECRET_ACCESS_KEY));
  });

  await t.test(
    'is ended with the Service, though the cloud was away and the leader was killed',
    async () => {
      const { promise: asked, resolve } = Promise.withResolvers<void>();
      relay.decide = (passing) => {
        if (!isAction('TerminateInstances', passing)) return 'pass';
        resolve();
        return { status: 503, body: '' };
      };
      await kube.remove(SERVICE);
      await asked;
      assert.match(await says(kube, 'ProviderRefused'), /^EC2: status 503$/u);
      assert.equal((await instances(query)).length, 1);
      // Killed between the end of the instance and that of its group.
      const { promise: ended, resolve: onEnded } = Promise.withResolvers<void>();
      relay.decide = (passing) => {
        if (!isAction('DeleteSecurityGroup', passing)) return 'pass';
        onEnded();
        return 'stop';
      };
      await ended;
      await (await leaderOf(world)).stop('SIGKILL');
      relay.decide = () => 'pass';
      assert.equal((await groups(query)).length, 1);
      await isGone(world);
      await machine?.stop();
    },
  );

  await t.test('is one, though the leader was killed before it heard of it', async () => {
    const before = orders();
    await interruptAt(world, 'RunInstances', { fate: 'mute', signal: 'SIGKILL' });
    await eventually(CONVERGE_MS, 'the next leader has found it', async () => {
      const [copy] = await copies(kube);
      assert.equal(copy?.status?.machine?.state, 'running', JSON.stringify(copy?.status));
    });
    assert.equal(orders(), before + 1);
    assert.equal((await instances(query)).length, 1);
    await kube.remove(SERVICE);
    await isGone(world);
  });

  await t.test('is one, though the leader stood still in the middle of ordering it', async () => {
    const before = orders();
    const { promise: fate, resolve: release } = Promise.withResolvers<Fate>();
    const leader = await interruptAt(world, 'RunInstances', { fate, signal: 'SIGSTOP' });
    assert.deepEqual([await instances(query), (await groups(query)).length], [[], 1]);
    await says(kube, 'MachineStopped');
    await eventually(TAKE_OVER_MS, 'the next leader has made it anew', async () => {
      assert.equal((await instances(query)).length, 1);
    });
    assert.equal(orders(), before + 1);
    // What the first one had under way arrives, for a group that is no more.
    release('pass');
    process.kill(leader.pid, 'SIGCONT');
    await leader.line('it leads no more', (line) => line.includes('leads no more'));
    await eventually(CONVERGE_MS, 'the order has arrived', async () => {
      const answers = relay.answered.filter((one) => isAction('RunInstances', one)).slice(before);
      assert.deepEqual(
        answers.map(({ status }) => status),
        [200, 400],
      );
    });
    assert.equal((await instances(query)).length, 1);
    await kube.remove(SERVICE);
    await isGone(world);
  });
});
