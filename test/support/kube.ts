// A Kubernetes control plane of a test: etcd and kube-apiserver, nothing else. No kubelet, no
// controllers: what those would do a test does itself.
//
// Invariant: both listen on loopback alone, at free ports, and are ended with the test; the API
// asks for credentials and applies RBAC, as clusters do. Must not know: what is tested.

import { execFileSync } from 'node:child_process';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { parseAllDocuments } from 'yaml';
import type { KubeObject } from '../../src/operator/objects.ts';
import { eventually } from './deadline.ts';
import { freePort, freePorts } from './free-port.ts';
import { leafOf, newAuthority } from './private-pki.ts';
import { startProcess, type TestProcess } from './process.ts';
import { requirePrograms, scratchFolder, skipOrFail } from './programs.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const BUILD = 'test/fixtures/kube/build.sh';
const START_MS = 120_000;
const HOST = '127.0.0.1';
/** Where each kind is that the files of docker/operator hold. */
const PLURALS: Readonly<Record<string, string>> = {
  CustomResourceDefinition: 'customresourcedefinitions',
  Namespace: 'namespaces',
  ServiceAccount: 'serviceaccounts',
  ClusterRole: 'clusterroles',
  ClusterRoleBinding: 'clusterrolebindings',
  Role: 'roles',
  RoleBinding: 'rolebindings',
  MutatingWebhookConfiguration: 'mutatingwebhookconfigurations',
  Secret: 'secrets',
  Service: 'services',
  Deployment: 'deployments',
  Tunnel: 'tunnels',
  ExitNode: 'exitnodes',
};

/** What the API answers to a list. */
export interface List<T> {
  readonly items: readonly T[];
}

export interface SendOptions {
  readonly method?: 'GET' | 'POST' | 'PATCH' | 'DELETE';
  readonly body?: object;
  readonly type?: string;
  readonly accept?: string;
}

export class Kube {
  readonly port: number;
  /** A file with all rights. */
  readonly adminConfig: string;
  /** A file with the rights that docker/operator/rbac.yaml gives. */
  readonly operatorConfig: string;
  /** The token in that file. */
  readonly operatorToken: string;
  /** Of its certificate, PEM. */
  readonly ca: string;
  readonly #folder: string;
  readonly #adminToken: string;
  readonly #startServer: () => TestProcess;
  #server: TestProcess;

  constructor(parts: {
    readonly port: number;
    readonly folder: string;
    readonly ca: string;
    readonly tokens: { readonly admin: string; readonly operator: string };
    readonly startServer: () => TestProcess;
  }) {
    this.port = parts.port;
    this.#folder = parts.folder;
    this.ca = parts.ca;
    this.#adminToken = parts.tokens.admin;
    this.operatorToken = parts.tokens.operator;
    this.#startServer = parts.startServer;
    this.#server = parts.startServer();
    this.adminConfig = this.configAt(parts.port, parts.tokens.admin);
    this.operatorConfig = this.configAt(parts.port, parts.tokens.operator);
  }

