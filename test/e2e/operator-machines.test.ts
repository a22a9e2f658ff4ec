// Goal: a Service with an exit node of its own has exactly one machine, and none when it has gone.
// Method: as in operator.test.ts, with a cloud whose machines are files; the test runs the exit
// node of each. The leader is killed between an order and its answer.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type {
  ExitNodeObject,
  LeaseObject,
  SecretObject,
  ServiceObject,
} from '../../src/operator/objects.ts';
import type { FolderMachine } from '../fixtures/folder-cloud.ts';
import { eventually } from '../support/deadline.ts';
import { type Kube, type List, startKube } from '../support/kube.ts';
import { servicePage, startKubelet } from '../support/kubelet.ts';
import { startProcess, type TestProcess } from '../support/process.ts';
import { scratchFolder } from '../support/programs.ts';
import { ENTRY, environment, parseLine } from '../support/tunnel.ts';

const CONVERGE_MS = 60_000;
const PROGRAM = path.resolve(import.meta.dirname, '../fixtures/folder-cloud.ts');
const MACHINE_HOST = '127.0.0.9';
const EXIT_NODES = '/apis/sluiceway.dev/v1alpha1/exitnodes';
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/sluiceway/leases/sluiceway-operator';
const SERVICE = '/api/v1/namespaces/default/services/web';

function startOperator(t: TestContext, kube: Kube, folder: string): TestProcess {
  const { SLUICEWAY_TOKEN: _none, ...env } = environment();
  return startProcess(t, {
    name: 'operator',
    command: process.execPath,
    args: [
      ...[PROGRAM, folder, '--kubeconfig', kube.operatorConfig],
      ...['--operator-namespace', 'sluiceway', '--metrics-addr', 'off'],
      ...['--lease-duration', '4s', '--lease-renew-within', '3s', '--lease-retry', '500ms'],
    ],
    env,
  });
}

function machinesIn(folder: string): readonly FolderMachine[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.machine'))
    .map((name) => JSON.parse(readFileSync(path.join(folder, name), 'utf8')) as FolderMachine);
}

/** The exit node of a machine, as cloud-init would start it; then the machine has an address. */
async function boot(t: TestContext, folder: string, machine: FolderMachine): Promise<void> {
  const { SLUICEWAY_TOKEN: _none, ...env } = environment();
  const server = startProcess(t, {
    name: 'machine',
    command: process.execPath,
    args: [
      ...[ENTRY, 'server', '--control-addr', `${MACHINE_HOST}:8123`, '--http-addr', 'off'],
      ...['--admin-addr', 'off', '--tcp-addr', MACHINE_HOST, '--shards', '1'],
      ...['--auto-tls', '--auto-tls-san', MACHINE_HOST, '--log-format', 'json'],
      ...['--auto-tls-dir', scratchFolder(t), '--drain-delay', '0s', '--drain-timeout', '1s'],
    ],
    env: { ...env, SLUICEWAY_TOKEN: machine.token },
  });
  await server.line('listening', (line) => parseLine(line).msg === 'listening', 30_000);
  const file = path.join(folder, `${machine.id}.machine`);
  writeFileSync(file, JSON.stringify({ ...machine, address: MACHINE_HOST }));
}

const says = (kube: Kube, reason: string) =>
  eventually(CONVERGE_MS, `an exit node says ${reason}`, async () => {
    const { items } = await kube.send<List<ExitNodeObject>>(EXIT_NODES);
    const found = items.flatMap(({ status }) => status?.conditions ?? []);
    const said = found.find((one) => one.reason === reason);
    assert.ok(said, JSON.stringify(found));
    return said;
  });

