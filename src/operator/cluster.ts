// The Kubernetes API as the operator uses it: objects as JSON, by kind and name.
//
// Invariant: every request has a deadline and every answer a bound; what the API refuses is a
// KubeError with its status and its words; objects pass through unchanged, as generated models
// would drop fields that are newer than they are. Must not know: what objects mean. With watch.ts
// the only file that knows @kubernetes/client-node.

import type { IncomingMessage } from 'node:http';
import type { RequestOptions } from 'node:https';
import { bufferFromFileOrString, KubeConfig } from '@kubernetes/client-node';
import { systemClock } from '../base/clock.ts';
import { attemptsWithin } from '../base/dial-attempts.ts';
import { ConfigError, SluicewayError } from '../base/errors.ts';
import { describeFileFailure } from '../base/file-failure.ts';
import { http, https } from '../base/http-modules.ts';
import { ExecCredential, type RunProgram, readProgram } from './exec-credential.ts';
import type { KubeObject } from './objects.ts';
import { type Kind, listPath, type ObjectRef, objectPath, RESOURCES } from './resources.ts';

const TIMEOUT_MS = 20_000;
/** Guess: a page of 500 objects of 32 KiB. */
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const PAGE_OBJECTS = 500;
const FIELD_MANAGER = 'sluiceway-operator';

/** What the API answered in place of success. */
export class KubeError extends SluicewayError {
  override name = 'KubeError';
  /** HTTP status. */
  readonly answered: number;

  constructor(answered: number, detail: string) {
    super('SLW_KUBE_REFUSED', detail);
    this.answered = answered;
  }
}

export interface ListAnswer<T> {
  readonly items: T[];
  readonly metadata: { readonly resourceVersion: string };
}

export interface ListScope {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

type ContentType =
  | 'application/json'
  | 'application/apply-patch+yaml'
  | 'application/merge-patch+json'
  | 'application/strategic-merge-patch+json';

interface Call {
  readonly method: 'GET' | 'POST' | 'PATCH' | 'PUT' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | undefined>>;
  readonly body?: object;
  readonly contentType?: ContentType;
}

/** Of which watches, too, always verify whom they talk to. */
class VerifyingConfig extends KubeConfig {
  override createDispatcherOptions(
    ...[cluster, options]: Parameters<KubeConfig['createDispatcherOptions']>
  ): ReturnType<KubeConfig['createDispatcherOptions']> {
    return super.createDispatcherOptions(cluster, { ...options, rejectUnauthorized: true });
  }
}

export class Cluster {
  readonly config: KubeConfig;
  /** Undefined: the kubeconfig itself says who we are. */
  readonly #credential: ExecCredential | undefined;
  /** Makes the agent of calls, for what is presented now. */
  #agents: { readonly pems: string; readonly config: KubeConfig } | undefined;

  constructor(config: KubeConfig, credential?: ExecCredential) {
    this.config = config;
    this.#credential = credential;
  }

  /**
   * From a file, or as kubectl and pods find it, with what runs the program that it may name.
   * Throws when it cannot be read.
   */
  static open(kubeconfig: string | undefined, run?: RunProgram): Cluster {
    const config = new VerifyingConfig();
    let credential: ExecCredential | undefined;
    try {
      if (kubeconfig === undefined) config.loadFromDefault();
      else config.loadFromFile(kubeconfig);
      const found = config.getCurrentCluster();
      if (!found) throw new Error('it has no current context');
      if (found.skipTLSVerify) {
        throw new Error(`cluster ${found.name} skips the check of certificates; give it a CA`);
      }
      credential = takeProgram(config, run);
    } catch (cause) {
      const where = kubeconfig === undefined ? 'no --kubeconfig is given' : kubeconfig;
      const why = describeFileFailure(cause);
      throw new ConfigError([`--kubeconfig: ${where}: ${why}`], { cause });
    }
    return new Cluster(config, credential);
  }

  /** Of the current context; undefined when that names none. */
  get contextNamespace(): string | undefined {
    return this.config.getContextObject(this.config.getCurrentContext())?.namespace;
  }

  get server(): string {
    return this.config.getCurrentCluster()?.server ?? '';
  }

