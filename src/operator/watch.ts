// Keeps the objects of a kind at hand, as they are in the API, and tells of each change.
//
// Invariant: a watch that breaks goes on from the last version that was seen, and a list is taken
// again when that is too old; a connection on which nothing comes is given up (the library does so
// after 30 s); between failures there is a delay with jitter. What was there is kept meanwhile.
// Must not know: what is done about a change. With cluster.ts the only file that knows
// @kubernetes/client-node.

import { type KubernetesObject, ListWatch, Watch } from '@kubernetes/client-node';
import { Backoff } from '../base/backoff.ts';
import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import type { Cluster, ListAnswer, ListScope } from './cluster.ts';
import { type KubeObject, keyOf } from './objects.ts';
import { type Kind, listPath } from './resources.ts';

/** Guess: short for a server that restarts, bounded for one that is away. */
const RETRY_BASE_MS = 500;
const RETRY_MAX_MS = 15_000;

/** The library's types are of what its models make; ours are of the JSON, which is untouched. */
type LibraryList = Awaited<
  ReturnType<ConstructorParameters<typeof ListWatch<KubernetesObject>>[2]>
>;

/**
 * What goes wrong before a watch is asked for, such as a login, is told like all else: the library
 * takes a watch up again where nobody waits for it, and a rejection there would end the process.
 */
class TellingWatch extends Watch {
  override async watch(...args: Parameters<Watch['watch']>): Promise<AbortController> {
    try {
      return await super.watch(...args);
    } catch (error) {
      const [, , , done] = args;
      done(error);
      return new AbortController();
    }
  }
}

function asSent(object: KubernetesObject): KubeObject {
  return object as unknown as KubeObject;
}

export interface KindWatchOptions {
  readonly cluster: Cluster;
  readonly kind: Kind;
  readonly scope: ListScope;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** `before` is undefined for one that was not there, `after` for one that is gone. */
  readonly onChange: (change: {
    readonly before: KubeObject | undefined;
    readonly after: KubeObject | undefined;
  }) => void;
  readonly onSynced: () => void;
  readonly onBroken: () => void;
}

export class KindWatch {
  readonly #options: KindWatchOptions;
  readonly #backoff: Backoff;
  readonly #informer: ListWatch<KubernetesObject>;
  /** As last seen, with what we wrote ourselves and was not told yet. */
  readonly #objects = new Map<string, KubeObject>();
  #timer: Timer | undefined;
  #state: 'syncing' | 'synced' | 'stopped' = 'syncing';
  /** Set by an error that ends a start. */
  #hasFailed = false;

  constructor(options: KindWatchOptions) {
    this.#options = options;
    this.#backoff = new Backoff({
      baseMs: RETRY_BASE_MS,
      maxMs: RETRY_MAX_MS,
      random: options.random,
    });
    const { cluster, kind, scope } = options;
    this.#informer = new ListWatch<KubernetesObject>(
      listPath(kind, scope.namespace),
      new TellingWatch(cluster.config),
      async () => (await this.#list()) as unknown as LibraryList,
      false,
      scope.labelSelector,
      scope.fieldSelector,
    );
    this.#informer.on('add', (object) => this.#onObject(asSent(object)));
    this.#informer.on('update', (object) => this.#onObject(asSent(object)));
    this.#informer.on('delete', (object) => this.#onGone(asSent(object)));
    this.#informer.on('error', (error) => this.#onError(error));
  }

  get isSynced(): boolean {
    return this.#state === 'synced';
  }

  /** Undefined: all. */
  get namespace(): string | undefined {
    return this.#options.scope.namespace;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): KubeObject | undefined {
    return this.#objects.get(key);
  }

  values(): Iterable<KubeObject> {
    return this.#objects.values();
  }

  start(): void {
    this.#timer = undefined;
    this.#hasFailed = false;
    this.#informer.start().then(
      () => this.#onStarted(),
      (error: unknown) => this.#onError(error),
    );
  }

  stop(): void {
    this.#state = 'stopped';
    this.#timer?.cancel();
    this.#informer.stop().catch(() => {
      // It has ended, which is what was asked for.
    });
  }

  /** What the API answered to a write of ours: nothing older may be decided on. */
  learn(object: KubeObject): void {
    const found = this.#objects.get(keyOf(object));
    if (found === undefined || versionOf(object) > versionOf(found)) this.#onObject(object);
  }

  async #list(): Promise<ListAnswer<KubeObject>> {
    const { cluster, kind, scope } = this.#options;
    const answer = await cluster.list(kind, scope);
    const there = new Set(answer.items.map(keyOf));
    const asOf = versionOf(answer);
    // What we wrote ourselves the library never heard of, and does not miss.
    for (const [key, object] of this.#objects) {
      if (!there.has(key) && versionOf(object) <= asOf) this.#onGone(object);
    }
    return answer;
  }

  #onStarted(): void {
    if (this.#hasFailed || this.#state === 'stopped') return;
    this.#backoff.reset();
    if (this.#state === 'synced') return;
    this.#state = 'synced';
    this.#options.onSynced();
  }

  #onObject(object: KubeObject): void {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    if (before !== undefined && versionOf(before) >= versionOf(object)) return;
    this.#objects.set(key, object);
    this.#options.onChange({ before, after: object });
  }

  #onGone(object: KubeObject): void {
    const key = keyOf(object);
    const before = this.#objects.get(key);
    // Another of the same name was made since, by ourselves.
    if (before !== undefined && before.metadata.uid !== object.metadata.uid) return;
    this.#objects.delete(key);
    this.#options.onChange({ before: before ?? object, after: undefined });
  }

  #onError(error: unknown): void {
    this.#hasFailed = true;
    if (this.#state === 'stopped' || this.#timer !== undefined) return;
    const delayMs = this.#backoff.nextMs();
    const { kind, log, clock } = this.#options;
    const reason = error instanceof Error ? error.message : String(error);
    log.warn({ kind, err: reason, delayMs: Math.round(delayMs) }, 'watch broke, trying again');
    this.#options.onBroken();
    this.#timer = clock.after(delayMs, () => this.start());
  }
}

/**
 * Versions are of one store, which counts up (KEP-5504 makes them comparable; etcd's always were).
 * What is no number is taken as new.
 */
function versionOf({
  metadata,
}: {
  readonly metadata: { readonly resourceVersion?: string };
}): bigint {
  const { resourceVersion = '' } = metadata;
  return /^\d{1,30}$/.test(resourceVersion) ? BigInt(resourceVersion) : BigInt(2) ** 64n;
}
