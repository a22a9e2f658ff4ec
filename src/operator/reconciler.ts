// Brings the cluster to what Services, tunnels and exit nodes ask for, while this operator leads.
//
//   watches --change--> keys --> one queue a kind --> observe --> plan (pure) --> executor
//
// Invariant: each kind has one worker, so that two tunnels never claim one name at once; nothing
// runs before everything was listed; what changes makes all that depends on it be looked at again.
// Must not know: the words of the API, or how plans are made.

import type { Clock, Timer } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { ORDERS, type Plan } from './actions.ts';
import { AppliedClients } from './applied-clients.ts';
import { planBalancer } from './balancer-plan.ts';
import { deploymentName } from './client-deployment.ts';
import { READY } from './client-readiness.ts';
import { type Cluster, KubeError } from './cluster.ts';
import { conditionOf, kubeTime } from './conditions.ts';
import { Executor } from './executor.ts';
import { planExitNode } from './exit-node-plan.ts';
import { ExitNodeProbe } from './exit-node-probe.ts';
import { isFreed, isHolding } from './holdings.ts';
import { type Change, Inventory, type InventoryOptions, tunnelKeyOf } from './inventory.ts';
import type { OpenProvider } from './machine.ts';
import { MachineShop } from './machine-shop.ts';
import {
  type DeploymentObject,
  type ExitNodeObject,
  type KubeObject,
  keyOf,
  type TunnelObject,
} from './objects.ts';
import { Observer } from './observer.ts';
import type { OperatorSettings } from './settings.ts';
import { OWN_EXIT_NODE, planTunnel, upstreamNames } from './tunnel-plan.ts';
import { WorkQueue } from './work-queue.ts';

/** How often exit nodes are asked whether they answer. */
const EXIT_NODE_LOOK_MS = 30_000;
/** Not valid, or more than a quota or a policy allows: no use to try again at once. */
const REFUSALS: ReadonlySet<number> = new Set([400, 403, 422]);

export type Queue = 'service' | 'tunnel' | 'exit-node';
export const QUEUES: readonly Queue[] = ['service', 'tunnel', 'exit-node'];

export interface ReconcilerOptions {
  readonly cluster: Cluster;
  readonly settings: OperatorSettings;
  readonly namespaces: readonly string[];
  readonly resyncMs: number;
  readonly identity: string;
  readonly openProvider: OpenProvider;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly leads: () => boolean;
  readonly onReconciled: (queue: Queue, result: Plan['next'] | 'error', ms: number) => void;
  readonly onBroken: InventoryOptions['onBroken'];
}

export class Reconciler {
  readonly inventory: Inventory;
  readonly #options: ReconcilerOptions;
  readonly #queues: Readonly<Record<Queue, WorkQueue>>;
  readonly #executor: Executor;
  readonly #shop: MachineShop;
  readonly #observer: Observer;
  readonly #applied = new AppliedClients();
  readonly #timers = new Map<string, Timer>();
  #isLeading = false;
  /** One change of who works after the other. */
  #turns: Promise<void> = Promise.resolve();