test('a machine for a Service', { timeout: 300_000 }, async (t) => {
  const kube = await startKube(t);
  if (kube === undefined) return;
  if (startKubelet(t, kube) === undefined) return;
  const folder = scratchFolder(t);
  const port = await servicePage(t, 'mine');
  await kube.apply<SecretObject>({
    ...{ apiVersion: 'v1', kind: 'Secret', metadata: { name: 'cloud', namespace: 'sluiceway' } },
    data: { key: Buffer.from('open').toString('base64') },
  });
  await kube.apply<ExitNodeObject>({
    ...{ apiVersion: 'sluiceway.dev/v1alpha1', kind: 'ExitNode', metadata: { name: 'own' } },
    spec: {
      provision: { provider: 'hetzner', credentialsSecret: 'cloud' },
      allocation: 'PerTunnel',
    },
  });
  const web: ServiceObject = {
    ...{ apiVersion: 'v1', kind: 'Service' },
    metadata: {
      ...{ name: 'web', namespace: 'default' },
      annotations: { 'sluiceway.dev/exit-node': 'own' },
    },
    spec: {
      ...{ type: 'LoadBalancer', loadBalancerClass: 'sluiceway.dev/tunnel' },
      ports: [{ port, protocol: 'TCP' }],
    },
  };
  const operators = [startOperator(t, kube, folder), startOperator(t, kube, folder)];

  await t.test('that the provider refuses is said in its words, and tried again', async () => {
    writeFileSync(path.join(folder, 'refuse'), 'quota of 0 machines\nis used up');
    await kube.apply(web);
    const { message } = await says(kube, 'ProviderRefused');
    assert.equal(message, 'quota of 0 machines is used up');
    assert.deepEqual(machinesIn(folder), []);
    rmSync(path.join(folder, 'refuse'));
  });

  await t.test('is one, though the leader was killed before it heard of it', async () => {
    const machine = await eventually(CONVERGE_MS, 'a machine is made', async () => {
      const [found] = machinesIn(folder);
      assert.ok(found);
      return found;
    });
    const identity = (await kube.find<LeaseObject>(LEASE))?.spec?.holderIdentity ?? '';
    const leader = operators.find((one) => one.stderr.some((line) => line.includes(identity)));
    assert.ok(leader);
    await leader.stop('SIGKILL');
    await boot(t, folder, machine);
    await eventually(CONVERGE_MS, 'the page is there', async () => {
      const answer = await fetch(`http://${MACHINE_HOST}:${port}`);
      assert.equal(await answer.text(), 'mine');
    });
    await eventually(CONVERGE_MS, 'the Service has the address', async () => {
      const { status } = await kube.send<ServiceObject>(SERVICE);
      assert.equal(status?.loadBalancer?.ingress?.[0]?.ip, MACHINE_HOST);
    });
    assert.deepEqual(
      machinesIn(folder).map(({ id }) => id),
      [machine.id],
    );
  });

  await t.test('is one again after an order of before was listed late', async () => {
    const [machine] = machinesIn(folder);
    assert.ok(machine);
    const late: FolderMachine = { id: '0-late', tag: machine.tag, token: machine.token };
    writeFileSync(path.join(folder, `${late.id}.machine`), JSON.stringify(late));
    assert.equal(machinesIn(folder)[0]?.id, late.id, 'it comes first where nothing is known');
    await eventually(CONVERGE_MS, 'it has gone', async () => {
      assert.deepEqual(machinesIn(folder), [{ ...machine, address: MACHINE_HOST }]);
    });
  });

  await t.test('that cannot be removed is kept in mind until it can', async () => {
    writeFileSync(path.join(folder, 'hold'), 'HTTP 503 from the cloud');
    await kube.remove(SERVICE);
    const { message } = await says(kube, 'ProviderRefused');
    assert.equal(message, 'HTTP 503 from the cloud');
    assert.equal(machinesIn(folder).length, 1);
    rmSync(path.join(folder, 'hold'));
    await eventually(CONVERGE_MS, 'the machine has gone', async () => {
      assert.deepEqual(machinesIn(folder), []);
      const { items } = await kube.send<List<ExitNodeObject>>(EXIT_NODES);
      assert.deepEqual(
        items.map(({ metadata }) => metadata.name),
        ['own'],
      );
    });
    const secrets = await kube.send<List<SecretObject>>('/api/v1/namespaces/sluiceway/secrets');
    assert.deepEqual(
      secrets.items.map(({ metadata }) => metadata.name),
      ['cloud'],
    );
  });
});
