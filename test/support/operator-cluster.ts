// A cluster with an exit node and two operators, and what tests ask of it: Services of the
// namespace `shop`, whether their ports are served, and what is said of them.
//
// Invariant: the operators have exactly the rights of rbac.yaml; clients run by their pod
// templates; the exit node has a private CA. Must not know: what is tested.

import assert from 'node:assert/strict';
import http from 'node:http';
import type { TestContext } from 'node:test';
import type {
  DeploymentObject,
  KubeObject,
  LeaseObject,
  ServiceObject,
} from '../../src/operator/objects.ts';
import { eventually } from './deadline.ts';
import { type Kube, type List, startKube } from './kube.ts';
import { type Kubelet, startKubelet } from './kubelet.ts';
import { startProcess, type TestProcess } from './process.ts';
import { scratchFolder } from './programs.ts';
import { ENTRY, environment, parseLine, startServer, TOKEN } from './tunnel.ts';

export const CONVERGE_MS = 60_000;
const SHOP = '/api/v1/namespaces/shop';
export const SERVICES = `${SHOP}/services`;
export const TUNNELS = '/apis/sluiceway.dev/v1alpha1/namespaces/shop/tunnels';
export const EXIT_NODES = '/apis/sluiceway.dev/v1alpha1/exitnodes';
export const CLIENTS = '/apis/apps/v1/namespaces/sluiceway/deployments';
const LEASE = '/apis/coordination.k8s.io/v1/namespaces/sluiceway/leases/sluiceway-operator';
export const CONDITION = 'sluiceway.dev/Ready';

export interface EventObject extends KubeObject {
  readonly reason: string;
  readonly type: string;
  readonly message: string;
  readonly involvedObject: { readonly kind: string; readonly name: string };
}

export interface Operator {
  readonly process: TestProcess;
  readonly identity: string;
  readonly metricsPort: number;
}

export interface Setting {
  readonly t: TestContext;
  readonly kube: Kube;
  readonly kubelet: Kubelet;
  readonly exit: { readonly controlPort: number; readonly httpPort: number };
  readonly operators: Operator[];
}

export function withPorts(...ports: readonly number[]): ServiceObject['spec'] & object {
  return {
    ...{ type: 'LoadBalancer', loadBalancerClass: 'sluiceway.dev/tunnel' },
    ports: ports.map((port) => ({ name: `p${port}`, port, protocol: 'TCP' })),
  };
}

export function service(
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

export async function startOperator(t: TestContext, config: string, more: readonly string[] = []) {
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

export async function get(
  port: number,
  headers: Readonly<Record<string, string>> = {},
): Promise<string> {
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

export const serves = (
  port: number,
  text: string,
  headers: Readonly<Record<string, string>> = {},
) =>
  eventually(CONVERGE_MS, `port ${port} serves ${text}`, async () => {
    assert.equal(await get(port, headers), text);
  });

export const isClosed = (port: number) =>
  eventually(CONVERGE_MS, `port ${port} is closed`, async () => {
    const answer = await get(port).catch((error: unknown) => String(error));
    assert.match(answer, /ECONNREFUSED/);
  });

export async function says(kube: Kube, name: string, reason: string): Promise<ServiceObject> {
  return await eventually(CONVERGE_MS, `Service ${name} says ${reason}`, async () => {
    const found = await kube.send<ServiceObject>(`${SERVICES}/${name}`);
    const condition = found.status?.conditions?.find(({ type }) => type === CONDITION);
    assert.equal(condition?.reason, reason, JSON.stringify(condition));
    return found;
  });
}

export async function eventsOf(kube: Kube, name: string): Promise<readonly EventObject[]> {
  const { items } = await kube.send<List<EventObject>>(`${SHOP}/events`);
  return items.filter(
    ({ involvedObject: { kind, name: of } }) => kind === 'Service' && of === name,
  );
}

export async function clientsOf(kube: Kube, tunnel: string): Promise<readonly DeploymentObject[]> {
  const { items } = await kube.send<List<DeploymentObject>>(CLIENTS);
  return items.filter(
    ({ metadata }) => metadata.annotations?.['sluiceway.dev/tunnel'] === `shop/${tunnel}`,
  );
}

export const isGone = (kube: Kube, tunnel: string) =>
  eventually(CONVERGE_MS, `nothing is left of ${tunnel}`, async () => {
    assert.equal(await kube.find(`${TUNNELS}/${tunnel}`), undefined);
    assert.deepEqual(await clientsOf(kube, tunnel), []);
  });

export async function holder(kube: Kube): Promise<string | undefined> {
  return (await kube.find<LeaseObject>(LEASE))?.spec?.holderIdentity;
}

export async function leader({ kube, operators }: Setting): Promise<Operator> {
  return await eventually(CONVERGE_MS, 'one operator leads', async () => {
    const identity = await holder(kube);
    const found = operators.find((one) => one.identity === identity && one.process.isRunning);
    assert.ok(found, `${identity} is none that runs`);
    return found;
  });
}

export async function startCluster(t: TestContext): Promise<Setting | undefined> {
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