  async get<T extends KubeObject>(ref: ObjectRef): Promise<T | undefined> {
    try {
      return (await this.#call({ method: 'GET', path: objectPath(ref) })) as T;
    } catch (error) {
      if (error instanceof KubeError && error.answered === 404) return undefined;
      throw error;
    }
  }

  /** All of them, page by page. */
  async list<T extends KubeObject>(kind: Kind, scope: ListScope): Promise<ListAnswer<T>> {
    const { namespace, ...selectors } = scope;
    const path = listPath(kind, namespace);
    const items: T[] = [];
    for (let next: string | undefined = ''; ; ) {
      const query = { ...selectors, limit: String(PAGE_OBJECTS), continue: next || undefined };
      const page = (await this.#call({ method: 'GET', path, query })) as ListAnswer<T> & {
        readonly metadata: { readonly continue?: string };
      };
      // Items of a list do not say what they are.
      const { kind: name, apiVersion } = RESOURCES[kind];
      for (const item of page.items) items.push({ ...item, kind: name, apiVersion });
      next = page.metadata.continue;
      if (!next) return { items, metadata: page.metadata };
    }
  }

  async create<T extends KubeObject>(object: T): Promise<T> {
    const { kind, metadata } = object;
    const path = listPath(kind as Kind, metadata.namespace);
    return (await this.#call({ method: 'POST', path, body: object })) as T;
  }

  /** As it is given, refused when its resourceVersion is not the newest. */
  async replace<T extends KubeObject>(object: T): Promise<T> {
    return (await this.#call({
      method: 'PUT',
      path: objectPath(refOf(object)),
      body: object,
    })) as T;
  }