  constructor(options: ReconcilerOptions) {
    this.#options = options;
    const { cluster, settings, clock, random, log, identity, leads } = options;
    this.inventory = new Inventory({
      ...{ cluster, clock, random, log, namespace: settings.namespace },
      namespaces: options.namespaces,
      onChange: (change) => this.#onChange(change),
      onSynced: () => this.#onTurn(),
      onBroken: options.onBroken,
    });
    const queue = (name: Queue, look: (key: string) => Promise<Plan['next']>): WorkQueue =>
      new WorkQueue({
        ...{ clock, random },
        work: (key) => this.#timed(name, () => look(key)),
        onError: (key, error) => this.#onError(name, key, error),
        onRoom: () => this.#addAll(),
      });
    this.#queues = {
      service: queue('service', (key) => this.#lookAtService(key)),
      tunnel: queue('tunnel', (key) => this.#lookAtTunnel(key)),
      'exit-node': queue('exit-node', (key) => this.#lookAtExitNode(key)),
    };
    const { openProvider } = options;
    const { namespace } = settings;
    const onDue = (found: ExitNodeObject): void => this.#queues['exit-node'].add(keyOf(found));
    this.#shop = new MachineShop({ cluster, namespace, openProvider, clock, random, onDue });
    this.#observer = new Observer({
      ...{ inventory: this.inventory, shop: this.#shop, probe: new ExitNodeProbe(clock), settings },
      namespaces: options.namespaces,
    });
    this.#executor = new Executor({
      ...{ cluster, clock, log, identity, leads },
      learn: (kind, object) => this.inventory.learn(kind, object),
      onApplied: (object) => this.#applied.note(object),
      createMachine: (name) => this.#withExitNode(name, (found) => this.#shop.create(found)),
      removeMachine: (name) => this.#withExitNode(name, (found) => this.#shop.remove(found)),
      removeTwins: (name) => this.#withExitNode(name, (found) => this.#shop.removeTwins(found)),
    });
  }

  depth(queue: Queue): number {
    return this.#queues[queue].depth;
  }

  start(): void {
    this.inventory.start();
  }

  async stop(): Promise<void> {
    this.follow();
    this.inventory.stop();
    await this.#turns;
    await this.#shop.settled();
  }

  /** This operator leads from now on. */
  lead(): void {
    this.#isLeading = true;
    this.#onTurn();
  }

  follow(): void {
    this.#isLeading = false;
    this.#onTurn();
  }

  #onTurn(): void {
    this.#turns = this.#turns.then(() => this.#takeTurn());
  }

  async #takeTurn(): Promise<void> {
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    for (const queue of Object.values(this.#queues)) await queue.stop();
    if (!this.#isLeading || !this.inventory.isSynced) return;
    for (const queue of Object.values(this.#queues)) queue.start();
    this.#addAll();
    this.#every('resync', this.#options.resyncMs, () => this.#addAll());
    this.#every('exit nodes', EXIT_NODE_LOOK_MS, () => this.#addExitNodes());
  }

  #every(name: string, ms: number, act: () => void): void {
    const { clock, random } = this.#options;
    const timer = clock.after(ms * (0.9 + 0.2 * random()), () => {
      act();
      this.#every(name, ms, act);
    });
    this.#timers.set(name, timer);
  }

  #addAll(): void {
    this.#addExitNodes();
    for (const service of this.inventory.services()) this.#queues.service.add(keyOf(service));
    for (const tunnel of this.inventory.tunnels()) this.#addTunnel(tunnel);
    for (const client of this.inventory.deployments()) this.#addClient(client);
  }

  #addExitNodes(): void {
    for (const one of this.inventory.exitNodes()) this.#queues['exit-node'].add(keyOf(one));
  }

  /** Its Service has the same name, if it has one. */
  #addTunnel(tunnel: KubeObject): void {
    this.#queues.tunnel.add(keyOf(tunnel));
    this.#queues.service.add(keyOf(tunnel));
  }

  #addClient(client: KubeObject): void {
    const key = tunnelKeyOf(client as DeploymentObject);
    if (key !== undefined) this.#queues.tunnel.add(key);
  }

  #onChange({ kind, before, after }: Change): void {
    const object = after ?? before;
    if (object === undefined) return;
    switch (kind) {
      case 'Service':
        this.#queues.service.add(keyOf(object));
        break;
      case 'ExternalService':
        this.#onUpstream(object);
        break;
      case 'Deployment':
        if (after === undefined) this.#applied.forget(object);
        this.#addClient(object);
        break;
      case 'Tunnel':
        this.#addTunnel(object);
        this.#onTunnel(before as TunnelObject | undefined, after as TunnelObject | undefined);
        break;
      case 'ExitNode':
        // A status is our own word, and what was refused is to wait before it is tried again.
        if (before?.metadata.generation !== after?.metadata.generation) {
          this.#queues['exit-node'].add(keyOf(object));
        }
        this.#onExitNode(before as ExitNodeObject | undefined, after as ExitNodeObject | undefined);
        break;
    }
  }

  /** It became one of another type, or is one no more. */
  #onUpstream({ metadata }: KubeObject): void {
    for (const tunnel of this.inventory.tunnels()) {
      if (tunnel.metadata.namespace !== metadata.namespace) continue;
      if (upstreamNames(tunnel).includes(metadata.name)) this.#queues.tunnel.add(keyOf(tunnel));
    }
  }

  /** Names that were given up are there for those who wait for them. */
  #onTunnel(before: TunnelObject | undefined, after: TunnelObject | undefined): void {
    const exitNodes = new Set([before?.status?.exitNode, after?.status?.exitNode]);
    const wasFreed = isFreed(before, after);
    const isMoved = before?.status?.exitNode !== after?.status?.exitNode;
    if (!wasFreed && !isMoved) return;
    for (const name of exitNodes) {
      if (name !== undefined) this.#queues['exit-node'].add(name);
    }
    for (const other of this.inventory.tunnels()) {
      const isWaiting = conditionOf(other.status?.conditions, READY)?.status !== 'True';
      if (isWaiting) this.#queues.tunnel.add(keyOf(other));
    }
  }

  #onExitNode(before: ExitNodeObject | undefined, after: ExitNodeObject | undefined): void {
    if (JSON.stringify(matterOf(before)) === JSON.stringify(matterOf(after))) return;
    const { metadata } = (after ?? before) as ExitNodeObject;
    const { [OWN_EXIT_NODE.namespace]: namespace, [OWN_EXIT_NODE.name]: name } =
      metadata.annotations ?? {};
    if (namespace !== undefined) this.#queues.tunnel.add(`${namespace}/${name}`);
    for (const tunnel of this.inventory.tunnels()) {
      const wanted = tunnel.spec.exitNode ?? this.#options.settings.exitNode;
      const isOn = wanted === metadata.name || isHolding(tunnel, metadata.name);
      if (isOn) this.#queues.tunnel.add(keyOf(tunnel));
    }
  }

  async #lookAtService(key: string): Promise<Plan['next']> {
    const { settings } = this.#options;
    return await this.#unlessRefused((refusal) =>
      planBalancer({
        ...{ service: this.inventory.service(key), tunnel: this.inventory.tunnel(key) },
        ...{ settings, refusal, now: this.#now() },
      }),
    );
  }

  async #lookAtTunnel(key: string): Promise<Plan['next']> {
    const { inventory } = this;
    // The client of another operator's tunnel.
    if (!this.#observer.isWatched(key.split('/', 1)[0] ?? '')) return 'settled';
    const tunnel = inventory.tunnel(key);
    const clients = inventory.clientsOf(key);
    const name = tunnel === undefined ? undefined : deploymentName(tunnel);
    const deployment = clients.find(({ metadata }) => metadata.name === name);
    // Of a tunnel that is no more, or that has been made anew.
    const strays = clients.filter((one) => one !== deployment).map(removal);
    await this.#execute({ actions: strays, next: 'settled' });
    if (tunnel === undefined) return 'settled';
    const served = await this.#observer.served(tunnel, deployment);
    return await this.#unlessRefused((refusal) => {
      // As it is by now: a plan before this one may have written to it.
      const newest = inventory.tunnel(key) ?? tunnel;
      return planTunnel({
        ...{ tunnel: newest, deployment, settings: this.#options.settings, now: this.#now() },
        exitNodes: inventory.exitNodes(),
        others: inventory.tunnels().filter((other) => keyOf(other) !== key),
        ...{ served, refusal, applied: this.#applied.generationOf(deployment) },
        externalNames: inventory.externalNames(tunnel.metadata.namespace),
      });
    });
  }

  async #lookAtExitNode(key: string): Promise<Plan['next']> {
    const exitNode = this.inventory.exitNode(key);
    if (exitNode === undefined || !this.#observer.isOurs(exitNode)) return 'settled';
    const observed = await this.#observer.exitNode(exitNode, this.#now());
    try {
      return await this.#execute(planExitNode(observed));
    } catch (error) {
      if (error instanceof KubeError) throw error;
      // The provider's words, where people look for them.
      const { refusal } = await this.#shop.find(exitNode);
      const newest = this.inventory.exitNode(key);
      if (refusal === undefined || newest === undefined) throw error;
      const plan = planExitNode({ ...observed, exitNode: newest, refusal });
      const actions = plan.actions.filter((action) => !ORDERS.has(action.do));
      await this.#execute({ ...plan, actions });
      return 'blocked';
    }
  }

  /** What the API will not take is planned for again, to be said in the status. */
  async #unlessRefused(plan: (refusal: string | undefined) => Plan): Promise<Plan['next']> {
    try {
      return await this.#execute(plan(undefined));
    } catch (error) {
      const isRefusal = error instanceof KubeError && REFUSALS.has(error.answered);
      if (!isRefusal) throw error;
      await this.#execute(plan(error.message));
      return 'blocked';
    }
  }

  async #execute(plan: Plan): Promise<Plan['next']> {
    await this.#executor.run(plan);
    return plan.next;
  }

  async #withExitNode(name: string, act: (found: ExitNodeObject) => Promise<void>): Promise<void> {
    const found = this.inventory.exitNode(name);
    if (found !== undefined) await act(found);
  }

  async #timed(queue: Queue, look: () => Promise<Plan['next']>): Promise<Plan['next']> {
    const { clock, onReconciled } = this.#options;
    const startMs = clock.nowMs();
    let result: Plan['next'] | 'error' = 'error';
    try {
      result = await look();
      return result;
    } finally {
      onReconciled(queue, result, clock.nowMs() - startMs);
    }
  }

  #onError(queue: Queue, key: string, error: unknown): void {
    const { log } = this.#options;
    const detail = error instanceof Error ? error.message : String(error);
    // Somebody else changed or removed it first: what they did is looked at next.
    const isStale = error instanceof KubeError && [404, 409].includes(error.answered);
    if (isStale) log.debug({ queue, key, err: detail }, 'looking again');
    else log.warn({ queue, key, err: detail }, 'could not be brought about, trying again');
  }

  #now(): string {
    return kubeTime(this.#options.clock.wallMs());
  }
}

function removal({ metadata }: DeploymentObject) {
  const { namespace, name, uid } = metadata;
  return { do: 'delete', ref: { kind: 'Deployment', namespace, name }, uid } as const;
}

/** What tunnels see of an exit node. */
function matterOf(exitNode: ExitNodeObject | undefined): unknown {
  const { spec, metadata, status } = exitNode ?? {};
  const { url, addresses, tokenSecret, caFingerprint, conditions } = status ?? {};
  const ready = conditionOf(conditions, READY)?.status;
  return [spec, metadata?.deletionTimestamp, url, addresses, tokenSecret, caFingerprint, ready];
}