  /** A kubeconfig for another way to the API, such as a relay. */
  configAt(port: number, token: string): string {
    const file = path.join(this.#folder, `kubeconfig-${port}-${token.slice(0, 6)}`);
    const lines = [
      ...['apiVersion: v1', 'kind: Config', 'current-context: test'],
      `clusters: [{name: test, cluster: {server: "https://${HOST}:${port}", certificate-authority-data: ${Buffer.from(this.ca).toString('base64')}}}]`,
      `users: [{name: test, user: {token: ${token}}}]`,
      'contexts: [{name: test, context: {cluster: test, user: test}}]',
    ];
    writeFileSync(file, `${lines.join('\n')}\n`, { mode: 0o600 });
    return file;
  }

  async ready(): Promise<void> {
    await eventually(START_MS, 'the API server is ready', async () => {
      await this.send('/readyz');
    });
  }

  /** Ends the API server at once; etcd keeps everything. */
  async killServer(): Promise<void> {
    await this.#server.stop('SIGKILL');
  }

  async startAgain(): Promise<void> {
    this.#server = this.#startServer();
    await this.ready();
  }

  /** The answer of the API, or an error with its words. */
  async send<T = unknown>(target: string, options: SendOptions = {}): Promise<T> {
    const { status, text } = await this.#exchange(target, options);
    if (status >= 300) throw new Error(`${options.method ?? 'GET'} ${target}: ${status} ${text}`);
    return (text.startsWith('{') ? JSON.parse(text) : text) as T;
  }

  /** Undefined for what is not there. */
  async find<T>(target: string): Promise<T | undefined> {
    const { status, text } = await this.#exchange(target, {});
    if (status === 404) return undefined;
    if (status >= 300) throw new Error(`GET ${target}: ${status} ${text}`);
    return JSON.parse(text) as T;
  }

  async apply<T extends KubeObject>(object: T): Promise<T> {
    return await this.send<T>(`${pathOf(object)}?fieldManager=test&force=true`, {
      ...{ method: 'PATCH', body: object, type: 'application/apply-patch+yaml' },
    });
  }

  async patch(target: string, body: object): Promise<void> {
    await this.send(target, { method: 'PATCH', body, type: 'application/merge-patch+json' });
  }

  async remove(target: string): Promise<void> {
    await this.send(target, { method: 'DELETE' });
  }

  /** Every document of a YAML file of the repository. */
  async applyFile(file: string): Promise<void> {
    for (const document of parseAllDocuments(readFileSync(path.join(ROOT, file), 'utf8'))) {
      await this.apply(document.toJS() as KubeObject);
    }
  }

  #exchange(
    target: string,
    { method = 'GET', body, type = 'application/json', accept = 'application/json' }: SendOptions,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const headers = { authorization: `Bearer ${this.#adminToken}`, 'content-type': type, accept };
    return new Promise((resolve, reject) => {
      const sent = request(
        { host: HOST, port: this.port, path: target, method, headers, ca: this.ca, agent: false },
        (response) => {
          let text = '';
          response.setEncoding('utf8');
          response.on('data', (piece: string) => {
            text += piece;
          });
          response.on('error', reject);
          response.on('end', () => resolve({ status: response.statusCode ?? 0, text }));
        },
      );
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }
}

export function pathOf({ apiVersion, kind, metadata }: KubeObject): string {
  const root = apiVersion.includes('/') ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const { namespace, name } = metadata;
  const within = namespace === undefined ? '' : `/namespaces/${namespace}`;
  return `${root}${within}/${PLURALS[kind]}/${name}`;
}

/** With the definitions and roles of docker/operator; undefined: skipped, with the reason. */
export async function startKube(t: TestContext): Promise<Kube | undefined> {
  const programs = requirePrograms(t, ['etcd']);
  if (programs === undefined) return undefined;
  const program = findServer();
  if (program === undefined) {
    skipOrFail(t, `kube-apiserver is not built: run ${BUILD}, which takes some minutes`);
    return undefined;
  }
  const folder = scratchFolder(t);
  const etcd = await startEtcd(t, programs.etcd, folder);
  const port = await freePort();
  const authority = await newAuthority();
  const leaf = await leafOf(authority, { names: [HOST, 'localhost'] });
  const { privateKey, publicKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const tokens = { admin: newToken(), operator: newToken() };
  const account = 'system:serviceaccount:sluiceway:sluiceway-operator';
  const write = (name: string, text: string): string => {
    const file = path.join(folder, name);
    writeFileSync(file, text, { mode: 0o600 });
    return file;
  };
  const args = [
    `--etcd-servers=${etcd}`,
    ...[`--bind-address=${HOST}`, `--advertise-address=${HOST}`, `--secure-port=${port}`],
    `--tls-cert-file=${write('api.crt', leaf.cert)}`,
    `--tls-private-key-file=${write('api.key', leaf.key)}`,
    `--service-account-issuer=https://${HOST}:${port}`,
    `--service-account-signing-key-file=${write('accounts.key', privateKey)}`,
    `--service-account-key-file=${write('accounts.pub', publicKey)}`,
    '--service-cluster-ip-range=10.96.0.0/16',
    '--authorization-mode=RBAC',
    '--anonymous-auth=false',
    `--token-auth-file=${write(
      'tokens.csv',
      `${tokens.admin},admin,1,"system:masters"\n${tokens.operator},${account},2,"system:serviceaccounts,system:serviceaccounts:sluiceway"\n`,
    )}`,
    // There is nobody who would give pods and namespaces their service accounts.
    '--disable-admission-plugins=ServiceAccount',
    '--max-requests-inflight=200',
  ];
  const startServer = (): TestProcess =>
    startProcess(t, { name: 'kube-apiserver', command: program, args, endSignal: 'SIGKILL' });
  const kube = new Kube({ port, folder, ca: authority.cert, tokens, startServer });
  await kube.ready();
  await kube.applyFile('docker/operator/rbac.yaml');
  await kube.applyFile('docker/operator/crds.yaml');
  await eventually(START_MS, 'the definitions are served', async () => {
    await kube.send('/apis/sluiceway.dev/v1alpha1/exitnodes');
    await kube.send('/apis/sluiceway.dev/v1alpha1/tunnels');
  });
  return kube;
}

/** The script says where it is, and would build it: so it is asked only when it is there. */
function findServer(): string | undefined {
  const goMod = readFileSync(path.join(ROOT, path.dirname(BUILD), 'go.mod'), 'utf8');
  const release = /^require k8s\.io\/kubernetes (\S+)$/m.exec(goMod)?.[1];
  if (!existsSync(path.join(ROOT, `.cache/kube/kube-apiserver-${release}`))) return undefined;
  return execFileSync(path.join(ROOT, BUILD), { encoding: 'utf8' }).trim();
}

async function startEtcd(t: TestContext, command: string, folder: string): Promise<string> {
  const first = await freePorts(2);
  const url = `http://${HOST}:${first}`;
  const peer = `http://${HOST}:${first + 1}`;
  const etcd = startProcess(t, {
    name: 'etcd',
    command,
    args: [
      ...[`--data-dir=${path.join(folder, 'etcd')}`, '--unsafe-no-fsync', '--log-level=warn'],
      ...[`--listen-client-urls=${url}`, `--advertise-client-urls=${url}`],
      ...[`--listen-peer-urls=${peer}`, `--initial-advertise-peer-urls=${peer}`],
      ...[`--initial-cluster=default=${peer}`, '--log-outputs=stderr', '--logger=zap'],
    ],
    endSignal: 'SIGKILL',
  });
  await eventually(START_MS, `etcd answers\n${etcd.tail()}`, async () => {
    const answer = await fetch(`${url}/health`);
    if (!answer.ok) throw new Error(await answer.text());
  });
  return url;
}

function newToken(): string {
  return randomBytes(16).toString('hex');
}