  /** Server-side: fields that we applied before and that are not there now go. */
  async apply<T extends KubeObject>(object: T): Promise<T> {
    const contentType = 'application/apply-patch+yaml';
    const query = { fieldManager: FIELD_MANAGER, force: 'true' };
    const path = objectPath(refOf(object));
    return (await this.#call({ method: 'PATCH', path, query, body: object, contentType })) as T;
  }

  async setFinalizers(
    ref: ObjectRef,
    finalizers: readonly string[],
    resourceVersion: string | undefined,
  ): Promise<KubeObject> {
    const body = { metadata: { finalizers, resourceVersion } };
    return (await this.#patch(objectPath(ref), body, 'application/merge-patch+json')) as KubeObject;
  }

  /** Whoever owns them. */
  async dropFields(
    ref: ObjectRef,
    fields: readonly string[],
    resourceVersion: string | undefined,
  ): Promise<KubeObject> {
    const spec = Object.fromEntries(fields.map((name) => [name, null]));
    const body = { metadata: { resourceVersion }, spec };
    return (await this.#patch(objectPath(ref), body, 'application/merge-patch+json')) as KubeObject;
  }

  async writeStatus(
    ref: ObjectRef,
    status: object,
    resourceVersion: string | undefined,
  ): Promise<KubeObject> {
    // What is defined by a definition of ours merges as plain JSON alone.
    const contentType =
      ref.kind === 'Service'
        ? 'application/strategic-merge-patch+json'
        : 'application/merge-patch+json';
    const body = { metadata: { resourceVersion }, status };
    return (await this.#patch(`${objectPath(ref)}/status`, body, contentType)) as KubeObject;
  }

  /** Nothing to do for one that is gone, or another by now. Deployments stay while pods do. */
  async remove(ref: ObjectRef, uid: string | undefined): Promise<void> {
    const propagationPolicy = ref.kind === 'Deployment' ? 'Foreground' : 'Background';
    const body = {
      ...{ kind: 'DeleteOptions', apiVersion: 'v1', propagationPolicy },
      ...(uid === undefined ? {} : { preconditions: { uid } }),
    };
    try {
      await this.#call({ method: 'DELETE', path: objectPath(ref), body });
    } catch (error) {
      const isGone = error instanceof KubeError && [404, 409].includes(error.answered);
      if (!isGone) throw error;
    }
  }

  #patch(path: string, body: object, contentType: ContentType): Promise<unknown> {
    return this.#call({ method: 'PATCH', path, body, contentType });
  }

  async #call(call: Call): Promise<unknown> {
    const { method, path, query = {}, body, contentType = 'application/json' } = call;
    const base = this.server.endsWith('/') ? this.server.slice(0, -1) : this.server;
    const url = new URL(`${base}${path}`);
    for (const [name, value] of Object.entries(query)) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const text = body === undefined ? undefined : JSON.stringify(body);
    const options: RequestOptions = {
      method,
      // Said here, and for watches below, because the environment would otherwise decide.
      rejectUnauthorized: true,
      headers: {
        accept: 'application/json',
        'user-agent': FIELD_MANAGER,
        ...(text === undefined
          ? {}
          : { 'content-type': contentType, 'content-length': Buffer.byteLength(text) }),
      },
    };
    await applyTo(options, this.config);
    await applyTo(options, this.#agentsFor(options));
    try {
      return await exchange(url, options, text);
    } catch (error) {
      // A watch that is refused is followed by a call: a list.
      if (error instanceof KubeError && error.answered === 401) this.#credential?.refuse(options);
      throw error;
    }
  }

  /**
   * A config keeps the agent that it made first, and an agent its certificates, over those of a
   * request. Programs and files give new ones every few hours, so each has a config of its own,
   * which knows the way, with its proxies, but nobody's name. Watches have an agent each.
   */
  #agentsFor({ ca, cert, key }: RequestOptions): KubeConfig {
    const pems = [ca, cert, key].map(String).join('\n');
    if (this.#agents?.pems !== pems) {
      const config = new KubeConfig();
      const cluster = this.config.getCurrentCluster();
      if (cluster !== null) config.loadFromClusterAndUser(cluster, { name: '' });
      this.#agents = { pems, config };
    }
    return this.#agents.config;
  }
}

/** The library would wait for ever for a program, and run it once for each that asks. */
function takeProgram(config: KubeConfig, run: RunProgram | undefined): ExecCredential | undefined {
  const user = config.getCurrentUser();
  const program = readProgram(user?.exec ?? user?.authProvider?.config?.exec, () =>
    describeCluster(config),
  );
  if (user === null || program === undefined) return undefined;
  if (run === undefined) throw new Error(`user ${user.name} has a program, and none is run here`);
  const credential = new ExecCredential(program, run, systemClock);
  const { exec: _, authProvider: __, ...plain } = user;
  config.users = config.users.map((one) => (one === user ? plain : one));
  config.addAuthenticator({
    isAuthProvider: ({ name }) => name === user.name,
    applyAuthentication: (_user, options) => credential.present(options),
  });
  return credential;
}

/** For a program, which gets no files; of extensions, with its `config`, the library keeps none. */
function describeCluster(config: KubeConfig): object {
  const { server, tlsServerName, proxyUrl, caFile, caData } = config.getCurrentCluster() ?? {};
  return {
    server,
    'tls-server-name': tlsServerName,
    'certificate-authority-data': bufferFromFileOrString(caFile, caData)?.toString('base64'),
    'proxy-url': proxyUrl,
  };
}

/** The library's type leaves out that what is optional may be undefined. */
function applyTo(options: RequestOptions, config: KubeConfig): Promise<void> {
  return config.applyToHTTPSOptions(options as Parameters<KubeConfig['applyToHTTPSOptions']>[0]);
}

function refOf({ kind, metadata }: KubeObject): ObjectRef {
  return { kind: kind as Kind, namespace: metadata.namespace, name: metadata.name };
}

function exchange(url: URL, options: RequestOptions, text: string | undefined): Promise<unknown> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const send = url.protocol === 'https:' ? https.request : http.request;
  return new Promise((resolve, reject) => {
    const fail = (cause: Error): void => {
      const why = signal.aborted ? 'no answer in time' : cause.message || 'no connection';
      const detail = `cannot reach the Kubernetes API at ${url.origin}: ${why}`;
      reject(new SluicewayError('SLW_KUBE_UNREACHABLE', detail, { cause }));
    };
    const request = send(url, { ...options, ...attemptsWithin(TIMEOUT_MS), signal });
    request.on('error', fail);
    request.on('response', (response) => {
      response.on('error', fail);
      readText(response, (answer) => {
        try {
          resolve(
            readAnswer(response.statusCode ?? 0, answer, `${options.method} ${url.pathname}`),
          );
        } catch (error) {
          reject(error);
        }
      });
    });
    request.end(text);
  });
}

function readText(response: IncomingMessage, onText: (text: string) => void): void {
  const pieces: Buffer[] = [];
  let length = 0;
  response.on('data', (piece: Buffer) => {
    length += piece.length;
    if (length > ANSWER_BYTES_MAX) response.destroy(new Error('the answer is too large'));
    else pieces.push(piece);
  });
  response.on('end', () => onText(Buffer.concat(pieces).toString('utf8')));
}

function readAnswer(status: number, text: string, what: string): unknown {
  let answer: unknown;
  try {
    answer = JSON.parse(text);
  } catch {
    // The API always answers in JSON; something before it may not.
    answer = undefined;
  }
  if (status >= 200 && status < 300 && answer !== undefined) return answer;
  const { message } = (answer ?? {}) as { readonly message?: unknown };
  const said = typeof message === 'string' ? message : 'no reason given';
  throw new KubeError(status, `${what} was answered ${status}: ${said}`);
}
