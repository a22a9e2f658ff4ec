// Runs the pods of clients as a node would: by the very arguments and secrets of the pod template,
// as a process in a mount namespace of its own, where cluster names lead to loopback.
//
// Invariant: one process for each generation of a Deployment, the older one ended when the newer is
// ready, which its own probe says and nobody else; what runs is told to the API, as controllers do.
// Needs root. Must not know: the operator, or what a tunnel is.

import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { kubeTime } from '../../src/operator/conditions.ts';
import type { DeploymentObject, SecretObject } from '../../src/operator/objects.ts';
import { undoAfter } from './cleanup.ts';
import { freePort } from './free-port.ts';
import type { Kube, List } from './kube.ts';
import { startProcess, type TestProcess } from './process.ts';
import { requirePrograms, scratchFolder, skipOrFail } from './programs.ts';
import { ENTRY, environment } from './tunnel.ts';
import { startUdp } from './udp.ts';

const LOOK_AGAIN_MS = 150;
const DEPLOYMENTS = '/apis/apps/v1/namespaces/sluiceway/deployments';
/** Where Services of the test's cluster are. */
const SERVICE_HOST = '127.0.0.2';
/** In the namespace: an empty /run with the secrets, and names of the cluster. */
const POD = `set -e
mount -t tmpfs tmpfs /run
mkdir -p "$2"
cp "$1"/secret/* "$2"/
mount --bind "$1"/hosts /etc/hosts
shift 2
exec "$@"`;

interface PodSpec {
  readonly containers: readonly [
    {
      readonly args: readonly string[];
      readonly readinessProbe: { readonly httpGet: { readonly path: string } };
      readonly volumeMounts: readonly [{ readonly mountPath: string }];
    },
  ];
  readonly volumes: readonly [
    {
      readonly secret: {
        readonly secretName: string;
        readonly items: readonly { readonly key: string; readonly path: string }[];
      };
    },
  ];
}

interface Pod {
  readonly generation: number;
  readonly process: TestProcess;
  /** Where its probe asks; each has loopback in common with all others. */
  readonly readyUrl: string;
}

interface Rollout {
  readonly newest: Pod;
  /** That served before, until the newest one does. */
  readonly former: Pod | undefined;
  /** As the API was told. */
  readonly told: string;
}

/** The address that all pods have for themselves. */
const METRICS_ARG = '--metrics-addr=[::]:';
const PROBE_TIMEOUT_MS = 2_000;

export class Kubelet {
  readonly #t: TestContext;
  readonly #kube: Kube;
  readonly #unshare: string;
  readonly #folder: string;
  readonly #rollouts = new Map<string, Rollout>();
  #count = 0;
  #isEnding = false;

  constructor(t: TestContext, kube: Kube, unshare: string) {
    this.#t = t;
    this.#kube = kube;
    this.#unshare = unshare;
    this.#folder = scratchFolder(t);
  }

  /** Names of the Deployments that run. */
  get running(): readonly string[] {
    return [...this.#rollouts.keys()];
  }

  async run(): Promise<void> {
    while (!this.#isEnding) {
      try {
        await this.#look();
      } catch {
        // The API is away, or a Deployment went meanwhile: the next look says.
      }
      await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
    }
  }

  end(): void {
    this.#isEnding = true;
  }

  async #look(): Promise<void> {
    const { items } = await this.#kube.send<List<DeploymentObject>>(DEPLOYMENTS);
    const isGoing = ({ metadata }: DeploymentObject): boolean =>
      metadata.deletionTimestamp !== undefined;
    const wanted = new Map(
      items.filter((one) => !isGoing(one)).map((one) => [one.metadata.uid ?? '', one]),
    );
    for (const [uid, { newest, former }] of this.#rollouts) {
      if (wanted.has(uid)) continue;
      this.#rollouts.delete(uid);
      for (const pod of [newest, former]) await pod?.process.stop();
    }
    // Its pods have ended: nothing keeps it.
    for (const { metadata } of items.filter(isGoing)) {
      await this.#kube.patch(`${DEPLOYMENTS}/${metadata.name}`, { metadata: { finalizers: [] } });
    }
    for (const [uid, deployment] of wanted) await this.#bring(uid, deployment);
  }

