// Does what a plan asks for, in its order, through the API and the clouds.
//
// Invariant: nothing is written unless this operator leads at that very moment; each write of a
// plan is based on the one before it, and what the API answers is known to the watches at once, so
// that the next plan never sees an older state than it made. Must not know: why anything is done.

import { randomBytes } from 'node:crypto';
import type { Clock } from '../base/clock.ts';
import { SluicewayError } from '../base/errors.ts';
import type { Logger } from '../base/log.ts';
import { TokenBucket } from '../base/token-bucket.ts';
import type { Action, EventOrder, Plan } from './actions.ts';
import { type Cluster, KubeError } from './cluster.ts';
import { kubeTime } from './conditions.ts';
import type { KubeObject } from './objects.ts';
import type { Kind, ObjectRef } from './resources.ts';
import { MANAGED_BY } from './settings.ts';

/** Events of what belongs to the whole cluster are kept there. */
const CLUSTER_EVENTS = 'default';
const MESSAGE_LENGTH_MAX = 1000;
/** Guess: what comes and goes for ever is no news at last, and etcd keeps each for an hour. */
const EVENTS_BURST = 200;
const EVENTS_PER_SECOND = 2;

export interface ExecutorOptions {
  readonly cluster: Cluster;
  readonly log: Logger;
  readonly identity: string;
  readonly leads: () => boolean;
  readonly learn: (kind: Kind, object: KubeObject) => void;
  /** What became of an object that was applied. */
  readonly onApplied: (object: KubeObject) => void;
  readonly createMachine: (exitNode: string) => Promise<void>;
  readonly removeMachine: (exitNode: string) => Promise<void>;
  readonly removeTwins: (exitNode: string) => Promise<void>;
  readonly clock: Clock;
}

export class Executor {
  readonly #options: ExecutorOptions;
  readonly #events: TokenBucket;

  constructor(options: ExecutorOptions) {
    this.#options = options;
    this.#events = new TokenBucket(EVENTS_PER_SECOND, options.clock.nowMs(), EVENTS_BURST);
  }

  async run(plan: Plan): Promise<void> {
    /** Versions that this plan made, by object. */
    const versions = new Map<string, string>();
    for (const action of plan.actions) {
      if (!this.#options.leads()) {
        throw new SluicewayError('SLW_KUBE_REFUSED', 'another operator leads now');
      }
      await this.#do(action, versions);
    }
  }

  async #do(action: Action, versions: Map<string, string>): Promise<void> {
    const { cluster, onApplied, createMachine, removeMachine, removeTwins } = this.#options;
    switch (action.do) {
      case 'apply': {
        const answer = await cluster.apply(action.object);
        onApplied(answer);
        this.#learn(answer, versions);
        break;
      }
      case 'drop-fields': {
        const version = versions.get(nameOf(action.ref)) ?? action.resourceVersion;
        this.#learn(await cluster.dropFields(action.ref, action.fields, version), versions);
        break;
      }
      case 'create':
        await this.#create(action.object);
        break;
      case 'delete':
        await cluster.remove(action.ref, action.uid);
        break;
      case 'set-finalizers': {
        const version = versions.get(nameOf(action.ref)) ?? action.resourceVersion;
        const answer = await cluster.setFinalizers(action.ref, action.finalizers, version);
        this.#learn(answer, versions);
        break;
      }
      case 'write-status': {
        const version = versions.get(nameOf(action.ref)) ?? action.resourceVersion;
        this.#learn(await cluster.writeStatus(action.ref, action.status, version), versions);
        break;
      }
      case 'take-back-status':
        await this.#takeBack(action.ref, action.status);
        break;
      case 'tell':
        await this.#tell(action.event);
        break;
      case 'create-machine':
        await createMachine(action.exitNode);
        break;
      case 'remove-machine':
        await removeMachine(action.exitNode);
        break;
      case 'remove-twins':
        await removeTwins(action.exitNode);
        break;
    }
  }

  async #create(object: KubeObject): Promise<void> {
    try {
      await this.#options.cluster.create(object);
    } catch (error) {
      const isThere = error instanceof KubeError && error.answered === 409;
      if (!isThere) throw error;
    }
  }

  async #takeBack(ref: ObjectRef, status: object): Promise<void> {
    try {
      await this.#options.cluster.writeStatus(ref, status, undefined);
    } catch (error) {
      const isGone = error instanceof KubeError && error.answered === 404;
      if (!isGone) throw error;
    }
  }

  #learn(object: KubeObject, versions: Map<string, string>): void {
    const { kind, metadata } = object;
    const { namespace, name, resourceVersion } = metadata;
    if (resourceVersion === undefined) return;
    versions.set(nameOf({ kind: kind as Kind, namespace, name }), resourceVersion);
    // The last finalizer of a deleted object went with it: the watch says so.
    if (metadata.deletionTimestamp !== undefined && (metadata.finalizers ?? []).length === 0)
      return;
    this.#options.learn(kind as Kind, object);
  }

  /** An event that cannot be written keeps nothing from being done. */
  async #tell({ about, type, reason, message }: EventOrder): Promise<void> {
    const { cluster, log, identity, clock } = this.#options;
    const { name, namespace, uid, resourceVersion } = about.metadata;
    log.info({ kind: about.kind, namespace, name, reason }, message);
    if (!this.#events.take(clock.nowMs())) return;
    const time = kubeTime(clock.wallMs());
    const event: KubeObject & Readonly<Record<string, unknown>> = {
      apiVersion: 'v1',
      kind: 'Event',
      metadata: {
        name: `${name.slice(0, 200)}.${randomBytes(8).toString('hex')}`,
        namespace: namespace ?? CLUSTER_EVENTS,
      },
      involvedObject: {
        ...{ apiVersion: about.apiVersion, kind: about.kind, name, namespace },
        ...{ uid, resourceVersion },
      },
      ...{ type, reason, message: message.slice(0, MESSAGE_LENGTH_MAX) },
      ...{ firstTimestamp: time, lastTimestamp: time, count: 1 },
      source: { component: MANAGED_BY },
      ...{ reportingComponent: MANAGED_BY, reportingInstance: identity },
    };
    try {
      await cluster.create(event);
    } catch (error) {
      log.warn({ err: error instanceof Error ? error.message : String(error) }, 'event lost');
    }
  }
}

function nameOf({ kind, namespace = '', name }: ObjectRef): string {
  return `${kind} ${namespace}/${name}`;
}
