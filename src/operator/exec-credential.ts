// Who we are to the Kubernetes API where a program says so: `exec` of a user of a kubeconfig
// (kubernetes.io/docs/reference/access-authn-authz/authentication, client-go credential plugins).
//
// Invariant: one run at a time, whoever asks meanwhile waits for that; what a program says holds
// until it says that it ends, or until the API knows it no more; every failure names the program.
// Must not know: how a program is run, for how long, or who asks.

import { type Clock, wallMsOf } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';

/** As a kubeconfig names it. */
export interface CredentialProgram {
  readonly command: string;
  readonly args: readonly string[];
  /** Beside those of this process. */
  readonly env: Readonly<Record<string, string>>;
}

/** Gives what it has printed; rejects, in words that follow its name, when it fails or is late. */
export type RunProgram = (program: CredentialProgram) => Promise<string>;

/** What of a credential goes into a request. */
interface Status {
  readonly token?: string;
  readonly clientCertificateData?: string;
  readonly clientKeyData?: string;
  readonly expirationTimestamp?: string;
}

interface Presenting {
  cert?: unknown;
  key?: unknown;
  headers?: unknown;
}

/** Where a program finds what is asked of it; some do not start without it. */
const INFO_VARIABLE = 'KUBERNETES_EXEC_INFO';
const API_VERSION = 'client.authentication.k8s.io/v1';

/** Undefined: the user has none. `describeCluster` gives the cluster as programs are told of it. */
export function readProgram(
  exec: unknown,
  describeCluster: () => object,
): CredentialProgram | undefined {
  if (typeof exec !== 'object' || exec === null) return undefined;
  const fields = exec as Readonly<Record<string, unknown>>;
  const { command, args, env, apiVersion = API_VERSION, provideClusterInfo } = fields;
  const cluster = provideClusterInfo === true ? { cluster: describeCluster() } : {};
  // Nobody is there to answer a question.
  const info = { kind: 'ExecCredential', apiVersion, spec: { ...cluster, interactive: false } };
  const pairs = (Array.isArray(env) ? env : []) as readonly { name: unknown; value: unknown }[];
  return {
    command: typeof command === 'string' ? command : '',
    args: (Array.isArray(args) ? args : []).map(String),
    env: {
      ...Object.fromEntries(pairs.map(({ name, value }) => [String(name), String(value)])),
      [INFO_VARIABLE]: JSON.stringify(info),
    },
  };
}

export class ExecCredential {
  readonly #program: CredentialProgram;
  readonly #run: RunProgram;
  readonly #clock: Clock;
  #last: Status | undefined;
  #running: Promise<Status> | undefined;

  constructor(program: CredentialProgram, run: RunProgram, clock: Clock) {
    this.#program = program;
    this.#run = run;
    this.#clock = clock;
  }

  /** Rejects with SLW_KUBE_UNREACHABLE. */
  async present(options: Presenting): Promise<void> {
    const { token, clientCertificateData: cert, clientKeyData: key } = await this.#current();
    if (cert !== undefined) options.cert = cert;
    if (key !== undefined) options.key = key;
    if (token === undefined) return;
    options.headers = { ...(options.headers as object), Authorization: bearer(token) };
  }

  /**
   * The API did not know who asked with `options` (401): a credential without an end ends so. What
   * was said since, to another who asked, holds on.
   */
  refuse({ cert, headers }: Presenting): void {
    const { token, clientCertificateData } = this.#last ?? {};
    const { Authorization: shown } = (headers ?? {}) as { readonly Authorization?: unknown };
    const isShown = token === undefined ? cert === clientCertificateData : shown === bearer(token);
    if (isShown) this.#last = undefined;
  }

  async #current(): Promise<Status> {
    if (this.#last !== undefined && this.#holds(this.#last)) return this.#last;
    this.#running ??= this.#ask().finally(() => {
      this.#running = undefined;
    });
    return await this.#running;
  }

  #holds({ expirationTimestamp: end }: Status): boolean {
    return end === undefined || wallMsOf(end) > this.#clock.wallMs();
  }

  async #ask(): Promise<Status> {
    try {
      const text = await this.#run(this.#program);
      this.#last = readStatus(text);
      return this.#last;
    } catch (cause) {
      const which = `the credential program '${this.#program.command}' of the kubeconfig`;
      const detail = `${which} ${(cause as Error).message}`;
      throw new SluicewayError('SLW_KUBE_UNREACHABLE', detail, { cause });
    }
  }
}

function bearer(token: string): string {
  return `Bearer ${token}`;
}

function readStatus(text: string): Status {
  let status: unknown;
  try {
    ({ status } = JSON.parse(text) as { readonly status?: unknown });
  } catch {
    // Said below, without what it printed, which may be a secret.
  }
  if (typeof status === 'object' && status !== null) return status;
  throw new Error('printed no ExecCredential with a status');
}