  async #bring(uid: string, deployment: DeploymentObject): Promise<void> {
    const { generation = 0, name } = deployment.metadata;
    const before = this.#rollouts.get(uid);
    const rollout =
      before?.newest.generation === generation ? before : await this.#roll(deployment, before);
    this.#rollouts.set(uid, rollout);
    const isUp = await isReady(rollout.newest);
    if (isUp) await rollout.former?.process.stop();
    const former = isUp ? undefined : rollout.former;
    const ready = (isUp ? 1 : 0) + (former !== undefined && (await isReady(former)) ? 1 : 0);
    const counts = {
      ...{ replicas: former === undefined ? 1 : 2, updatedReplicas: 1 },
      ...{ readyReplicas: ready, availableReplicas: ready },
    };
    this.#rollouts.set(uid, { ...rollout, former });
    const told = JSON.stringify(counts);
    if (told === rollout.told) return;
    await this.#kube.patch(`${DEPLOYMENTS}/${name}/status`, {
      status: { observedGeneration: generation, ...counts, conditions: conditionsOf(counts) },
    });
    this.#rollouts.set(uid, { ...rollout, former, told });
  }

  /** The next pod beside one of those before it that serves; others make room. */
  async #roll(deployment: DeploymentObject, before: Rollout | undefined): Promise<Rollout> {
    const older = [before?.newest, before?.former].filter((pod) => pod !== undefined);
    let former: Pod | undefined;
    for (const pod of older) {
      if (former === undefined && (await isReady(pod))) former = pod;
      else await pod.process.stop();
    }
    return { newest: await this.#start(deployment), former, told: '' };
  }

  async #start({ metadata, spec }: DeploymentObject): Promise<Pod> {
    const { spec: pod } = spec.template as { readonly spec: PodSpec };
    const [{ args: given, volumeMounts, readinessProbe }] = pod.containers;
    const port = await freePort();
    const args = given.map((arg) =>
      arg.startsWith(METRICS_ARG) ? `--metrics-addr=127.0.0.1:${port}` : arg,
    );
    const [{ secret }] = pod.volumes;
    this.#count += 1;
    const folder = path.join(this.#folder, String(this.#count));
    mkdirSync(path.join(folder, 'secret'), { recursive: true });
    const found = await this.#kube.send<SecretObject>(
      `/api/v1/namespaces/sluiceway/secrets/${secret.secretName}`,
    );
    for (const { key, path: file } of secret.items) {
      const text = Buffer.from(found.data?.[key] ?? '', 'base64');
      writeFileSync(path.join(folder, 'secret', file), text);
    }
    const names = args.flatMap((arg) => arg.match(/[a-z0-9-]+\.[a-z0-9-]+\.svc/gu) ?? []);
    const lines = ['127.0.0.1 localhost', ...names.map((name) => `${SERVICE_HOST} ${name}`)];
    writeFileSync(path.join(folder, 'hosts'), `${lines.join('\n')}\n`);
    const { SLUICEWAY_TOKEN: _ours, ...env } = environment();
    const running = startProcess(this.#t, {
      name: `pod ${metadata.name}`,
      command: this.#unshare,
      args: [
        ...['--mount', '--propagation', 'private', 'sh', '-c', POD, 'sh'],
        ...[folder, volumeMounts[0].mountPath, process.execPath, ENTRY, ...args],
      ],
      env,
      // Some are of tunnels that the exit node refuses.
      endsItself: true,
    });
    const readyUrl = `http://127.0.0.1:${port}${readinessProbe.httpGet.path}`;
    return { generation: metadata.generation ?? 0, process: running, readyUrl };
  }
}

async function isReady({ process: running, readyUrl }: Pod): Promise<boolean> {
  if (!running.isRunning) return false;
  const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
  return await fetch(readyUrl, { signal }).then(
    ({ status }) => status === 200,
    () => false,
  );
}

/** Both turn whenever a count does, which is often enough for who wants to know since when. */
function conditionsOf({ availableReplicas }: { readonly availableReplicas: number }) {
  const now = kubeTime(Date.now());
  const times = { lastUpdateTime: now, lastTransitionTime: now };
  return [
    { type: 'Available', status: availableReplicas > 0 ? 'True' : 'False', ...times },
    { type: 'Progressing', status: 'True', ...times },
  ];
}

/** A page at the place where the cluster has Services, saying which it is; gives its port. */
export async function servicePage(t: TestContext, text: string): Promise<number> {
  const port = await freePort();
  const server = http.createServer((_request, response) => response.end(text));
  await new Promise<void>((resolve) => server.listen(port, SERVICE_HOST, resolve));
  undoAfter(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return port;
}

/** Answers datagrams at the same place, with `text` before what it was sent. */
export async function serviceEcho(t: TestContext, port: number, text: string): Promise<void> {
  await startUdp(t, (datagram, say) => say(Buffer.from(`${text} ${datagram}`)), port, SERVICE_HOST);
}

/** Undefined: skipped, with the reason. */
export function startKubelet(t: TestContext, kube: Kube): Kubelet | undefined {
  const programs = requirePrograms(t, ['unshare']);
  if (programs === undefined) return undefined;
  if (process.getuid?.() !== 0) {
    skipOrFail(t, 'mount namespaces need root');
    return undefined;
  }
  const kubelet = new Kubelet(t, kube, programs.unshare);
  const done = kubelet.run();
  undoAfter(t, async () => {
    kubelet.end();
    await done;
  });
  return kubelet;
}
