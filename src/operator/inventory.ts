// All that the operator watches, by kind, and what of it belongs together.
//
// Invariant: reads and tells, and decides nothing; it is whole once every kind was listed. Must not
// know: plans, or who leads.

import type { Clock } from '../base/clock.ts';
import type { Logger } from '../base/log.ts';
import { TUNNEL_ANNOTATION } from './client-deployment.ts';
import type { Cluster, ListScope } from './cluster.ts';
import type {
  DeploymentObject,
  ExitNodeObject,
  KubeObject,
  ServiceObject,
  TunnelObject,
} from './objects.ts';
import type { Kind } from './resources.ts';
import { MANAGED_BY } from './settings.ts';
import { KindWatch } from './watch.ts';

/** `ExternalService`: Services of type ExternalName, which no tunnel may lead to. */
export type WatchedKind = 'Service' | 'ExternalService' | 'Tunnel' | 'ExitNode' | 'Deployment';

export interface Change {
  readonly kind: WatchedKind;
  readonly before: KubeObject | undefined;
  readonly after: KubeObject | undefined;
}

export interface InventoryOptions {
  readonly cluster: Cluster;
  /** Where Services and tunnels are looked for; empty is everywhere. */
  readonly namespaces: readonly string[];
  /** Where clients run. */
  readonly namespace: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly onChange: (change: Change) => void;
  readonly onSynced: () => void;
  readonly onBroken: (kind: WatchedKind) => void;
}

export class Inventory {
  readonly #watches: Readonly<Record<WatchedKind, readonly KindWatch[]>>;
  readonly #onSynced: () => void;

  constructor(options: InventoryOptions) {
    const { namespaces, namespace } = options;
    this.#onSynced = options.onSynced;
    const everywhere = namespaces.length === 0 ? [undefined] : namespaces;
    const wide = (kind: WatchedKind, scope: ListScope): KindWatch[] =>
      everywhere.map((one) => this.#watch(options, kind, { ...scope, namespace: one }));
    this.#watches = {
      // One that is no LoadBalancer any more leaves the list, and is gone for us.
      Service: wide('Service', { fieldSelector: 'spec.type=LoadBalancer' }),
      ExternalService: wide('ExternalService', { fieldSelector: 'spec.type=ExternalName' }),
      Tunnel: wide('Tunnel', {}),
      ExitNode: [this.#watch(options, 'ExitNode', {})],
      Deployment: [
        this.#watch(options, 'Deployment', {
          namespace,
          labelSelector: `app.kubernetes.io/managed-by=${MANAGED_BY}`,
        }),
      ],
    };
  }

  get isSynced(): boolean {
    return this.#all().every((watch) => watch.isSynced);
  }

  start(): void {
    for (const watch of this.#all()) watch.start();
  }

  stop(): void {
    for (const watch of this.#all()) watch.stop();
  }

  count(kind: WatchedKind): number {
    return this.#watches[kind].reduce((sum, watch) => sum + watch.size, 0);
  }

  service(key: string): ServiceObject | undefined {
    return this.#get('Service', key) as ServiceObject | undefined;
  }

  tunnel(key: string): TunnelObject | undefined {
    return this.#get('Tunnel', key) as TunnelObject | undefined;
  }

  exitNode(name: string): ExitNodeObject | undefined {
    return this.#get('ExitNode', name) as ExitNodeObject | undefined;
  }

  /** Names of Services in a namespace that are only names of something else. */
  externalNames(namespace: string | undefined): ReadonlySet<string> {
    const there = this.#values('ExternalService').filter(
      ({ metadata }) => metadata.namespace === namespace,
    );
    return new Set(there.map(({ metadata }) => metadata.name));
  }

  services(): readonly ServiceObject[] {
    return this.#values('Service') as readonly ServiceObject[];
  }

  tunnels(): readonly TunnelObject[] {
    return this.#values('Tunnel') as readonly TunnelObject[];
  }

  exitNodes(): readonly ExitNodeObject[] {
    return this.#values('ExitNode') as readonly ExitNodeObject[];
  }

  deployments(): readonly DeploymentObject[] {
    return this.#values('Deployment') as readonly DeploymentObject[];
  }

  /** Of clients of the tunnel with this key; more than one when it was made anew. */
  clientsOf(key: string): readonly DeploymentObject[] {
    return this.deployments().filter((one) => tunnelKeyOf(one) === key);
  }

  /** What we wrote is not news. */
  learn(kind: Kind, object: KubeObject): void {
    const watches = this.#watches[kind as WatchedKind] ?? [];
    const { namespace } = object.metadata;
    const [watch] =
      watches.length > 1 ? watches.filter((one) => one.namespace === namespace) : watches;
    watch?.learn(object);
  }

  #watch(options: InventoryOptions, kind: WatchedKind, scope: ListScope): KindWatch {
    const { cluster, clock, random, log, onChange, onBroken } = options;
    return new KindWatch({
      ...{ cluster, scope, clock, random, log },
      kind: kind === 'ExternalService' ? 'Service' : kind,
      onChange: ({ before, after }) => onChange({ kind, before, after }),
      onSynced: () => {
        if (this.isSynced) this.#onSynced();
      },
      onBroken: () => onBroken(kind),
    });
  }

  #all(): readonly KindWatch[] {
    return Object.values(this.#watches).flat();
  }

  #get(kind: WatchedKind, key: string): KubeObject | undefined {
    for (const watch of this.#watches[kind]) {
      const found = watch.get(key);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #values(kind: WatchedKind): readonly KubeObject[] {
    return this.#watches[kind].flatMap((watch) => [...watch.values()]);
  }
}

/** Whose client a Deployment is. */
export function tunnelKeyOf({ metadata }: DeploymentObject): string | undefined {
  return metadata.annotations?.[TUNNEL_ANNOTATION];
}
