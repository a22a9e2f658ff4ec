// Machines of exit nodes: found, ordered and removed at the provider that the ExitNode names.
//
// Invariant: the tag is made of the object's uid, so that it is the same for every operator and for
// nothing else. One order of an exit node is under way at most, however long a provider takes; one
// that was refused is given again later and later, however often it is asked for, and a look is
// asked for when its time has come. Credentials and tokens are read for each order or question and
// not held between two. Must not know: any cloud.

import { Backoff } from '../base/backoff.ts';
import type { Clock, Timer } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import { Masked } from '../base/masked.ts';
import { portsOf } from './claims.ts';
import type { Cluster } from './cluster.ts';
import { MACHINE_CONTROL_PORT, tokenSecretOf } from './exit-node-plan.ts';
import type { Found, Machine, MachineProvider, OpenProvider } from './machine.ts';
import type { ExitNodeObject, SecretObject } from './objects.ts';

/** Clouds take their time to answer, and seldom more than this. Guess. */
const ANSWER_WITHIN_MS = 60_000;
/** An order may take minutes. Others wait no longer for it than this, most take less. Guess. */
const ORDER_WAIT_MS = 10_000;
const REFUSAL_LENGTH_MAX = 300;
/** Guess: more machines than anybody orders at once. */
const REFUSALS_MAX = 1000;
const RETRY_BASE_MS = 2_000;
const RETRY_MAX_MS = 240_000;

export interface MachineShopOptions {
  readonly cluster: Cluster;
  readonly namespace: string;
  readonly openProvider: OpenProvider;
  readonly clock: Clock;
  readonly random: () => number;
  /**
   * What was refused may be asked for again: the exit node wants a look. Who looks by a rhythm of
   * its own alone looks a moment too early, again and again, and later each time.
   */
  readonly onDue: (exitNode: ExitNodeObject) => void;
}

export interface Finding {
  readonly machine: Found;
  readonly refusal: string | undefined;
}

interface Order {
  /** `pruning`: what lives beside the machine that is in use. */
  readonly what: 'making' | 'ending' | 'pruning';
  /** Never rejects. */
  readonly done: Promise<Outcome>;
}

interface Refusal {
  readonly what: Order['what'];
  readonly failure: unknown;
  readonly backoff: Backoff;
  /** While it runs the same is not asked for again. */
  hold: Timer | undefined;
}

type Outcome = 'done' | 'under way' | { readonly failure: unknown };

export class MachineShop {
  readonly #options: MachineShopOptions;
  /** What providers said last, by uid of the ExitNode. */
  readonly #refusals = new Map<string, Refusal>();
  /** Under way, by uid: no more than there are exit nodes, and each ends as its requests do. */
  readonly #orders = new Map<string, Order>();

  constructor(options: MachineShopOptions) {
    this.#options = options;
  }

  async find(exitNode: ExitNodeObject): Promise<Finding> {
    const uid = uidOf(exitNode);
    const order = this.#orders.get(uid);
    // One in use is looked after while its twins end.
    if (order !== undefined && order.what !== 'pruning') {
      return { machine: order.what, refusal: this.#refusalOf(uid) };
    }
    try {
      const provider = await this.#open(exitNode);
      const found = await inTime(provider.find(tagOf(exitNode), idOf(exitNode)));
      if (this.#isOver(exitNode, found)) this.#forget(uid);
      return { machine: found ?? 'none', refusal: this.#refusalOf(uid) };
    } catch (error) {
      return { machine: 'unknown', refusal: refusalOf(error) };
    }
  }

  async create(exitNode: ExitNodeObject): Promise<void> {
    await this.#order(exitNode, 'making', async (provider) => {
      const { provision } = exitNode.spec;
      const secret = tokenSecretOf(exitNode);
      const token = (await this.#readSecret(secret?.name ?? '')).get(secret?.key ?? '');
      if (provision === undefined || token === undefined) throw new Error('it has no token yet');
      await provider.create({
        ...{ tag: tagOf(exitNode), provision, token },
        controlPort: MACHINE_CONTROL_PORT,
        ...{ tcpPorts: portsOf(exitNode, 'tcp'), udpPorts: portsOf(exitNode, 'udp') },
      });
    });
  }

  async remove(exitNode: ExitNodeObject): Promise<void> {
    await this.#order(exitNode, 'ending', async (provider) => {
      await provider.remove(tagOf(exitNode), idOf(exitNode));
    });
  }

