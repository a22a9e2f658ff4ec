// Runs the pods of clients as a node would: by the very arguments and secrets of the pod template,
// as a process in a mount namespace of its own, where cluster names lead to loopback.
//
// Invariant: one process for each generation of a Deployment, the older one ended when the newer
// serves; what runs is told to the API, as controllers do. Needs root. Must not know: the operator.

import { mkdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import type { TestContext } from 'node:test';
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
}

export class Kubelet {
  readonly #t: TestContext;
  readonly #kube: Kube;
  readonly #unshare: string;
  readonly #folder: string;
  readonly #pods = new Map<string, Pod>();
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
    return [...this.#pods.keys()];
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
    for (const [uid, pod] of this.#pods) {
      if (wanted.has(uid)) continue;
      this.#pods.delete(uid);
      await pod.process.stop();
    }
    // Its pods have ended: nothing keeps it.
    for (const { metadata } of items.filter(isGoing)) {
      await this.#kube.patch(`${DEPLOYMENTS}/${metadata.name}`, { metadata: { finalizers: [] } });
    }
    for (const [uid, deployment] of wanted) await this.#bring(uid, deployment);
  }

  async #bring(uid: string, deployment: DeploymentObject): Promise<void> {
    const { generation = 0, name } = deployment.metadata;
    const old = this.#pods.get(uid);
    if (old?.generation !== generation) {
      const process = await this.#start(deployment);
      this.#pods.set(uid, { generation, process });
      await old?.process.stop();
    }
    if (deployment.status?.observedGeneration === generation) return;
    const counts = { replicas: 1, updatedReplicas: 1, readyReplicas: 1, availableReplicas: 1 };
    await this.#kube.patch(`${DEPLOYMENTS}/${name}/status`, {
      status: { observedGeneration: generation, ...counts },
    });
  }

  async #start({ metadata, spec }: DeploymentObject): Promise<TestProcess> {
    const { spec: pod } = spec.template as { readonly spec: PodSpec };
    const [{ args, volumeMounts }] = pod.containers;
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
    const client = startProcess(this.#t, {
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
    await client.line('up', (line) => line.includes(' -> '), 30_000).catch(() => undefined);
    return client;
  }
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
