// Machines of exit nodes: found, ordered and removed at the provider that the ExitNode names.
//
// Invariant: the tag is made of the object's uid, so that it is the same for every operator and for
// nothing else; credentials and tokens are read when they are needed and kept nowhere; a provider
// that does not answer in time has refused. Must not know: any cloud.

import { SluicewayError } from '../base/errors.ts';
import { Masked } from '../base/masked.ts';
import type { Cluster } from './cluster.ts';
import { MACHINE_CONTROL_PORT, tokenSecretOf } from './exit-node-plan.ts';
import type { Machine, MachineProvider, OpenProvider } from './machine.ts';
import type { ExitNodeObject, SecretObject } from './objects.ts';

/** Clouds take their time to answer, and seldom more than this. Guess. */
const ANSWER_WITHIN_MS = 60_000;
const REFUSAL_LENGTH_MAX = 300;
/** Guess: more machines than anybody orders at once. */
const REFUSALS_MAX = 1000;

export interface MachineShopOptions {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly openProvider: OpenProvider;
}

export interface Finding {
  readonly machine: Machine | 'none' | 'unknown';
  readonly refusal: string | undefined;
}

export class MachineShop {
  readonly #options: MachineShopOptions;
  /** What providers said last, by uid of the ExitNode. */
  readonly #refusals = new Map<string, string>();

  constructor(options: MachineShopOptions) {
    this.#options = options;
  }

  async find(exitNode: ExitNodeObject): Promise<Finding> {
    try {
      const provider = await this.#open(exitNode);
      const id = exitNode.status?.machine?.id || undefined;
      const found = await inTime(provider.find(tagOf(exitNode), id));
      return { machine: found ?? 'none', refusal: this.#refusals.get(uidOf(exitNode)) };
    } catch (error) {
      return { machine: 'unknown', refusal: refusalOf(error) };
    }
  }

  async create(exitNode: ExitNodeObject): Promise<void> {
    await this.#remembering(exitNode, async (provider) => {
      const { provision } = exitNode.spec;
      const secret = tokenSecretOf(exitNode);
      const token = (await this.#readSecret(secret?.name ?? '')).get(secret?.key ?? '');
      if (provision === undefined || token === undefined) throw new Error('it has no token yet');
      const order = { tag: tagOf(exitNode), provision, token, controlPort: MACHINE_CONTROL_PORT };
      await provider.create(order);
    });
  }

  async remove(exitNode: ExitNodeObject): Promise<void> {
    await this.#remembering(exitNode, (provider) => provider.remove(tagOf(exitNode)));
  }

  /** Is there such a secret, with such a key? */
  async hasSecret(name: string, key: string): Promise<boolean> {
    return (await this.#readSecret(name)).has(key);
  }

  async #remembering(
    exitNode: ExitNodeObject,
    act: (provider: MachineProvider) => Promise<unknown>,
  ): Promise<void> {
    const uid = uidOf(exitNode);
    try {
      await inTime(act(await this.#open(exitNode)));
      this.#refusals.delete(uid);
    } catch (error) {
      // Starts anew rather than grow, should objects vanish while they are in trouble.
      if (this.#refusals.size >= REFUSALS_MAX) this.#refusals.clear();
      this.#refusals.set(uid, refusalOf(error));
      throw error;
    }
  }

  async #open({ spec }: ExitNodeObject): Promise<MachineProvider> {
    const { provision } = spec;
    if (provision === undefined) throw new Error('it has no provision');
    const { credentialsSecret, provider } = provision;
    const credentials =
      credentialsSecret === undefined ? new Map() : await this.#readSecret(credentialsSecret);
    if (credentialsSecret !== undefined && credentials.size === 0) {
      throw new Error(`there is no secret ${credentialsSecret} in ${this.#options.namespace}`);
    }
    const opened = this.#options.openProvider(provision, credentials);
    if (opened === undefined) throw new Error(`the provider '${provider}' is not known`);
    return opened;
  }

  /** Empty for one that is not there. */
  async #readSecret(name: string): Promise<ReadonlyMap<string, Masked>> {
    const { cluster, namespace } = this.#options;
    const found = await cluster.get<SecretObject>({ kind: 'Secret', namespace, name });
    const entries = Object.entries(found?.data ?? {}).filter(([, value]) => value !== '');
    return new Map(
      entries.map(([key, value]) => [key, new Masked(Buffer.from(value, 'base64').toString())]),
    );
  }
}

function tagOf(exitNode: ExitNodeObject): string {
  return `sluiceway-${uidOf(exitNode)}`;
}

function uidOf({ metadata }: ExitNodeObject): string {
  return metadata.uid ?? '';
}

async function inTime<T>(answer: Promise<T>): Promise<T> {
  const signal = AbortSignal.timeout(ANSWER_WITHIN_MS);
  return await Promise.race([
    answer,
    new Promise<never>((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(new SluicewayError('SLW_TIMEOUT', 'the provider did not answer in time'));
      });
    }),
  ]);
}

/** In one line. */
function refusalOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.replaceAll(/\s/g, ' ').slice(0, REFUSAL_LENGTH_MAX);
}