  /** Of several machines that live, that of its status stays. */
  async removeTwins(exitNode: ExitNodeObject): Promise<void> {
    const id = idOf(exitNode);
    if (id === undefined) return;
    await this.#order(exitNode, 'pruning', async (provider) => {
      await provider.removeTwins(tagOf(exitNode), id);
    });
  }

  /** When nothing is under way. */
  async settled(): Promise<void> {
    await Promise.all([...this.#orders.values()].map(({ done }) => done));
  }

  /** Is there such a secret, with such a key? */
  async hasSecret(name: string, key: string): Promise<boolean> {
    return (await this.#readSecret(name)).has(key);
  }

  /**
   * Joins the order that is under way, whatever it is: a next look asks for what is missing then.
   * Resolves when it is done or goes on behind; throws when it failed meanwhile, or a moment ago.
   */
  async #order(
    exitNode: ExitNodeObject,
    what: Order['what'],
    act: (provider: MachineProvider) => Promise<void>,
  ): Promise<void> {
    const uid = uidOf(exitNode);
    let order = this.#orders.get(uid);
    if (order === undefined) {
      const before = this.#refusals.get(uid);
      if (before?.what === what && before.hold !== undefined) throw before.failure;
      order = { what, done: this.#carryOut(exitNode, what, act) };
      this.#orders.set(uid, order);
    }
    const { promise, resolve } = Promise.withResolvers<Outcome>();
    const timer = this.#options.clock.after(ORDER_WAIT_MS, () => resolve('under way'));
    const outcome = await Promise.race([order.done, promise]);
    timer.cancel();
    if (order.what === what && typeof outcome === 'object') throw outcome.failure;
  }

  async #carryOut(
    exitNode: ExitNodeObject,
    what: Order['what'],
    act: (provider: MachineProvider) => Promise<void>,
  ): Promise<Outcome> {
    const uid = uidOf(exitNode);
    try {
      await act(await this.#open(exitNode));
      this.#forget(uid);
      return 'done';
    } catch (failure) {
      this.#keep(exitNode, what, failure);
      return { failure };
    } finally {
      this.#orders.delete(uid);
    }
  }

  #keep(exitNode: ExitNodeObject, what: Order['what'], failure: unknown): void {
    const { clock, random, onDue } = this.#options;
    const uid = uidOf(exitNode);
    const before = this.#refusals.get(uid);
    const backoff =
      before?.what === what
        ? before.backoff
        : new Backoff({ baseMs: RETRY_BASE_MS, maxMs: RETRY_MAX_MS, random });
    this.#forget(uid);
    // Starts anew rather than grow, should objects vanish while they are in trouble.
    if (this.#refusals.size >= REFUSALS_MAX) this.#forgetAll();
    const refusal: Refusal = { what, failure, backoff, hold: undefined };
    refusal.hold = clock.after(RETRY_BASE_MS + backoff.nextMs(), () => {
      refusal.hold = undefined;
      onDue(exitNode);
    });
    this.#refusals.set(uid, refusal);
  }

  /** Is what was refused wanted no more, or was an order that seemed to fail heard after all? */
  #isOver(exitNode: ExitNodeObject, found: Machine | undefined): boolean {
    const refusal = this.#refusals.get(uidOf(exitNode));
    if (refusal?.what === 'pruning') return found?.twins === undefined;
    const isWanted = exitNode.metadata.deletionTimestamp === undefined;
    return isWanted && found !== undefined && found.state !== 'stopped';
  }

  #forget(uid: string): void {
    this.#refusals.get(uid)?.hold?.cancel();
    this.#refusals.delete(uid);
  }

  #forgetAll(): void {
    for (const uid of this.#refusals.keys()) this.#forget(uid);
  }

  #refusalOf(uid: string): string | undefined {
    const refusal = this.#refusals.get(uid);
    return refusal === undefined ? undefined : refusalOf(refusal.failure);
  }

  async #open({ spec }: ExitNodeObject): Promise<MachineProvider> {
    const { provision } = spec;
    if (provision === undefined) throw new Error('it has no provision');
    const { credentialsSecret, provider } = provision;
    const credentials = await this.#readSecret(credentialsSecret);
    if (credentials.size === 0) {
      throw new Error(`there is no secret ${credentialsSecret} in ${this.#options.namespace}`);
    }
    const opened = await this.#options.openProvider(provision, credentials);
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

/** What is known of it; a part of one may be all that is there. */
function idOf({ status }: ExitNodeObject): string | undefined {
  return status?.machine?.id || undefined;
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
